/* Bytes as text, RFC 4648 (for images and bytes inside JSON and HTML). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/status.h"

#include <stddef.h>

/* *TEXT: BYTES (n) in base64 with padding, ended by '\0'; freed by the caller with memory_free. Local. */
status_t base64_encode(const void *bytes, size_t n, char **text);

/* *BYTES (*COUNT): what TEXT (n bytes) stands for; freed by the caller with memory_free. Errors: STATUS_DATA
 * for anything but base64 with padding and without line ends. Local. */
status_t base64_decode(const char *text, size_t n, unsigned char **bytes, size_t *count);

#endif
