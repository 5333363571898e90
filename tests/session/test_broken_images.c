/* Images that break after task prepare. 'stop': one message that names file, sample and rank, exit status 3,
 * on any layout. 'skip': the sample is reported, counted and learnt from nowhere, and the result depends on
 * no layout. */
#define _GNU_SOURCE
#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/formats/rollout_file.h"
#include "io/formats/scores_file.h"
#include "io/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* fp32 sums in another order. */
static const double tolerance = 1e-4;

#define SKIP "--set", "data.bad_sample=skip"

static const char sft_input[] =
    "&job task = 'sft' run_dir = 'sft' /\n&model base = 'model.h5' train = 'all' /\n"
    "&data dataset = 'world/pretrain.h5' max_len = 512 /\n"
    "&optim lr = 1e-3 batch = 40 steps = 1 warmup_ratio = 0 micro_tokens = 2048 /\n";
static const char rm_input[] = "&job task = 'rm' run_dir = 'rm' /\n&model base = 'model.h5' /\n"
                               "&data dataset = 'pairs.h5' /\n&rm center_group = 2 /\n"
                               "&optim lr = 1e-2 batch = 4 steps = 1 warmup_ratio = 0 /\n";
static const char ppo_input[] = "&job task = 'ppo' /\n&model base = 'model.h5' /\n"
                                "&data dataset = 'world/pretrain.h5' query_len = 256 /\n&reward model = "
                                "'rm/model.h5' allow_mismatch = .true. /\n"
                                "&rollout batch = 6 response_len = 10 /\n"
                                "&ppo steps = 1 minibatch = 3 inner_epochs = 1 /\n"
                                "&optim lr = 1e-3 warmup_steps = 0 micro_tokens = 256 /\n";
static const char score_input[] = "&job task = 'score' /\n&model base = 'model.h5' /\n&data dataset = "
                                  "'world/pretrain.h5' max_len = 512 /\n";
static const char generate_input[] =
    "&job task = 'generate' /\n&model base = 'model.h5' /\n"
    "&generate dataset = 'world/pretrain.h5' max_tokens = 4 greedy = .true. /\n";

static const struct {
  int ranks;
  const char *tp;
} layouts[] = {{1, "1"}, {2, "1"}, {2, "2"}, {3, "1"}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, BROKEN = 7 };

static int set_up(void **state) {
  static const struct {
    const char *name, *text;
  } inputs[] = {{"sft.nml", sft_input},
                {"rm.nml", rm_input},
                {"ppo.nml", ppo_input},
                {"score.nml", score_input},
                {"generate.nml", generate_input}};
  if (ppo_world_enter(state) != 0) return -1;
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
    cli_write(inputs[i].name, inputs[i].text, strlen(inputs[i].text));
  return 0;
}

/* ---- Breaking a file ---- */

static void *read_all(const char *path, size_t *n) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  *n = (size_t)ftell(file);
  rewind(file);
  void *bytes = malloc(*n);
  assert_int_equal(fread(bytes, 1, *n, file), *n);
  fclose(file);
  return bytes;
}

/* COPY becomes DATASET with zeros where image IMAGE begins. */
static void break_image(const char *path, int64_t image, const char *copy) {
  enum { HEADER = 64 };
  dataset_t *dataset;
  uint8_t *jpeg;
  size_t n;
  assert_int_equal(dataset_open(NULL, path, &dataset), STATUS_OK);
  size_t size = (size_t)dataset_image_size(dataset, image);
  assert_int_equal(memory_alloc(&jpeg, ARENA_DATA, size, 1), STATUS_OK);
  assert_int_equal(dataset_image_read(dataset, image, jpeg), STATUS_OK);
  dataset_close(dataset);
  char *bytes = read_all(path, &n), *place = memmem(bytes, n, jpeg, size);
  assert_non_null(place);
  memset(place, 0, HEADER);
  cli_write(copy, bytes, n);
  free(bytes);
  memory_free(jpeg);
}

