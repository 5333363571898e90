#include "rollout/prompts.h"

#include "base/log.h"
#include "base/memory.h"
#include "rollout/letters.h"
#include "rollout/rollout_kept.h"
#include "session/identity.h"
#include "text/sequence.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
  ROUND_PER_SLOT = 16,  /* responses of a round for each slot */
  SAMPLE_KEY_SHIFT = 10 /* key of a response's random numbers: row << 10 | k */
};

/* ---- Queries ---- */

/* The query of SAMPLE with the suffix behind its last question. */
static status_t suffixed_query(const prompts_t *prompts, const dataset_sample_t *sample, int32_t question,
                               turn_t *turns, text_buffer_t *text, sequence_t *query, bool *fits) {
  const source_t *source = prompts->source;
  conversation_t conversation = sample->conversation;
  conversation.turns = turns;
  memcpy(turns, sample->conversation.turns, (size_t)conversation.count * sizeof *turns);
  int32_t last = conversation.count - 1;
  while (last > 0 && turns[last].role != TURN_HUMAN)
    last--;
  TRY(text_buffer_append(text, turns[last].text));
  TRY(text_buffer_append_string(text, prompts->options.suffix));
  turns[last].text = text_buffer_view(text);
  return conversation_query(source->tokenizer, source->template, &conversation, question,
                            prompts->options.query_len, query, fits);
}

static status_t sample_query(const prompts_t *prompts, const dataset_sample_t *sample, sequence_t *query,
                             bool *fits) {
  const source_t *source = prompts->source;
  int32_t question = conversation_last_question(&sample->conversation);
  if (!prompts->options.suffix || !*prompts->options.suffix)
    return conversation_query(source->tokenizer, source->template, &sample->conversation, question,
                              prompts->options.query_len, query, fits);
  turn_t *turns;
  text_buffer_t text = {0};
  TRY(memory_alloc(&turns, ARENA_DATA, (size_t)sample->conversation.count, sizeof *turns));
  status_code_t status = suffixed_query(prompts, sample, question, turns, &text, query, fits);
  text_buffer_free(&text);
  memory_free(turns);
  return status;
}

/* The query of ROW; *FITS is false, and QUERY empty, where it is not asked. */
static status_t row_query(prompts_t *prompts, int64_t row, sequence_t *query, bool *fits) {
  source_t *source = prompts->source;
  dataset_sample_t sample;
  *query = (sequence_t){0};
  *fits = false;
  TRY(dataset_sample_read(source->dataset, row, &sample));
  status_code_t status = sample_query(prompts, &sample, query, fits);
  if (status == STATUS_OK && sequence_images(query) > 0 && sample.image < 0)
    status = error_set(STATUS_DATA, "the question has an image place but the sample has no image");
  if (status != STATUS_OK) *fits = false;
  status = source_bad_sample(source, row, sample.id.bytes, status);
  dataset_sample_free(&sample);
  return status;
}

/* Candidate I of those to ask. */
static int64_t row_of(const prompts_t *prompts, int64_t i) {
  return prompts->options.rows ? prompts->options.rows[i] : i;
}

int64_t prompts_row(const prompts_t *prompts, int64_t question) {
  return row_of(prompts, selection_find(&prompts->asked, question));
}

status_t prompts_answered(prompts_t *prompts, const responses_t *responses, int64_t number,
                          sequence_t *sequence, int64_t *image) {
  int64_t row = prompts_row(prompts, responses->begin + number / responses->samples),
          begin = responses->offsets[number];
  sequence_t query;
  bool fits;
  TRY(row_query(prompts, row, &query, &fits));
  status_code_t status = sequence_respond(&query, responses->tokens + begin,
                                          (int32_t)(responses->offsets[number + 1] - begin), sequence);
  *image = sequence_images(&query) > 0 ? dataset_sample_image(prompts->source->dataset, row) : -1;
  sequence_free(&query);
  return status;
}

