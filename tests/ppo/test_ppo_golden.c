/* The arithmetic of PPO against golden/ppo.txt, a transcription of the method's equations in numpy
 * (golden/make_ppo_golden.py): every array and every statistic. */
#include "ppo/golden_options.h"
#include "ppo/one_rank.h"
#include "tensor/golden_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES = 9, TOKENS = 56, MINIBATCHES = 4 };
/* Both sides compute in double; of the larger of 1 and the number itself. */
static const double tolerance = 1e-10;

typedef struct {
  golden_t golden;
  const char *prefix;
  ppo_options_t options;
  int64_t offsets[SAMPLES + 1];
  bool stopped[SAMPLES];
  double kl[TOKENS], shaped_reward[TOKENS], advantage[TOKENS], ret[TOKENS];
  double reward[SAMPLES], length_bonus[SAMPLES];
  one_rank_t rank;
  ppo_samples_t samples;
} ppo_golden_case_t;

static const double *get(const ppo_golden_case_t *c, const char *name, size_t n) {
  char full[2 * GOLDEN_NAME_MAX];
  snprintf(full, sizeof full, "%s.%s", c->prefix, name);
  return golden_get(&c->golden, full, n);
}

static void compare(const ppo_golden_case_t *c, const char *name, const double *found, size_t n) {
  const double *expected = get(c, name, n);
  for (size_t i = 0; i < n; i++)
    if (!(fabs(found[i] - expected[i]) <= tolerance * fmax(1.0, fabs(expected[i]))))
      fail_msg("%s.%s[%zu] is %.17g, expected %.17g", c->prefix, name, i, found[i], expected[i]);
}

static void case_open(ppo_golden_case_t *c, const char *prefix) {
  memset(c, 0, sizeof *c);
  c->prefix = prefix;
  golden_read(TEST_SOURCE_DIR "/train/golden/ppo.txt", &c->golden);
  c->options =
      golden_options(get(c, "options", GOLDEN_OPTIONS), golden_get(&c->golden, "response_len", 1)[0]);
  const double *lengths = golden_get(&c->golden, "lengths", SAMPLES), *stopped = get(c, "stopped", SAMPLES);
  for (int s = 0; s < SAMPLES; s++) {
    c->offsets[s + 1] = c->offsets[s] + (int64_t)lengths[s];
    c->stopped[s] = stopped[s] != 0.0;
  }
  assert_int_equal(c->offsets[SAMPLES], TOKENS);
  c->samples = (ppo_samples_t){.offsets = c->offsets,
                               .logprob = get(c, "logprob", TOKENS),
                               .ref_logprob = get(c, "ref_logprob", TOKENS),
                               .value = get(c, "value", TOKENS),
                               .entropy = get(c, "entropy", TOKENS),
                               .ref_entropy = get(c, "ref_entropy", TOKENS),
                               .raw_reward = get(c, "raw_reward", SAMPLES),
                               .length_multiplier = get(c, "multiplier", SAMPLES),
                               .correct = get(c, "correct", SAMPLES),
                               .stopped = c->stopped,
                               .kl = c->kl,
                               .shaped_reward = c->shaped_reward,
                               .advantage = c->advantage,
                               .ret = c->ret,
                               .reward = c->reward,
                               .length_bonus = c->length_bonus};
  one_rank(&c->rank, SAMPLES, &c->samples);
  if (ppo_rewards(&c->options, &c->samples) != STATUS_OK) fail_msg("%s", error_message());
  if (ppo_advantages(&c->options, &c->samples) != STATUS_OK) fail_msg("%s", error_message());
}

static void compare_rewards(const ppo_golden_case_t *c) {
  compare(c, "kl", c->kl, TOKENS);
  compare(c, "shaped_reward", c->shaped_reward, TOKENS);
  compare(c, "reward", c->reward, SAMPLES);
  compare(c, "bonus", c->length_bonus, SAMPLES);
  compare(c, "return", c->ret, TOKENS);
  compare(c, "advantage", c->advantage, TOKENS);
}

static void compare_objective(const ppo_golden_case_t *c) {
  ppo_objective_t o;
  assert_int_equal(ppo_objective(&c->options, &c->samples, &o), STATUS_OK);
  const double found[] = {o.kl_sum_seq,     o.kl_avg_seq,        o.length_bonus, o.correct_bonus, o.rewards,
                          o.shaped_rewards, o.non_score_rewards, o.entropies,    o.ref_entropies};
  compare(c, "objective", found, sizeof found / sizeof *found);
}

/* The members of a mini-batch are as many as its array in the file has. */
static const double *minibatch_members(const ppo_golden_case_t *c, int index, int32_t *count) {
  char name[GOLDEN_NAME_MAX];
  snprintf(name, sizeof name, "minibatch%d", index);
  for (int i = 0; i < c->golden.count; i++)
    if (strcmp(c->golden.names[i], name) == 0) {
      *count = (int32_t)c->golden.sizes[i];
      return c->golden.values[i];
    }
  fail_msg("no golden array %s", name);
  return NULL;
}

static void compare_minibatch(const ppo_golden_case_t *c, int index) {
  int32_t count = 0;
  const double *members = minibatch_members(c, index, &count);
  const double *logprob = get(c, "new_logprob", TOKENS), *value = get(c, "new_value", TOKENS);
  const double *entropy = get(c, "new_entropy", TOKENS);
  int64_t tokens = 0;
  for (int32_t m = 0; m < count; m++)
    tokens += c->offsets[(int)members[m] + 1] - c->offsets[(int)members[m]];
  ppo_sums_t sums = {0};
  for (int32_t m = 0; m < count; m++) {
    int64_t begin = c->offsets[(int)members[m]], end = c->offsets[(int)members[m] + 1];
    double weight = ppo_weight(&c->options, end - begin, count, tokens);
    for (int64_t t = begin; t < end; t++) {
      ppo_term_t term = ppo_term(&c->options, logprob[t], c->samples.logprob[t], c->advantage[t], value[t],
                                 c->samples.value[t], c->ret[t]);
      ppo_sums_add(&sums, &term, weight, entropy[t], value[t], c->samples.value[t], c->ret[t]);
    }
  }
  ppo_statistics_t s = ppo_statistics(&sums);
  const double found[] = {s.loss_policy,     s.loss_value,     s.entropy,     s.approx_kl,
                          s.policy_clipfrac, s.returns_mean,   s.returns_var, s.vpred,
                          s.value_error,     s.value_clipfrac, s.value_mean,  s.value_var};
  char name[GOLDEN_NAME_MAX];
  snprintf(name, sizeof name, "statistics%d", index);
  compare(c, name, found, sizeof found / sizeof *found);
}

static void check_case(const char *prefix) {
  ppo_golden_case_t c;
  case_open(&c, prefix);
  compare_rewards(&c);
  compare_objective(&c);
  for (int i = 0; i < MINIBATCHES; i++)
    compare_minibatch(&c, i);
  golden_free(&c.golden);
}

static void test_published(void **state) {
  (void)state;
  check_case("published");
}

static void test_k3(void **state) {
  (void)state;
  check_case("k3");
}

static void test_whitened(void **state) {
  (void)state;
  check_case("whitened");
}

static void test_narrow(void **state) {
  (void)state;
  check_case("narrow");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_published),
      cmocka_unit_test(test_k3),
      cmocka_unit_test(test_whitened),
      cmocka_unit_test(test_narrow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
