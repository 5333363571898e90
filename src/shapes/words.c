#include "shapes/words.h"

#include <ctype.h>
#include <string.h>

static const char *const sizes[] = {"small", "large"};
static const char *const colours[] = {"red", "green", "white", "blue", "yellow", "purple"};
static const char *const shapes[] = {"circle", "square", "triangle", "cross", "ring"};
static const char *const rows[] = {"top", "middle", "bottom"};
static const char *const columns[] = {"left", "center", "right"};
static const char *const places[] = {"northwest", "north",     "northeast", "west",     "center",
                                     "east",      "southwest", "south",     "southeast"};
static const char *const numbers[] = {"zero", "one", "two",   "three", "four",
                                      "five", "six", "seven", "eight", "nine"};
static const char *const tones[] = {"dark", "light"};
static const char *const textures[] = {"plain", "striped", "dotted"};
static const char *const relations[] = {"to the left of", "to the right of", "above", "below"};

#define LENGTH(array) ((int)(sizeof(array) / sizeof(array)[0]))

typedef struct {
  const char *name;
  word_class_t class;
  int value;
} lexeme_t;

/* Words with no table of their own, synonyms among them. */
static const lexeme_t lexicon[] = {
    {"a", WORD_ARTICLE, 0},
    {"an", WORD_ARTICLE, 0},
    {"the", WORD_ARTICLE, 0},
    {"another", WORD_ARTICLE, 0},
    {"object", WORD_OBJECT, 0},
    {"shape", WORD_SHAPE_NAME, 0},
    {"color", WORD_COLOUR_NAME, 0},
    {"colour", WORD_COLOUR_NAME, 0},
    {"size", WORD_SIZE_NAME, 0},
    {"background", WORD_BACKGROUND, 0},
    {"at", WORD_AT, 0},
    {"in", WORD_AT, 0},
    {"on", WORD_AT, 0},
    {"to", WORD_TO, 0},
    {"of", WORD_OF, 0},
    {"is", WORD_IS, 0},
    {"are", WORD_IS, 0},
    {"it", WORD_IT, 0},
    {"they", WORD_IT, 0},
    {"yes", WORD_YES, 0},
    {"no", WORD_NO, 0},
    {"not", WORD_NOT, 0},
    {"nothing", WORD_NOTHING, 0},
    {"larger", WORD_LARGER, 0},
    {"bigger", WORD_LARGER, 0},
    {"same", WORD_SAME, 0},
    {"above", WORD_ABOVE, 0},
    {"below", WORD_BELOW, 0},
    {"option", WORD_OPTION, 0},
    {"there", WORD_THERE, 0},
    {"what", WORD_WHAT, 0},
    {"where", WORD_WHERE, 0},
    {"which", WORD_WHICH, 0},
    {"how", WORD_HOW, 0},
    {"describe", WORD_DESCRIBE, 0},
    {"list", WORD_LIST, 0},
    {"explain", WORD_EXPLAIN, 0},
    {"know", WORD_UNSURE, 0},
    {"cannot", WORD_UNSURE, 0},
    {"unclear", WORD_UNSURE, 0},
    {"unsure", WORD_UNSURE, 0},
    {"sure", WORD_UNSURE, 0},
    {"sorry", WORD_UNSURE, 0},
    {"big", WORD_SIZE, SIZE_LARGE},
    {"tiny", WORD_SIZE, SIZE_SMALL},
    {"disc", WORD_SHAPE, SHAPE_CIRCLE},
    {"violet", WORD_COLOUR, COLOUR_PURPLE},
};

typedef struct {
  const char *const *names;
  int count;
  word_class_t class;
} name_table_t;

static const name_table_t tables[] = {
    {sizes, LENGTH(sizes), WORD_SIZE},          {colours, LENGTH(colours), WORD_COLOUR},
    {shapes, LENGTH(shapes), WORD_SHAPE},       {rows, LENGTH(rows), WORD_ROW},
    {places, LENGTH(places), WORD_PLACE},       {columns, LENGTH(columns), WORD_COLUMN},
    {numbers, LENGTH(numbers), WORD_NUMBER},    {tones, LENGTH(tones), WORD_TONE},
    {textures, LENGTH(textures), WORD_TEXTURE},
};

static int name_find(const char *const *names, int count, const char *name) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0) return i;
  return DESCRIBED_NOT;
}

