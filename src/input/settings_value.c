#include "input/settings_value.h"

#include "base/memory.h"
#include "input/settings_read.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 64, NAME_BYTES = 64, RANGE_BYTES = 512, ELEMENTS_MAX = 4 /* of a field of numbers */ };
_Static_assert(sizeof(int64_t) == sizeof(double),
               "elements of a field of numbers lie as in an array of unions");

void setting_release(const setting_t *row, settings_t *settings) {
  void *field = setting_field(settings, row);
  if (row->type == SETTING_TEXT) memory_free(*(char **)field);
  if (row->type == SETTING_TEXTS) {
    text_list_t *list = field;
    for (int64_t i = 0; i < list->count; i++)
      memory_free(list->items[i]);
    memory_free(list->items);
  }
  memset(field, 0, row->bytes);
}

/* A value on its way to its field. */
typedef union {
  int64_t whole;
  double real;
  bool truth;
} number_t;

/* The value as its author wrote it, for messages. */
#define AS_WRITTEN(value) (value).quoted ? "'" : "", (value).text, (value).quoted ? "'" : ""

static bool settings_value_parse_int(const char *text, int64_t *out) {
  const char *digits = *text == '+' || *text == '-' ? text + 1 : text;
  if (!isdigit((unsigned char)*digits)) return false;
  char *end = NULL;
  errno = 0;
  *out = strtoll(text, &end, 10);
  return *end == '\0' && errno == 0;
}

/* Accepts Fortran's `1.0d-5`; no infinities, no hexadecimal. */
static bool settings_value_parse_real(const char *text, double *out) {
  char number[NUMBER_BYTES];
  size_t length = strlen(text);
  if (length == 0 || length >= sizeof number || strspn(text, "0123456789+-.eEdD") != length) return false;
  for (size_t i = 0; i <= length; i++)
    number[i] = text[i] == 'd' || text[i] == 'D' ? 'e' : text[i];
  char *end = NULL;
  *out = strtod(number, &end);
  return *end == '\0' && isfinite(*out);
}

static bool settings_value_parse_bool(const char *text, bool *out) {
  static const char *const yes[] = {".true.", ".t.", "t", "true", NULL};
  static const char *const no[] = {".false.", ".f.", "f", "false", NULL};
  char word[16];
  size_t length = strlen(text);
  if (length >= sizeof word) return false;
  for (size_t i = 0; i <= length; i++)
    word[i] = (char)tolower((unsigned char)text[i]);
  for (int i = 0; yes[i]; i++) {
    *out = strcmp(word, yes[i]) == 0;
    if (*out || strcmp(word, no[i]) == 0) return true;
  }
  return false;
}

static void complain_type(const setting_t *row, const namelist_value_t *value, mistakes_t *mistakes) {
  const char *hint = value->quoted ? " without quotes" : "";
  if (row->type == SETTING_TEXT || row->type == SETTING_TEXTS)
    mistakes_add(mistakes, value->place, "%s.%s: text needs quotes: '%s'", row->group, row->name,
                 value->text);
  else
    mistakes_add(mistakes, value->place, "%s.%s expects %s%s, found %s%s%s", row->group, row->name,
                 setting_type_name(row), hint, AS_WRITTEN(*value));
}

static bool settings_value_check_range(const setting_t *row, const namelist_value_t *value, double number,
                                       mistakes_t *mistakes) {
  if (!row->limited) return true;
  bool low = number < row->min || (row->min_open && number <= row->min);
  bool high = number > row->max || (row->max_open && number >= row->max);
  if (!low && !high) return true;
  char range[RANGE_BYTES];
  setting_describe_range(row, range, sizeof range);
  if (high && row->max == INT32_MAX)
    mistakes_add(mistakes, value->place, "%s.%s = %s is out of range; expected at most %d", row->group,
                 row->name, value->text, INT32_MAX);
  else
    mistakes_add(mistakes, value->place, "%s.%s = %s is out of range; expected %s", row->group, row->name,
                 value->text, range);
  return false;
}

