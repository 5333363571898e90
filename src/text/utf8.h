/* Characters of UTF-8. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads the character at BYTES (N > 0 bytes left). Returns its length in bytes; 0 where it is malformed (an
 * overlong form, a surrogate, above U+10FFFF, cut short). Local. */
size_t utf8_decode(const unsigned char *bytes, size_t n, uint32_t *character);

/* Number of bytes at BYTES (N > 0 left), which are malformed, that one U+FFFD stands for: the longest start
 * of a character, or one byte (Unicode's "maximal subparts", as Python and Rust replace them). Local. */
size_t utf8_bad_length(const unsigned char *bytes, size_t n);

/* Writes CHARACTER to BYTES (4); returns its length. Local. */
size_t utf8_encode(uint32_t character, char *bytes);

/* Unicode's White_Space property. Local. */
bool unicode_white_space(uint32_t character);

#endif