static bool word_look_up(const char *lower, word_t *out) {
  for (int i = 0; i < LENGTH(tables); i++) {
    int value = name_find(tables[i].names, tables[i].count, lower);
    if (value == DESCRIBED_NOT) continue;
    *out = (word_t){tables[i].class, value, false};
    return true;
  }
  for (int i = 0; i < LENGTH(lexicon); i++) {
    if (strcmp(lexicon[i].name, lower) != 0) continue;
    *out = (word_t){lexicon[i].class, lexicon[i].value, false};
    return true;
  }
  return false;
}

/* A plural is a shape or "object" with "s" or "es" behind it. */
static bool plural_look_up(const char *lower, size_t length, word_t *out) {
  char stem[32];
  for (size_t cut = 1; cut <= 2 && cut < length; cut++) {
    memcpy(stem, lower, length - cut);
    stem[length - cut] = '\0';
    if (strcmp(lower + length - cut, cut == 1 ? "s" : "es") != 0 || !word_look_up(stem, out)) continue;
    if (out->class != WORD_SHAPE && out->class != WORD_OBJECT) continue;
    out->plural = true;
    return true;
  }
  return false;
}

static word_t word_from(const char *text, size_t length) {
  char lower[32];
  word_t word = {WORD_OTHER, 0, false};
  if (length == 1 && *text >= 'A' && *text <= 'D') return (word_t){WORD_LETTER, *text - 'A', false};
  if (length >= sizeof lower) return word;
  for (size_t i = 0; i < length; i++)
    lower[i] = (char)tolower((unsigned char)text[i]);
  lower[length] = '\0';
  if (word_look_up(lower, &word) || plural_look_up(lower, length, &word)) return word;
  return (word_t){WORD_OTHER, 0, false};
}

static bool mark_from(char c, word_t *out) {
  word_class_t class;
  switch (c) {
  case '.':
  case '!':
  case ';':
  case '\n':
    class = WORD_END;
    break;
  case '?':
    class = WORD_QUESTION;
    break;
  case ',':
  case ':':
    class = WORD_COMMA;
    break;
  default:
    return false;
  }
  *out = (word_t){class, 0, false};
  return true;
}

static bool is_word_byte(char c) {
  return isalnum((unsigned char)c) || c == '\'' || (unsigned char)c >= 0x80;
}

int words_read(const char *text, word_t *words, int *spoken) {
  int n = 0, proper = 0;
  while (*text) {
    word_t word;
    size_t length = 0;
    while (is_word_byte(text[length]))
      length++;
    if (length > 0) {
      word = word_from(text, length);
      proper++;
    } else {
      length = 1;
      if (!mark_from(*text, &word)) {
        text++;
        continue;
      }
    }
    text += length;
    if (n < WORDS_MAX) words[n++] = word;
  }
  if (spoken) *spoken = proper;
  return n;
}

word_class_t word_class_at(const word_t *words, int n, int at) {
  return at >= 0 && at < n ? words[at].class : WORD_END;
}

static bool is_article(const word_t *words, int n, int at) {
  /* "A" starts a phrase unless it is an option's letter. */
  if (word_class_at(words, n, at) == WORD_ARTICLE) return true;
  return at + 1 < n && words[at].class == WORD_LETTER && words[at].value == 0 &&
         words[at + 1].class != WORD_END;
}

int relation_read(const word_t *words, int n, int *relation) {
  int at = 0;
  if (word_class_at(words, n, at) == WORD_TO) at++;
  if (word_class_at(words, n, at) == WORD_ARTICLE) at++;
  if (word_class_at(words, n, at) == WORD_ABOVE || word_class_at(words, n, at) == WORD_BELOW) {
    *relation = words[at].class == WORD_ABOVE ? RELATION_ABOVE : RELATION_BELOW;
    return at + 1;
  }
  if (word_class_at(words, n, at) != WORD_COLUMN || words[at].value == 1 ||
      word_class_at(words, n, at + 1) != WORD_OF)
    return 0;
  *relation = words[at].value == 0 ? RELATION_LEFT : RELATION_RIGHT;
  return at + 2;
}

