/* Appending to a text of at most PHRASE_MAX bytes. */
#ifndef WORLD_TEXT_ADD_H
#define WORLD_TEXT_ADD_H

/* Appends to TEXT (PHRASE_MAX, '\0'-ended), printf style. The closed grammar keeps every text far below the
 * limit, which is asserted. Local. */
void text_add(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