/* Whether TEXT is one of the list "a|b|c". */
static bool in_list(const char *text, const char *list) {
  size_t length = strlen(text);
  while (*list) {
    size_t n = strcspn(list, "|");
    if (n == length && memcmp(list, text, n) == 0) return true;
    list += n + (list[n] == '|');
  }
  return false;
}

static bool settings_value_check_text(const setting_t *row, const namelist_value_t *value,
                                      mistakes_t *mistakes) {
  for (const char *c = value->text; *c; c++) {
    if ((unsigned char)*c >= ' ' || *c == '\t') continue;
    mistakes_add(mistakes, value->place, "%s.%s holds a line end or control character (code %d)", row->group,
                 row->name, *c);
    return false;
  }
  if (!row->choices || in_list(value->text, row->choices)) return true;
  char range[RANGE_BYTES], nearest[NAME_BYTES];
  setting_describe_range(row, range, sizeof range);
  nearest_in_list(value->text, row->choices, nearest, sizeof nearest);
  if (*nearest)
    mistakes_add(mistakes, value->place, "%s.%s = '%s' is unknown; did you mean '%s'? (%s)", row->group,
                 row->name, value->text, nearest, range);
  else
    mistakes_add(mistakes, value->place, "%s.%s = '%s' is unknown; expected %s", row->group, row->name,
                 value->text, range);
  return false;
}

/* Checks one value and, for numbers, writes it to TO. */
static bool settings_value_read_one(const setting_t *row, const namelist_value_t *value, number_t *to,
                                    mistakes_t *mistakes) {
  bool typed = false;
  double number = 0;
  switch (row->type) {
  case SETTING_INT:
    typed = !value->quoted && settings_value_parse_int(value->text, &to->whole);
    number = typed ? (double)to->whole : 0;
    break;
  case SETTING_REAL:
  case SETTING_REALS:
    typed = !value->quoted && settings_value_parse_real(value->text, &to->real);
    number = typed ? to->real : 0;
    break;
  case SETTING_BOOL:
    typed = !value->quoted && settings_value_parse_bool(value->text, &to->truth);
    break;
  case SETTING_TEXT:
  case SETTING_TEXTS:
    if (value->quoted) return settings_value_check_text(row, value, mistakes);
    break;
  }
  if (!typed) complain_type(row, value, mistakes);
  return typed && settings_value_check_range(row, value, number, mistakes);
}

static status_t settings_value_store_text(char **field, const char *text) {
  char *copy = NULL;
  TRY(memory_copy_text(&copy, ARENA_OTHER, text, strlen(text)));
  memory_free(*field);
  *field = copy;
  return STATUS_OK;
}

/* The empty list is written ''. */
static status_t settings_value_store_list(const setting_t *row, settings_t *settings,
                                          const namelist_value_t *values, int count) {
  text_list_t *list = setting_field(settings, row);
  setting_release(row, settings);
  if (count == 1 && !*values[0].text) return STATUS_OK;
  TRY(memory_alloc(&list->items, ARENA_OTHER, (size_t)count, sizeof *list->items));
  for (int i = 0; i < count; i++) {
    TRY(memory_copy_text(&list->items[i], ARENA_OTHER, values[i].text, strlen(values[i].text)));
    list->count++;
  }
  return STATUS_OK;
}

/* A list without choices may hold anything but the empty text; with choices, nothing twice. */
static bool settings_value_check_list(const setting_t *row, const namelist_value_t *values, int count,
                                      mistakes_t *mistakes) {
  for (int i = 0; i < count; i++) {
    for (int j = 0; j < i; j++) {
      if (strcmp(values[i].text, values[j].text) != 0) continue;
      mistakes_add(mistakes, values[i].place, "%s.%s names '%s' twice", row->group, row->name,
                   values[i].text);
      return false;
    }
    if (count > 1 && !*values[i].text) {
      mistakes_add(mistakes, values[i].place, "%s.%s: empty text in a list", row->group, row->name);
      return false;
    }
  }
  return true;
}

