/* The table of all settings: the only place where a setting exists. For this folder and its tests. */
#ifndef INPUT_SETTINGS_TABLE_H
#define INPUT_SETTINGS_TABLE_H

#include "input/settings.h"

typedef enum {
  SETTING_INT,   /* int64_t */
  SETTING_REAL,  /* double */
  SETTING_BOOL,  /* bool */
  SETTING_TEXT,  /* char * */
  SETTING_REALS, /* double [n] */
  SETTING_TEXTS  /* text_list_t */
} setting_type_t;

typedef struct {
  const char *name;
  const char *doc;
} setting_group_t;

typedef struct {
  const char *group;
  const char *name;
  setting_type_t type;
  size_t offset;        /* of the field in settings_t */
  size_t bytes;         /* of the field */
  const char *standard; /* default, written as in an input; NULL where a task requires the setting */
  const char *by_task[TASK_COUNT]; /* default where a task has one of its own, else NULL */
  bool limited;                    /* numbers: min and max hold (for each element) */
  bool min_open, max_open;         /* the limit itself is not allowed */
  double min, max;
  const char *choices; /* texts: allowed values separated by '|', NULL: any */
  const char *unit;    /* NULL for none */
  const char *doc;     /* one sentence */
  unsigned used;       /* tasks that read it, bit 1 << task_t */
  unsigned required;   /* tasks that cannot do without it */
} setting_t;

/* All settings, those of a group together, groups in the order of settings_groups. *COUNT of them. */
const setting_t *settings_table(int *count);

/* All groups, in the order in which they are written. */
const setting_group_t *settings_groups(int *count);

/* The default of SETTING in TASK (TASK_COUNT: in no particular task); NULL where there is none. */
const char *setting_default(const setting_t *setting, task_t task);

/* The setting's allowed values for people (">= 0, pixels" or "'a' or 'b'"), "" where any. TEXT has SIZE
 * bytes. */
void setting_describe_range(const setting_t *setting, char *text, size_t size);

/* What a value of the setting's type is called ("a whole number"). */
const char *setting_type_name(const setting_t *setting);

#endif
