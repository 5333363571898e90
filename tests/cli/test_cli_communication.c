/* What a step sends equals what the sizes of the model and the layout say: each collective of dp and of tp to
 * the byte, in a supervised step and in a PPO step. A run with one step more than another sends that step's
 * bytes more. Counted are bytes that a rank gives to a collective, summed over ranks. */
#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The small model of cli.c, and LORA; numbers of a record of ops_head.h. */
enum { C = 32, F = 64, L = 2, PATCHES = 9, TOWER_C = 32, R = 4, RECORD = 7, REAL = 4, WIDE = 8, INDEX = 4 };
/* Adapters on q, k, v, o, gate, up and down: their weights, and their columns of u side by side. */
enum { ADAPTER = L * R * (4 * (C + C) + 3 * (C + F)), U = 7 * R };
/* Shares of a gradient are whole multiples of so many elements (params.h). */
enum { SHARE_UNIT = 16 };

typedef struct {
  int dp, tp;
} layout_t;

static layout_t layouts[3];
static int layout_count;

/* ---- What perf.json says ---- */

static double number_of(const json_t *object, const char *name) {
  const json_t *node = json_get(object, name);
  if (!node) fail_msg("perf.json has no %s", name);
  return node->type == JSON_INT ? (double)node->u.integer : node->u.real;
}

static bool is_called(const json_t *object, const char *key, const char *text) {
  const json_t *node = json_get(object, key);
  return node && node->type == JSON_STRING && strcmp(node->u.string, text) == 0;
}

/* NUMBER of the entry NAME (AMONG: NULL for a region) in the list LIST of FOLDER's perf.json; 0 where there
 * is none. */
static double counted(const char *folder, const char *list, const char *name, const char *among,
                      const char *number) {
  static char text[1 << 16];
  char path[128];
  json_document_t document;
  double found = 0.0;
  snprintf(path, sizeof path, "%s/perf.json", folder);
  size_t n = cli_read(path, text, sizeof text);
  assert_int_equal(json_parse(text, n, path, &document), STATUS_OK);
  const json_t *entries = json_get(document.root, list);
  assert_non_null(entries);
  for (const json_t *entry = entries->u.first; entry; entry = entry->next)
    if (is_called(entry, "name", name) && (!among || is_called(entry, "among", among)))
      found = number_of(entry, number);
  json_free(&document);
  return found;
}

/* The same of the longer run LONG, less that of SHORT. */
static double step_sends(const char *among, const char *name) {
  return counted("long", "collectives", name, among, "bytes") -
         counted("short", "collectives", name, among, "bytes");
}

static double region_counts(const char *region, const char *number) {
  return counted("long", "regions", region, NULL, number) - counted("short", "regions", region, NULL, number);
}

static void expect(const layout_t *layout, const char *what, double found, double expected) {
  if (found != expected)
    fail_msg("dp %d, tp %d: %s sent %.0f bytes in a step; sizes and layout say %.0f", layout->dp, layout->tp,
             what, found, expected);
}

/* ---- Theory ---- */

/* Of N trained weights, shared out over tp: every rank sends each other one of dp its share of the sums... */
static double gradient_bytes(const layout_t *layout, double n) {
  double unit = (double)layout->dp * SHARE_UNIT, share = ceil(n / layout->tp / unit) * unit / layout->dp;
  return layout->dp == 1 ? 0.0 : (double)layout->tp * layout->dp * (layout->dp - 1) * share * REAL;
}

/* ... and gives the weights that it owns to all. */
static double weight_bytes(const layout_t *layout, double n) {
  return layout->dp == 1 ? 0.0 : n * REAL;
}

/* Sums over dp in which each rank has SIZE bytes. */
static double dp_sum_bytes(const layout_t *layout, double size) {
  return layout->dp == 1 ? 0.0 : (double)layout->dp * layout->tp * size;
}

/* Sums over tp of a pass that keeps what its backward pass reads, over ROWS positions: embedding; behind O
 * and down in each layer; the adapters' u. */
static double forward_bytes(const layout_t *layout, double rows) {
  return layout->tp == 1 ? 0.0 : layout->tp * rows * (C + L * (2.0 * C + U)) * REAL;
}

/* Of the backward pass: in front of gate and up in each layer, and in front of q, k and v in all but the
 * first, whose input is not trained; the parts of du; and the hidden states' gradient in HEADS places. */
