/* What a rank of a PPO step does for the samples of all ranks, whoever works on them: processor time of one
 * core for a sample; for a token of those samples that it works on itself; and for the texts, which the ranks
 * share out. Responses have as many tokens as they may; the numbers in them do not matter. usage: whole_batch
 * DATASET TOKENIZER [SAMPLES [RESPONSE_TOKENS]] (16384, 896) */
#include "base/memory_pool.h"
#include "base/random.h"
#include "io/formats/dataset.h"
#include "io/formats/tokenizer_file.h"
#include "parallel/exchange.h"
#include "ppo/ppo_math.h"
#include "ppo/ppo_tokens.h"
#include "text/answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  QUERY_LEN = 128,
  GROUPS = 256,
  SOME = 1024,
  INNER_EPOCHS = 2,
  PASSES = 3,
  PLANS = PASSES + INNER_EPOCHS
};

typedef struct {
  comm_t *world; /* of one rank */
  dataset_t *dataset;
  tokenizer_t *tokenizer;
  int32_t samples, length;
  memory_pool_t pool;
  int32_t *lengths, *group;                           /* (samples) */
  ppo_tokens_t own;                                   /* of the first group */
  double *table;                                      /* (samples, PPO_SUMS) */
  double text_seconds, sample_seconds, token_seconds; /* sums of what was measured */
} whole_t;

static double processor_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void tell_sample(double *sum, const char *what, int times, double seconds) {
  printf("%-44s %10.3f us a sample, %d times a step\n", what, 1e6 * seconds, times);
  *sum += times * seconds;
}

/* Of the tokens of the first group, TIMES a step. */
static void tell_token(whole_t *whole, const char *what, int times, double seconds) {
  double each = seconds / (double)whole->own.offsets[whole->own.count];
  printf("%-44s %10.3f ns a token of its own, %d times a step\n", what, 1e9 * each, times);
  whole->token_seconds += times * each;
}

/* Text of a prompt, and its tokens. */
static status_t measure_prompts(whole_t *whole) {
  int64_t all = dataset_info(whole->dataset).samples;
  double start = processor_seconds();
  for (int64_t i = 0; i < SOME; i++) {
    dataset_sample_t sample;
    sequence_t query = {0};
    bool fits;
    TRY(dataset_sample_read(whole->dataset, i % all, &sample));
    TRY(conversation_query(whole->tokenizer, TEMPLATE_V1, &sample.conversation, 0, QUERY_LEN, &query, &fits));
    sequence_free(&query);
    dataset_sample_free(&sample);
  }
  tell_sample(&whole->text_seconds, "prompts: read, tokens", 1, (processor_seconds() - start) / SOME);
  return STATUS_OK;
}

static status_t measure_responses(whole_t *whole) {
  SCOPED_MEMORY int32_t *tokens = NULL;
  random_stream_t stream = random_stream(1, RANDOM_TEST, 0);
  uint32_t pieces = (uint32_t)tokenizer_size(whole->tokenizer);
  TRY(memory_alloc(&tokens, ARENA_OTHER, (size_t)whole->length, sizeof *tokens));
  for (int32_t t = 0; t < whole->length; t++)
    tokens[t] = (int32_t)random_below(&stream, pieces);
  double start = processor_seconds();
  for (int i = 0; i < SOME; i++) {
    char *text;
    TRY(tokenizer_decode(whole->tokenizer, tokens, whole->length, &text, NULL));
    (void)answer_correct((answer_type_t)1, text_view(text));
    memory_free(text);
  }
  tell_sample(&whole->text_seconds, "responses: text, right or wrong", 1,
              (processor_seconds() - start) / SOME);
  return STATUS_OK;
}

static status_t measure_dealing(whole_t *whole) {
  size_t n = (size_t)whole->samples;
  random_stream_t stream = random_stream(2, RANDOM_TEST, 0);
  TRY(memory_pool_alloc(&whole->pool, &whole->lengths, n, sizeof *whole->lengths));
  TRY(memory_pool_alloc(&whole->pool, &whole->group, n, sizeof *whole->group));
  for (size_t i = 0; i < n; i++)
    whole->lengths[i] = (int32_t)(1 + random_below(&stream, (uint32_t)whole->length));
  double start = processor_seconds();
  TRY(deal_by_length(whole->lengths, whole->samples, GROUPS, whole->group));
  tell_sample(&whole->sample_seconds, "plans: dealing by length", PLANS,
              (processor_seconds() - start) / whole->samples);
  for (size_t i = 0; i < n; i++)
    whole->lengths[i] = whole->length;
  return STATUS_OK;
}