/* The only sample with IMAGE. */
static int64_t sample_of(const char *path, int64_t image, char id[64]) {
  dataset_t *dataset;
  dataset_sample_t sample;
  int64_t row = -1;
  assert_int_equal(dataset_open(NULL, path, &dataset), STATUS_OK);
  for (int64_t i = 0; i < dataset_info(dataset).samples; i++) {
    if (dataset_sample_image(dataset, i) != image) continue;
    assert_int_equal(row, -1);
    row = i;
  }
  assert_int_equal(dataset_sample_read(dataset, row, &sample), STATUS_OK);
  snprintf(id, 64, "%s", sample.id.bytes);
  dataset_sample_free(&sample);
  dataset_close(dataset);
  return row;
}

/* ---- Reading results ---- */

static double metric(const char *folder, const char *name) {
  static char text[1 << 15];
  char path[128];
  json_document_t document;
  snprintf(path, sizeof path, "%s", folder);
  size_t n = cli_read(path, text, sizeof text);
  if (json_parse(text, n, path, &document) != STATUS_OK) fail_msg("%s", error_message());
  const json_t *node = json_get(document.root, name);
  if (!node) fail_msg("%s has no %s", path, name);
  double value = node->type == JSON_INT ? (double)node->u.integer : node->u.real;
  json_free(&document);
  return value;
}

static void check_metric(const char *folder, const char *name, double expected) {
  char path[128];
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  double found = metric(path, name);
  if (!(fabs(found - expected) <= tolerance * fmax(fabs(expected), 1e-3)))
    fail_msg("%s: %s is %.9g, expected %.9g", folder, name, found, expected);
}

static double value_of(const char *folder, const char *name) {
  char path[128];
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  return metric(path, name);
}

static void check_skipped(const char *folder, int64_t expected) {
  char path[128];
  snprintf(path, sizeof path, "%s/run.json", folder);
  assert_int_equal((int64_t)metric(path, "skipped_samples"), expected);
}

static void name_run(char folder[64], char set[128], char tp[32], const char *name, size_t layout) {
  snprintf(folder, 64, "%s_%d_%s", name, layouts[layout].ranks, layouts[layout].tp);
  snprintf(set, 128, "job.run_dir=%s", folder);
  snprintf(tp, 32, "parallel.tp=%s", layouts[layout].tp);
}

/* Runs INPUT with DATASET (a setting) into NAME_layout on each layout, bad samples skipped. */
static void run_layouts(const char *name, const char *dataset, const char *input, const char *more) {
  for (size_t l = 0; l < LAYOUTS; l++) {
    cli_result_t result;
    char folder[64], set[128], tp[32];
    name_run(folder, set, tp, name, l);
    CLI_RUN(layouts[l].ranks, &result, LORA, SKIP, "--set", set, "--set", tp, "--set", dataset, "--set", more,
            input);
    cli_expect(&result, 0);
    assert_non_null(strstr(result.err, "skipped: "));
  }
}

/* ---- Tests ---- */

static void stop_names_file_sample_and_rank(void **state) {
  (void)state;
  static const struct {
    const char *input, *dataset, *all; /* ALL: so that the broken sample is among the first */
  } tasks[] = {{"sft.nml", "data.dataset=broken.h5", "optim.batch=40"},
               {"score.nml", "data.dataset=broken.h5", "data.limit=40"},
               {"ppo.nml", "data.dataset=broken.h5", "rollout.batch=42"},
               {"generate.nml", "generate.dataset=broken.h5", "data.limit=40"}};
  char id[64], quoted[80];
  break_image("world/pretrain.h5", BROKEN, "broken.h5");
  sample_of("world/pretrain.h5", BROKEN, id);
  snprintf(quoted, sizeof quoted, "sample '%s'", id);
  for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++)
    for (int ranks = 1; ranks <= 2; ranks++) {
      cli_result_t result;
      char run_dir[64];
      snprintf(run_dir, sizeof run_dir, "job.run_dir=stopped_%zu_%d", t, ranks);
      CLI_RUN(ranks, &result, LORA, "--set", run_dir, "--set", tasks[t].dataset, "--set", tasks[t].all,
              tasks[t].input);
      cli_expect_one_message(&result, 3);
      assert_non_null(strstr(result.err, quoted));
      assert_non_null(strstr(result.err, ".jpg"));
      assert_non_null(strstr(result.err, "on rank "));
    }
}

