/* What holds of a PPO step on any layout: one forward, either choice of the old log-probabilities, and the
 * dropping of queries that are too long. And of its reward model's evaluation. */
#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/formats/rollout_file.h"
#include "io/formats/tokenizer_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of ppo.nml. */
enum { BATCH = 6, SAMPLES_MAX = 400 };

/* Ranks and tp: alone, dp 2, tp 2. */
static const struct {
  int ranks;
  const char *tp;
} layouts[] = {{1, "parallel.tp=1"}, {2, "parallel.tp=1"}, {2, "parallel.tp=2"}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* One step in one update, on layout L into PREFIX_L; old log-probabilities OLD; numbers kept as DTYPE. */
static void run_step_as(size_t l, const char *prefix, const char *old, const char *dtype, char folder[64]) {
  cli_result_t result;
  char run_dir[128], set[64], type[64];
  snprintf(folder, 64, "%s_%zu", prefix, l);
  snprintf(run_dir, sizeof run_dir, "job.run_dir=%s", folder);
  snprintf(set, sizeof set, "ppo.old_logprob=%s", old);
  snprintf(type, sizeof type, "parallel.dtype=%s", dtype);
  CLI_RUN(layouts[l].ranks, &result, LORA, "--set", run_dir, "--set", layouts[l].tp, "--set", set, "--set",
          type, "--set", "ppo.minibatch=6", "ppo.nml");
  cli_expect(&result, 0);
}

static void run_step(size_t l, const char *prefix, const char *old, char folder[64]) {
  run_step_as(l, prefix, old, "f32", folder);
}

/* Before the first update the sampler, the scoring pass and the training forward tell the same
 * log-probabilities. The kl is half the mean of squared differences of old and new ones, so none of them
 * exceeds the root of twice their sum. */
static void expect_one_forward(const char *folder) {
  double kl = ppo_world_metric(folder, 0, "ppo/policy/approxkl");
  double tokens = BATCH * ppo_world_metric(folder, 0, "rollout/response_length");
  assert_true(tokens >= BATCH);
  assert_true(kl >= 0.0 && kl <= 1e-6);
  assert_true(expm1(sqrt(2.0 * tokens * kl)) <= 1e-5); /* |ratio - 1| */
  assert_true(ppo_world_metric(folder, 0, "ppo/policy/clipfrac") == 0.0);
  assert_true(ppo_world_metric(folder, 0, "ppo/val/clipfrac") == 0.0);
  assert_true(ppo_world_metric(folder, 0, "rollout/logprob_gap") <= 1e-5);
}

/* And either of them may be the old ones. */
static void one_forward(void **state) {
  char recomputed[64], sampled[64];
  (void)state;
  for (size_t l = 0; l < LAYOUTS; l++) {
    run_step(l, "recompute", "recompute", recomputed);
    expect_one_forward(recomputed);
    run_step(l, "sampled", "sampled", sampled);
    expect_one_forward(sampled);
    ppo_world_compare_rollouts(sampled, recomputed, 1);
    ppo_world_compare_metrics(sampled, recomputed);
  }
}

/* On one rank to the bit, with the weights, keys and values in either precision. */
static void one_forward_to_the_bit(void **state) {
  static const char *const dtypes[] = {"f32", "bf16"};
  (void)state;
  for (int i = 0; i < 2; i++) {
    char folder[64];
    run_step_as(0, dtypes[i], "recompute", dtypes[i], folder);
    expect_one_forward(folder);
    assert_true(ppo_world_metric(folder, 0, "rollout/logprob_gap") == 0.0);
  }
}

/* ---- Queries that are too long ---- */

/* Tokens of each sample's query to LENGTHS; returns the samples. */
static int64_t query_lengths(int32_t lengths[SAMPLES_MAX]) {
  dataset_t *dataset;
  tokenizer_t *tokenizer;
  assert_int_equal(tokenizer_load("world/tokenizer.model", &tokenizer), STATUS_OK);
  assert_int_equal(dataset_open(NULL, "world/pretrain.h5", &dataset), STATUS_OK);
  int64_t count = dataset_info(dataset).samples;
  assert_true(count <= SAMPLES_MAX);
  for (int64_t i = 0; i < count; i++) {
    dataset_sample_t sample;
    sequence_t query = {0};
    bool fits;
    assert_int_equal(dataset_sample_read(dataset, i, &sample), STATUS_OK);
    assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &sample.conversation, 0, 0, &query, &fits),
                     STATUS_OK);
    lengths[i] = query.n;
    sequence_free(&query);
    dataset_sample_free(&sample);
  }
  dataset_close(dataset);
  tokenizer_free(tokenizer);
  return count;
}

