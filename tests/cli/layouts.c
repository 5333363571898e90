#include "cli/layouts.h"

#include "base/memory.h"
#include "cli/ppo_world.h"
#include "io/h5.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static float *values_read(h5_file_t *file, const char *object, int64_t *n) {
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS];
  float *values;
  assert_int_equal(h5_dataset_info(file, object, &type, &ndim, shape), STATUS_OK);
  *n = 1;
  for (int d = 0; d < ndim; d++)
    *n *= shape[d];
  assert_int_equal(memory_alloc(&values, ARENA_OTHER, (size_t)*n, sizeof *values), STATUS_OK);
  assert_int_equal(h5_read_rows(file, object, H5TYPE_F32, 0, shape[0], values), STATUS_OK);
  return values;
}

/* The share of the weights of OBJECT that are apart; 1 if any is further than MOST. */
static double share_apart(h5_file_t *found, h5_file_t *expected, const char *object, double most) {
  int64_t n, same, apart = 0;
  float *a = values_read(found, object, &same), *b = values_read(expected, object, &n), largest = 0.0F;
  double furthest = 0.0;
  assert_int_equal(n, same);
  for (int64_t i = 0; i < n; i++)
    largest = fmaxf(largest, fabsf(b[i]));
  for (int64_t i = 0; i < n; i++) {
    double difference = fabs((double)a[i] - (double)b[i]);
    apart += !(difference <= ppo_world_tolerance * fmax(largest, 1e-6));
    furthest = difference <= furthest ? furthest : difference;
  }
  memory_free(a);
  memory_free(b);
  if (!(furthest <= most)) return 1.0;
  /* A key's bias adds the same to all of a query's products: its gradient is nothing but rounding. */
  return strstr(object, "k_proj.bias") ? 0.0 : (double)apart / (double)n;
}

double layouts_weights_apart(const char *folder, const char *alone, int updates, double learning_rate,
                             char name[LAYOUTS_NAME]) {
  h5_file_t *found, *expected;
  char path[128], **paths;
  int64_t count, compared = 0;
  double most = 0.0;
  *name = '\0';
  snprintf(path, sizeof path, "%s/model.h5", folder);
  assert_int_equal(h5_open(path, H5_READ, NULL, &found), STATUS_OK);
  snprintf(path, sizeof path, "%s/model.h5", alone);
  assert_int_equal(h5_open(path, H5_READ, NULL, &expected), STATUS_OK);
  assert_int_equal(h5_list(expected, "/", &paths, &count), STATUS_OK);
  for (int64_t i = 0; i < count; i++) {
    if (strncmp(paths[i], "/tokenizer", 10) == 0) continue;
    double share = share_apart(found, expected, paths[i], 1.006 * 2.0 * updates * learning_rate);
    if (share > most) snprintf(name, LAYOUTS_NAME, "%s", paths[i]);
    most = fmax(most, share);
    compared++;
  }
  assert_true(compared > 10);
  memory_free(paths);
  assert_int_equal(h5_close(found), STATUS_OK);
  assert_int_equal(h5_close(expected), STATUS_OK);
  return most;
}

void layouts_compare_weights(const char *folder, const char *alone, int updates, double learning_rate) {
  char name[LAYOUTS_NAME];
  double share = layouts_weights_apart(folder, alone, updates, learning_rate, name);
  if (share > layouts_share) fail_msg("%s: %.2g of the weights of %s differ", folder, share, name);
}