static status_t measure_places(whole_t *whole) {
  const int what = PPO_TOKENS | PPO_VALUE;
  double start = processor_seconds();
  for (int i = 0; i < PLANS; i++) {
    SCOPED(ppo_tokens_free) ppo_tokens_t tokens = {0};
    TRY(ppo_tokens_create(whole->samples, whole->lengths, whole->group, i, what, &tokens));
  }
  tell_sample(&whole->sample_seconds, "plans: places of tokens", PLANS,
              (processor_seconds() - start) / PLANS / whole->samples);
  return ppo_tokens_create(whole->samples, whole->lengths, whole->group, 0, PPO_ALL_ARRAYS, &whole->own);
}

static status_t add_rows(void *context, const double *rows, int32_t columns, double *sums) {
  whole_t *whole = context;
  size_t row = (size_t)columns * sizeof *rows;
  memset(whole->table, 0, (size_t)whole->samples * row);
  for (int32_t k = 0; k < whole->own.count; k++)
    memcpy(whole->table + (size_t)whole->own.which[k] * (size_t)columns, rows + (size_t)k * (size_t)columns,
           row);
  return ppo_table_sums(whole->world, whole->table, whole->samples, columns, sums);
}

/* A (count) array of numbers between 0 and 1. */
static status_t take_numbers(whole_t *whole, int64_t count, double **out) {
  TRY(memory_pool_alloc(&whole->pool, out, (size_t)count, sizeof **out));
  for (int64_t i = 0; i < count; i++)
    (*out)[i] = 1e-3 * (double)(i % 997);
  return STATUS_OK;
}

/* The first group's samples among all. */
static status_t take_samples(whole_t *whole, ppo_samples_t *samples) {
  const ppo_tokens_t *own = &whole->own;
  double *const *numbers = own->numbers;
  double *raw_reward, *multiplier, *correct, *reward, *bonus;
  bool *stopped;
  for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++)
    for (int64_t t = 0; t < own->offsets[own->count]; t++)
      numbers[a][t] = 1e-3 * (double)((t + a) % 997);
  double **const arrays[] = {&raw_reward, &multiplier, &correct, &reward, &bonus};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
    TRY(take_numbers(whole, whole->samples, arrays[i]));
  TRY(memory_pool_alloc(&whole->pool, &stopped, (size_t)whole->samples, sizeof *stopped));
  *samples = (ppo_samples_t){.samples = whole->samples,
                             .lengths = whole->lengths,
                             .raw_reward = raw_reward,
                             .length_multiplier = multiplier,
                             .correct = correct,
                             .stopped = stopped,
                             .reward = reward,
                             .length_bonus = bonus,
                             .count = own->count,
                             .which = own->which,
                             .offsets = own->offsets,
                             .logprob = numbers[ROLLOUT_LOGPROB],
                             .ref_logprob = numbers[ROLLOUT_REF_LOGPROB],
                             .value = numbers[ROLLOUT_VALUE],
                             .entropy = numbers[ROLLOUT_ENTROPY],
                             .ref_entropy = numbers[ROLLOUT_REF_ENTROPY],
                             .kl = numbers[ROLLOUT_KL],
                             .shaped_reward = numbers[ROLLOUT_SHAPED_REWARD],
                             .advantage = numbers[ROLLOUT_ADVANTAGE],
                             .ret = numbers[ROLLOUT_RETURN],
                             .adder = {add_rows, whole}};
  return memory_pool_alloc(&whole->pool, &samples->sums, (size_t)own->count,
                           PPO_SAMPLE_SUMS * sizeof(double));
}

static status_t make_rewards(const ppo_options_t *options, const ppo_samples_t *samples, double *seconds) {
  ppo_objective_t objective;
  double start = processor_seconds();
  TRY(ppo_rewards(options, samples));
  TRY(ppo_advantages(options, samples));
  TRY(ppo_objective(options, samples, &objective));
  *seconds = processor_seconds() - start;
  return STATUS_OK;
}

