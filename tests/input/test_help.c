/* Help and manual page say all that can be said to the program, and roff does not take any of it for its own.
 */
#define _GNU_SOURCE
#include "input/help.h"

#include "input/help_rows.h"
#include "input/options.h"
#include "input/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *help, *manual;

static int set_up(void **state) {
  (void)state;
  size_t n;
  FILE *file = open_memstream(&help, &n);
  assert_int_equal(help_print(file), STATUS_OK);
  fclose(file);
  file = open_memstream(&manual, &n);
  assert_int_equal(help_print_manual(file, "7.8.9"), STATUS_OK);
  fclose(file);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  free(help);
  free(manual);
  return 0;
}

/* Removes roff's escapes of the manual page in place. */
static void plain(char *text) {
  static const struct {
    const char *escape, *is;
  } escapes[] = {{"\\(aq", "'"}, {"\\(dq", "\""}, {"\\fB", ""},  {"\\fR", ""},
                 {"\\fI", ""},   {"\\-", "-"},    {"\\e", "\\"}, {"\\&", ""}};
  char *to = text;
  while (*text) {
    size_t i = 0;
    while (i < sizeof escapes / sizeof *escapes &&
           strncmp(text, escapes[i].escape, strlen(escapes[i].escape)) != 0)
      i++;
    if (i == sizeof escapes / sizeof *escapes) {
      *to++ = *text++;
      continue;
    }
    text += strlen(escapes[i].escape);
    to = stpcpy(to, escapes[i].is);
  }
  *to = '\0';
}

static void every_option_is_described(void **state) {
  (void)state;
  for (const help_row_t *row = help_options; row->form; row++) {
    assert_non_null(strstr(help, row->form));
    char option[64];
    snprintf(option, sizeof option, "%.*s", (int)strcspn(row->form, " "), row->form);
    options_t options;
    char *const argv[] = {"llava_rlhf", option, NULL};
    status_code_t status = options_parse(2, argv, &options);
    /* It is known, whatever else it may need. */
    if (status != STATUS_OK) assert_null(strstr(error_message(), "unknown option"));
    if (status == STATUS_OK) options_free(&options);
  }
}

static void lines_begin_with_nothing_but_requests(void **state) {
  (void)state;
  static const char *const requests[] = {".TH ", ".SH ", ".SS ", ".TP\n", ".PP\n", ".nf\n", ".fi\n", ".B "};
  for (const char *line = manual; *line; line = strchr(line, '\n') + 1) {
    assert_int_not_equal(*line, '\'');
    size_t i = 0;
    while (*line == '.' && i < sizeof requests / sizeof *requests &&
           strncmp(line, requests[i], strlen(requests[i])) != 0)
      i++;
    if (*line == '.' && i == sizeof requests / sizeof *requests) fail_msg("a line begins with %.40s", line);
  }
}

static void the_manual_has_every_setting(void **state) {
  (void)state;
  int count, groups;
  const setting_t *rows = settings_table(&count);
  const setting_group_t *group = settings_groups(&groups);
  assert_non_null(strstr(manual, "llava_rlhf 7.8.9"));
  plain(manual);
  for (int g = 0; g < groups; g++) {
    char head[64];
    snprintf(head, sizeof head, "\n.SS &%s\n", group[g].name);
    char *section = strstr(manual, head);
    if (!section) fail_msg("group %s is missing", group[g].name);
    for (int i = 0; i < count; i++) {
      if (strcmp(rows[i].group, group[g].name) != 0) continue;
      char line[512];
      snprintf(line, sizeof line, "\n%s = %s\n", rows[i].name,
               rows[i].standard ? rows[i].standard : "(required)");
      char *found = strstr(section, line);
      if (!found || !strstr(found, rows[i].doc)) fail_msg("%s.%s is missing", rows[i].group, rows[i].name);
    }
  }
  for (const help_row_t *row = help_exits; row->form; row++)
    assert_non_null(strstr(manual, row->text));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_option_is_described),
      cmocka_unit_test(lines_begin_with_nothing_but_requests),
      cmocka_unit_test(the_manual_has_every_setting),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
