/* All samples are looked at before the first step: pairs and answers of which nothing is left to learn from,
 * samples that are bad, and facts that the reward model has or has not seen. */
#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/formats/scores_file.h"
#include "io/h5.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SKIP "--set", "data.bad_sample=skip"
#define SET(name, value) "--set", name "=" value

/* ---- Preferences by hand ---- */

typedef struct {
  const char *id, *first, *second;
  int preference; /* 0: left out */
  int facts;      /* words of the one caption of its image; 0: none */
} pair_t;

static const char *image_of(int i) {
  static char name[32];
  snprintf(name, sizeof name, "000/%06d.jpg", i);
  return name;
}

/* DATASET.h5 of PAIRS (count), by task prepare. Pairs without a preference are conversations with two
 * outputs. */
static void make_pairs(const char *name, const pair_t *pairs, int count) {
  static char json[1 << 15], facts[1 << 15], input[512];
  cli_result_t result;
  int n = snprintf(json, sizeof json, "["), m = snprintf(facts, sizeof facts, "{");
  for (int i = 0; i < count; i++) {
    const pair_t *pair = &pairs[i];
    n += snprintf(
        json + n, sizeof json - (size_t)n,
        "%s{\"id\":\"%s\",\"image\":\"%s\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\n"
        "Describe the image.\"}],\"output_1\":{\"from\":\"gpt\",\"value\":\"%s\"},\"output_2\":"
        "{\"from\":\"gpt\",\"value\":\"%s\"}",
        i > 0 ? "," : "", pair->id, image_of(i), pair->first, pair->second);
    if (pair->preference)
      n += snprintf(json + n, sizeof json - (size_t)n, ",\"preference\":%d", pair->preference);
    n += snprintf(json + n, sizeof json - (size_t)n, "}");
    if (pair->facts == 0) continue;
    m += snprintf(facts + m, sizeof facts - (size_t)m, "%s\"%s\":[\"", m > 1 ? "," : "", image_of(i));
    for (int w = 0; w < pair->facts; w++)
      m += snprintf(facts + m, sizeof facts - (size_t)m, "circle ");
    m += snprintf(facts + m, sizeof facts - (size_t)m, "\"]");
  }
  snprintf(json + n, sizeof json - (size_t)n, "]");
  snprintf(facts + m, sizeof facts - (size_t)m, "}");
  cli_write("by_hand.json", json, strlen(json));
  cli_write("by_hand_facts.json", facts, strlen(facts));
  snprintf(input, sizeof input,
           "&job task = 'prepare' run_dir = 'prepare_%s' /\n&prepare conversations = 'by_hand.json' facts = "
           "'by_hand_facts.json' image_folder = 'world/images' output = '%s.h5' /\n",
           name, name);
  cli_write("by_hand.nml", input, strlen(input));
  CLI_RUN(1, &result, "by_hand.nml");
  cli_expect(&result, 0);
}

/* ---- Ties ---- */

/* The judging prompt does not fit; or all that tells the two answers apart lies behind data.max_len. */
static void pairs_cut_to_the_same_are_refused(void **state) {
  static const char *const lengths[] = {"data.max_len=60", "data.max_len=210"};
  cli_result_t result;
  (void)state;
  for (int i = 0; i < 2; i++) {
    CLI_RUN(1 + i, &result, LORA, SET("job.run_dir", "cut"), "--set", lengths[i], SET("rm.facts", "F"),
            "rm.nml");
    cli_expect_one_message(&result, 3);
    assert_false(cli_exists("cut/metrics.jsonl"));
  }
  /* Likewise those held out. */
  static const pair_t same[] = {{"one", "Yes.", "Yes.", 1, 0}, {"two", "", "", 2, 0}};
  make_pairs("same", same, 2);
  CLI_RUN(2, &result, LORA, SET("job.run_dir", "same_rm"), SET("data.dataset", "same.h5"), "rm.nml");
  cli_expect_one_message(&result, 3);
  CLI_RUN(2, &result, LORA, SET("job.run_dir", "same_eval"), SET("eval.dataset", "same.h5"),
          SET("eval.every", "1"), "rm.nml");
  cli_expect_one_message(&result, 3);
}

