#include "eval/chair_words.h"

#include "base/memory.h"
#include "io/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES = 48, FORMS_MAX = 4, FILE_BYTES = 1 << 20 };

/* ---- The file ---- */

static status_t word_add(chair_words_t *words, text_view_t word) {
  char key[128], kind[16];
  word = text_strip(word);
  if (word.n == 0) return STATUS_OK;
  if (word.n >= sizeof key)
    return error_set(STATUS_DATA, "'%.40s...' is longer than %d bytes", word.bytes, (int)sizeof key - 1);
  for (size_t i = 0; i < word.n; i++)
    key[i] = (char)(word.bytes[i] >= 'A' && word.bytes[i] <= 'Z' ? word.bytes[i] + 32 : word.bytes[i]);
  key[word.n] = '\0';
  snprintf(kind, sizeof kind, "%d", words->count - 1);
  return lookup_add(&words->words, key, kind);
}

static status_t line_read(chair_words_t *words, text_view_t line) {
  line = text_strip(line);
  if (line.n == 0) return STATUS_OK;
  if (words->count == CHAIR_OBJECTS_MAX)
    return error_set(STATUS_DATA, "more than %d lines", (int)CHAIR_OBJECTS_MAX);
  size_t end = text_find(line, ",", 0);
  text_view_t name = text_strip(text_slice(line, 0, end));
  TRY(memory_copy_text(&words->names[words->count], ARENA_OTHER, name.bytes, name.n));
  words->count++;
  for (size_t begin = 0; begin < line.n; begin = end + 1) {
    end = text_find(line, ",", begin);
    TRY(word_add(words, text_slice(line, begin, end)));
  }
  return STATUS_OK;
}

status_t chair_words_read(const char *path, chair_words_t *out) {
  SCOPED_MEMORY char *text = NULL;
  size_t n, end;
  *out = (chair_words_t){0};
  TRY(file_read(path, FILE_BYTES, &text, &n));
  const text_view_t all = {text, n};
  for (size_t begin = 0; begin < n; begin = end + 1) {
    end = text_find(all, "\n", begin);
    status_code_t status = line_read(out, text_slice(all, begin, end));
    if (status != STATUS_OK) return error_context(status, "in the synonyms '%s'", path);
  }
  lookup_sort(&out->words);
  if (out->count > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: empty; a line of words with commas between was expected for each kind",
                   path);
}

void chair_words_free(chair_words_t *words) {
  lookup_free(&words->words);
  for (int32_t i = 0; i < words->count; i++)
    memory_free(words->names[i]);
  *words = (chair_words_t){0};
}

int32_t chair_words_kind(const chair_words_t *words, const char *name) {
  const char *kind = lookup_find(&words->words, name);
  return kind ? atoi(kind) : CHAIR_NO_OBJECT;
}

/* ---- Singular ---- */

typedef struct {
  char form[FORMS_MAX][WORD_BYTES]; /* as it stands, then what it may be the plural of */
  int32_t count;
  bool follows; /* the word before it, with nothing but white space between */
} word_t;

/* The first KEEP bytes of the word, and END, if there is room. */
static void form_add(word_t *word, size_t keep, const char *end) {
  if (word->count == FORMS_MAX || keep + strlen(end) >= WORD_BYTES) return;
  char *form = word->form[word->count++];
  memcpy(form, word->form[0], keep);
  memcpy(form + keep, end, strlen(end) + 1);
}

static bool ends_with(const char *text, size_t n, const char *end) {
  size_t m = strlen(end);
  return n >= m && memcmp(text + n - m, end, m) == 0;
}

/* After these sounds a plural has -es, where its singular need not end in -e. */
static bool takes_es(const char *text, size_t n) {
  static const char *const ends[] = {"ses", "xes", "zes", "ches", "shes", "oes"};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (ends_with(text, n, ends[i])) return true;
  return false;
}

/* What WORD may be the plural of. Which of them is a word is up to the file. */
static void word_singular(word_t *word) {
  static const char *const odd[][2] = {{"men", "man"},     {"people", "person"}, {"children", "child"},
                                       {"mice", "mouse"},  {"geese", "goose"},   {"oxen", "ox"},
                                       {"teeth", "tooth"}, {"feet", "foot"}};
  const char *text = word->form[0];
  size_t n = strlen(text);
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
    if (ends_with(text, n, odd[i][0])) form_add(word, n - strlen(odd[i][0]), odd[i][1]);
  if (ends_with(text, n, "ies")) form_add(word, n - 3, "y");
  if (ends_with(text, n, "ves")) form_add(word, n - 3, "fe");
  if (ends_with(text, n, "ves")) form_add(word, n - 3, "f");
  if (ends_with(text, n, "s") && !ends_with(text, n, "ss")) form_add(word, n - 1, "");
  if (takes_es(text, n)) form_add(word, n - 2, "");
}