static double backward_bytes(const layout_t *layout, double rows, double heads) {
  double sums = rows * ((2.0 * L - 1.0) * C + (double)L * U) + heads * C;
  return layout->tp == 1 ? 0.0 : layout->tp * sums * REAL;
}

/* Each rank's records of its part of the vocabulary, for N predictions. */
static double record_bytes(const layout_t *layout, double n) {
  return layout->tp == 1 ? 0.0 : layout->tp * n * RECORD * REAL;
}

/* What is left of FOUND without the records: image tokens, whole images of them, at most MOST. */
static void expect_images(const layout_t *layout, double found, double most) {
  double images = found / ((double)PATCHES * C * REAL);
  if (layout->tp == 1)
    expect(layout, "the all-gather over tp", found, 0.0);
  else if (images != floor(images) || images < 1.0 || images > most)
    fail_msg("dp %d, tp %d: image tokens of %g images were sent; there are at most %g", layout->dp,
             layout->tp, images, most);
}

/* ---- Runs ---- */

static void run_steps(const layout_t *layout, const char *folder, const char *input, int steps) {
  cli_result_t result;
  char directory[64], tp[64], number[2][64];
  cli_set_patience(900.0);
  snprintf(directory, sizeof directory, "job.run_dir=%s", folder);
  snprintf(tp, sizeof tp, "parallel.tp=%d", layout->tp);
  snprintf(number[0], sizeof number[0], "optim.steps=%d", steps);
  snprintf(number[1], sizeof number[1], "ppo.steps=%d", steps);
  CLI_RUN(layout->dp * layout->tp, &result, LORA, "--set", directory, "--set", tp, "--set",
          number[strcmp(input, "ppo.nml") == 0], "--set", "job.deterministic=.true.", "--set",
          "parallel.threads=1", "--set", "log.rollouts=0", input);
  cli_expect(&result, 0);
}

/* "long" has one step more than "short". */
static void run_both(const layout_t *layout, const char *input) {
  run_steps(layout, "short", input, 1);
  run_steps(layout, "long", input, 2);
}

static void remove_both(void) {
  cli_remove("short");
  cli_remove("long");
}

static void a_supervised_step(void **state) {
  enum { BATCH = 8 };
  (void)state;
  for (int i = 0; i < layout_count; i++) {
    const layout_t *layout = &layouts[i];
    run_both(layout, "start.nml");
    double ranks = (double)layout->dp * layout->tp, rows = region_counts("forward", "tokens");
    double learnt = ppo_world_metric("long", 1, "sft/tokens");
    expect(layout, "the reduce-scatter over dp", step_sends("dp", "reduce-scatter"),
           gradient_bytes(layout, ADAPTER));
    expect(layout, "the all-gather over dp", step_sends("dp", "all-gather"), weight_bytes(layout, ADAPTER));
    /* losses and hits of all samples */
    expect(layout, "the all-reduce over dp", step_sends("dp", "all-reduce"),
           dp_sum_bytes(layout, BATCH * 2.0 * WIDE));
    /* lengths and learnt tokens of all samples, the norm */
    expect(layout, "the all-reduce over all ranks", step_sends("world", "all-reduce"),
           ranks == 1 ? 0.0 : ranks * (BATCH * 2.0 * INDEX + WIDE));
    expect(layout, "the all-reduce over tp", step_sends("tp", "all-reduce"),
           forward_bytes(layout, rows) + backward_bytes(layout, rows, learnt));
    expect_images(layout, step_sends("tp", "all-gather") - record_bytes(layout, learnt), BATCH);
    remove_both();
  }
}

/* What ppo.nml says: samples, mini-batches. Trained are the adapters of policy and value, and the value's
 * head, of which every rank of tp has all. */
enum { SAMPLES = 6, MINIBATCHES = 2, HEAD = C + 1 };

/* What one group gives another: features of images that it works on and the other had drawn, for policy,
 * reward and update; of responses the tokens, for these three; the other way log-probability and entropy from
 * policy and reference, and value; for the update five numbers of each token. Each item has a head of 16
 * bytes and is filled up to the next 16. Who works on what depends on lengths, so that this is the most. */