/* What is done for all samples is measured without tokens; what is done for those is the rest. */
static status_t measure_rewards(whole_t *whole, const ppo_options_t *options) {
  ppo_samples_t samples;
  double all, without;
  TRY(memory_pool_alloc(&whole->pool, &whole->table, (size_t)whole->samples, PPO_SUMS * sizeof(double)));
  TRY(take_samples(whole, &samples));
  TRY(make_rewards(options, &samples, &all));
  samples.count = 0;
  TRY(make_rewards(options, &samples, &without));
  tell_sample(&whole->sample_seconds, "rewards, sums of advantages, of their squares", 1,
              without / whole->samples);
  tell_token(whole, "rewards, advantages, their statistics", 1, all - without);
  return STATUS_OK;
}

static status_t measure_statistics(whole_t *whole, const ppo_options_t *options) {
  double *const *numbers = whole->own.numbers, totals[PPO_SUMS];
  double start = processor_seconds();
  for (int32_t k = 0; k < whole->own.count; k++) {
    ppo_sums_t sums = {0};
    for (int64_t t = whole->own.offsets[k]; t < whole->own.offsets[k + 1]; t++) {
      ppo_term_t term = ppo_term(options, numbers[ROLLOUT_LOGPROB][t], numbers[ROLLOUT_REF_LOGPROB][t],
                                 numbers[ROLLOUT_ADVANTAGE][t], numbers[ROLLOUT_VALUE][t],
                                 numbers[ROLLOUT_VALUE][t], numbers[ROLLOUT_RETURN][t]);
      ppo_sums_add(&sums, &term, 1.0, numbers[ROLLOUT_ENTROPY][t], numbers[ROLLOUT_VALUE][t],
                   numbers[ROLLOUT_VALUE][t], numbers[ROLLOUT_RETURN][t]);
    }
    memcpy(whole->table + (size_t)whole->own.which[k] * PPO_SUMS, &sums, sizeof sums);
  }
  tell_token(whole, "statistics of an inner epoch", INNER_EPOCHS, processor_seconds() - start);
  start = processor_seconds();
  TRY(ppo_table_sums(whole->world, whole->table, whole->samples, PPO_SUMS, totals));
  tell_sample(&whole->sample_seconds, "sums of an inner epoch", INNER_EPOCHS,
              (processor_seconds() - start) / whole->samples);
  return STATUS_OK;
}

static status_t whole_run(whole_t *whole, char **argv) {
  const ppo_options_t options = {.kl_coef = 0.1,
                                 .gamma = 1.0,
                                 .lam = 1.0,
                                 .clip = 0.2,
                                 .clip_value = 0.2,
                                 .vf_coef = 0.1,
                                 .reward_scale = 1.0,
                                 .response_len = whole->length};
  TRY(dataset_open(NULL, argv[1], &whole->dataset));
  TRY(tokenizer_load(argv[2], &whole->tokenizer));
  TRY(measure_prompts(whole));
  TRY(measure_responses(whole));
  TRY(measure_dealing(whole));
  TRY(measure_places(whole));
  TRY(measure_rewards(whole, &options));
  TRY(measure_statistics(whole, &options));
  printf("figure whole_batch.text_time %.3f us\nfigure whole_batch.sample_time %.3f us\n"
         "figure whole_batch.own_token_time %.3f ns\n",
         1e6 * whole->text_seconds, 1e6 * whole->sample_seconds, 1e9 * whole->token_seconds);
  return STATUS_OK;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: whole_batch DATASET TOKENIZER [SAMPLES [RESPONSE_TOKENS]]\n");
    return 2;
  }
  whole_t whole = {.samples = argc > 3 ? atoi(argv[3]) : 16384,
                   .length = argc > 4 ? atoi(argv[4]) : 896,
                   .pool.arena = ARENA_OTHER};
  status_code_t status = comm_init(&argc, &argv, &whole.world);
  if (status == STATUS_OK) status = whole_run(&whole, argv);
  if (status != STATUS_OK) fprintf(stderr, "whole_batch: %s\n", error_message());
  ppo_tokens_free(&whole.own);
  memory_pool_free(&whole.pool);
  tokenizer_free(whole.tokenizer);
  dataset_close(whole.dataset);
  comm_finish(whole.world);
  return status_exit(status);
}
