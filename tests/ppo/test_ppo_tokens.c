/* Tokens of samples on their way from the groups that have drawn them to those that work on them, and back;
 * sums over all samples; and what a rank of a thousand has of them. */
#include "ppo/ppo_tokens.h"

#include "base/memory.h"
#include "base/random.h"
#include "mpi_test.h"

enum { SAMPLES = 57, COLUMNS = 3 };

typedef struct {
  int groups, mine;
  int32_t lengths[SAMPLES], owner[SAMPLES], worker[SAMPLES];
} setting_t;

/* Owners and workers have nothing to do with each other; every seventh sample is worked on by nobody, and of
 * several groups the last has drawn none. */
static setting_t setting(void) {
  setting_t s = {.groups = comm_size(mpi_test_world()), .mine = comm_rank(mpi_test_world())};
  int drawing = s.groups > 1 ? s.groups - 1 : 1;
  for (int32_t i = 0; i < SAMPLES; i++) {
    s.lengths[i] = 1 + 7 * i % 13;
    s.owner[i] = i * i % drawing;
    s.worker[i] = i % 7 == 0 ? -1 : 5 * i % s.groups;
  }
  return s;
}

/* Number KIND of token T of a sample: the same wherever it lies. */
static double number(int32_t sample, int64_t t, int kind) {
  return 1000.0 * sample + (double)t + 0.01 * kind;
}

static void fill(const setting_t *s, ppo_tokens_t *tokens) {
  for (int32_t k = 0; k < tokens->count; k++)
    for (int64_t t = 0; t < s->lengths[tokens->which[k]]; t++) {
      int64_t at = tokens->offsets[k] + t;
      tokens->tokens[at] = (int32_t)number(tokens->which[k], t, 0);
      for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++)
        tokens->numbers[a][at] = number(tokens->which[k], t, a);
    }
}

static void expect_number(const setting_t *s, const ppo_tokens_t *tokens, int kind, double scale) {
  for (int32_t i = 0; i < SAMPLES; i++)
    for (int64_t t = 0; tokens->at[i] >= 0 && t < s->lengths[i]; t++) {
      double found = tokens->numbers[kind][tokens->at[i] + t];
      if (found != scale * number(i, t, kind))
        fail_msg("array %d, sample %d, token %lld: %g", kind, i, (long long)t, found);
    }
}

static void tokens_go_to_who_works_on_them_and_back(void **state) {
  (void)state;
  const setting_t s = setting();
  comm_t *dp = mpi_test_world();
  ppo_tokens_t own, here;
  int32_t samples = 0;
  assert_ok(ppo_tokens_create(SAMPLES, s.lengths, s.owner, s.mine, PPO_ALL_ARRAYS, &own));
  fill(&s, &own);
  assert_ok(
      ppo_tokens_create(SAMPLES, s.lengths, s.worker, s.mine, PPO_TOKENS | PPO_VALUE | PPO_ENTROPY, &here));
  assert_null(here.numbers[ROLLOUT_KL]);
  assert_ok(ppo_tokens_send(dp, &own, PPO_TOKENS | PPO_VALUE, s.worker, &here));
  expect_number(&s, &here, ROLLOUT_VALUE, 1.0);
  expect_number(&s, &here, ROLLOUT_ENTROPY, 0.0);
  for (int32_t k = 0; k < here.count; k++)
    for (int64_t t = 0; t < s.lengths[here.which[k]]; t++)
      assert_int_equal(here.tokens[here.offsets[k] + t], (int32_t)number(here.which[k], t, 0));
  for (int64_t t = 0; t < here.offsets[here.count]; t++)
    here.numbers[ROLLOUT_ENTROPY][t] = 2.0 * here.numbers[ROLLOUT_VALUE][t];
  assert_ok(ppo_tokens_send(dp, &here, PPO_ENTROPY, s.owner, &own));
  expect_number(&s, &own, ROLLOUT_VALUE, 1.0);
  for (int32_t k = 0; k < own.count; k++) {
    int32_t i = own.which[k];
    for (int64_t t = own.offsets[k]; t < own.offsets[k + 1]; t++)
      assert_true(own.numbers[ROLLOUT_ENTROPY][t] == (s.worker[i] < 0
                                                          ? number(i, t - own.offsets[k], ROLLOUT_ENTROPY)
                                                          : 2.0 * own.numbers[ROLLOUT_VALUE][t]));
    samples++;
  }
  assert_ok(comm_allreduce(dp, &samples, 1, COMM_I32, COMM_SUM));
  assert_int_equal(samples, SAMPLES);
  ppo_tokens_free(&here);
  ppo_tokens_free(&own);
}

/* Of numbers of very different sizes, so that another order would have other digits. */
static void sums_are_in_the_order_of_samples(void **state) {
  (void)state;
  const setting_t s = setting();
  double table[SAMPLES * COLUMNS] = {0}, sums[COLUMNS], expected[COLUMNS] = {0}, backwards[COLUMNS] = {0};
  random_stream_t stream = random_stream(3, RANDOM_TEST, 0);
  for (int32_t i = 0; i < SAMPLES * COLUMNS; i++) {
    double value = (double)random_below(&stream, 1 << 30) / (double)(1 + random_below(&stream, 1 << 20));
    expected[i % COLUMNS] += value;
    if (s.owner[i / COLUMNS] == s.mine) table[i] = value;
  }
  assert_ok(ppo_table_sums(mpi_test_world(), table, SAMPLES, COLUMNS, sums));
  for (int32_t i = SAMPLES * COLUMNS - 1; i >= 0; i--)
    backwards[i % COLUMNS] += table[i]; /* which holds what all ranks gave */
  for (int c = 0; c < COLUMNS; c++)
    assert_true(sums[c] == expected[c]);
  assert_true(backwards[0] != sums[0] || backwards[1] != sums[1] || backwards[2] != sums[2]);
}

/* 64 responses of 896 tokens a rank, on 1,024 ranks: its own tokens, and a place for each sample. */
static void a_rank_of_a_thousand_has_its_own_tokens(void **state) {
  enum { RANKS = 1024, SHARE = 64, LENGTH = 896, N = RANKS * SHARE };
  (void)state;
  int32_t *lengths, *group;
  ppo_tokens_t own;
  assert_ok(memory_alloc(&lengths, ARENA_OTHER, N, sizeof *lengths));
  assert_ok(memory_alloc(&group, ARENA_OTHER, N, sizeof *group));
  for (int32_t i = 0; i < N; i++) {
    lengths[i] = LENGTH;
    group[i] = i % RANKS;
  }
  size_t before = memory_usage(ARENA_ROLLOUT).current;
  assert_ok(ppo_tokens_create(N, lengths, group, RANKS - 1, PPO_ALL_ARRAYS, &own));
  size_t bytes = memory_usage(ARENA_ROLLOUT).current - before;
  assert_int_equal(own.count, SHARE);
  assert_int_equal(own.which[SHARE - 1], N - 1);
  assert_int_equal(own.offsets[SHARE], SHARE * LENGTH);
  size_t tokens = (size_t)SHARE * LENGTH * (sizeof(int32_t) + ROLLOUT_TOKEN_COUNT * sizeof(double));
  assert_true(bytes < tokens + N * sizeof(int64_t) + 4096);
  ppo_tokens_free(&own);
  assert_int_equal(memory_usage(ARENA_ROLLOUT).current, before);
  memory_free(group);
  memory_free(lengths);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tokens_go_to_who_works_on_them_and_back),
      cmocka_unit_test(sums_are_in_the_order_of_samples),
      cmocka_unit_test(a_rank_of_a_thousand_has_its_own_tokens),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