static double most_moved(const layout_t *layout, double tokens) {
  enum { HEADS = 16 + 15, FEATURE_MOVES = 3, TOKEN_MOVES = 5 };
  double images = SAMPLES * FEATURE_MOVES * (PATCHES * TOWER_C * (double)REAL + HEADS);
  double responses = tokens * (3.0 * INDEX + 5.0 * WIDE + 5.0 * WIDE) + SAMPLES * TOKEN_MOVES * (double)HEADS;
  return layout->dp == 1 ? 0.0 : layout->tp * (images + responses);
}

static void ppo_over_dp(const layout_t *layout) {
  double tokens = SAMPLES * ppo_world_metric("long", 1, "rollout/response_length");
  double head = (double)layout->tp * HEAD;
  expect(layout, "the reduce-scatter over dp", step_sends("dp", "reduce-scatter"),
         MINIBATCHES * (2.0 * gradient_bytes(layout, ADAPTER) + gradient_bytes(layout, head)));
  expect(layout, "the all-gather over dp", step_sends("dp", "all-gather"),
         MINIBATCHES * (2.0 * weight_bytes(layout, ADAPTER) + weight_bytes(layout, head)));
  /* of all samples, whatever their tokens: lengths, two ends, owners and scores; sums of advantages and of
   * their squares, four more that are logged, and the update's 13; and the largest gap */
  expect(layout, "the all-reduce over dp", step_sends("dp", "all-reduce"),
         dp_sum_bytes(layout, SAMPLES * (4.0 * INDEX + (1.0 + 2.0 + 4.0 + 13.0) * WIDE) + WIDE));
  double moved = step_sends("dp", "exchange"), most = most_moved(layout, tokens);
  if (moved > most || (moved <= 0.0) != (layout->dp == 1))
    fail_msg("dp %d, tp %d: %.0f bytes were moved between groups, at most %.0f are to be", layout->dp,
             layout->tp, moved, most);
}

/* Lengths and learnt tokens of each plan (policy's, reward's, the mini-batches'); each update's norms; and
 * what the files of kept responses and scores know the policy, and scores the value, by: a hash of each
 * weight (the head has two), two numbers of each of these four sets, and six of the files; what texts of the
 * samples say, two numbers of each, and the most facts of one. */
static void ppo_over_world(const layout_t *layout) {
  double ranks = (double)layout->dp * layout->tp, hashes = 3.0 * 7.0 * 2.0 * L + 2.0;
  expect(layout, "the all-reduce over all ranks", step_sends("world", "all-reduce"),
         ranks == 1 ? 0.0
                    : ranks * ((hashes + 4.0 * 2.0 + 6.0) * WIDE + SAMPLES * 2.0 * WIDE + INDEX +
                               3.0 * SAMPLES * 2.0 * INDEX + MINIBATCHES * 2.0 * WIDE));
}

static void ppo_over_tp(const layout_t *layout) {
  static const char *const passes[] = {"prefill", "decode", "policy", "reference",
                                       "value",   "reward", "forward"};
  double rows = 0.0, tokens = SAMPLES * ppo_world_metric("long", 1, "rollout/response_length");
  for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
    rows += region_counts(passes[i], "tokens");
  expect(layout, "the all-reduce over tp", step_sends("tp", "all-reduce"),
         forward_bytes(layout, rows) + backward_bytes(layout, region_counts("forward", "tokens"), tokens) +
             (layout->tp == 1
                  ? 0.0
                  : (double)layout->dp * layout->tp * WIDE)); /* the memory that a cache may take */
}

static void a_ppo_step(void **state) {
  (void)state;
  for (int i = 0; i < layout_count; i++) {
    run_both(&layouts[i], "ppo.nml");
    ppo_over_dp(&layouts[i]);
    ppo_over_world(&layouts[i]);
    ppo_over_tp(&layouts[i]);
    remove_both();
  }
}

int main(int argc, char **argv) {
  static const layout_t few[] = {{2, 1}, {2, 2}}, many[] = {{8, 1}, {2, 4}, {16, 4}};
  bool all = argc > 1 && strcmp(argv[1], "many") == 0;
  layout_count = all ? 3 : 2;
  memcpy(layouts, all ? many : few, (size_t)layout_count * sizeof *layouts);
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_supervised_step), cmocka_unit_test(a_ppo_step)};
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}
