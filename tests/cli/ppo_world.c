#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/formats/rollout_file.h"
#include "io/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char preferences_input[] =
    "&job task = 'prepare' run_dir = 'pairs' /\n"
    "&prepare preferences = 'preferences.json' facts = 'world/facts.json'\n"
    "  image_folder = 'world/images' output = 'pairs.h5' /\n";
static const char sample_input[] =
    "&job task = 'generate' run_dir = 'sample' /\n&model base = 'model.h5' /\n"
    "&generate dataset = 'world/prompts.h5' output = 'sampled.json' samples = 2\n"
    "  temperature = 1.0 max_tokens = 12 /\n";
static const char annotate_input[] = "&job task = 'annotate' run_dir = 'annotate' /\n"
                                     "&annotate pairs = 'sampled.json' scenes = 'world/scenes.jsonl'\n"
                                     "  output = 'preferences.json' /\n";
static const char sft_input[] =
    "&job task = 'sft' run_dir = 'start' /\n&model base = 'model.h5' train = 'lora' /\n"
    "&data dataset = 'world/policy_init.h5' /\n"
    "&optim lr = 1e-2 batch = 8 steps = 4 warmup_ratio = 0 /\n";
static const char rm_input[] = "&job task = 'rm' run_dir = 'rm' /\n&model base = 'model.h5' /\n"
                               "&data dataset = 'pairs.h5' /\n"
                               "&optim lr = 1e-2 batch = 4 steps = 4 warmup_ratio = 0 /\n";
/* The reward model has seen facts, which the prompts of world/pretrain.h5 do not have. */
static const char ppo_input[] = "&job task = 'ppo' /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n"
                                "&data dataset = 'world/pretrain.h5' query_len = 256 /\n&reward model = "
                                "'rm/model.h5' allow_mismatch = .true. /\n"
                                "&rollout batch = 6 response_len = 10 /\n"
                                "&ppo steps = 1 minibatch = 3 inner_epochs = 1 /\n"
                                "&optim lr = 1e-3 warmup_steps = 0 micro_tokens = 256 /\n";

static void run_one(const char *input) {
  cli_result_t result;
  CLI_RUN(1, &result, CLI_ON_CPU, LORA, input);
  cli_expect(&result, 0);
}

int ppo_world_enter(void **state) {
  if (cli_enter(state) != 0) return -1;
  if (cli_take("ppo_world")) return 0;
  cli_make_world();
  ppo_world_make();
  return 0;
}

void ppo_world_make(void) {
  static const struct {
    const char *name, *text;
  } inputs[] = {{"sample.nml", sample_input},
                {"annotate.nml", annotate_input},
                {"prepare.nml", preferences_input},
                {"rm.nml", rm_input},
                {"start.nml", sft_input}};
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
    cli_write(inputs[i].name, inputs[i].text, strlen(inputs[i].text));
    run_one(inputs[i].name);
  }
  cli_write("ppo.nml", ppo_input, sizeof ppo_input - 1);
}

/* ---- Comparisons ---- */

void ppo_world_close(const char *folder, const char *name, double number, double expected, double scale) {
  if (!(fabs(number - expected) <= ppo_world_tolerance * fmax(scale, 1e-6)))
    fail_msg("%s: %s is %.9g, expected %.9g", folder, name, number, expected);
}

/* Line LINE of FOLDER's metrics; false beyond the last. */
static bool parse_line(const char *folder, int line, json_document_t *document) {
  static char text[1 << 16];
  char path[128], *at = text;
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  cli_read(path, text, sizeof text);
  for (int i = 0; i < line && at; i++)
    at = (at = strchr(at, '\n')) ? at + 1 : NULL;
  if (!at || !*at) return false;
  assert_int_equal(json_parse(at, strcspn(at, "\n"), path, document), STATUS_OK);
  return true;
}

static double number_of(const json_t *node) {
  return node->type == JSON_INT ? (double)node->u.integer : node->u.real;
}

double ppo_world_metric(const char *folder, int line, const char *name) {
  json_document_t document;
  assert_true(parse_line(folder, line, &document));
  const json_t *node = json_get(document.root, name);
  if (!node) fail_msg("%s has no metric %s", folder, name);
  double number = number_of(node);
  json_free(&document);
  return number;
}

/* What a metric's rounding error is a share of: its value, but where terms cancel. The gap and the kl are
 * differences of log-probabilities, which agree to 1e-5; the policy's loss is a mean of whitened advantages,
 * which have variance 1; mean scores of pairs are centred; a variance is the square of a deviation from the
 * mean. */
static double scale_of(const char *name, double value) {
  size_t length = strlen(name);
  if (strcmp(name, "ppo/loss/policy") == 0) return 1.0;
  if (strcmp(name, "rm/mean_score") == 0) return fmax(fabs(value), 0.1);
  if (strcmp(name, "rollout/logprob_gap") == 0 || strstr(name, "kl")) return fmax(fabs(value), 0.1);
  if (length > 4 && strcmp(name + length - 4, "/var") == 0) return sqrt(value);
  return fabs(value);
}

static void compare_line(const char *folder, const json_t *found, const json_t *expected) {
  int compared = 0;
  for (const json_t *node = expected->u.first; node; node = node->next) {
    if (strstr(node->key, "seconds")) continue;
    const json_t *other = json_get(found, node->key);
    if (!other) fail_msg("%s has no metric %s", folder, node->key);
    double value = number_of(node);
    ppo_world_close(folder, node->key, number_of(other), value, scale_of(node->key, value));
    compared++;
  }
  assert_true(compared > (json_get(expected, "ppo/loss/policy") ? 25 : 0));
}

int ppo_world_compare_metrics(const char *folder, const char *expected) {
  json_document_t a, b;
  int line = 0;
  for (; parse_line(expected, line, &b); line++) {
    if (!parse_line(folder, line, &a)) fail_msg("%s has %d lines of metrics", folder, line);
    compare_line(folder, a.root, b.root);
    json_free(&a);
    json_free(&b);
  }
  assert_false(parse_line(folder, line, &a));
  return line;
}

static void read_rollout(const char *folder, int step, rollout_info_t *info, rollout_file_t *out) {
  char path[FILE_MAX_PATH];
  assert_int_equal(rollout_file_path(path, folder, step), STATUS_OK);
  assert_int_equal(rollout_file_read(path, 0, -1, info, out), STATUS_OK);
}

void ppo_world_compare_rollouts(const char *folder, const char *expected, int step) {
  rollout_info_t a_info, b_info;
  rollout_file_t a, b;
  read_rollout(folder, step, &a_info, &a);
  read_rollout(expected, step, &b_info, &b);
  /* Before the first update the weights are the same to the bit. */
  if (step == 1) assert_string_equal(a_info.policy_hash, b_info.policy_hash);
  assert_int_equal(a.samples, b.samples);
  int64_t tokens = b.response_offsets[b.samples];
  assert_memory_equal(a.id, b.id, (size_t)a.samples * sizeof(int64_t));
  assert_memory_equal(a.response_offsets, b.response_offsets, (size_t)(a.samples + 1) * sizeof(int64_t));
  assert_memory_equal(a.response_tokens, b.response_tokens, (size_t)tokens * sizeof(int32_t));
  for (int64_t t = 0; t < tokens; t++)
    ppo_world_close(folder, "log-probability", a.token[ROLLOUT_LOGPROB][t], b.token[ROLLOUT_LOGPROB][t], 1.0);
  rollout_info_free(&a_info);
  rollout_info_free(&b_info);
  rollout_file_free(&a);
  rollout_file_free(&b);
}