/* ---- Words ---- */

static bool is_letter(char c) {
  unsigned char byte = (unsigned char)c;
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         byte == '-' || byte >= 0x80;
}

/* The next word of TEXT at or behind *AT, in lower case; false where there is none. A longer one than WORD
 * has room for is cut: it means nothing here. */
static bool word_next(text_view_t text, size_t *at, word_t *word) {
  size_t n = 0;
  for (word->follows = true; *at < text.n && !is_letter(text.bytes[*at]); ++*at)
    word->follows = word->follows && isspace((unsigned char)text.bytes[*at]);
  if (*at == text.n) return false;
  for (; *at < text.n && is_letter(text.bytes[*at]); ++*at) {
    char c = text.bytes[*at];
    if (n + 1 < WORD_BYTES) word->form[0][n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  word->form[0][n] = '\0';
  word->count = 1;
  word_singular(word);
  return true;
}

/* The kind of a word, and the form that means it. */
static int32_t word_kind(const chair_words_t *words, const word_t *word, const char **form) {
  for (int32_t i = 0; i < word->count; i++) {
    int32_t kind = chair_words_kind(words, word->form[i]);
    *form = word->form[i];
    if (kind != CHAIR_NO_OBJECT) return kind;
  }
  return CHAIR_NO_OBJECT;
}

static bool is_form(const word_t *word, const char *text) {
  for (int32_t i = 0; i < word->count; i++)
    if (strcmp(word->form[i], text) == 0) return true;
  return false;
}

/* The published pairs of words that mean what one of them does, or nothing; NULL: these are none. */
static const char *pair_means(const word_t *first, const word_t *second) {
  static const char *const animals[] = {"bird",     "cat",  "dog",   "horse",   "sheep",  "cow",
                                        "elephant", "bear", "zebra", "giraffe", "animal", "cub"};
  static const char *const vehicles[] = {"jet", "train"};
  bool young = is_form(first, "baby") || is_form(first, "adult");
  for (size_t i = 0; young && i < sizeof animals / sizeof *animals; i++)
    if (is_form(second, animals[i])) return animals[i];
  for (size_t i = 0; is_form(first, "passenger") && i < sizeof vehicles / sizeof *vehicles; i++)
    if (is_form(second, vehicles[i])) return vehicles[i];
  if (is_form(first, "bow") && is_form(second, "tie")) return "tie";
  if (is_form(first, "train") && is_form(second, "track")) return "train track";
  return is_form(first, "toilet") && is_form(second, "seat") ? "toilet" : NULL;
}

/* True if FIRST and SECOND together are one word; *KIND: what it means (CHAIR_NO_OBJECT: nothing here). */
static bool pair_kind(const chair_words_t *words, const word_t *first, const word_t *second, int32_t *kind,
                      const char **form) {
  char both[2 * WORD_BYTES + 2];
  *form = pair_means(first, second);
  if (*form) {
    *kind = chair_words_kind(words, *form);
    return true;
  }
  *form = "";
  for (int32_t i = 0; i < first->count; i++)
    for (int32_t j = 0; j < second->count; j++) {
      snprintf(both, sizeof both, "%s %s", first->form[i], second->form[j]);
      *kind = chair_words_kind(words, both);
      if (*kind != CHAIR_NO_OBJECT) return true;
    }
  return false;
}

/* Goes through TEXT. SEAT_COUNTS: a seat is what the file says of it. *TOILET: there is one. */
static void mentions_look(const chair_words_t *words, text_view_t text, bool seat_counts, int32_t *mentions,
                          int32_t *count, bool *toilet) {
  word_t word, following;
  size_t at = 0;
  bool more = word_next(text, &at, &word);
  *count = 0;
  while (more) {
    const char *form;
    int32_t kind;
    bool has_next = word_next(text, &at, &following);
    bool pair = has_next && following.follows && pair_kind(words, &word, &following, &kind, &form);
    if (!pair) kind = word_kind(words, &word, &form);
    *toilet = *toilet || (kind != CHAIR_NO_OBJECT && strcmp(form, "toilet") == 0);
    bool counts = kind != CHAIR_NO_OBJECT && (seat_counts || pair || strcmp(form, "seat") != 0);
    if (counts && *count < CHAIR_MENTIONS_MAX) mentions[(*count)++] = kind;
    more = pair ? word_next(text, &at, &word) : has_next;
    if (!pair) word = following;
  }
}

void chair_words_mentions(const chair_words_t *words, text_view_t text, int32_t *mentions, int32_t *count) {
  bool toilet = false;
  mentions_look(words, text, true, mentions, count, &toilet);
  if (toilet) mentions_look(words, text, false, mentions, count, &toilet);
}
