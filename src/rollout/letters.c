#include "rollout/letters.h"

#include "base/log.h"
#include "base/memory.h"
#include "perf/perf.h"
#include "session/batch.h"

#include <inttypes.h>
#include <math.h>

/* ---- Tokens ---- */

/* The token that stands behind QUERY where the answer is TEXT; -1 where QUERY itself has become another. */
static status_t letters_first_token(const tokenizer_t *tokenizer, template_t template,
                                    const sequence_t *query, text_view_t text, int32_t *token) {
  const turn_t turns[] = {{TURN_HUMAN, text_view("?")}, {TURN_GPT, text}};
  const conversation_t conversation = {.turns = turns, .count = 2, .imageless = true};
  SCOPED(sequence_free) sequence_t whole = {0};
  TRY(conversation_sequence(tokenizer, template, &conversation, 0, &whole));
  int32_t same = 0;
  while (same < query->n && same < whole.n && whole.tokens[same] == query->tokens[same])
    same++;
  *token = same == query->n && same < whole.n ? whole.tokens[same] : -1;
  return STATUS_OK;
}

static status_t letters_compare(const int32_t tokens[MMBENCH_OPTIONS]) {
  for (int i = 0; i < MMBENCH_OPTIONS; i++) {
    bool found = tokens[i] >= 0;
    for (int k = 0; k < i && found; k++)
      found = tokens[k] != tokens[i];
    if (!found)
      return error_set(
          STATUS_INPUT,
          "generate.letters: the model's tokenizer has no token of its own that an answer '%c' begins "
          "with, so letters cannot be compared; set generate.letters = .false.",
          'A' + i);
  }
  return STATUS_OK;
}

status_t letters_tokens(const tokenizer_t *tokenizer, template_t template, int32_t tokens[MMBENCH_OPTIONS]) {
  const turn_t question = {TURN_HUMAN, text_view("?")};
  const conversation_t conversation = {.turns = &question, .count = 1, .imageless = true};
  SCOPED(sequence_free) sequence_t query = {0};
  bool fits;
  TRY(conversation_query(tokenizer, template, &conversation, 0, 0, &query, &fits));
  for (int i = 0; i < MMBENCH_OPTIONS; i++) {
    const char letter = (char)('A' + i);
    TRY(letters_first_token(tokenizer, template, &query, (text_view_t){&letter, 1}, &tokens[i]));
  }
  return letters_compare(tokens);
}

/* ---- One round ---- */

typedef struct {
  prompts_t *prompts;
  responses_t *responses;
  int32_t tokens[MMBENCH_OPTIONS];
  double *logprobs; /* (n): of the answers that this group has found; 0 elsewhere */
  int32_t *answers; /* (n): likewise, their tokens */
} letters_round_t;

/* The query and a letter; which one does not matter to what predicts it. */
static status_t letters_build(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  letters_round_t *round = context;
  return prompts_answered(round->prompts, round->responses, i, sequence, image);
}

/* Question I, whose letters have the log-probabilities LOGPROBS. */
static void letters_choose(letters_round_t *round, int32_t i, const double logprobs[MMBENCH_OPTIONS]) {
  const prompts_t *prompts = round->prompts;
  const int32_t offered = prompts->options.letters[prompts_row(prompts, round->responses->begin + i)];
  int32_t best = 0;
  for (int32_t k = 1; k < offered; k++)
    if (logprobs[k] > logprobs[best]) best = k;
  round->answers[i] = round->tokens[best];
  round->logprobs[i] = logprobs[best];
}

/* Predictions of all letters in the places of the COUNT that ROWS are. */
static status_t letters_read(letters_round_t *round, const micro_t *micro, const int32_t *rows,
                             const int32_t *owner, int32_t count) {
  SCOPED_MEMORY double *logprobs = NULL;
  SCOPED_MEMORY int32_t *places = NULL;
  const size_t n = (size_t)count * MMBENCH_OPTIONS;
  TRY(memory_alloc(&logprobs, ARENA_OTHER, n, sizeof *logprobs));
  TRY(memory_alloc(&places, ARENA_OTHER, 2 * n, sizeof *places));
  int32_t *targets = places + n;
  for (size_t i = 0; i < n; i++) {
    places[i] = rows[i / MMBENCH_OPTIONS];
    targets[i] = round->tokens[i % MMBENCH_OPTIONS];
  }
  TRY(pass_logprobs(round->prompts->model->pass, (int64_t)n, places, targets, 1.0, logprobs, NULL));
  for (int32_t k = 0; k < count; k++)
    letters_choose(round, micro->which[owner[k]], logprobs + (size_t)k * MMBENCH_OPTIONS);
  return STATUS_OK;
}

