/* Opens and closes a convert_test_t around each test of a program. Included, like mpi_test.h, in one source
 * file of it. */
#ifndef TESTS_CONVERT_CONVERT_FIXTURE_H
#define TESTS_CONVERT_CONVERT_FIXTURE_H

#include "convert/convert_test.h"
#include "convert/export.h"
#include "convert/import.h"
#include "mpi_test.h"

static inline convert_test_t *convert_test(void) {
  static convert_test_t made;
  return &made;
}

/* tp is 2 on an even number of ranks, else 1. */
static inline int convert_set_up(void **state) {
  (void)state;
  convert_test_open(mpi_test_world(), comm_size(mpi_test_world()) % 2 == 0 ? 2 : 1, convert_test());
  return 0;
}

static inline int convert_tear_down(void **state) {
  (void)state;
  convert_test_close(convert_test());
  return 0;
}

/* Task import, or export of the model that MODEL (settings of its group) names, with SETTINGS of its own. */
static inline void convert_import(const char *settings) {
  char text[CONVERT_TEXT];
  snprintf(text, sizeof text, "&job task='import' /\n&import %s /\n", settings);
  assert_ok(convert_run(convert_test(), text, import_run));
}

static inline void convert_export(const char *model, const char *settings) {
  char text[CONVERT_TEXT];
  snprintf(text, sizeof text, "&job task='export' /\n&model %s /\n&export %s /\n", model, settings);
  assert_ok(convert_run(convert_test(), text, export_run));
}

#endif