/* Weights so large that all scores are one. */
static void a_collapsed_model_is_right_half_the_time(void **state) {
  static const pair_t some[] = {{"same", "No.", "No.", 1, 0}, {"other", "Yes.", "No.", 1, 0}};
  cli_result_t result;
  (void)state;
  CLI_RUN(1, &result, LORA, SET("job.run_dir", "collapsed"), SET("optim.lr", "1e6"), SET("optim.steps", "2"),
          SET("optim.schedule", "constant"), SET("eval.every", "1"), SET("eval.dataset", "pairs.h5"),
          "rm.nml");
  cli_expect(&result, 0);
  for (int step = 1; step <= 2; step++) {
    assert_true(fabs(ppo_world_metric("collapsed", step, "eval/loss") - log(2.0)) <= 1e-12);
    assert_true(ppo_world_metric("collapsed", step, "eval/accuracy") == 0.5);
  }
  make_pairs("some", some, 2);
  /* A tie and a pair that is told apart. */
  CLI_RUN(1, &result, LORA, SET("job.run_dir", "some_rm"), SET("eval.dataset", "some.h5"),
          SET("eval.every", "1"), SET("rm.facts", "F"), SET("optim.steps", "1"), "rm.nml");
  cli_expect(&result, 0);
  double accuracy = ppo_world_metric("some_rm", 0, "eval/accuracy");
  assert_true(accuracy == 0.25 || accuracy == 0.75);
}

/* ---- Nothing to learn ---- */

static void answers_beyond_the_end_are_refused(void **state) {
  cli_result_t result;
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    CLI_RUN(ranks, &result, SET("job.run_dir", "short"), SET("data.max_len", "8"), "train.nml");
    cli_expect_one_message(&result, 3);
    assert_false(cli_exists("short/metrics.jsonl"));
  }
}

/* ---- Bad samples ---- */

static const pair_t mixed[] = {{"good_1", "Yes.", "No.", 1, 3},    {"no_preference", "Yes.", "No.", 0, 3},
                               {"good_2", "No.", "Yes.", 2, 3},    {"long_facts", "Yes.", "No.", 1, 400},
                               {"good_3", "Yes.", "Yes.", 1, 3},   {"good_4", "A circle.", "A ring.", 2, 3},
                               {"good_5", "Nothing.", "No.", 2, 3}};
enum { MIXED = sizeof mixed / sizeof *mixed, BAD = 2 };
#define MIXED_RM                                                                                             \
  "--set", "data.dataset=mixed.h5", "--set", "data.max_len=400", "--set", "optim.steps=3", "rm.nml"

static void the_first_bad_sample_ends_the_run_before_it_begins(void **state) {
  cli_result_t result;
  (void)state;
  make_pairs("mixed", mixed, MIXED);
  for (int ranks = 1; ranks <= 3; ranks++) {
    CLI_RUN(ranks, &result, LORA, SET("job.run_dir", "stop"), MIXED_RM);
    cli_expect_one_message(&result, 3);
    assert_non_null(strstr(result.err, "sample 'no_preference'"));
    assert_false(cli_exists("stop/metrics.jsonl"));
  }
}

static int64_t number(const char *folder, const char *name) {
  char path[128];
  h5_file_t *file;
  int64_t value;
  snprintf(path, sizeof path, "%s/checkpoints/step_00000003.h5", folder);
  assert_int_equal(h5_open(path, H5_READ, NULL, &file), STATUS_OK);
  assert_int_equal(h5_attr_read_i64(file, "/state", name, &value, 1), STATUS_OK);
  assert_int_equal(h5_close(file), STATUS_OK);
  return value;
}