static status_t letters_micro(letters_round_t *round, const role_t *role, batch_t *batch, int32_t index) {
  const model_t *model = round->prompts->model;
  const micro_t *micro = &batch->micro[index];
  SCOPED_MEMORY float *patches = NULL;
  SCOPED_MEMORY int32_t *rows = NULL;
  int32_t *targets, *owner, count;
  TRY(batch_patches(batch, index, &model->base.config, &patches));
  const pass_images_t images = {.count = micro->image_count, .patches = patches};
  TRY(pass_forward(model->pass, role, &micro->packed, &images, false, NULL, NULL));
  TRY(micro_targets(&batch->plan, micro, &rows, &targets, &owner, &count));
  return letters_read(round, micro, rows, owner, count);
}

/* All questions, shared out over the groups. */
static status_t letters_score(letters_round_t *round, const role_t *role, batch_t *batch) {
  prompts_t *prompts = round->prompts;
  const grid_t *grid = &prompts->session->grid;
  responses_t *responses = round->responses;
  const size_t n = (size_t)responses->n;
  TRY(batch_create(grid, prompts->source, &prompts->model->base.config, (int32_t)n, 1,
                   prompts->session->settings->optim.micro_tokens, letters_build, round, batch));
  for (int32_t m = 0; m < batch->plan.micro_count; m++) {
    perf_begin(REGION_PREFILL);
    status_code_t status = letters_micro(round, role, batch, m);
    perf_end(REGION_PREFILL);
    TRY(status);
  }
  TRY(batch_settle(grid, batch, &responses->skipped));
  TRY(comm_allreduce(grid->dp, round->answers, n, COMM_I32, COMM_SUM));
  return comm_allreduce(grid->dp, round->logprobs, n, COMM_F64, COMM_SUM);
}

/* What was found, to the responses. */
static status_t letters_take(const letters_round_t *round, const batch_t *batch) {
  const prompts_t *prompts = round->prompts;
  responses_t *responses = round->responses;
  for (int64_t i = 0; i < responses->n; i++) {
    responses->broken[i] = batch->broken[i];
    if (responses->broken[i] || prompts->session->dry) continue;
    responses->tokens[i] = round->answers[i];
    if (responses->logprobs) responses->logprobs[i] = round->logprobs[i];
    if (!isfinite(round->logprobs[i]))
      return error_set(STATUS_NUMERIC,
                       "question %" PRId64
                       " of %s: the letters have log-probabilities like %g, expected finite "
                       "numbers; the model or its adapter is broken",
                       prompts_row(prompts, responses->begin + i), dataset_path(prompts->source->dataset),
                       round->logprobs[i]);
  }
  return STATUS_OK;
}

static status_t letters_allocate(letters_round_t *round) {
  responses_t *responses = round->responses;
  memory_pool_t *pool = &responses->pool;
  const size_t n = (size_t)responses->n;
  TRY(memory_pool_alloc(pool, &responses->offsets, n + 1, sizeof *responses->offsets));
  TRY(memory_pool_alloc(pool, &responses->tokens, n, sizeof *responses->tokens));
  TRY(memory_pool_alloc(pool, &responses->stopped, n, sizeof *responses->stopped));
  TRY(memory_pool_alloc(pool, &responses->broken, n, sizeof *responses->broken));
  if (round->prompts->options.logprobs)
    TRY(memory_pool_alloc(pool, &responses->logprobs, n, sizeof *responses->logprobs));
  TRY(memory_pool_alloc(pool, &round->logprobs, n, sizeof *round->logprobs));
  TRY(memory_pool_alloc(pool, &round->answers, n, sizeof *round->answers));
  for (size_t i = 0; i < n; i++) {
    responses->offsets[i + 1] = (int64_t)i + 1;
    responses->tokens[i] = round->tokens[0];
    responses->stopped[i] = 1;
  }
  return STATUS_OK;
}

static status_t letters_round(letters_round_t *round, const role_t *role) {
  const prompts_t *prompts = round->prompts;
  batch_t batch = {0};
  bool stop;
  TRY(session_stop(prompts->session, 0.0, &stop));
  if (stop) return STATUS_STOPPED;
  TRY(letters_tokens(prompts->source->tokenizer, prompts->source->template, round->tokens));
  TRY(letters_allocate(round));
  status_code_t status = letters_score(round, role, &batch);
  if (status == STATUS_OK) status = letters_take(round, &batch);
  batch_free(&batch);
  return status;
}

status_t letters_respond(prompts_t *prompts, const role_t *role, int64_t begin, int64_t n, responses_t *out) {
  letters_round_t round = {.prompts = prompts, .responses = out};
  *out = (responses_t){.begin = begin, .n = n, .samples = 1, .pool = {.arena = ARENA_ROLLOUT}};
  status_code_t status = letters_round(&round, role);
  if (status == STATUS_OK) log_progress("answers", begin + n, prompts->count, "answers", NULL);
  return status;
}
