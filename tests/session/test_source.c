/* Where training and evaluation take their sequences from: data.prefetch, data.max_len, the samples held out,
 * the facts in the judging prompt. */
#include "session/source.h"

#include "base/memory.h"
#include "data/prepare.h"
#include "io/formats/tokenizer_file.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"
#include "session/held_out.h"
#include "session/reward_prompt.h"

#include <stdio.h>
#include <string.h>

enum { TICKETS = 10, SIZE = 336, TICKET_BYTES = 3 * SIZE * SIZE * sizeof(float) };

/* Asks for TICKETS images and takes the tickets' pixels for what memory grew by; what a thread resizes with
 * is less than a ticket. */
static int64_t tickets_held(source_t *source) {
  loader_ticket_t *tickets[TICKETS];
  size_t before = memory_usage(ARENA_FEATURES).current;
  for (int64_t t = 0; t < TICKETS; t++)
    assert_ok(loader_request(source->loader, &t, 1, SIZE, IMAGE_PAD, PIXELS_CLIP, &tickets[t]));
  size_t held = memory_usage(ARENA_FEATURES).current - before;
  for (int t = 0; t < TICKETS; t++)
    loader_release(source->loader, tickets[t]);
  return (int64_t)(held / TICKET_BYTES);
}

/* Task: as many tickets as fit in data.prefetch hold memory, but always one. */
static status_t check_prefetch(session_t *session) {
  model_t model = {.base.config.vision_hidden = 8}; /* it sees */
  source_t source;
  const settings_t *settings = session->settings;
  int64_t fit = (settings->data.prefetch << 20) / TICKET_BYTES;
  if (fit < 1) fit = 1;
  if (fit > TICKETS) fit = TICKETS;
  assert_ok(source_open(session, &model, "data.dataset", settings->data.dataset, &source));
  assert_int_equal(tickets_held(&source), fit);
  source_close(&source);
  return STATUS_OK;
}

static void run_with(const char *prefetch) {
  char input[512];
  snprintf(input, sizeof input,
           "&job task='score' run_dir='@/source%s' /\n&model base='@/model.h5' /\n"
           "&data dataset='@/world/eval.h5' max_len=200 %s%s /\n",
           prefetch, *prefetch ? "prefetch=" : "", prefetch);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, check_prefetch));
}

static void prefetch_is_memory(void **state) {
  (void)state;
  run_with("1");
  run_with("3");
  run_with("8");
  run_with("");
}

/* ---- data.max_len ---- */

enum { SHORT = 30, LONG = 400 };

/* The same sequences, cut after data.max_len tokens. */
static status_t check_lengths(session_t *session) {
  model_t model = {.base.config.vision_hidden = 8}; /* it sees */
  source_t source;
  int cut = 0;
  int32_t limit = (int32_t)session->settings->data.max_len;
  char path[FILE_MAX_PATH];
  assert_ok(tokenizer_load(fixture_path(fixture(), "world/tokenizer.model", path), &model.tokenizer));
  assert_ok(source_open(session, &model, "data.dataset", session->settings->data.dataset, &source));
  for (int64_t row = 0; row < FIXTURE_QUESTIONS; row++) {
    sequence_t sequence, whole;
    int64_t image;
    assert_ok(source_sequence(&source, row, &sequence, &image));
    source.max_len = LONG;
    assert_ok(source_sequence(&source, row, &whole, &image));
    source.max_len = limit;
    assert_true(whole.n < LONG);
    assert_int_equal(sequence.n, whole.n < limit ? whole.n : limit);
    assert_memory_equal(sequence.tokens, whole.tokens, (size_t)sequence.n * sizeof *sequence.tokens);
    cut += sequence.n < whole.n;
    sequence_free(&sequence);
    sequence_free(&whole);
  }
  assert_int_equal(cut > 0, limit == SHORT);
  source_close(&source);
  tokenizer_free(model.tokenizer);
  return STATUS_OK;
}

static void run_task(const char *folder, const char *settings, status_t (*task)(session_t *session)) {
  char input[1024];
  snprintf(input, sizeof input, "&job task='sft' run_dir='@/%s' /\n&model base='@/model.h5' /\n%s", folder,
           settings);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, task));
}

static void sequences_are_cut(void **state) {
  (void)state;
  run_task("short", "&data dataset='@/world/eval.h5' max_len=30 /\n", check_lengths);
  run_task("long", "&data dataset='@/world/eval.h5' max_len=400 /\n", check_lengths);
}

/* ---- What is held out ---- */

enum { HELD_OUT = 5, LIMIT = 3 };

