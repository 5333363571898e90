/* One PPO step on 1x1, 1x2, 2x1, 2x2 ranks (dp x tp), with an adapter whose B is not zero and a learning rate
 * above zero: the same samples to the token; metrics, gradient norms and the weights written afterwards to
 * 1e-4. And with a reward model of another size on another base. */
#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/h5.h"
#include "io/json.h"
#include "io/rollout_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* fp32 sums in another order, through one forward and backward pass and one AdamW step. */
static const double tolerance = 1e-4;

/* A base of another size and image size, for the reward model of the second test. */
static void make_other_base(void) {
  cli_result_t result;
  CLI_RUN(1, &result, "--set", "job.run_dir=other", "--set", "model.hidden=24", "--set", "model.layers=1",
          "--set", "model.vision_image_size=24", "--set", "model.vision_patch=12", "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=other_rm", "--set", "model.base=other/model.h5", "rm.nml");
  cli_expect(&result, 0);
}

static int set_up(void **state) {
  if (ppo_world_enter(state) != 0) return -1;
  make_other_base();
  return 0;
}

static void check_close(const char *what, const char *name, double found, double expected, double scale) {
  if (!(fabs(found - expected) <= tolerance * fmax(scale, 1e-6)))
    fail_msg("%s: %s is %.9g, on one rank %.9g", what, name, found, expected);
}

static void parse(const char *folder, json_document_t *document) {
  static char text[1 << 15];
  char path[128];
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  size_t n = cli_read(path, text, sizeof text);
  assert_int_equal(json_parse(text, n, path, document), STATUS_OK);
}

static double number(const json_t *node) {
  return node->type == JSON_INT ? (double)node->u.integer : node->u.real;
}

static void compare_metrics(const char *folder, const char *alone) {
  json_document_t found, expected;
  int compared = 0;
  parse(folder, &found);
  parse(alone, &expected);
  for (const json_t *node = expected.root->u.first; node; node = node->next) {
    if (strstr(node->key, "seconds")) continue;
    const json_t *other = json_get(found.root, node->key);
    if (!other) fail_msg("%s has no metric %s", folder, node->key);
    /* The gap is itself a rounding error, and so is the kl of a policy that is its own reference. The
     * policy's loss is a mean of whitened advantages, which have variance 1 and cancel. */
    bool rounding = strcmp(node->key, "rollout/logprob_gap") == 0;
    bool unit = rounding || strstr(node->key, "kl") || strcmp(node->key, "ppo/loss/policy") == 0;
    double scale = unit ? 1.0 : fabs(number(node));
    check_close(folder, node->key, number(other), number(node), scale);
    if (rounding) assert_true(number(other) <= 1e-5);
    compared++;
  }
  assert_true(compared > 25);
  json_free(&found);
  json_free(&expected);
}

static void compare_rollouts(const char *folder, const char *alone) {
  rollout_file_t found, expected;
  char path[128];
  snprintf(path, sizeof path, "%s/rollouts/step_00000001.h5", folder);
  assert_int_equal(rollout_file_read(path, 0, -1, NULL, &found), STATUS_OK);
  snprintf(path, sizeof path, "%s/rollouts/step_00000001.h5", alone);
  assert_int_equal(rollout_file_read(path, 0, -1, NULL, &expected), STATUS_OK);
  assert_int_equal(found.samples, expected.samples);
  int64_t tokens = expected.response_offsets[expected.samples];
  assert_memory_equal(found.response_offsets, expected.response_offsets,
                      (size_t)(found.samples + 1) * sizeof(int64_t));
  assert_memory_equal(found.response_tokens, expected.response_tokens, (size_t)tokens * sizeof(int32_t));
  for (int64_t t = 0; t < tokens; t++)
    check_close(folder, "log-probability", found.token[ROLLOUT_LOGPROB][t],
                expected.token[ROLLOUT_LOGPROB][t], 1.0);
  rollout_file_free(&found);
  rollout_file_free(&expected);
}

/* Largest difference over largest value of one dataset; one AdamW step moves a weight by about the learning
 * rate whatever its gradient, so weights whose gradient is rounding error are not compared: they count by the
 * share of weights that agree. */
