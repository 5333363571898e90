/* The letters by which byte-level BPE spells bytes (GPT-2's table): printable bytes of Latin-1 are
 * themselves, the 68 others U+0100 and on, in order. */
#ifndef TEXT_BYTE_LETTERS_H
#define TEXT_BYTE_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character that stands for BYTE. Local. */
uint32_t byte_letter(unsigned char byte);

/* Writes the bytes that PIECE ('\0'-terminated) spells to BYTES, which has room for its length, and their
 * number to *N. False where a character of it stands for no byte. Local. */
bool byte_letters_read(const char *piece, char *bytes, size_t *n);

#endif
