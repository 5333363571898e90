#include "input/namelist.h"

#include "base/memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* More repeats than any list could take are a slip of the pen. */
enum { REPEAT_MAX = 4096 };

typedef struct {
  const char *begin; /* of the text */
  const char *at;    /* ends in '\0' */
  place_t place;     /* of AT */
  bool fixed;        /* one setting's values: the place does not move, '/' and '&' mean nothing */
  bool outside_reported;
  mistakes_t *mistakes;
  namelist_t *out;
} parser_t;

static void namelist_advance(parser_t *parser) {
  unsigned char c = (unsigned char)*parser->at++;
  if (parser->fixed) return;
  if (c == '\n') {
    parser->place.line++;
    parser->place.column = 1;
  } else if ((parser->at[0] & 0xC0) != 0x80) { /* a character's further UTF-8 bytes are no columns */
    parser->place.column++;
  }
}

static void namelist_skip_line(parser_t *parser) {
  while (*parser->at && *parser->at != '\n')
    namelist_advance(parser);
}

static void namelist_skip_space(parser_t *parser) {
  while (isspace((unsigned char)*parser->at) || *parser->at == '!') {
    if (*parser->at == '!')
      namelist_skip_line(parser);
    else
      namelist_advance(parser);
  }
}

static bool starts_name(char c) {
  return isalpha((unsigned char)c) || c == '_';
}

static bool continues_name(char c) {
  return isalnum((unsigned char)c) || c == '_';
}

/* Whether a bare word goes on with C. */
static bool continues_word(char c) {
  return c != '\0' && !isspace((unsigned char)c) && !strchr(",!'\"=&/", c);
}

/* Copies N bytes to the strings; they hold the whole input, so there is room. */
static char *namelist_keep(parser_t *parser, const char *text, size_t n) {
  char *kept = parser->out->strings + parser->out->strings_used;
  memcpy(kept, text, n);
  kept[n] = '\0';
  parser->out->strings_used += n + 1;
  return kept;
}

/* Reads a name in lower case; AT is at its first letter. */
static char *namelist_read_name(parser_t *parser) {
  const char *start = parser->at;
  while (continues_name(*parser->at))
    namelist_advance(parser);
  char *name = namelist_keep(parser, start, (size_t)(parser->at - start));
  for (char *c = name; *c; c++)
    *c = (char)tolower((unsigned char)*c);
  return name;
}

/* Reads a text in quotes; AT is at the opening one. */
static const char *namelist_read_quoted(parser_t *parser) {
  place_t opening = parser->place;
  char quote = *parser->at;
  namelist_advance(parser);
  char *text = namelist_keep(parser, "", 0);
  size_t length = 0;
  while (*parser->at && *parser->at != '\n') {
    if (*parser->at == quote) {
      namelist_advance(parser);
      if (*parser->at != quote) {
        text[length] = '\0';
        parser->out->strings_used += length;
        return text;
      }
    }
    text[length++] = *parser->at;
    namelist_advance(parser);
  }
  text[length] = '\0';
  parser->out->strings_used += length;
  mistakes_add(parser->mistakes, opening, "the quote %c is not closed on its line", quote);
  return text;
}

/* Reads a word without quotes; a path is one word, though a '/' behind a value ends the group. */
static const char *namelist_read_bare(parser_t *parser) {
  const char *start = parser->at;
  while (continues_word(*parser->at))
    namelist_advance(parser);
  bool path = *parser->at == '/' && (continues_word(parser->at[1]) || parser->at[1] == '/');
  if (path || parser->fixed)
    while (continues_word(*parser->at) || *parser->at == '/')
      namelist_advance(parser);
  return namelist_keep(parser, start, (size_t)(parser->at - start));
}

static bool is_first_in_line(const parser_t *parser) {
  const char *c = parser->at;
  while (c > parser->begin && (c[-1] == ' ' || c[-1] == '\t'))
    c--;
  return c == parser->begin || c[-1] == '\n';
}

/* Whether the N letters at WORD are a logical value. */
static bool is_logical(const char *word, size_t n) {
  static const char *const words[] = {"t", "f", "true", "false"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strlen(words[i]) == n && strncasecmp(words[i], word, n) == 0) return true;
  return false;
}

/* Whether a setting's name comes next: then the values before it are complete. Either '=' (or an index)
 * follows, or '=' was forgotten: no value starts a line with a letter but a logical one. */
