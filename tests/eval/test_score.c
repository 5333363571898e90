/* Task score: log-probabilities and rewards of given answers, against one pass per answer. */
#include "eval/score.h"

#include "base/memory.h"
#include "io/formats/scores_file.h"
#include "model/tower.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"
#include "session/reward_prompt.h"
#include "session/source.h"
#include "text/judging.h"

#include <math.h>
#include <string.h>

/* Scores are kept as floats. */
static const double tolerance = 2e-6;

#define REWARD_INPUT                                                                                         \
  "&job task='score' run_dir='@/score' /\n&model base='@/reward.h5' /\n"                                     \
  "&data dataset='@/world/eval.h5' max_len=200 /\n"

static void read_scores(const char *name, scores_file_t *scores) {
  char path[FILE_MAX_PATH];
  assert_ok(scores_file_read(fixture_path(fixture(), name, path), 0, -1, scores));
}

/* ---- The same, one answer at a time ---- */

typedef struct {
  source_t source;
  model_t model;
  role_t role;
  reward_prompt_t reward_prompt;
} direct_t;

static void forward(direct_t *direct, const sequence_t *sequence, int64_t image, packed_t *packed) {
  const model_config_t *config = &direct->model.base.config;
  const packed_source_t source = {sequence->tokens, sequence->n, image >= 0 ? 0 : -1};
  size_t per_image = (size_t)config_patches(config) * (size_t)config_patch_size(config);
  float *patches;
  const float *pixels;
  loader_ticket_t *ticket;
  assert_true(image >= 0);
  assert_ok(loader_request(direct->source.loader, &image, 1, config->vision_image_size, direct->source.aspect,
                           PIXELS_CLIP, &ticket));
  assert_ok(loader_wait(direct->source.loader, ticket, &pixels));
  assert_ok(memory_alloc(&patches, ARENA_OTHER, per_image, sizeof *patches));
  tower_patches(config, pixels, patches);
  loader_release(direct->source.loader, ticket);
  const pass_images_t images = {.count = 1, .patches = patches};
  assert_ok(packed_create(&source, 1, config_patches(config), packed));
  assert_ok(pass_forward(direct->model.pass, &direct->role, packed, &images, false, NULL, NULL));
  memory_free(patches);
}

static void check_logprobs(direct_t *direct, int64_t row, const scores_file_t *scores) {
  sequence_t sequence = {0};
  packed_t packed;
  int64_t image, begin = scores->offsets[row];
  assert_ok(source_sequence(&direct->source, row, &sequence, &image));
  forward(direct, &sequence, image, &packed);
  assert_int_equal(scores->offsets[row + 1] - begin, sequence_learnt(&sequence));
  assert_true(sequence_learnt(&sequence) > 1);
  int32_t shift = packed.offsets[1] - sequence.n; /* the image is before all answers */
  for (int32_t t = 0, k = 0; t < sequence.n; t++) {
    if (!sequence.learnt[t]) continue;
    int32_t at = t + shift - 1;
    double logprob;
    assert_ok(pass_logprobs(direct->model.pass, 1, &at, &sequence.tokens[t], 1.0, &logprob, NULL));
    assert_int_equal(scores->tokens[begin + k], sequence.tokens[t]);
    assert_true(fabs(scores->logprob[begin + k] - logprob) <= tolerance * fabs(logprob));
    k++;
  }
  packed_free(&packed);
  sequence_free(&sequence);
}

static void check_reward(direct_t *direct, int64_t row, const scores_file_t *scores) {
  dataset_sample_t sample;
  sequence_t sequence = {0};
  packed_t packed;
  double reward;
  assert_ok(dataset_sample_read(direct->source.dataset, row, &sample));
  text_view_t answer = sample.conversation.turns[sample.conversation.count - 1].text;
  assert_true(sample.fact_count > 0);
  assert_ok(conversation_answered(direct->model.tokenizer, TEMPLATE_V1, &sample.conversation, answer, true,
                                  &sequence));
  assert_ok(reward_prompt_append(&direct->reward_prompt, direct->model.tokenizer, sample.facts,
                                 sample.fact_count, (uint64_t)row, 0, &sequence));
  forward(direct, &sequence, sample.image, &packed);
  int32_t last = packed.offsets[1] - 1;
  assert_ok(pass_scalars(direct->model.pass, 1, &last, &reward));
  assert_true(fabs(scores->reward[row] - reward) <= tolerance * fmax(1.0, fabs(reward)));
  packed_free(&packed);
  sequence_free(&sequence);
  dataset_sample_free(&sample);
}

