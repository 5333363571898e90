/* Bytes as text, RFC 4648 (for images inside JSON and HTML). */
#ifndef RECORD_BASE64_H
#define RECORD_BASE64_H

#include "base/status.h"

#include <stddef.h>

/* *TEXT: BYTES (n) in base64 with padding, ended by '\0'; freed by the caller with memory_free. Local. */
status_t base64_encode(const void *bytes, size_t n, char **text);

#endif
