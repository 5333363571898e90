/* The words of the shapes world: their names, and how a text is read back into them. Reading is tolerant:
 * unknown words are kept as WORD_OTHER, a few synonyms are understood, case does not matter (but for option
 * letters). */
#ifndef WORLD_WORDS_H
#define WORLD_WORDS_H

#include "shapes/scene.h"

#include <stddef.h>

typedef enum {
  WORD_OTHER,
  WORD_END,      /* . ! ; or a line end */
  WORD_QUESTION, /* ? */
  WORD_COMMA,    /* , or : */
  WORD_ARTICLE,
  WORD_LETTER, /* a lone capital; value 0.. for A.. */
  WORD_SIZE,
  WORD_COLOUR,
  WORD_SHAPE,
  WORD_OBJECT, /* "object" */
  WORD_ROW,
  WORD_COLUMN,
  WORD_PLACE, /* a cell: northwest .. southeast */
  WORD_NUMBER,
  WORD_TONE,
  WORD_TEXTURE,
  WORD_BACKGROUND,
  WORD_AT, /* at, in, on */
  WORD_TO,
  WORD_OF,
  WORD_IS,
  WORD_IT,
  WORD_YES,
  WORD_NO,
  WORD_NOT,
  WORD_NOTHING,
  WORD_LARGER,
  WORD_SAME,
  WORD_ABOVE,
  WORD_BELOW,
  WORD_OPTION,
  WORD_UNSURE, /* marks an evasive answer */
  WORD_THERE,
  WORD_WHAT,
  WORD_WHERE,
  WORD_WHICH,
  WORD_HOW,
  WORD_DESCRIBE,
  WORD_LIST,
  WORD_EXPLAIN,
  WORD_COLOUR_NAME, /* "color" */
  WORD_SIZE_NAME,   /* "size" */
  WORD_SHAPE_NAME   /* "shape" */
} word_class_t;

typedef struct {
  word_class_t class;
  int value;   /* of a size, colour, shape, row, column, cell, number (0..), tone, texture, letter */
  bool plural; /* of a shape or "object" */
} word_t;

enum { WORDS_MAX = 1024 };

/* Reads TEXT (UTF-8, '\0'-ended) into WORDS (WORDS_MAX) and returns how many there are; what lies beyond is
 * not read. *SPOKEN (may be NULL) is the number of words proper, without marks, of the whole text. Local. */
int words_read(const char *text, word_t *words, int *spoken);

/* The class of word AT, WORD_END outside of the N WORDS. Local. */
word_class_t word_class_at(const word_t *words, int n, int at);

/* A noun phrase: `no|two|the small red circle(s) in the northwest`. */
typedef struct {
  described_t what;
  bool noun; /* there is a shape or "object", else only adjectives or a place */
  bool plural;
  int number; /* DESCRIBED_NOT if none is said */
} noun_phrase_t;

/* Reads a noun phrase, bare adjectives or a place ("in the northwest") at the front of WORDS (n); returns the
 * words used, 0 if there is none. "left of" and "right of" are relations, not places. Local. */
int noun_phrase_read(const word_t *words, int n, noun_phrase_t *out);

/* Reads `[to] [the] left of`, `right of`, `above`, `below` at the front of WORDS; returns the words used, 0
 * if there is none. *RELATION is RELATION_*. Local. */
enum { RELATION_LEFT, RELATION_RIGHT, RELATION_ABOVE, RELATION_BELOW, RELATION_COUNT };
int relation_read(const word_t *words, int n, int *relation);

/* Names as they are written. Local. */
const char *size_name(int size);
const char *colour_name(int colour);
const char *shape_name(int shape);
const char *row_name(int row);
const char *column_name(int column);
const char *place_name(int row, int column); /* of a cell: `northwest` */
const char *number_name(int number);         /* 0..9 */
const char *tone_name(int tone);
const char *texture_name(int texture);
const char *relation_name(int relation);

/* The value whose name is NAME, DESCRIBED_NOT if there is none. Local. */
int shape_from_name(const char *name);
int colour_from_name(const char *name);
int size_from_name(const char *name);
int tone_from_name(const char *name);
int texture_from_name(const char *name);
int row_from_name(const char *name);
int column_from_name(const char *name);

/* Every word (with its capital where it stands first) that the world's texts use, marks aside: what a
 * tokenizer must know as single pieces. *COUNT words. Local. */
const char *const *world_vocabulary(int *count);

#endif
