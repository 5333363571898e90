#include "text/pattern.h"

#include "text/utf8.h"

#include <ctype.h>
#include <string.h>

/* Unicode's White_Space; PCRE2's \s has U+180E besides. */
#define SPACES                                                                                               \
  "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{" \
  "3000}"

enum { MOST_GROUPS = 32 };

/* What the last item was: what may follow it depends on that. */
typedef enum { ITEM_NONE, ITEM_ATOM, ITEM_GROUP, ITEM_LOOK } item_t;

typedef struct {
  const char *source, *at;
  text_buffer_t *out;
  item_t last;
  bool looks[MOST_GROUPS]; /* of the open groups: a look-around */
  int depth;
} translator_t;

static status_t pattern_refuse(const translator_t *t, const char *what) {
  return error_set(
      STATUS_DATA,
      "the pattern '%.200s' has %s at byte %zu, which this program does not read; only patterns of "
      "characters, classes, properties and simple repeats are taken",
      t->source, what, (size_t)(t->at - t->source));
}

static status_t pattern_put(translator_t *t, const char *text, item_t item) {
  t->last = item;
  return text_buffer_append_string(t->out, text);
}

/* Copies N bytes of the source. */
static status_t pattern_copy(translator_t *t, size_t n, item_t item) {
  TRY(text_buffer_append(t->out, (text_view_t){t->at, n}));
  t->at += n;
  t->last = item;
  return STATUS_OK;
}

/* One character that stands for itself, IN_CLASS or not. */
static status_t pattern_literal(translator_t *t) {
  uint32_t character;
  size_t n = utf8_decode((const unsigned char *)t->at, strlen(t->at), &character);
  if (n == 0) return pattern_refuse(t, "a byte that is not UTF-8");
  if (n == 1 && ispunct((unsigned char)*t->at)) TRY(text_buffer_append_string(t->out, "\\"));
  return pattern_copy(t, n, ITEM_ATOM);
}

/* \p{L}, \p{Lu}, \P{N}: general categories, which both libraries name alike. */
static status_t pattern_property(translator_t *t) {
  static const char *const known[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me",
                                      "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi",
                                      "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs"};
  const char *end = t->at[2] == '{' ? strchr(t->at, '}') : NULL;
  for (size_t i = 0; end && i < sizeof known / sizeof *known; i++) {
    size_t n = strlen(known[i]);
    if ((size_t)(end - t->at) == 3 + n && memcmp(t->at + 3, known[i], n) == 0)
      return pattern_copy(t, 4 + n, ITEM_ATOM);
  }
  return pattern_refuse(t, "a property other than a general category");
}

static status_t pattern_escape(translator_t *t, bool in_class) {
  char c = t->at[1];
  if (c == 'p' || c == 'P') return pattern_property(t);
  if (c == 's' || (c == 'S' && !in_class)) {
    t->at += 2;
    return pattern_put(t, in_class ? SPACES : c == 's' ? "[" SPACES "]" : "[^" SPACES "]", ITEM_ATOM);
  }
  if (c == 'd') {
    t->at += 2;
    return pattern_put(t, "\\p{Nd}", ITEM_ATOM);
  }
  if (c == 'r' || c == 'n' || c == 't' || ispunct((unsigned char)c)) return pattern_copy(t, 2, ITEM_ATOM);
  return pattern_refuse(t, "an escape");
}

static status_t class_item(translator_t *t) {
  if (*t->at == '\\') return pattern_escape(t, true);
  if (*t->at == '[') return pattern_refuse(t, "a class within a class");
  if (strncmp(t->at, "&&", 2) == 0) return pattern_refuse(t, "an intersection of classes");
  return pattern_literal(t);
}

static bool ends_range(const char *at) {
  return at[0] == '-' && at[1] != ']' && at[1] != '\0';
}

