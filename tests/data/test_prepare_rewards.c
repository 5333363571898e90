/* Samples of a dataset chosen by the rewards that task score gave them. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "io/formats/scores_file.h"
#include "prepare_setting.h"

/* Scores of all talks but the last one, which has no answer to score; talk I has the reward -(I % 7). */
static void write_scores(const char *path, const char *dataset, uint64_t identity) {
  char model[] = "model.h5", name[FILE_MAX_PATH];
  const int64_t n = data_test_first() ? TALKS : 0;
  int64_t index[TALKS], id[TALKS], offsets[TALKS + 1] = {0}, name_offsets[TALKS + 1] = {0};
  int32_t tokens[TALKS] = {0};
  float logprob[TALKS] = {0}, reward[TALKS];
  snprintf(name, sizeof name, "%s", dataset);
  for (int64_t i = 0; i < TALKS; i++) {
    index[i] = i;
    id[i] = TALKS - 1 - i; /* in any order */
    offsets[i + 1] = offsets[i] + (id[i] != TALKS - 1);
    reward[i] = -(float)(id[i] % 7);
  }
  const scores_info_t info = {model, name, identity};
  const scores_file_t round = {.samples = n,
                               .index = index,
                               .id = id,
                               .name_offsets = name_offsets,
                               .names = model,
                               .offsets = offsets,
                               .tokens = tokens,
                               .logprob = logprob,
                               .has_reward = true,
                               .reward = reward};
  scores_writer_t *writer;
  assert_ok(scores_writer_open(mpi_test_world(), path, &info, true, &writer));
  assert_ok(scores_writer_append(writer, &round));
  assert_ok(scores_writer_close(writer));
}

/* A dataset of talks of which some are held out, and its scores. */
static void rewards_start(prepare_setting_t *setting, char scored[FILE_MAX_PATH],
                          char scores[FILE_MAX_PATH]) {
  setting_start(setting);
  prepare_options_t *options = &setting->options;
  dataset_t *dataset;
  options->conversations = setting->talks;
  options->facts = setting->facts;
  options->output = io_test_path(scored, setting->folder, "scored.h5");
  options->held_out = 4;
  options->split_images = true;
  assert_ok(prepare_run(mpi_test_world(), options, NULL));
  assert_ok(dataset_open(mpi_test_world(), scored, &dataset));
  io_test_path(scores, setting->folder, "scores.h5");
  write_scores(scores, scored, dataset_info(dataset).identity);
  dataset_close(dataset);
  *options = (prepare_options_t){.dataset = scored,
                                 .scores = scores,
                                 .keep = 0.5,
                                 .image_folder = setting->images,
                                 .output = setting->output,
                                 .seed = 11,
                                 .workers = 2};
}

/* The rows of BEFORE that AFTER should have: held out, or scored and among the best half. */
static void check_rewards(const dataset_t *before, const dataset_t *after) {
  int64_t row = 0, trained = 0, kept = 0;
  double worst_kept = 1, best_dropped = -100;
  for (int64_t i = 0; i < TALKS; i++) {
    dataset_sample_t old, new = {0};
    assert_ok(dataset_sample_read(before, i, &old));
    if (row < dataset_info(after).samples) assert_ok(dataset_sample_read(after, row, &new));
    const bool there = row < dataset_info(after).samples && strcmp(old.id.bytes, new.id.bytes) == 0;
    const double reward = -(double)(i % 7);
    if (old.held_out) assert_true(there);
    if (there) {
      assert_int_equal(new.held_out, old.held_out);
      assert_int_equal(new.fact_count, old.fact_count);
      for (int32_t f = 0; f < old.fact_count; f++)
        assert_string_equal(new.facts[f].bytes, old.facts[f].bytes);
      assert_string_equal(new.conversation.turns[1].text.bytes, old.conversation.turns[1].text.bytes);
      row++;
    }
    if (!old.held_out && i == TALKS - 1) assert_false(there);
    if (!old.held_out && i < TALKS - 1) {
      trained++;
      kept += there;
      if (there && reward < worst_kept) worst_kept = reward;
      if (!there && reward > best_dropped) best_dropped = reward;
    }
    dataset_sample_free(&old);
    dataset_sample_free(&new);
  }
  assert_int_equal(row, dataset_info(after).samples);
  assert_int_equal(kept, (trained + 1) / 2);
  assert_true(worst_kept >= best_dropped);
}

static void samples_with_high_rewards_are_kept(void **state) {
  (void)state;
  prepare_setting_t setting;
  dataset_t *before, *after;
  char scored[FILE_MAX_PATH], scores[FILE_MAX_PATH];
  rewards_start(&setting, scored, scores);
  assert_ok(dataset_open(mpi_test_world(), scored, &before));
  after = prepared(&setting, NULL);
  assert_int_equal(dataset_info(after).held_out, 4);
  check_rewards(before, after);
  dataset_close(after);
  dataset_close(before);
  prepare_options_t *options = &setting.options;
  options->held_out = 2;
  assert_prepare_fails(&setting, STATUS_INPUT, "held out already");
  options->held_out = 0;
  options->dataset = setting.output; /* other contents than those that were scored */
  assert_prepare_fails(&setting, STATUS_DATA, "score the samples");
  options->dataset = NULL;
  options->conversations = setting.talks;
  assert_prepare_fails(&setting, STATUS_INPUT, "name that dataset");
  setting_end(&setting);
}

/* What leaves nothing but held-out samples is refused: a share of none, a limit. */
static void something_is_left_to_train_on(void **state) {
  (void)state;
  enum { SEEDS = 40 };
  prepare_setting_t setting;
  char scored[FILE_MAX_PATH], scores[FILE_MAX_PATH];
  int64_t refused = 0;
  rewards_start(&setting, scored, scores);
  prepare_options_t *options = &setting.options;
  options->keep = 0.01;
  assert_prepare_fails(&setting, STATUS_INPUT, "is none of them");
  assert_int_equal(io_test_size(setting.output), -1);
  options->scores = NULL;
  options->dataset_limit = 1;
  for (options->seed = 0; options->seed < SEEDS; options->seed++) {
    prepare_counts_t counts;
    status_code_t status = prepare_run(mpi_test_world(), options, &counts);
    if (status == STATUS_OK) assert_int_equal(counts.samples - counts.held_out, 1);
    if (status != STATUS_OK) assert_int_equal(status, STATUS_INPUT);
    refused += status != STATUS_OK;
    error_clear();
  }
  assert_true(refused > 0 && refused < SEEDS);
  setting_end(&setting);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(samples_with_high_rewards_are_kept),
      cmocka_unit_test(something_is_left_to_train_on),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