/* The dataset again, with samples held out in it. */
static void hold_out(void) {
  char json[FILE_MAX_PATH], images[FILE_MAX_PATH], output[FILE_MAX_PATH];
  const prepare_options_t options = {.conversations = fixture_path(fixture(), "world/eval.json", json),
                                     .image_folder = fixture_path(fixture(), "world/images", images),
                                     .output = fixture_path(fixture(), "held.h5", output),
                                     .held_out = HELD_OUT,
                                     .seed = 3,
                                     .workers = 1};
  assert_ok(prepare_run(mpi_test_world(), &options, NULL));
}

/* Evaluated on are the first of the samples held out, or of all of eval.dataset. */
static status_t check_held_out(session_t *session) {
  model_t model = {.base.config.vision_hidden = 8}; /* it sees */
  source_t source;
  held_out_t held;
  const settings_t *settings = session->settings;
  bool separate = *settings->eval.dataset != '\0';
  int64_t all = separate ? FIXTURE_QUESTIONS : HELD_OUT;
  dataset_rows_t rows;
  int64_t expected = settings->eval.limit > 0 ? settings->eval.limit : all;
  assert_ok(source_open(session, &model, "data.dataset", settings->data.dataset, &source));
  assert_ok(dataset_rows(session->world, source.dataset, DATASET_HELD_OUT, &rows));
  assert_int_equal(rows.count, HELD_OUT);
  assert_ok(held_out_open(session, &model, &source, &held));
  assert_true((held.source == &source) == !separate);
  assert_int_equal(held.rows.count, expected);
  for (int64_t i = 0; i < expected; i++)
    assert_int_equal(held.rows.rows[i], separate ? i : rows.rows[i]);
  held_out_close(&held);
  dataset_rows_free(&rows);
  source_close(&source);
  return STATUS_OK;
}

static void evaluations_are_on_what_is_held_out(void **state) {
  (void)state;
  hold_out();
  run_task("held", "&data dataset='@/held.h5' /\n&eval every=1 /\n", check_held_out);
  run_task("held_limit", "&data dataset='@/held.h5' /\n&eval every=1 limit=3 /\n", check_held_out);
  run_task("separate", "&data dataset='@/held.h5' /\n&eval every=1 dataset='@/world/prompts.h5' /\n",
           check_held_out);
  run_task("separate_limit",
           "&data dataset='@/held.h5' /\n&eval every=1 limit=3 dataset='@/world/prompts.h5' /\n",
           check_held_out);
}

/* ---- The judging prompt ---- */

enum { USES = 24 };

/* How many of USES judging prompts for one sample differ from the first; all have the same facts. */
static int other_orders(const reward_prompt_t *reward_prompt, const tokenizer_t *tokenizer) {
  static const text_view_t facts[] = {
      {"There is a red circle.", 22}, {"There is a blue ring.", 21}, {"There is a green cross.", 23}};
  sequence_t first = {0};
  int differ = 0;
  for (uint64_t use = 0; use < USES; use++) {
    sequence_t sequence = {0};
    assert_ok(reward_prompt_append(reward_prompt, tokenizer, facts, 3, 7, use, &sequence));
    if (use == 0) {
      first = sequence;
      continue;
    }
    differ += sequence.n != first.n ||
              memcmp(sequence.tokens, first.tokens, (size_t)first.n * sizeof(int32_t)) != 0;
    sequence_free(&sequence);
  }
  sequence_free(&first);
  return differ;
}

/* Three facts have six orders, so about one prompt in six is like the first. */
static status_t check_orders(session_t *session) {
  reward_prompt_t reward_prompt;
  tokenizer_t *tokenizer;
  char path[FILE_MAX_PATH];
  assert_ok(tokenizer_load(fixture_path(fixture(), "world/tokenizer.model", path), &tokenizer));
  assert_ok(reward_prompt_open(session, "", true, &reward_prompt));
  assert_in_range(other_orders(&reward_prompt, tokenizer), USES / 2, USES - 2);
  reward_prompt_free(&reward_prompt);
  assert_ok(reward_prompt_open(session, "", false, &reward_prompt));
  assert_int_equal(other_orders(&reward_prompt, tokenizer), 0);
  reward_prompt_free(&reward_prompt);
  tokenizer_free(tokenizer);
  return STATUS_OK;
}

static void facts_change_their_order_from_use_to_use(void **state) {
  (void)state;
  run_task("orders", "&data dataset='@/world/eval.h5' /\n", check_orders);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fixture_set_up),
                                     cmocka_unit_test(prefetch_is_memory),
                                     cmocka_unit_test(sequences_are_cut),
                                     cmocka_unit_test(evaluations_are_on_what_is_held_out),
                                     cmocka_unit_test(facts_change_their_order_from_use_to_use),
                                     cmocka_unit_test(fixture_tear_down)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
