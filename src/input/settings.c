#define _GNU_SOURCE
#include "input/settings.h"

#include "base/memory.h"
#include "input/settings_read.h"
#include "input/settings_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME_BYTES = 64, INPUT_MAX_BYTES = 1 << 20 };

/* The row of GROUP and NAME (any case), or -1. */
static int settings_find_row(const settings_reader_t *reader, const char *group, const char *name) {
  for (int i = 0; i < reader->count; i++)
    if (strcasecmp(reader->rows[i].group, group) == 0 && strcasecmp(reader->rows[i].name, name) == 0)
      return i;
  return -1;
}

static bool is_group(const char *name) {
  int count;
  const setting_group_t *groups = settings_groups(&count);
  for (int i = 0; i < count; i++)
    if (strcasecmp(groups[i].name, name) == 0) return true;
  return false;
}

/* Stores a setting's standard value in its field. */
static status_t settings_store_default(settings_reader_t *reader, int index) {
  const setting_t *row = &reader->rows[index];
  const char *text = setting_default(row, reader->task);
  place_t nowhere = {0};
  SCOPED(namelist_free) namelist_t list = {0};
  bool stored = false;
  if (!text) /* required: empty until given */
    return memory_copy_text(setting_field(reader->settings, row), ARENA_OTHER, "", 0);
  TRY(namelist_parse_values(text, nowhere, &reader->mistakes, &list));
  return setting_store(row, reader->settings, list.values, list.value_count, nowhere, &reader->mistakes,
                       &stored);
}

/* Stores what was given for a setting. */
static status_t settings_store_given(settings_reader_t *reader, int index, const namelist_value_t *values,
                                     int count, place_t place) {
  bool stored = false;
  setting_state_t *state = &reader->states[index];
  TRY(setting_store(&reader->rows[index], reader->settings, values, count, place, &reader->mistakes,
                    &stored));
  state->given = true;
  state->bad = state->bad || !stored;
  state->place = place;
  return STATUS_OK;
}

static void complain_group(settings_reader_t *reader, const char *name, place_t place) {
  int count;
  const setting_group_t *groups = settings_groups(&count);
  nearest_t nearest = nearest_to(name);
  for (int i = 0; i < count; i++)
    nearest_offer(&nearest, groups[i].name);
  if (nearest.found)
    mistakes_add(&reader->mistakes, place, "unknown group &%s; did you mean &%s?", name, nearest.found);
  else
    mistakes_add(&reader->mistakes, place, "unknown group &%s; --print-defaults lists all groups", name);
}

static void complain_setting(settings_reader_t *reader, const char *group, const char *name, place_t place) {
  nearest_t nearest = nearest_to(name);
  const char *other = NULL;
  for (int i = 0; i < reader->count; i++) {
    const setting_t *row = &reader->rows[i];
    if (strcasecmp(row->group, group) == 0) nearest_offer(&nearest, row->name);
    if (strcasecmp(row->name, name) == 0 && !other) other = row->group;
  }
  if (nearest.found)
    mistakes_add(&reader->mistakes, place, "unknown setting '%s' in group &%s; did you mean '%s'?", name,
                 group, nearest.found);
  else if (other)
    mistakes_add(&reader->mistakes, place, "unknown setting '%s' in group &%s; there is %s.%s", name, group,
                 other, name);
  else
    mistakes_add(&reader->mistakes, place,
                 "unknown setting '%s' in group &%s; --print-defaults lists all settings", name, group);
}

static void settings_check_groups(settings_reader_t *reader, const namelist_t *list) {
  for (int i = 0; i < list->group_count; i++) {
    const namelist_group_t *group = &list->groups[i];
    if (*group->name && !is_group(group->name)) complain_group(reader, group->name, group->place);
    for (int j = 0; j < i; j++) {
      if (!*group->name || strcmp(group->name, list->groups[j].name) != 0) continue;
      mistakes_add(&reader->mistakes, group->place, "group &%s was already given in line %d", group->name,
                   list->groups[j].place.line);
      break;
    }
  }
}

static status_t settings_store_entries(settings_reader_t *reader, const namelist_t *list) {
  for (int i = 0; i < list->entry_count; i++) {
    const namelist_entry_t *entry = &list->entries[i];
    const char *group = list->groups[entry->group].name;
    if (!is_group(group)) continue; /* reported once */
    int index = settings_find_row(reader, group, entry->name);
    if (index < 0)
      complain_setting(reader, group, entry->name, entry->place);
    else if (reader->states[index].given)
      mistakes_add(&reader->mistakes, entry->place, "%s.%s was already set in line %d", group, entry->name,
                   reader->states[index].place.line);
    else
      TRY(settings_store_given(reader, index, entry->count > 0 ? list->values + entry->first : NULL,
                               entry->count, entry->place));
  }
  return STATUS_OK;
}

/* The part of an override before '=' as group and name, without blanks; false where it is not of that form.
 */
static bool split_override(const char *text, char *group, char *name, const char **value) {
  const char *equals = strchr(text, '=');
  const char *dot = strchr(text, '.');
  if (!equals || !dot || dot > equals) return false;
  char pattern[32];
  snprintf(pattern, sizeof pattern, " %%%d[^. ] . %%%d[^= ] =", NAME_BYTES - 1, NAME_BYTES - 1);
  *value = equals + 1;
  return sscanf(text, pattern, group, name) == 2;
}

