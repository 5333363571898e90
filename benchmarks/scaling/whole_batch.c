/* What a rank of a PPO step does for the samples of all ranks, whoever works on them: processor time of one
 * core, for a sample and for a token; and for the texts, which the ranks share out. Responses have as many
 * tokens as they may; the numbers in them do not matter. usage: whole_batch DATASET TOKENIZER [SAMPLES
 * [RESPONSE_TOKENS]] (16384, 896) */
#include "base/memory_pool.h"
#include "base/random.h"
#include "io/formats/dataset.h"
#include "io/formats/tokenizer_file.h"
#include "parallel/exchange.h"
#include "ppo/ppo_math.h"
#include "text/answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { QUERY_LEN = 128, GROUPS = 256, SOME = 1024, INNER_EPOCHS = 2 };

typedef struct {
  dataset_t *dataset;
  tokenizer_t *tokenizer;
  int32_t samples, length;
  int64_t tokens;
  memory_pool_t pool;
  double text_seconds, sample_seconds, token_seconds; /* sums of what was measured */
} whole_t;

static double processor_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void tell_sample(double *sum, const char *what, double seconds) {
  printf("%-44s %10.3f us a sample\n", what, 1e6 * seconds);
  *sum += seconds;
}

/* TIMES a step. */
static void tell_token(whole_t *whole, const char *what, int times, double seconds) {
  double each = seconds / (double)whole->tokens;
  printf("%-44s %10.3f ns a token, %d times a step\n", what, 1e9 * each, times);
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
  tell_sample(&whole->text_seconds, "prompts: read, tokens", (processor_seconds() - start) / SOME);
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
  tell_sample(&whole->text_seconds, "responses: text, right or wrong", (processor_seconds() - start) / SOME);
  return STATUS_OK;
}

static status_t measure_dealing(whole_t *whole) {
  int32_t *lengths, *group;
  random_stream_t stream = random_stream(2, RANDOM_TEST, 0);
  TRY(memory_pool_alloc(&whole->pool, &lengths, (size_t)whole->samples, sizeof *lengths));
  TRY(memory_pool_alloc(&whole->pool, &group, (size_t)whole->samples, sizeof *group));
  for (int32_t i = 0; i < whole->samples; i++)
    lengths[i] = (int32_t)(1 + random_below(&stream, (uint32_t)whole->length));
  double start = processor_seconds();
  TRY(deal_by_length(lengths, whole->samples, GROUPS, group));
  tell_sample(&whole->sample_seconds, "plans: dealing by length",
              (processor_seconds() - start) / whole->samples);
  return STATUS_OK;
}

/* A (count) array of numbers between 0 and 1. */
static status_t take_numbers(whole_t *whole, int64_t count, double **out) {
  TRY(memory_pool_alloc(&whole->pool, out, (size_t)count, sizeof **out));
  for (int64_t i = 0; i < count; i++)
    (*out)[i] = 1e-3 * (double)(i % 997);
  return STATUS_OK;
}

static status_t measure_rewards(whole_t *whole, const ppo_options_t *options) {
  enum { TOKEN_ARRAYS = 8, SAMPLE_ARRAYS = 5 };
  int64_t *offsets;
  bool *stopped;
  double *token[TOKEN_ARRAYS], *sample[SAMPLE_ARRAYS];
  TRY(memory_pool_alloc(&whole->pool, &offsets, (size_t)whole->samples + 1, sizeof *offsets));
  TRY(memory_pool_alloc(&whole->pool, &stopped, (size_t)whole->samples, sizeof *stopped));
  for (int32_t s = 0; s <= whole->samples; s++)
    offsets[s] = (int64_t)s * whole->length;
  for (int i = 0; i < TOKEN_ARRAYS; i++)
    TRY(take_numbers(whole, whole->tokens, &token[i]));
  for (int i = 0; i < SAMPLE_ARRAYS; i++)
    TRY(take_numbers(whole, whole->samples, &sample[i]));
  ppo_samples_t samples = {.samples = whole->samples,
                           .offsets = offsets,
                           .logprob = token[0],
                           .ref_logprob = token[1],
                           .value = token[2],
                           .raw_reward = sample[0],
                           .length_multiplier = sample[1],
                           .correct = sample[2],
                           .stopped = stopped,
                           .kl = token[3],
                           .shaped_reward = token[4],
                           .advantage = token[5],
                           .ret = token[6],
                           .reward = sample[3],
                           .length_bonus = sample[4]};
  double start = processor_seconds();
  TRY(ppo_rewards(options, &samples));
  ppo_objective_t objective = ppo_objective(options, &samples, token[7], token[7]);
  tell_token(whole, "rewards, advantages, their statistics", 1, processor_seconds() - start);
  ppo_sums_t sums = {0};
  start = processor_seconds();
  for (int64_t t = 0; t < whole->tokens; t++) {
    ppo_term_t term =
        ppo_term(options, token[0][t], token[1][t], token[5][t], token[2][t], token[2][t], token[6][t]);
    ppo_sums_add(&sums, &term, 1.0, token[7][t], token[2][t], token[2][t], token[6][t]);
  }
  ppo_statistics_t statistics = ppo_statistics(&sums);
  tell_token(whole, "statistics of an inner epoch", INNER_EPOCHS, processor_seconds() - start);
  if (objective.kl_avg_seq + statistics.vpred == 42.0) printf("\n"); /* both are used */
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
  TRY(measure_rewards(whole, &options));
  printf("figure whole_batch.text_time %.3f us\nfigure whole_batch.sample_time %.3f us\n"
         "figure whole_batch.token_time %.3f ns\n",
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
  whole.tokens = (int64_t)whole.samples * whole.length;
  status_code_t status = whole_run(&whole, argv);
  if (status != STATUS_OK) fprintf(stderr, "whole_batch: %s\n", error_message());
  memory_pool_free(&whole.pool);
  tokenizer_free(whole.tokenizer);
  dataset_close(whole.dataset);
  return status_exit(status);
}