static int words_place_read(const word_t *words, int n, described_t *what) {
  int at = 0, relation, found = 0;
  if (word_class_at(words, n, at) == WORD_AT) at++;
  if (word_class_at(words, n, at) == WORD_ARTICLE) at++;
  for (; at < n && relation_read(words + at, n - at, &relation) == 0; at++, found++) {
    if (words[at].class == WORD_PLACE && what->column == DESCRIBED_NOT) {
      /* "center" may stand behind a row. */
      if (what->row == DESCRIBED_NOT) what->row = words[at].value / SCENE_COLUMNS;
      what->column = words[at].value % SCENE_COLUMNS;
    } else if (words[at].class == WORD_ROW && what->row == DESCRIBED_NOT)
      what->row = words[at].value;
    else if (words[at].class == WORD_COLUMN && what->column == DESCRIBED_NOT)
      what->column = words[at].value;
    else if (words[at].class == WORD_ROW && words[at].value == 1 && what->column == DESCRIBED_NOT)
      what->column = 1; /* "top middle" */
    else
      break;
  }
  return found ? at : 0;
}

static int adjectives_read(const word_t *words, int n, noun_phrase_t *out) {
  int at = 0;
  for (; at < n; at++) {
    if (words[at].class == WORD_SIZE && out->what.size == DESCRIBED_NOT)
      out->what.size = words[at].value;
    else if (words[at].class == WORD_COLOUR && out->what.colour == DESCRIBED_NOT)
      out->what.colour = words[at].value;
    else
      break;
  }
  return at;
}

int noun_phrase_read(const word_t *words, int n, noun_phrase_t *out) {
  int at = 0;
  *out = (noun_phrase_t){described_nothing(), false, false, DESCRIBED_NOT};
  if (is_article(words, n, at)) at++;
  bool number = word_class_at(words, n, at) == WORD_NUMBER;
  if (number) out->number = words[at++].value;
  int adjectives = adjectives_read(words + at, n - at, out);
  at += adjectives;
  if (word_class_at(words, n, at) == WORD_SHAPE || word_class_at(words, n, at) == WORD_OBJECT) {
    if (words[at].class == WORD_SHAPE) out->what.shape = words[at].value;
    out->plural = words[at].plural;
    out->noun = true;
    at++;
  }
  if (!out->noun && !number && adjectives == 0) return words_place_read(words, n, &out->what);
  return at + words_place_read(words + at, n - at, &out->what);
}

const char *size_name(int size) {
  return sizes[size];
}
const char *colour_name(int colour) {
  return colours[colour];
}
const char *shape_name(int shape) {
  return shapes[shape];
}
const char *row_name(int row) {
  return rows[row];
}
const char *column_name(int column) {
  return columns[column];
}
const char *place_name(int row, int column) {
  return places[row * SCENE_COLUMNS + column];
}
const char *number_name(int number) {
  return numbers[number];
}
const char *tone_name(int tone) {
  return tones[tone];
}
const char *texture_name(int texture) {
  return textures[texture];
}
const char *relation_name(int relation) {
  return relations[relation];
}

int shape_from_name(const char *name) {
  return name_find(shapes, LENGTH(shapes), name);
}
int colour_from_name(const char *name) {
  return name_find(colours, LENGTH(colours), name);
}
int size_from_name(const char *name) {
  return name_find(sizes, LENGTH(sizes), name);
}
int tone_from_name(const char *name) {
  return name_find(tones, LENGTH(tones), name);
}
int texture_from_name(const char *name) {
  return name_find(textures, LENGTH(textures), name);
}
int row_from_name(const char *name) {
  return name_find(rows, LENGTH(rows), name);
}
int column_from_name(const char *name) {
  return name_find(columns, LENGTH(columns), name);
}

const char *const *world_vocabulary(int *count) {
  static const char *const words[] = {
      "There",     "is",      "a",         "small",  "large",    "red",    "green",     "white", "blue",
      "yellow",    "purple",  "circle",    "square", "triangle", "cross",  "ring",      "In",    "the",
      "northwest", "north",   "northeast", "west",   "center",   "east",   "southwest", "south", "southeast",
      "left",      "right",   "The",       "What",   "color",    "size",   "shape",     "no",    "object",
      "objects",   "are",     "there",     "How",    "many",     "one",    "two",       "three", "four",
      "Yes",       "No",      "Where",     "Which",  "larger",   "or",     "They",      "same",  "background",
      "dark",      "light",   "and",       "plain",  "striped",  "dotted", "Describe",  "image", "in",
      "List",      "nothing", "Is",        "to",     "of",       "above",  "below",     "so",    "correct",
      "option",    "A",       "B",         "C",      "D",        "Explain"};
  *count = LENGTH(words);
  return words;
}