static bool settings_value_check_count(const setting_t *row, int count, place_t place, mistakes_t *mistakes) {
  if (count == 0) {
    mistakes_add(mistakes, place, "%s.%s has no value", row->group, row->name);
    return false;
  }
  int wanted = row->type == SETTING_REALS ? (int)(row->bytes / sizeof(double)) : 1;
  if (row->type == SETTING_TEXTS || count == wanted) return true;
  mistakes_add(mistakes, place, "%s.%s expects %d value%s, found %d", row->group, row->name, wanted,
               wanted == 1 ? "" : "s", count);
  return false;
}

status_t setting_store(const setting_t *row, settings_t *settings, const namelist_value_t *values, int count,
                       place_t place, mistakes_t *mistakes, bool *stored) {
  number_t numbers[ELEMENTS_MAX] = {{0}};
  *stored = settings_value_check_count(row, count, place, mistakes);
  if (!*stored) return STATUS_OK;
  for (int i = 0; i < count; i++) {
    number_t *to = &numbers[row->type == SETTING_TEXTS ? 0 : i];
    *stored = settings_value_read_one(row, &values[i], to, mistakes) && *stored;
  }
  if (*stored && row->type == SETTING_TEXTS)
    *stored = settings_value_check_list(row, values, count, mistakes);
  if (!*stored) return STATUS_OK;
  if (row->type == SETTING_TEXTS) return settings_value_store_list(row, settings, values, count);
  if (row->type == SETTING_TEXT)
    return settings_value_store_text(setting_field(settings, row), values[0].text);
  memcpy(setting_field(settings, row), numbers, row->bytes);
  return STATUS_OK;
}

/* The shortest text that reads back to the same number. */
static void settings_value_write_real(double value, FILE *file) {
  char text[NUMBER_BYTES];
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  fputs(text, file);
  if (!strpbrk(text, ".e")) fputs(".0", file);
}

static void settings_value_write_text(const char *text, FILE *file) {
  fputc('\'', file);
  for (; *text; text++) {
    if (*text == '\'') fputc('\'', file);
    fputc(*text, file);
  }
  fputc('\'', file);
}

void setting_write(const setting_t *row, const settings_t *settings, FILE *file) {
  const void *field = setting_field(settings, row);
  const text_list_t *list = field;
  switch (row->type) {
  case SETTING_INT:
    fprintf(file, "%" PRId64, *(const int64_t *)field);
    break;
  case SETTING_BOOL:
    fputs(*(const bool *)field ? ".true." : ".false.", file);
    break;
  case SETTING_REAL:
  case SETTING_REALS:
    for (size_t i = 0; i < row->bytes / sizeof(double); i++) {
      if (i > 0) fputs(", ", file);
      settings_value_write_real(((const double *)field)[i], file);
    }
    break;
  case SETTING_TEXT:
    settings_value_write_text(*(char *const *)field, file);
    break;
  case SETTING_TEXTS:
    if (list->count == 0) settings_value_write_text("", file);
    for (int64_t i = 0; i < list->count; i++) {
      if (i > 0) fputs(", ", file);
      settings_value_write_text(list->items[i], file);
    }
    break;
  }
}

static bool lists_equal(const text_list_t *left, const text_list_t *right) {
  if (left->count != right->count) return false;
  for (int64_t i = 0; i < left->count; i++)
    if (strcmp(left->items[i], right->items[i]) != 0) return false;
  return true;
}

bool setting_equal(const setting_t *row, const settings_t *left, const settings_t *right) {
  const void *a = setting_field(left, row), *b = setting_field(right, row);
  if (row->type == SETTING_TEXT) return strcmp(*(char *const *)a, *(char *const *)b) == 0;
  if (row->type == SETTING_TEXTS) return lists_equal(a, b);
  return memcmp(a, b, row->bytes) == 0;
}