status_t prompts_none_whole(const prompts_t *prompts) {
  return error_set(STATUS_DATA,
                   "the images of all %lld questions of %s are broken: make it again with task prepare",
                   (long long)prompts->count, dataset_path(prompts->source->dataset));
}

/* Candidate I, with an image as PATCHES positions. */
static status_t candidate_measure(prompts_t *prompts, int64_t i, int32_t patches) {
  SCOPED(sequence_free) sequence_t query = {0};
  bool fits;
  TRY(row_query(prompts, row_of(prompts, i), &query, &fits));
  int32_t length = fits ? packed_length(query.tokens, query.n, patches) : 0;
  if (length > 0) selection_add(&prompts->asked, i);
  if (length > prompts->longest) prompts->longest = length;
  return STATUS_OK;
}

/* Finds out which of the N candidates are asked, and the longest of their queries. */
static status_t prompts_measure(prompts_t *prompts, int64_t n) {
  const grid_t *grid = &prompts->session->grid;
  selection_t *asked = &prompts->asked;
  int32_t patches = config_patches(&prompts->model->base.config);
  status_code_t status = selection_create(ARENA_DATA, n, asked);
  for (int64_t i = grid->rank; i < n && status == STATUS_OK; i += grid->size)
    status = candidate_measure(prompts, i, patches);
  TRY(comm_agree(grid->world, status));
  /* Each bit is one rank's, so that the sum has them all. */
  TRY(comm_allreduce(grid->world, asked->words, (size_t)asked->word_count, COMM_U64, COMM_SUM));
  return comm_allreduce(grid->world, &prompts->longest, 1, COMM_I32, COMM_MAX);
}

static status_t prompts_choose(prompts_t *prompts, int64_t n) {
  TRY(prompts_measure(prompts, n));
  selection_count(&prompts->asked);
  prompts->count = prompts->asked.count;
  prompts->dropped = n - prompts->count;
  if (prompts->dropped > 0)
    log_warning("%lld of %lld questions are left out: longer than %d tokens, or bad",
                (long long)prompts->dropped, (long long)n, prompts->options.query_len);
  if (prompts->count > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s has no question that can be asked: expected one of at most %d tokens",
                   dataset_path(prompts->source->dataset), prompts->options.query_len);
}

/* Whether the questions can be answered as the settings ask. */
static status_t prompts_check_letters(const prompts_t *prompts) {
  const prompts_options_t *options = &prompts->options;
  if (!prompts->session->settings->generate.letters) return STATUS_OK;
  if (!options->letters)
    return error_set(
        STATUS_INPUT,
        "generate.letters answers MMBench's questions (a table, .tsv) by the letters of their options; "
        "'%s' holds none",
        dataset_path(prompts->source->dataset));
  if (options->samples == 1) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "generate.letters gives one answer to a question, generate.samples asks for %d",
                   options->samples);
}

status_t prompts_open(session_t *session, model_t *model, source_t *source, const prompts_options_t *options,
                      prompts_t *out) {
  *out = (prompts_t){.session = session, .model = model, .source = source, .options = *options};
  int64_t n = dataset_info(source->dataset).samples;
  if (options->limit > 0 && options->limit < n) n = options->limit;
  TRY(prompts_check_letters(out));
  status_code_t status = prompts_choose(out, n);
  if (status != STATUS_OK) prompts_close(out);
  return status;
}

void prompts_close(prompts_t *prompts) {
  kept_close(prompts->kept);
  selection_free(&prompts->asked);
  *prompts = (prompts_t){0};
}

/* How questions become queries. */
static status_t prompts_identity(const prompts_t *prompts, text_buffer_t *text) {
  char lines[128];
  const prompts_options_t *options = &prompts->options;
  snprintf(lines, sizeof lines, "query_len = %d\nlogprobs = %d\nsuffix = ", options->query_len,
           options->logprobs);
  TRY(text_buffer_append_string(text, lines));
  if (options->suffix) TRY(text_buffer_append_string(text, options->suffix));
  return text_buffer_append_string(text, "\n");
}