static void bad_samples_are_left_out_on_any_layout(void **state) {
  static const char *const names[] = {"rm/loss", "rm/accuracy", "rm/mean_score", "rm/label_share",
                                      "rm/grad_norm"};
  cli_result_t result;
  char folder[32], set[64];
  (void)state;
  make_pairs("mixed", mixed, MIXED);
  for (int ranks = 1; ranks <= 3; ranks++) {
    snprintf(folder, sizeof folder, "skip_%d", ranks);
    snprintf(set, sizeof set, "job.run_dir=%s", folder);
    CLI_RUN(ranks, &result, LORA, SKIP, "--set", set, MIXED_RM);
    cli_expect(&result, 0);
    assert_non_null(strstr(result.err, "long_facts"));
    assert_int_equal(number(folder, "samples"), MIXED - BAD);
    assert_int_equal(number(folder, "skipped"), BAD);
    for (int step = 0; step < 3; step++)
      for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double expected = ppo_world_metric("skip_1", step, names[i]);
        ppo_world_close(folder, names[i], ppo_world_metric(folder, step, names[i]), expected,
                        fmax(fabs(expected), 0.1));
      }
  }
}

/* ---- What the reward model has seen ---- */

static bool judging(const char *folder, char prompt[8192]) {
  char path[128], *text;
  h5_file_t *file;
  int64_t facts;
  snprintf(path, sizeof path, "%s/model.h5", folder);
  assert_int_equal(h5_open(path, H5_READ, NULL, &file), STATUS_OK);
  assert_int_equal(h5_attr_read_i64(file, "/heads/reward", "facts", &facts, 1), STATUS_OK);
  assert_int_equal(h5_attr_read_text(file, "/heads/reward", "prompt", &text), STATUS_OK);
  snprintf(prompt, 8192, "%s", text);
  memory_free(text);
  assert_int_equal(h5_close(file), STATUS_OK);
  return facts != 0;
}

/* world/rl.h5 has facts, world/pretrain.h5 has none. */
static void ppo_asks_as_the_reward_model_was_trained(void **state) {
  static const char wording[] = "USER: Is it good? ASSISTANT: My score is";
  static char prompt[8192];
  cli_result_t result;
  (void)state;
  cli_write("prompt.txt", wording, sizeof wording - 1);
  assert_true(judging("rm", prompt));
  assert_non_null(strstr(prompt, "{factual_prompt}"));
  CLI_RUN(1, &result, LORA, SET("job.run_dir", "rm_bare"), SET("rm.facts", "F"),
          SET("rm.prompt_file", "prompt.txt"), "rm.nml");
  cli_expect(&result, 0);
  assert_false(judging("rm_bare", prompt));
  assert_string_equal(prompt, wording);
#define PPO(...)                                                                                             \
  CLI_RUN(2, &result, LORA, SET("job.run_dir", "asked"), SET("job.restart", "auto"), __VA_ARGS__, "ppo.nml")
#define STRICT SET("reward.allow_mismatch", "F"), SET("data.dataset", "world/rl.h5")
  PPO(STRICT);
  cli_expect(&result, 0);
  cli_remove("asked");
  PPO(STRICT, SET("reward.facts", "F"));
  cli_expect_one_message(&result, 2);
  PPO(SET("reward.allow_mismatch", "F"));
  cli_expect_one_message(&result, 2);
  PPO(STRICT, SET("reward.model", "rm_bare/model.h5"), SET("reward.facts", "F"));
  cli_expect_one_message(&result, 2);
  PPO(STRICT, SET("reward.model", "rm_bare/model.h5"), SET("reward.facts", "F"),
      SET("reward.prompt_file", "prompt.txt"));
  cli_expect(&result, 0);
  cli_remove("asked");
  PPO(SET("data.dataset", "world/rl.h5"), SET("reward.model", "rm_bare/model.h5"), SET("reward.facts", "F"));
  cli_expect(&result, 0);
}