/* The file says of which samples of which dataset it is. */
static void check_names(const direct_t *direct, const scores_file_t *scores) {
  char path[FILE_MAX_PATH];
  scores_info_t info;
  dataset_sample_t sample;
  assert_ok(scores_info_read(fixture_path(fixture(), "score/scores.h5", path), &info));
  assert_string_equal(info.dataset, dataset_path(direct->source.dataset));
  assert_true(info.dataset_identity == dataset_info(direct->source.dataset).identity);
  scores_info_free(&info);
  for (int64_t row = 0; row < scores->samples; row++) {
    int64_t begin = scores->name_offsets[row];
    assert_ok(dataset_sample_read(direct->source.dataset, row, &sample));
    assert_int_equal(scores->name_offsets[row + 1] - begin, sample.id.n);
    assert_memory_equal(scores->names + begin, sample.id.bytes, sample.id.n);
    dataset_sample_free(&sample);
  }
}

/* Task: compares what the score task wrote. */
static status_t check_scores(session_t *session) {
  static const char *const roles[] = {"reward", NULL};
  direct_t direct = {0};
  adapter_t adapter;
  head_t head;
  scores_file_t scores;
  TRY(model_from_settings(session, &direct.model));
  TRY(model_load_adapter(session, &direct.model, session->settings->model.base, roles, "reward", &adapter,
                         NULL));
  TRY(model_load_head(session, &direct.model, session->settings->model.base, "reward", &head));
  direct.role = (role_t){&direct.model.base, &adapter, &head};
  TRY(source_open(session, &direct.model, "data.dataset", session->settings->data.dataset, &direct.source));
  TRY(reward_prompt_open(session, "", true, &direct.reward_prompt));
  read_scores("score/scores.h5", &scores);
  assert_int_equal(scores.samples, FIXTURE_QUESTIONS);
  assert_true(scores.has_reward);
  for (int64_t row = 0; row < scores.samples; row++) {
    assert_int_equal(scores.id[row], row);
    check_logprobs(&direct, row, &scores);
    check_reward(&direct, row, &scores);
  }
  assert_true(scores.reward[0] != scores.reward[1]);
  check_names(&direct, &scores);
  scores_file_free(&scores);
  reward_prompt_free(&direct.reward_prompt);
  source_close(&direct.source);
  head_free(&head);
  adapter_free(&adapter);
  model_free(&direct.model);
  return STATUS_OK;
}

static void test_scores(void **state) {
  (void)state;
  comm_t *world = mpi_test_world(), *self;
  assert_ok(comm_split(world, comm_rank(world), 0, "self", &self));
  for (int tp = 1; tp <= comm_size(world) && tp <= 4; tp *= 2) {
    if (!mpi_test_fits(tp)) continue;
    assert_ok(fixture_run(fixture(), world, tp, REWARD_INPUT "&optim micro_tokens=300 /\n", score_run));
    if (comm_rank(world) == 0)
      assert_ok(fixture_run(fixture(), self, 1,
                            "&job task='score' run_dir='@/check' /\n&model base='@/reward.h5' /\n"
                            "&data dataset='@/world/eval.h5' max_len=200 /\n",
                            check_scores));
    assert_ok(comm_barrier(world));
  }
  comm_free(self);
}