status_t prompts_keep(prompts_t *prompts, const role_t *role, const prompts_sampling_t *sampling,
                      const char *path, bool routine) {
  session_t *session = prompts->session;
  SCOPED(text_buffer_free) text_buffer_t text = {0};
  if (session->dry) return STATUS_OK;
  TRY(rollout_identity(session, prompts->model, role, prompts->source, sampling, &text));
  TRY(comm_agree(session->world, prompts_identity(prompts, &text)));
  return identity_keep(session, prompts->model, path, "answers", &text, routine, &prompts->kept);
}

/* ---- The generator ---- */

prompts_sampling_t prompts_sampling(const settings_t *settings) {
  return (prompts_sampling_t){.sampler = {.temperature = settings->generate.temperature,
                                          .top_p = settings->generate.top_p,
                                          .top_k = (int32_t)settings->generate.top_k,
                                          .greedy = settings->generate.greedy,
                                          .seed = (uint64_t)settings->job.seed},
                              .max_tokens = (int32_t)settings->generate.max_tokens,
                              .stop_at_question = settings->generate.stop_at_question};
}

status_t prompts_generator(const prompts_t *prompts, const role_t *role, const prompts_sampling_t *sampling,
                           generator_t **out) {
  *out = NULL;
  if (prompts->options.letters) return STATUS_OK;
  return rollout_generator(prompts->session, role, prompts->source, sampling,
                           prompts->count * prompts->options.samples, prompts->longest, out);
}

int64_t prompts_round(const prompts_t *prompts) {
  int64_t slots = rollout_slots(prompts->session, prompts->count * prompts->options.samples);
  int64_t questions = slots * prompts->session->grid.dp_size * ROUND_PER_SLOT / prompts->options.samples;
  return questions > 0 ? questions : 1;
}

/* ---- One round ---- */

/* Its questions are those behind BEGIN. */
typedef struct {
  prompts_t *prompts;
  int64_t begin;
} prompts_round_t;

static status_t round_query(void *context, int64_t question, sequence_t *query) {
  const prompts_round_t *round = context;
  bool fits;
  TRY(row_query(round->prompts, prompts_row(round->prompts, round->begin + question), query, &fits));
  return fits ? STATUS_OK : error_set(STATUS_INTERNAL, "a query that does not fit was not left out");
}

/* Sums of the tokens' log-probabilities. */
static status_t sum_logprobs(const rollout_t *rollout, responses_t *out) {
  TRY(memory_pool_alloc(&out->pool, &out->logprobs, (size_t)(out->n * out->samples), sizeof *out->logprobs));
  for (int64_t i = 0; i < out->n * out->samples; i++)
    for (int64_t t = out->offsets[i]; t < out->offsets[i + 1]; t++)
      out->logprobs[i] += rollout->logprobs[t];
  return STATUS_OK;
}

/* Hands what the rollout has come to over to OUT. */
static status_t prompts_take_responses(rollout_t *rollout, responses_t *out) {
  out->pool = rollout->pool;
  out->offsets = rollout->offsets;
  out->tokens = rollout->tokens;
  out->stopped = rollout->stopped;
  out->broken = rollout->broken;
  rollout->pool.blocks = NULL;
  return rollout->scalars ? sum_logprobs(rollout, out) : STATUS_OK;
}

/* A blank device draws nothing: pieces from all over the vocabulary stand for what it would have drawn, so
 * that texts are about as long. */
static void prompts_invent_tokens(const tokenizer_t *tokenizer, responses_t *out) {
  const int64_t stride = 7919; /* a prime */
  int32_t ranges;
  const token_range_t *range = tokenizer_drawable(tokenizer, &ranges), *end = range + ranges;
  for (const token_range_t *other = range; other < end; other++)
    if (other->end - other->begin > range->end - range->begin) range = other;
  int64_t tokens = out->offsets[out->n * out->samples];
  for (int64_t i = 0; i < tokens; i++)
    out->tokens[i] = range->begin + (int32_t)(i * stride % (range->end - range->begin));
}

