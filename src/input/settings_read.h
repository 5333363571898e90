/* State of reading one input, shared by the files that read and check it. */
#ifndef INPUT_SETTINGS_READ_H
#define INPUT_SETTINGS_READ_H

#include "input/mistakes.h"
#include "input/settings_table.h"

/* What is known of one setting. */
typedef struct {
  bool given; /* in the file or by an override */
  bool bad;   /* given wrongly: the field holds the default */
  place_t place;
} setting_state_t;

typedef struct {
  const setting_t *rows; /* (count) */
  int count;
  setting_state_t *states; /* (count) */
  task_t task;             /* TASK_COUNT where unknown */
  settings_t *settings;    /* the caller's */
  const char *const *overrides;
  mistakes_t mistakes;
  mistakes_t warnings;
} settings_reader_t;

/* Address of a setting's field. */
static inline void *setting_field(const settings_t *settings, const setting_t *row) {
  return (char *)settings + row->offset;
}

/* A reader of an input that messages call NAME, into SETTINGS (zeroed here). Free with settings_reader_free.
 * Local. */
settings_reader_t settings_reader(const char *name, const char *const *overrides, settings_t *settings);

/* Reads TEXT and OVERRIDES (n_overrides) and fills the settings; mistakes and warnings are in the reader.
 * Errors: STATUS_MEMORY. Local. */
status_t settings_reader_read(settings_reader_t *reader, const char *text, int n_overrides);

/* Frees all but the settings. */
void settings_reader_free(settings_reader_t *reader);

/* Checks what concerns several settings at once, adding mistakes and warnings. Local. */
void settings_check(settings_reader_t *reader);

#endif