/* The whole epoch is one batch, so the broken sample is in it. */
static void supervised_learns_from_the_others(void **state) {
  (void)state;
  cli_result_t result;
  char id[64], folder[64], set[128], tp[32];
  break_image("world/pretrain.h5", BROKEN, "broken.h5");
  int64_t row = sample_of("world/pretrain.h5", BROKEN, id);
  CLI_RUN(1, &result, "--set", "job.run_dir=whole", "sft.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "job.run_dir=whole_score", "score.nml");
  cli_expect(&result, 0);
  scores_file_t scores;
  assert_int_equal(scores_file_read("whole_score/scores.h5", 0, -1, &scores), STATUS_OK);
  double tokens = value_of("whole", "sft/tokens") - (double)(scores.offsets[row + 1] - scores.offsets[row]);
  scores_file_free(&scores);
  if (!(tokens > 0.0 && tokens < value_of("whole", "sft/tokens")))
    fail_msg("%g tokens of %g are expected", tokens, value_of("whole", "sft/tokens"));
  run_layouts("sft", "data.dataset=broken.h5", "sft.nml", "job.seed=1");
  for (size_t l = 0; l < LAYOUTS; l++) {
    name_run(folder, set, tp, "sft", l);
    check_metric(folder, "sft/tokens", tokens);
    check_metric(folder, "data/skipped", 1.0);
    check_metric(folder, "sft/loss", value_of("sft_1_1", "sft/loss"));
    check_metric(folder, "sft/grad_norm", value_of("sft_1_1", "sft/grad_norm"));
    check_skipped(folder, 1);
  }
}

/* A batch with nothing but the broken sample changes no weight. */
static void batch_of_a_broken_sample(void **state) {
  (void)state;
  cli_result_t result;
  break_image("world/pretrain.h5", 0, "broken.h5");
  CLI_RUN(2, &result, SKIP, "--set", "job.run_dir=nothing", "--set", "data.dataset=broken.h5", "--set",
          "data.limit=1", "--set", "optim.batch=1", "sft.nml");
  cli_expect(&result, 0);
  check_metric("nothing", "sft/tokens", 0.0);
  check_metric("nothing", "sft/grad_norm", 0.0);
  check_metric("nothing", "data/skipped", 1.0);
}

static void pairs_learn_from_the_others(void **state) {
  (void)state;
  char folder[64], set[128], tp[32];
  break_image("pairs.h5", 0, "broken_pairs.h5");
  run_layouts("rm", "data.dataset=broken_pairs.h5", "rm.nml", "data.limit=4"); /* one batch: all four */
  for (size_t l = 0; l < LAYOUTS; l++) {
    name_run(folder, set, tp, "rm", l);
    double skipped = value_of("rm_1_1", "data/skipped");
    assert_true(skipped >= 1.0 && skipped < 4.0);
    check_metric(folder, "data/skipped", skipped);
    check_metric(folder, "rm/loss", value_of("rm_1_1", "rm/loss"));
    check_metric(folder, "rm/mean_score", value_of("rm_1_1", "rm/mean_score"));
    check_metric(folder, "rm/grad_norm", value_of("rm_1_1", "rm/grad_norm"));
  }
}

static void scores_of_the_others_stay(void **state) {
  (void)state;
  char id[64], folder[64], set[128], tp[32], path[128];
  cli_result_t result;
  scores_file_t whole, found;
  break_image("world/pretrain.h5", BROKEN, "broken.h5");
  int64_t row = sample_of("world/pretrain.h5", BROKEN, id);
  CLI_RUN(1, &result, "--set", "job.run_dir=whole_score", "score.nml");
  cli_expect(&result, 0);
  assert_int_equal(scores_file_read("whole_score/scores.h5", 0, -1, &whole), STATUS_OK);
  run_layouts("score", "data.dataset=broken.h5", "score.nml", "job.seed=1");
  for (size_t l = 0; l < LAYOUTS; l++) {
    name_run(folder, set, tp, "score", l);
    snprintf(path, sizeof path, "%s/scores.h5", folder);
    assert_int_equal(scores_file_read(path, 0, -1, &found), STATUS_OK);
    assert_int_equal(found.samples, whole.samples);
    for (int64_t i = 0; i < whole.samples; i++) {
      int64_t n = whole.offsets[i + 1] - whole.offsets[i];
      assert_int_equal(found.offsets[i + 1] - found.offsets[i], i == row ? 0 : n);
      for (int64_t t = 0; t < n && i != row; t++)
        assert_true(fabsf(found.logprob[found.offsets[i] + t] - whole.logprob[whole.offsets[i] + t]) <=
                    1e-4F);
    }
    scores_file_free(&found);
    check_skipped(folder, 1);
  }
  scores_file_free(&whole);
}

static int lines_with(const char *path, const char *what) {
  FILE *file = fopen(path, "rb");
  char *line = NULL;
  size_t size = 0;
  int count = 0;
  assert_non_null(file);
  while (getline(&line, &size, file) > 0)
    count += strstr(line, what) != NULL;
  free(line);
  fclose(file);
  return count;
}

static void broken_questions_have_no_answer(void **state) {
  (void)state;
  char id[64], folder[64], set[128], tp[32], path[128], member[80];
  break_image("world/pretrain.h5", BROKEN, "broken.h5");
  sample_of("world/pretrain.h5", BROKEN, id);
  snprintf(member, sizeof member, "\"%s\"", id);
  run_layouts("generate", "generate.dataset=broken.h5", "generate.nml", "job.seed=1");
  for (size_t l = 0; l < LAYOUTS; l++) {
    name_run(folder, set, tp, "generate", l);
    snprintf(path, sizeof path, "%s/answers.jsonl", folder);
    assert_int_equal(lines_with(path, "\"answer\""), 39);
    assert_int_equal(lines_with(path, member), 0);
    check_skipped(folder, 1);
  }
}

/* The prompt of a broken image is replaced by the next one of the step, which is answered anew. */
static void ppo_replaces_broken_prompts(void **state) {
  (void)state;
  enum { WHICH = 2 };
  cli_result_t result;
  char folder[64], set[128], tp[32], path[128];
  rollout_file_t whole, alone = {0}, found;
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=whole_ppo", "ppo.nml");
  cli_expect(&result, 0);
  assert_int_equal(rollout_file_read("whole_ppo/rollouts/step_00000001.h5", 0, -1, NULL, &whole), STATUS_OK);
  break_image("world/pretrain.h5", whole.image[WHICH], "broken.h5");
  run_layouts("ppo", "data.dataset=broken.h5", "ppo.nml", "job.seed=1");
  for (size_t l = 0; l < LAYOUTS; l++) {
    name_run(folder, set, tp, "ppo", l);
    snprintf(path, sizeof path, "%s/rollouts/step_00000001.h5", folder);
    assert_int_equal(rollout_file_read(path, 0, -1, NULL, &found), STATUS_OK);
    assert_int_equal(found.samples, whole.samples);
    for (int64_t i = 0; i < whole.samples; i++)
      assert_int_equal(found.id[i], whole.id[i == WHICH ? WHICH + 1 : i]);
    check_metric(folder, "data/skipped", 1.0);
    check_metric(folder, "ppo/loss/grad_norm", value_of("ppo_1_1", "ppo/loss/grad_norm"));
    check_skipped(folder, 1);
    if (l == 0) {
      alone = found;
      continue;
    }
    int64_t tokens = alone.response_offsets[alone.samples];
    assert_int_equal(found.response_offsets[found.samples], tokens);
    assert_memory_equal(found.response_tokens, alone.response_tokens, (size_t)tokens * sizeof(int32_t));
    rollout_file_free(&found);
  }
  rollout_file_free(&alone);
  rollout_file_free(&whole);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stop_names_file_sample_and_rank), cmocka_unit_test(supervised_learns_from_the_others),
      cmocka_unit_test(batch_of_a_broken_sample),        cmocka_unit_test(pairs_learn_from_the_others),
      cmocka_unit_test(scores_of_the_others_stay),       cmocka_unit_test(broken_questions_have_no_answer),
      cmocka_unit_test(ppo_replaces_broken_prompts),
  };
  return cmocka_run_group_tests(tests, set_up, cli_leave);
}