/* Values of texts may stand without quotes: the shell has already taken the user's. */
static status_t settings_parse_override(settings_reader_t *reader, const setting_t *row, const char *value,
                                        place_t place, namelist_t *list) {
  const char *first = value + strspn(value, " \t");
  bool text = row->type == SETTING_TEXT || row->type == SETTING_TEXTS;
  if (!text || *first == '\'' || *first == '"')
    return namelist_parse_values(value, place, &reader->mistakes, list);
  TRY(memory_alloc(&list->strings, ARENA_OTHER, strlen(value) + 1, 1));
  TRY(memory_alloc(&list->values, ARENA_OTHER, strlen(value) + 1, sizeof *list->values));
  memcpy(list->strings, value, strlen(value));
  char *rest = list->strings;
  while (rest) {
    char *item = row->type == SETTING_TEXTS ? strsep(&rest, ",") : rest;
    if (row->type == SETTING_TEXT) rest = NULL;
    item += strspn(item, " \t");
    list->values[list->value_count++] = (namelist_value_t){.text = item, .quoted = true, .place = place};
  }
  return STATUS_OK;
}

static status_t settings_store_override(settings_reader_t *reader, const char *text, place_t place) {
  char group[NAME_BYTES], name[NAME_BYTES];
  const char *value = NULL;
  if (!split_override(text, group, name, &value)) {
    mistakes_add(&reader->mistakes, place, "expected group.name=value");
    return STATUS_OK;
  }
  int index = settings_find_row(reader, group, name);
  if (!is_group(group)) {
    complain_group(reader, group, place);
  } else if (index < 0) {
    complain_setting(reader, group, name, place);
  } else {
    SCOPED(namelist_free) namelist_t list = {0};
    TRY(settings_parse_override(reader, &reader->rows[index], value, place, &list));
    return settings_store_given(reader, index, list.values, list.value_count, place);
  }
  return STATUS_OK;
}

/* Everything given goes to its field; then the defaults, which may depend on the task, to the others. */
static status_t settings_fill(settings_reader_t *reader, const namelist_t *list, int n_overrides) {
  settings_check_groups(reader, list);
  TRY(settings_store_entries(reader, list));
  for (int i = 0; i < n_overrides; i++)
    TRY(settings_store_override(reader, reader->overrides[i], (place_t){.override = i + 1}));
  if (reader->settings->job.task) reader->task = task_find(reader->settings->job.task);
  for (int i = 0; i < reader->count; i++)
    if (!reader->states[i].given || reader->states[i].bad) TRY(settings_store_default(reader, i));
  settings_check(reader);
  return STATUS_OK;
}

settings_reader_t settings_reader(const char *name, const char *const *overrides, settings_t *settings) {
  mistakes_t none = {.name = name, .overrides = overrides};
  settings_reader_t reader = {
      .task = TASK_COUNT, .settings = settings, .overrides = overrides, .mistakes = none, .warnings = none};
  reader.rows = settings_table(&reader.count);
  *settings = (settings_t){0};
  return reader;
}

status_t settings_reader_read(settings_reader_t *reader, const char *text, int n_overrides) {
  SCOPED(namelist_free) namelist_t list = {0};
  TRY(memory_alloc(&reader->states, ARENA_OTHER, (size_t)reader->count, sizeof *reader->states));
  TRY(namelist_parse(text, &reader->mistakes, &list));
  return settings_fill(reader, &list, n_overrides);
}

void settings_reader_free(settings_reader_t *reader) {
  memory_free(reader->states);
  mistakes_free(&reader->mistakes);
  mistakes_free(&reader->warnings);
}

status_t settings_read_text(const char *name, const char *text, int n_overrides, const char *const *overrides,
                            settings_t *settings, char **warnings) {
  SCOPED(settings_reader_free) settings_reader_t reader = settings_reader(name, overrides, settings);
  if (warnings) *warnings = NULL;
  status_code_t status = settings_reader_read(&reader, text, n_overrides);
  if (status == STATUS_OK) status = mistakes_report(&reader.mistakes);
  if (status == STATUS_OK && warnings) status = mistakes_text(&reader.warnings, warnings);
  if (status != STATUS_OK) settings_free(settings);
  return status;
}

static void file_close(FILE **file) {
  if (*file) fclose(*file);
}

status_t settings_load(const char *path, char **out) {
  SCOPED_MEMORY char *text = NULL;
  SCOPED(file_close) FILE *file = fopen(path, "rb");
  *out = NULL;
  if (!file) return error_set(STATUS_INPUT, "cannot open the input file '%s': %s", path, strerror(errno));
  TRY(memory_alloc(&text, ARENA_OTHER, INPUT_MAX_BYTES + 2, 1));
  size_t length = fread(text, 1, INPUT_MAX_BYTES + 1, file);
  if (ferror(file))
    return error_set(STATUS_INPUT, "cannot read the input file '%s': %s", path, strerror(errno));
  if (length > INPUT_MAX_BYTES)
    return error_set(STATUS_INPUT, "the input file '%s' has more than %d bytes; is it a namelist?", path,
                     INPUT_MAX_BYTES);
  if (memchr(text, '\0', length))
    return error_set(STATUS_INPUT, "the input file '%s' holds zero bytes; expected a text file of namelists",
                     path);
  memory_hand_over(out, &text);
  return STATUS_OK;
}

status_t settings_read(const char *path, int n_overrides, const char *const *overrides, settings_t *settings,
                       char **warnings) {
  SCOPED_MEMORY char *text = NULL;
  *settings = (settings_t){0};
  if (warnings) *warnings = NULL;
  TRY(settings_load(path, &text));
  return settings_read_text(path, text, n_overrides, overrides, settings, warnings);
}

void settings_free(settings_t *settings) {
  int count;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++)
    setting_release(&rows[i], settings);
}