/* Facts are asked for, and there are none: the result says so. */
static void a_model_that_saw_no_facts_says_so(void **state) {
  static const pair_t bare[] = {{"a", "Yes.", "No.", 1, 0}, {"b", "No.", "Yes.", 2, 0}};
  static char prompt[8192];
  cli_result_t result;
  (void)state;
  make_pairs("bare", bare, 2);
  CLI_RUN(1, &result, LORA, SET("job.run_dir", "bare_rm"), SET("data.dataset", "bare.h5"),
          SET("optim.steps", "1"), "rm.nml");
  cli_expect(&result, 0);
  assert_false(judging("bare_rm", prompt));
}

/* ---- Filtering by reward ---- */

/* Whether the dataset PATH has a sample of each id that has a reward among the KEPT highest in SCORES. */
static void check_filtered(const char *path, const scores_file_t *scores, int64_t kept) {
  dataset_t *dataset;
  int64_t found = 0;
  assert_int_equal(dataset_open(NULL, path, &dataset), STATUS_OK);
  assert_int_equal(dataset_info(dataset).samples, kept);
  for (int64_t i = 0; i < scores->samples; i++) {
    int64_t higher = 0, row = found < kept ? found : kept - 1;
    dataset_sample_t sample;
    for (int64_t k = 0; k < scores->samples; k++)
      higher += scores->reward[k] > scores->reward[i];
    assert_int_equal(dataset_sample_read(dataset, row, &sample), STATUS_OK);
    const size_t n = (size_t)(scores->name_offsets[i + 1] - scores->name_offsets[i]);
    const char *name = scores->names + scores->name_offsets[i];
    const bool there = found < kept && sample.id.n == n && memcmp(sample.id.bytes, name, n) == 0;
    dataset_sample_free(&sample);
    found += there;
    if (there) assert_true(higher < kept);
    if (!there) assert_true(higher + 1 >= kept); /* of equals one may be drawn */
  }
  assert_int_equal(found, kept);
  dataset_close(dataset);
}

static void low_rewards_are_filtered_out(void **state) {
  static const char score[] = "&job task = 'score' run_dir = 'rewards' /\n"
                              "&model base = 'model.h5' adapter = 'rm/model.h5' /\n"
                              "&rm facts = .false. /\n&data dataset = 'world/sft.h5' limit = 12 /\n"
                              "&reward allow_mismatch = .true. /\n";
  static const char filter[] = "&job task = 'prepare' run_dir = 'filter' /\n"
                               "&prepare dataset = 'world/sft.h5' scores = 'rewards/scores.h5' keep = 0.25\n"
                               "  image_folder = 'world/images' output = 'filtered.h5' /\n";
  cli_result_t result;
  scores_file_t scores;
  (void)state;
  cli_write("score.nml", score, sizeof score - 1);
  cli_write("filter.nml", filter, sizeof filter - 1);
  CLI_RUN(2, &result, "score.nml");
  cli_expect(&result, 0);
  CLI_RUN(2, &result, "filter.nml");
  cli_expect(&result, 0);
  assert_int_equal(scores_file_read("rewards/scores.h5", 0, -1, &scores), STATUS_OK);
  assert_int_equal(scores.samples, 12);
  check_filtered("filtered.h5", &scores, 3); /* a quarter of those that have a score */
  scores_file_free(&scores);
  assert_true(cli_exists("filter/prepared.json"));
  CLI_RUN(1, &result, "filter.nml", SET("prepare.dataset", "world/pretrain.h5"), SET("job.run_dir", "other"));
  cli_expect_one_message(&result, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pairs_cut_to_the_same_are_refused),
      cmocka_unit_test(a_collapsed_model_is_right_half_the_time),
      cmocka_unit_test(answers_beyond_the_end_are_refused),
      cmocka_unit_test(the_first_bad_sample_ends_the_run_before_it_begins),
      cmocka_unit_test(bad_samples_are_left_out_on_any_layout),
      cmocka_unit_test(ppo_asks_as_the_reward_model_was_trained),
      cmocka_unit_test(a_model_that_saw_no_facts_says_so),
      cmocka_unit_test(low_rewards_are_filtered_out),
  };
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}