/* Draws the responses that are not kept from before. */
static status_t draw_round(prompts_t *prompts, rollout_t *rollout, generator_t *generator,
                           const role_t *role) {
  int64_t responses = rollout->n * rollout->samples, count;
  int32_t *which;
  TRY(memory_pool_alloc(&rollout->pool, &which, (size_t)responses, sizeof *which));
  TRY(rollout_take_kept(rollout, which, &count));
  if (count == 0) return STATUS_OK;
  status_code_t status = rollout_run(rollout, generator, role, count < responses ? which : NULL, count);
  if (status == STATUS_STOPPED) TRY(session_stopped(prompts->session, NULL));
  return status;
}

static status_t run_round(prompts_t *prompts, rollout_t *rollout, generator_t *generator, const role_t *role,
                          responses_t *out) {
  int64_t *rows, *keys;
  TRY(rollout_create(rollout));
  TRY(memory_pool_alloc(&rollout->pool, &rows, (size_t)rollout->n, sizeof *rows));
  TRY(memory_pool_alloc(&rollout->pool, &keys, (size_t)rollout->n, sizeof *keys));
  for (int64_t i = 0; i < rollout->n; i++) {
    rows[i] = prompts_row(prompts, out->begin + i);
    keys[i] = rows[i] << SAMPLE_KEY_SHIFT;
  }
  rollout->rows = rows;
  rollout->keys = keys;
  TRY(draw_round(prompts, rollout, generator, role));
  TRY(rollout_count_broken(rollout, &out->skipped));
  return rollout_share(rollout);
}

static status_t prompts_generate(prompts_t *prompts, generator_t *generator, const role_t *role,
                                 int64_t begin, int64_t n, responses_t *out) {
  int32_t samples = prompts->options.samples;
  prompts_round_t round = {prompts, begin};
  rollout_t rollout = {.session = prompts->session,
                       .source = prompts->source,
                       .models = {prompts->model},
                       .n = n,
                       .samples = samples,
                       .query = round_query,
                       .context = &round,
                       .scalars = prompts->options.logprobs,
                       .kept = prompts->kept,
                       .before = begin * samples,
                       .all = prompts->count * samples};
  *out = (responses_t){.begin = begin, .n = n, .samples = samples};
  status_code_t status = run_round(prompts, &rollout, generator, role, out);
  if (status == STATUS_OK) status = prompts_take_responses(&rollout, out);
  if (status == STATUS_OK && prompts->session->dry) prompts_invent_tokens(prompts->source->tokenizer, out);
  rollout_free(&rollout);
  return status;
}

status_t prompts_respond(prompts_t *prompts, generator_t *generator, const role_t *role, int64_t begin,
                         int64_t n, responses_t *out) {
  status_code_t status = prompts->options.letters ? letters_respond(prompts, role, begin, n, out)
                                                  : prompts_generate(prompts, generator, role, begin, n, out);
  session_skipped(prompts->session, out->skipped, NULL);
  prompts->alone = status != STATUS_OK && status != STATUS_STOPPED;
  if (status != STATUS_OK) responses_free(out);
  return status;
}

void responses_free(responses_t *responses) {
  memory_pool_free(&responses->pool);
  *responses = (responses_t){0};
}

status_t responses_text(const responses_t *responses, const tokenizer_t *tokenizer, int64_t number,
                        char **text) {
  char *decoded;
  size_t n;
  int64_t begin = responses->offsets[number], end = responses->offsets[number + 1];
  TRY(tokenizer_decode(tokenizer, responses->tokens + begin, (int32_t)(end - begin), &decoded, &n));
  text_view_t stripped = text_strip((text_view_t){decoded, n});
  status_code_t status = memory_copy_text(text, ARENA_OTHER, stripped.bytes, stripped.n);
  memory_free(decoded);
  return status;
}