static status_t class_of(translator_t *t) {
  TRY(pattern_copy(t, t->at[1] == '^' ? 2 : 1, ITEM_NONE));
  if (*t->at == ']') return pattern_refuse(t, "an empty class");
  while (*t->at != ']') {
    if (*t->at == '\0') return pattern_refuse(t, "a class without end");
    bool plain = *t->at != '\\' || strchr("rnt", t->at[1]) || ispunct((unsigned char)t->at[1]);
    TRY(class_item(t));
    if (!ends_range(t->at)) continue;
    if (!plain || (t->at[1] == '\\' && isalpha((unsigned char)t->at[2])))
      return pattern_refuse(t, "a range of sets");
    TRY(pattern_copy(t, 1, ITEM_NONE));
    TRY(class_item(t));
  }
  return pattern_copy(t, 1, ITEM_ATOM);
}

static status_t pattern_open_group(translator_t *t) {
  static const struct {
    const char *source, *target;
    bool look;
  } groups[] = {{"(?:", "(?:", false},  {"(?i:", "(?i:", false}, {"(?=", "(?=", true}, {"(?!", "(?!", true},
                {"(?<=", "(?<=", true}, {"(?<!", "(?<!", true},  {"(?", NULL, false},  {"(", "(?:", false}};
  size_t i = 0;
  while (strncmp(t->at, groups[i].source, strlen(groups[i].source)) != 0)
    i++;
  if (!groups[i].target) return pattern_refuse(t, "a group of another kind");
  if (t->depth == MOST_GROUPS) return pattern_refuse(t, "too many groups within each other");
  t->looks[t->depth++] = groups[i].look;
  t->at += strlen(groups[i].source);
  return pattern_put(t, groups[i].target, ITEM_NONE);
}

static status_t pattern_close_group(translator_t *t) {
  if (t->depth == 0) return pattern_refuse(t, "a ')' without '('");
  return pattern_copy(t, 1, t->looks[--t->depth] ? ITEM_LOOK : ITEM_GROUP);
}

static status_t pattern_repeat(translator_t *t) {
  if (t->last == ITEM_NONE || t->last == ITEM_LOOK) return pattern_refuse(t, "a repeat of nothing");
  if (t->last == ITEM_GROUP && *t->at != '?') return pattern_refuse(t, "a repeated group");
  TRY(pattern_copy(t, 1, ITEM_NONE));
  return *t->at == '+' || *t->at == '?' ? pattern_copy(t, 1, ITEM_NONE) : STATUS_OK;
}

/* {m}, {m,}, {m,n}; what follows must not turn it into something else. */
static status_t pattern_counted(translator_t *t) {
  const char *end = t->at + 1;
  if (t->last != ITEM_ATOM)
    return pattern_refuse(t, "a counted repeat of something other than one character");
  while (isdigit((unsigned char)*end) && end - t->at < 4)
    end++;
  if (end == t->at + 1) return pattern_refuse(t, "a count without a number");
  if (*end == ',') end++;
  const char *second = end;
  while (isdigit((unsigned char)*end) && end - second < 3)
    end++;
  if (*end != '}' || strchr("+?*{", end[1] ? end[1] : '.')) return pattern_refuse(t, "a count");
  return pattern_copy(t, (size_t)(end + 1 - t->at), ITEM_NONE);
}

static status_t pattern_item(translator_t *t) {
  switch (*t->at) {
  case '\\':
    return pattern_escape(t, false);
  case '[':
    return class_of(t);
  case '(':
    return pattern_open_group(t);
  case ')':
    return pattern_close_group(t);
  case '|':
    return pattern_copy(t, 1, ITEM_NONE);
  case '?':
  case '*':
  case '+':
    return pattern_repeat(t);
  case '{':
    return pattern_counted(t);
  case '.':
  case '^':
  case '$':
    return pattern_refuse(t, "one of . ^ $");
  default:
    return pattern_literal(t);
  }
}

status_t pattern_translate(const char *source, text_buffer_t *out) {
  translator_t t = {.source = source, .at = source, .out = out};
  if (*source == '\0') return error_set(STATUS_DATA, "a pattern to split by is empty");
  while (*t.at != '\0')
    TRY(pattern_item(&t));
  return t.depth > 0 ? pattern_refuse(&t, "a group without end") : STATUS_OK;
}

status_t pattern_quote(const char *text, text_buffer_t *out) {
  translator_t t = {.source = text, .at = text, .out = out};
  if (*text == '\0') return error_set(STATUS_DATA, "a text to split by is empty");
  while (*t.at != '\0')
    TRY(pattern_literal(&t));
  return STATUS_OK;
}