static bool at_assignment(const parser_t *parser) {
  if (!starts_name(*parser->at)) return false;
  parser_t ahead = *parser;
  while (continues_name(*ahead.at))
    namelist_advance(&ahead);
  bool whole_word = !continues_word(*ahead.at);
  size_t length = (size_t)(ahead.at - parser->at);
  if (*ahead.at == '(') return true;
  namelist_skip_space(&ahead);
  if (*ahead.at == '=') return true;
  return whole_word && is_first_in_line(parser) && !is_logical(parser->at, length);
}

/* The repeat `n*` before a value, 1 if there is none. */
static long namelist_read_repeat(parser_t *parser) {
  const char *star = parser->at;
  while (isdigit((unsigned char)*star))
    star++;
  if (star == parser->at || *star != '*') return 1;
  place_t place = parser->place;
  long repeat = strtol(parser->at, NULL, 10);
  if (repeat < 1 || repeat > REPEAT_MAX) {
    mistakes_add(parser->mistakes, place, "repeat %.*s* is out of range; expected 1 .. %d",
                 (int)(star - parser->at), parser->at, REPEAT_MAX);
    repeat = 1;
  }
  while (parser->at <= star)
    namelist_advance(parser);
  return repeat;
}

/* One value, as often as its repeat says. */
static status_t namelist_read_value(parser_t *parser) {
  namelist_value_t value = {.place = parser->place};
  long repeat = namelist_read_repeat(parser);
  value.quoted = *parser->at == '\'' || *parser->at == '"';
  if (value.quoted) {
    value.text = namelist_read_quoted(parser);
  } else if (continues_word(*parser->at) || (*parser->at == '/' && continues_word(parser->at[1]))) {
    value.text = namelist_read_bare(parser);
  } else {
    mistakes_add(parser->mistakes, value.place, "a value is missing after the repeat '*'");
    return STATUS_OK;
  }
  namelist_t *out = parser->out;
  TRY(memory_reserve(&out->values, ARENA_OTHER, (size_t)(out->value_count + repeat), sizeof *out->values));
  for (long i = 0; i < repeat; i++)
    out->values[out->value_count++] = value;
  return STATUS_OK;
}

static bool at_end_of_values(const parser_t *parser) {
  char c = *parser->at;
  if (c == '\0') return true;
  if (parser->fixed) return false;
  if (c == '/') return !continues_word(parser->at[1]);
  return c == '&' || at_assignment(parser);
}

/* A character that has no business among values. */
static bool at_stray(const parser_t *parser) {
  char c = *parser->at;
  if (c == '=') return true;
  return parser->fixed && (c == '&' || (c == '/' && !continues_word(parser->at[1])));
}

static status_t namelist_read_values(parser_t *parser) {
  bool wants_value = true; /* a comma here would stand for an empty value */
  for (;;) {
    namelist_skip_space(parser);
    if (at_end_of_values(parser)) return STATUS_OK;
    if (*parser->at == ',') {
      if (wants_value) mistakes_add(parser->mistakes, parser->place, "empty value before ','");
      wants_value = true;
      namelist_advance(parser);
    } else if (at_stray(parser)) {
      mistakes_add(parser->mistakes, parser->place, "unexpected '%c' among values", *parser->at);
      namelist_advance(parser);
    } else {
      TRY(namelist_read_value(parser));
      wants_value = false;
    }
  }
}

/* The '=' behind NAME. */
static void namelist_read_equals(parser_t *parser, const char *name) {
  if (*parser->at == '(') {
    mistakes_add(parser->mistakes, parser->place, "no index can follow '%s'; give a list of values", name);
    while (*parser->at && !strchr(")=\n", *parser->at))
      namelist_advance(parser);
    if (*parser->at == ')') namelist_advance(parser);
  }
  namelist_skip_space(parser);
  if (*parser->at == '=')
    namelist_advance(parser);
  else
    mistakes_add(parser->mistakes, parser->place, "expected '=' after '%s'", name);
}

static status_t namelist_read_entry(parser_t *parser, int group) {
  namelist_t *out = parser->out;
  namelist_entry_t entry = {.group = group, .place = parser->place, .first = out->value_count};
  entry.name = namelist_read_name(parser);
  namelist_read_equals(parser, entry.name);
  TRY(namelist_read_values(parser));
  entry.count = out->value_count - entry.first;
  TRY(memory_reserve(&out->entries, ARENA_OTHER, (size_t)out->entry_count + 1, sizeof *out->entries));
  out->entries[out->entry_count++] = entry;
  return STATUS_OK;
}

