/* Which questions of a dataset are asked, and what a rank keeps of them. */
#include "rollout/prompts.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"

#include <string.h>

enum { QUESTIONS = 20000, QUERY_LEN = 80, LONG_EVERY = 7, EVERY_ROW = 1, SOME_ROWS = 3 };

/* Every seventh is longer than QUERY_LEN tokens. */
static const char *question_of(int64_t row) {
  static char words[QUERY_LEN * 4 + 1];
  for (size_t i = 0; i < sizeof words - 1; i++)
    words[i] = "red "[i % 4];
  return row % LONG_EVERY == 0 ? words : "red ?";
}

static void write_samples(dataset_writer_t *writer) {
  for (int64_t i = 0; i < QUESTIONS; i++) {
    turn_t turn = {.role = TURN_HUMAN, .text = text_view(question_of(i))};
    const dataset_sample_t sample = {.id = text_view("q"),
                                     .conversation = {.turns = &turn, .count = 1, .imageless = true},
                                     .image = -1,
                                     .caption_type = 1,
                                     .length_bonus = 1.0f};
    assert_ok(dataset_writer_sample(writer, &sample));
  }
}

static void write_questions(void) {
  char path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  dataset_writer_t *writer;
  dataset_counts_t counts = {.samples = QUESTIONS, .texts = 2 * QUESTIONS, .text_bytes = QUESTIONS};
  for (int64_t i = 0; i < QUESTIONS; i++)
    counts.text_bytes += (int64_t)strlen(question_of(i));
  assert_ok(dataset_writer_open(world, fixture_path(fixture(), "many.h5", path), &writer));
  assert_ok(dataset_writer_images(writer, NULL, 0));
  assert_ok(dataset_writer_texts(writer, &counts, 0));
  if (comm_rank(world) == 0) write_samples(writer);
  assert_ok(dataset_writer_close(writer, "{\"files\": []}", 0));
}

typedef struct {
  model_t model;
  source_t source;
} opened_t;

static void open_questions(session_t *session, opened_t *out) {
  assert_ok(model_from_settings(session, &out->model));
  assert_ok(source_open(session, &out->model, "generate.dataset", session->settings->generate.dataset,
                        &out->source));
}

static void close_questions(opened_t *opened) {
  source_close(&opened->source);
  model_free(&opened->model);
}

static prompts_options_t options_of(const int64_t *rows, int64_t limit) {
  return (prompts_options_t){.samples = 1, .query_len = QUERY_LEN, .rows = rows, .limit = limit};
}

/* LIMIT questions, every STEPth of the dataset: those that are short enough, in their order. */
static void check_asked(session_t *session, opened_t *opened, int64_t step, int64_t limit) {
  prompts_t prompts;
  SCOPED_MEMORY int64_t *rows = NULL;
  int64_t count = 0;
  assert_ok(memory_alloc(&rows, ARENA_OTHER, (size_t)limit, sizeof *rows));
  for (int64_t i = 0; i < limit; i++)
    rows[i] = i * step;
  const prompts_options_t options = options_of(step == EVERY_ROW ? NULL : rows, limit);
  assert_ok(prompts_open(session, &opened->model, &opened->source, &options, &prompts));
  for (int64_t i = 0; i < limit; i++)
    if (rows[i] % LONG_EVERY != 0) assert_int_equal(prompts_row(&prompts, count++), rows[i]);
  assert_int_equal(prompts.count, count);
  assert_int_equal(prompts.dropped, limit - count);
  assert_in_range(prompts.longest, 2, QUERY_LEN);
  prompts_close(&prompts);
}

/* Task. */
static status_t ask(session_t *session) {
  opened_t opened;
  open_questions(session, &opened);
  check_asked(session, &opened, EVERY_ROW, 200);
  check_asked(session, &opened, SOME_ROWS, 200);
  check_asked(session, &opened, EVERY_ROW, 2);
  close_questions(&opened);
  return STATUS_OK;
}

/* The most bytes that opening the first N questions takes. */
static size_t bytes_of(session_t *session, opened_t *opened, int64_t n) {
  prompts_t prompts;
  const prompts_options_t options = options_of(NULL, n);
  memory_reset_peaks();
  size_t before = memory_peak();
  assert_ok(prompts_open(session, &opened->model, &opened->source, &options, &prompts));
  size_t grown = memory_peak() - before;
  prompts_close(&prompts);
  return grown;
}

/* Task. */
static status_t measure(session_t *session) {
  opened_t opened;
  open_questions(session, &opened);
  bytes_of(session, &opened, 1000); /* what is kept from then on */
  size_t half = bytes_of(session, &opened, QUESTIONS / 2), all = bytes_of(session, &opened, QUESTIONS);
  if (all > half && all - half > QUESTIONS / 2 / 4)
    fail_msg("%d questions more take %zu bytes more, at most a quarter of a byte each is expected",
             QUESTIONS / 2, all - half);
  close_questions(&opened);
  return STATUS_OK;
}

static void run_with(status_t (*task)(session_t *session)) {
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1,
                        "&job task='generate' run_dir='@/prompts' /\n&model base='@/model.h5' /\n"
                        "&generate dataset='@/many.h5' /\n",
                        task));
}

static void short_questions_are_asked_in_their_order(void **state) {
  (void)state;
  write_questions();
  run_with(ask);
}

static void a_rank_keeps_a_bit_of_a_question(void **state) {
  (void)state;
  run_with(measure);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),
      cmocka_unit_test(short_questions_are_asked_in_their_order),
      cmocka_unit_test(a_rank_keeps_a_bit_of_a_question),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