static void compare_dataset(h5_file_t *found, h5_file_t *expected, const char *object) {
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS], n = 1;
  assert_int_equal(h5_dataset_info(expected, object, &type, &ndim, shape), STATUS_OK);
  for (int d = 0; d < ndim; d++)
    n *= shape[d];
  float *a, *b, largest = 0.0F;
  assert_int_equal(memory_alloc(&a, ARENA_OTHER, (size_t)n, sizeof *a), STATUS_OK);
  assert_int_equal(memory_alloc(&b, ARENA_OTHER, (size_t)n, sizeof *b), STATUS_OK);
  assert_int_equal(h5_read_rows(found, object, H5TYPE_F32, 0, shape[0], a), STATUS_OK);
  assert_int_equal(h5_read_rows(expected, object, H5TYPE_F32, 0, shape[0], b), STATUS_OK);
  int64_t apart = 0;
  for (int64_t i = 0; i < n; i++)
    largest = fmaxf(largest, fabsf(b[i]));
  for (int64_t i = 0; i < n; i++)
    apart += !(fabs((double)a[i] - (double)b[i]) <= tolerance * fmax(largest, 1e-6));
  if (apart * 100 > n) fail_msg("%s: %lld of %lld weights differ", object, (long long)apart, (long long)n);
  memory_free(a);
  memory_free(b);
}

static void compare_weights(const char *folder, const char *alone) {
  h5_file_t *found, *expected;
  char path[128], **paths;
  int64_t count, compared = 0;
  snprintf(path, sizeof path, "%s/model.h5", folder);
  assert_int_equal(h5_open(path, NULL, H5_READ, NULL, 0, &found), STATUS_OK);
  snprintf(path, sizeof path, "%s/model.h5", alone);
  assert_int_equal(h5_open(path, NULL, H5_READ, NULL, 0, &expected), STATUS_OK);
  assert_int_equal(h5_list(expected, "/", &paths, &count), STATUS_OK);
  for (int64_t i = 0; i < count; i++) {
    if (strncmp(paths[i], "/adapters/", 10) != 0 && strncmp(paths[i], "/heads/", 7) != 0) continue;
    compare_dataset(found, expected, paths[i]);
    compared++;
  }
  assert_true(compared > 10);
  memory_free(paths);
  assert_int_equal(h5_close(found), STATUS_OK);
  assert_int_equal(h5_close(expected), STATUS_OK);
}

/* Runs the step on RANKS ranks with TP into FOLDER. */
static void run_layout(int ranks, const char *tp, const char *reward, const char *folder) {
  cli_result_t result;
  char run_dir[128], split[64], model[128];
  snprintf(run_dir, sizeof run_dir, "job.run_dir=%s", folder);
  snprintf(split, sizeof split, "parallel.tp=%s", tp);
  snprintf(model, sizeof model, "reward.model=%s", reward);
  CLI_RUN(ranks, &result, LORA, "--set", run_dir, "--set", split, "--set", model, "ppo.nml");
  cli_expect(&result, 0);
}

static void check_layouts(const char *reward, const char *prefix) {
  static const struct {
    int ranks;
    const char *tp;
  } layouts[] = {{2, "2"}, {2, "1"}, {3, "1"}, {4, "2"}};
  char alone[64], folder[64];
  snprintf(alone, sizeof alone, "%s_alone", prefix);
  run_layout(1, "1", reward, alone);
  for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
    snprintf(folder, sizeof folder, "%s_%d_%s", prefix, layouts[l].ranks, layouts[l].tp);
    run_layout(layouts[l].ranks, layouts[l].tp, reward, folder);
    compare_rollouts(folder, alone);
    compare_metrics(folder, alone);
    compare_weights(folder, alone);
  }
}

static void one_base(void **state) {
  (void)state;
  check_layouts("rm/model.h5", "one");
}

static void two_bases_of_different_sizes(void **state) {
  (void)state;
  check_layouts("other_rm/model.h5", "two");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_base),
                                     cmocka_unit_test(two_bases_of_different_sizes)};
  return cmocka_run_group_tests(tests, set_up, cli_leave);
}