/* Little memory for a pass makes rounds of few samples: the file stays the same. */
static void test_rounds(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  scores_file_t one, many;
  assert_ok(fixture_run(fixture(), world, 1, REWARD_INPUT "&optim micro_tokens=300 /\n", score_run));
  read_scores("score/scores.h5", &one);
  assert_ok(comm_barrier(world));
  assert_ok(fixture_run(fixture(), world, 1, REWARD_INPUT "&optim micro_tokens=20 /\n", score_run));
  read_scores("score/scores.h5", &many);
  assert_int_equal(many.samples, one.samples);
  size_t offsets = (size_t)one.samples + 1, tokens = (size_t)one.offsets[one.samples];
  assert_memory_equal(many.offsets, one.offsets, offsets * sizeof *one.offsets);
  assert_memory_equal(many.id, one.id, (offsets - 1) * sizeof *one.id);
  assert_memory_equal(many.name_offsets, one.name_offsets, offsets * sizeof *one.name_offsets);
  assert_memory_equal(many.names, one.names, (size_t)one.name_offsets[one.samples]);
  assert_memory_equal(many.tokens, one.tokens, tokens * sizeof *one.tokens);
  for (size_t t = 0; t < tokens; t++)
    assert_true(fabs((double)many.logprob[t] - (double)one.logprob[t]) <= tolerance);
  for (int64_t i = 0; i < one.samples; i++)
    assert_true(fabs((double)many.reward[i] - (double)one.reward[i]) <= tolerance);
  scores_file_free(&one);
  scores_file_free(&many);
  assert_ok(comm_barrier(world));
}

static void test_base_without_head(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  scores_file_t scores;
  assert_ok(fixture_run(fixture(), world, 1,
                        "&job task='score' run_dir='@/base' /\n&model base='@/model.h5' /\n"
                        "&data dataset='@/world/eval.h5' limit=5 /\n",
                        score_run));
  read_scores("base/scores.h5", &scores);
  assert_int_equal(scores.samples, 5);
  assert_false(scores.has_reward);
  scores_file_free(&scores);
  assert_ok(comm_barrier(world));
}

/* The built-in prompt wants no facts where none are asked for. */
static void test_facts_matter(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  scores_file_t with, without;
  read_scores("score/scores.h5", &with);
  assert_ok(comm_barrier(world));
  /* The reward model was trained with facts: that it sees none must be meant. */
  assert_error(fixture_run(fixture(), world, 1, REWARD_INPUT "&rm facts=.false. /\n", score_run),
               STATUS_INPUT);
  assert_ok(fixture_run(fixture(), world, 1,
                        REWARD_INPUT "&rm facts=.false. /\n&reward allow_mismatch=.true. /\n", score_run));
  read_scores("score/scores.h5", &without);
  assert_true(with.reward[0] != without.reward[0]);
  assert_memory_equal(with.tokens, without.tokens, (size_t)with.offsets[with.samples] * sizeof *with.tokens);
  scores_file_free(&with);
  scores_file_free(&without);
  assert_ok(comm_barrier(world));
}

/* The judging prompt of rm.prompt_file: the built-in wording gives the same rewards, another one others. */
static void test_prompt_file(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  static const char other[] = "There is no circle. {factual_prompt} There is no square.";
  char path[FILE_MAX_PATH];
  scores_file_t builtin, same, changed;
  if (comm_rank(world) == 0) {
    assert_ok(file_replace(fixture_path(fixture(), "builtin.txt", path), judging_prompt_builtin(),
                           strlen(judging_prompt_builtin())));
    assert_ok(file_replace(fixture_path(fixture(), "other.txt", path), other, strlen(other)));
  }
  assert_ok(fixture_run(fixture(), world, 1, REWARD_INPUT, score_run));
  read_scores("score/scores.h5", &builtin);
  assert_ok(comm_barrier(world));
  assert_ok(fixture_run(fixture(), world, 1, REWARD_INPUT "&rm prompt_file='@/builtin.txt' /\n", score_run));
  read_scores("score/scores.h5", &same);
  assert_ok(comm_barrier(world));
  assert_ok(fixture_run(fixture(), world, 1,
                        REWARD_INPUT "&rm prompt_file='@/other.txt' /\n&reward allow_mismatch=.true. /\n",
                        score_run));
  read_scores("score/scores.h5", &changed);
  for (int64_t i = 0; i < FIXTURE_QUESTIONS; i++) {
    assert_true(same.reward[i] == builtin.reward[i]);
    assert_true(changed.reward[i] != builtin.reward[i]);
  }
  scores_file_free(&builtin);
  scores_file_free(&same);
  scores_file_free(&changed);
  assert_ok(comm_barrier(world));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),    cmocka_unit_test(test_scores),
      cmocka_unit_test(test_rounds),       cmocka_unit_test(test_facts_matter),
      cmocka_unit_test(test_prompt_file),  cmocka_unit_test(test_base_without_head),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