static int ascending(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* A limit under which about half of the queries are, and how many are not longer. */
static int32_t choose_limit(const int32_t *lengths, int64_t count, int64_t *kept) {
  int32_t sorted[SAMPLES_MAX];
  memcpy(sorted, lengths, (size_t)count * sizeof *sorted);
  qsort(sorted, (size_t)count, sizeof *sorted, ascending);
  int32_t limit = sorted[(count - 1) / 2];
  if (limit == sorted[count - 1]) limit--;
  *kept = 0;
  for (int64_t i = 0; i < count; i++)
    *kept += lengths[i] <= limit;
  assert_true(*kept > 0 && *kept < count);
  return limit;
}

/* The first epoch has each of the samples that are not longer than LIMIT once. */
static void expect_kept(const char *folder, const int32_t *lengths, int32_t limit, int64_t kept) {
  bool seen[SAMPLES_MAX] = {false};
  for (int64_t i = 0; i < kept; i++) {
    char path[FILE_MAX_PATH];
    rollout_file_t rollout;
    assert_int_equal(rollout_file_path(path, folder, 1 + i / BATCH), STATUS_OK);
    assert_int_equal(rollout_file_read(path, i % BATCH, 1, NULL, &rollout), STATUS_OK);
    int64_t id = rollout.id[0];
    assert_true(lengths[id] <= limit && rollout.query_offsets[1] == lengths[id]);
    assert_false(seen[id]);
    seen[id] = true;
    rollout_file_free(&rollout);
  }
}

/* One epoch without learning, so that all steps have the same numbers on any layout. */
static void long_queries_are_dropped(void **state) {
  int32_t lengths[SAMPLES_MAX];
  int64_t kept, count = query_lengths(lengths);
  int32_t limit = choose_limit(lengths, count, &kept);
  int steps = (int)((kept + BATCH - 1) / BATCH);
  char set[64], folder[64], run_dir[128];
  cli_result_t result;
  (void)state;
  snprintf(set, sizeof set, "data.query_len=%d", limit);
  for (size_t l = 0; l < LAYOUTS; l++) {
    snprintf(folder, sizeof folder, "short_%zu", l);
    snprintf(run_dir, sizeof run_dir, "job.run_dir=%s", folder);
    CLI_RUN(layouts[l].ranks, &result, LORA, "--set", run_dir, "--set", layouts[l].tp, "--set", set, "--set",
            "ppo.steps=0", "--set", "ppo.epochs=1", "--set", "optim.lr=0", "--set", "rollout.response_len=4",
            "ppo.nml");
    cli_expect(&result, 0);
    expect_kept(folder, lengths, limit, kept);
    assert_int_equal(ppo_world_compare_metrics(folder, "short_0"), steps);
    for (int s = 1; s <= steps; s++)
      ppo_world_compare_rollouts(folder, "short_0", s);
  }
}

/* ---- The reward model ---- */

/* Its loss in training has the centring term, that of an evaluation has not. */
static void evaluations_have_no_centring_term(void **state) {
  static const char *const folders[] = {"bare", "centred"}, *const sets[] = {"job.run_dir=bare",
                                                                             "job.run_dir=centred"};
  static const char *const coefs[] = {"rm.center_coef=0", "rm.center_coef=100"};
  double evaluated[2], trained[2];
  (void)state;
  for (int i = 0; i < 2; i++) {
    cli_result_t result;
    CLI_RUN(1, &result, LORA, "--set", sets[i], "--set", coefs[i], "--set", "eval.dataset=pairs.h5", "--set",
            "eval.every=1", "--set", "optim.steps=1", "rm.nml");
    cli_expect(&result, 0);
    evaluated[i] = ppo_world_metric(folders[i], 0, "eval/loss"); /* of the start */
    trained[i] = ppo_world_metric(folders[i], 1, "rm/loss");
  }
  assert_true(evaluated[0] == evaluated[1]);
  assert_true(trained[1] > trained[0] + 1e-3);
}

/* Another judging prompt is another question to the reward model. */
static void the_judging_prompt_is_the_one_given(void **state) {
  static const char other[] = "There is no circle. {factual_prompt} There is no square.";
  double loss[2];
  (void)state;
  cli_write("other.txt", other, sizeof other - 1);
  for (int i = 0; i < 2; i++) {
    static const char *const folders[] = {"builtin", "prompted"}, *const sets[] = {"job.run_dir=builtin",
                                                                                   "job.run_dir=prompted"};
    cli_result_t result;
    CLI_RUN(1, &result, LORA, "--set", sets[i], "--set",
            i == 0 ? "rm.prompt_file=" : "rm.prompt_file=other.txt", "--set", "eval.dataset=pairs.h5",
            "--set", "eval.every=1", "--set", "optim.steps=1", "rm.nml");
    cli_expect(&result, 0);
    loss[i] = ppo_world_metric(folders[i], 0, "eval/loss"); /* of the start: both models are one */
  }
  assert_true(fabs(loss[0] - loss[1]) > 1e-9);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_forward), cmocka_unit_test(one_forward_to_the_bit),
                                     cmocka_unit_test(long_queries_are_dropped),
                                     cmocka_unit_test(evaluations_have_no_centring_term),
                                     cmocka_unit_test(the_judging_prompt_is_the_one_given)};
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}