/* Reports what cannot start a setting and steps over it. */
static void namelist_reject_word(parser_t *parser) {
  const char *start = parser->at;
  place_t place = parser->place;
  if (*parser->at == '\'' || *parser->at == '"') {
    namelist_read_quoted(parser);
  } else {
    do
      namelist_advance(parser);
    while (continues_word(*parser->at));
  }
  mistakes_add(parser->mistakes, place, "expected a setting's name, found %.*s", (int)(parser->at - start),
               start);
}

/* The old form `&end`. */
static bool at_end_word(const parser_t *parser) {
  static const char word[] = "&end";
  for (size_t i = 0; i < sizeof word - 1; i++)
    if (tolower((unsigned char)parser->at[i]) != word[i]) return false;
  return !continues_name(parser->at[sizeof word - 1]);
}

static status_t namelist_read_entries(parser_t *parser, int group) {
  namelist_group_t this = parser->out->groups[group];
  for (;;) {
    namelist_skip_space(parser);
    char c = *parser->at;
    if (c == '/') {
      namelist_advance(parser);
      return STATUS_OK;
    }
    if (c == '&' && at_end_word(parser)) {
      mistakes_add(parser->mistakes, parser->place, "groups end in '/', not in &end");
      for (int i = 0; i < 4; i++)
        namelist_advance(parser);
      return STATUS_OK;
    }
    if (c == '\0' || c == '&') {
      mistakes_add(parser->mistakes, this.place, "group &%s is not ended by '/'", this.name);
      return STATUS_OK;
    }
    if (starts_name(c))
      TRY(namelist_read_entry(parser, group));
    else if (c == ',')
      namelist_advance(parser); /* after a line's last value */
    else
      namelist_reject_word(parser);
  }
}

static status_t namelist_read_group(parser_t *parser) {
  namelist_t *out = parser->out;
  namelist_group_t group = {.place = parser->place};
  namelist_advance(parser);
  group.name = namelist_read_name(parser);
  if (!*group.name) mistakes_add(parser->mistakes, group.place, "expected a group's name after '&'");
  TRY(memory_reserve(&out->groups, ARENA_OTHER, (size_t)out->group_count + 1, sizeof *out->groups));
  out->groups[out->group_count++] = group;
  parser->outside_reported = false;
  return namelist_read_entries(parser, out->group_count - 1);
}

/* Only the first of several such lines is reported. */
static void namelist_reject_outside(parser_t *parser) {
  if (!parser->outside_reported)
    mistakes_add(parser->mistakes, parser->place,
                 "text outside groups; a group starts with '&' and its name");
  parser->outside_reported = true;
  namelist_skip_line(parser);
}

static status_t namelist_start(const char *text, namelist_t *out) {
  *out = (namelist_t){0};
  /* A text takes at most a byte more than it took in the input. */
  return memory_alloc(&out->strings, ARENA_OTHER, 2 * strlen(text) + 2, 1);
}

status_t namelist_parse(const char *text, mistakes_t *mistakes, namelist_t *out) {
  static const char byte_order_mark[] = "\xEF\xBB\xBF";
  TRY(namelist_start(text, out));
  if (strncmp(text, byte_order_mark, 3) == 0) text += 3;
  parser_t parser = {
      .begin = text, .at = text, .place = {.line = 1, .column = 1}, .mistakes = mistakes, .out = out};
  for (;;) {
    namelist_skip_space(&parser);
    if (*parser.at == '\0') return STATUS_OK;
    if (*parser.at == '&')
      TRY(namelist_read_group(&parser));
    else
      namelist_reject_outside(&parser);
  }
}

status_t namelist_parse_values(const char *text, place_t place, mistakes_t *mistakes, namelist_t *out) {
  TRY(namelist_start(text, out));
  parser_t parser = {
      .begin = text, .at = text, .place = place, .fixed = true, .mistakes = mistakes, .out = out};
  return namelist_read_values(&parser);
}

void namelist_free(namelist_t *namelist) {
  memory_free(namelist->groups);
  memory_free(namelist->entries);
  memory_free(namelist->values);
  memory_free(namelist->strings);
  *namelist = (namelist_t){0};
}
