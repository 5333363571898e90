#include "rollout/prompts.h"

#include "base/log.h"
#include "base/memory.h"
#include "perf/perf.h"
#include "text/sequence.h"

#include <string.h>

enum {
  MOST_SLOTS = 64,      /* of a dp group, where rollout.slots does not say */
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

status_t prompts_answered(prompts_t *prompts, const responses_t *responses, int64_t number,
                          sequence_t *sequence, int64_t *image) {
  int64_t row = prompts->rows[responses->begin + number / responses->samples],
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

/* Positions of the queries of all candidates (n), 0 for those that are not asked, to LENGTHS (n). */
static status_t measure(prompts_t *prompts, int64_t n, int32_t *lengths) {
  const grid_t *grid = &prompts->session->grid;
  int32_t patches = config_patches(&prompts->model->base.config);
  status_code_t status = STATUS_OK;
  for (int64_t i = grid->rank; i < n && status == STATUS_OK; i += grid->size) {
    sequence_t query = {0};
    bool fits;
    status = row_query(prompts, row_of(prompts, i), &query, &fits);
    if (status == STATUS_OK && fits) lengths[i] = packed_length(query.tokens, query.n, patches);
    sequence_free(&query);
  }
  TRY(comm_agree(grid->world, status));
  return comm_allreduce(grid->world, lengths, (size_t)n, COMM_I32, COMM_SUM);
}

static status_t choose(prompts_t *prompts, int64_t n, const int32_t *lengths) {
  TRY(memory_alloc(&prompts->rows, ARENA_DATA, (size_t)n, sizeof *prompts->rows));
  for (int64_t i = 0; i < n; i++) {
    if (lengths[i] == 0) continue;
    prompts->rows[prompts->count++] = row_of(prompts, i);
    if (lengths[i] > prompts->longest) prompts->longest = lengths[i];
  }
  prompts->dropped = n - prompts->count;
  if (prompts->dropped > 0)
    log_warning("%lld of %lld questions are left out: longer than %d tokens, or bad",
                (long long)prompts->dropped, (long long)n, prompts->options.query_len);
  if (prompts->count > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s has no question that can be asked: expected one of at most %d tokens",
                   dataset_path(prompts->source->dataset), prompts->options.query_len);
}

status_t prompts_open(session_t *session, model_t *model, source_t *source, const prompts_options_t *options,
                      prompts_t *out) {
  *out = (prompts_t){.session = session, .model = model, .source = source, .options = *options};
  int64_t n = dataset_info(source->dataset).samples;
  if (options->limit > 0 && options->limit < n) n = options->limit;
  int32_t *lengths;
  TRY(memory_alloc(&lengths, ARENA_DATA, (size_t)n, sizeof *lengths));
  status_code_t status = measure(out, n, lengths);
  if (status == STATUS_OK) status = choose(out, n, lengths);
  memory_free(lengths);
  if (status != STATUS_OK) prompts_close(out);
  return status;
}

void prompts_close(prompts_t *prompts) {
  memory_free(prompts->rows);
  *prompts = (prompts_t){0};
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

/* Slots of a dp group. */
static int32_t slots_of(const prompts_t *prompts) {
  int64_t slots = prompts->session->settings->rollout.slots, groups = prompts->session->grid.dp_size;
  int64_t per_group = (prompts->count * prompts->options.samples + groups - 1) / groups;
  if (slots == 0) slots = MOST_SLOTS;
  return (int32_t)(slots < per_group ? slots : per_group);
}

status_t prompts_generator(const prompts_t *prompts, const prompts_sampling_t *sampling, generator_t **out) {
  const settings_t *settings = prompts->session->settings;
  sampler_options_t sampler = sampling->sampler;
  sampler.drawable = tokenizer_drawable(prompts->source->tokenizer, &sampler.ranges);
  const generator_options_t options = {
      .sampler = sampler,
      .max_tokens = sampling->max_tokens,
      .slots = slots_of(prompts),
      .page_size = (int32_t)settings->rollout.page,
      .longest_query = prompts->longest,
      .prefill_tokens = settings->optim.micro_tokens,
      .deterministic = settings->job.deterministic,
      .end = response_end(prompts->source->tokenizer, prompts->source->template, sampling->stop_at_question)};
  return generator_create(prompts->model->pass, &prompts->model->base, &options, 0, out);
}

int64_t prompts_round(const prompts_t *prompts) {
  int64_t slots = (int64_t)slots_of(prompts) * prompts->session->grid.dp_size;
  int64_t questions = slots * ROUND_PER_SLOT / prompts->options.samples;
  return questions > 0 ? questions : 1;
}

/* ---- One round ---- */

/* What a dp group holds of a question while responses to it are under way. */
typedef struct {
  sequence_t query;
  float *features; /* (P, vision hidden); NULL without an image */
  int32_t waiting; /* responses asked for and not yet given */
} question_t;

typedef struct {
  prompts_t *prompts;
  responses_t *out;
  question_t *questions; /* (n) */
  int32_t **tokens;      /* (n * samples): this group's responses */
  int32_t *lengths;      /* (n * samples) */
  int64_t done;          /* responses of this group */
} round_t;

static void question_free(question_t *question) {
  sequence_free(&question->query);
  memory_free(question->features);
  *question = (question_t){0};
}

/* Patches of the images of QUESTIONS (count), freed by the caller; marks the questions whose image is broken.
 */
static status_t load_patches(round_t *round, const int64_t *questions, int32_t count, float **patches) {
  prompts_t *prompts = round->prompts;
  source_t *source = prompts->source;
  int64_t *images;
  TRY(memory_alloc(&images, ARENA_OTHER, (size_t)count, sizeof *images + sizeof(int32_t)));
  int32_t *broken = (int32_t *)(images + count);
  for (int32_t i = 0; i < count; i++)
    images[i] = dataset_sample_image(source->dataset, prompts->rows[round->out->begin + questions[i]]);
  status_code_t status = source_load(source, &prompts->model->base.config, images, count, patches, broken);
  for (int32_t i = 0; i < count && status == STATUS_OK; i++)
    if (broken[i]) round->out->broken[questions[i]] = 1;
  memory_free(images);
  return status;
}

/* Tower features of QUESTIONS (count), which all have an image. Collective on tp. */
static status_t load_features(round_t *round, const int64_t *questions, int32_t count) {
  model_t *model = round->prompts->model;
  const model_config_t *config = &model->base.config;
  size_t per_image = (size_t)config_patches(config) * (size_t)config->vision_hidden;
  float *patches = NULL, *features = NULL;
  status_code_t status = load_patches(round, questions, count, &patches);
  if (status == STATUS_OK)
    status = memory_alloc(&features, ARENA_FEATURES, (size_t)count * per_image, sizeof *features);
  if (status == STATUS_OK) status = pass_features(model->pass, count, patches, features);
  for (int32_t i = 0; i < count && status == STATUS_OK; i++) {
    question_t *question = &round->questions[questions[i]];
    status = memory_alloc(&question->features, ARENA_FEATURES, per_image, sizeof(float));
    if (status == STATUS_OK)
      memcpy(question->features, features + (size_t)i * per_image, per_image * sizeof(float));
  }
  memory_free(features);
  memory_free(patches);
  return status;
}

/* Queries of the questions that responses ITEMS (n) are the first to ask for; WITH (*COUNT) have images. */
static status_t load_queries(round_t *round, const int64_t *items, int32_t n, int64_t *with, int32_t *count) {
  prompts_t *prompts = round->prompts;
  *count = 0;
  for (int32_t i = 0; i < n; i++) {
    int64_t number = items[i] / prompts->options.samples;
    question_t *question = &round->questions[number];
    bool fits;
    if (question->waiting++ > 0) continue;
    TRY(row_query(prompts, prompts->rows[round->out->begin + number], &question->query, &fits));
    if (!fits) return error_set(STATUS_INTERNAL, "a query that does not fit was not left out");
    if (sequence_images(&question->query) > 0) with[(*count)++] = number;
  }
  return STATUS_OK;
}

static status_t load(void *context, const int64_t *items, int32_t n) {
  round_t *round = context;
  int64_t *with;
  int32_t count;
  TRY(memory_alloc(&with, ARENA_OTHER, (size_t)n, sizeof *with));
  status_code_t status = load_queries(round, items, n, with, &count);
  if (status == STATUS_OK && count > 0) status = load_features(round, with, count);
  memory_free(with);
  return status;
}

static status_t get(void *context, int64_t item, generator_prompt_t *out) {
  const round_t *round = context;
  const prompts_t *prompts = round->prompts;
  int64_t number = item / prompts->options.samples, k = item % prompts->options.samples;
  const question_t *question = &round->questions[number];
  *out = (generator_prompt_t){.sample = prompts->rows[round->out->begin + number] << SAMPLE_KEY_SHIFT | k,
                              .tokens = question->query.tokens,
                              .n = question->query.n,
                              .features = question->features};
  return STATUS_OK;
}

/* The groups work at their own pace: what all have done is guessed from this one's, and never the whole round
 * before it is OVER. */
static void show_progress(const round_t *round, bool over) {
  const prompts_t *prompts = round->prompts;
  int64_t samples = prompts->options.samples, end = (round->out->begin + round->out->n) * samples;
  int64_t done = round->out->begin * samples + round->done * prompts->session->grid.dp_size;
  if (done >= end) done = end - 1;
  log_progress("answers", over ? end : done, prompts->count * samples, "answers", NULL);
}

static status_t put(void *context, const generator_response_t *response) {
  round_t *round = context;
  int64_t i = response->prompt;
  size_t n = (size_t)response->n;
  TRY(memory_alloc(&round->tokens[i], ARENA_ROLLOUT, n, sizeof **round->tokens));
  memcpy(round->tokens[i], response->tokens, n * sizeof **round->tokens);
  round->lengths[i] = response->n;
  round->out->stopped[i] = response->stopped;
  for (int32_t t = 0; t < response->n; t++)
    round->out->logprobs[i] += response->logprobs[t];
  question_t *question = &round->questions[i / round->prompts->options.samples];
  if (--question->waiting == 0) question_free(question);
  round->done++;
  show_progress(round, false);
  return STATUS_OK;
}

static bool stop(void *context) {
  const round_t *round = context;
  return session_wish(round->prompts->session, 0.0);
}

/* Each group fills in its own responses; the sum over groups is the whole. */
static status_t share(round_t *round) {
  comm_t *dp = round->prompts->session->grid.dp;
  responses_t *out = round->out;
  int64_t n = out->n * out->samples;
  int32_t *lengths = round->lengths;
  TRY(comm_allreduce(dp, lengths, (size_t)n, COMM_I32, COMM_SUM));
  TRY(comm_allreduce(dp, out->stopped, (size_t)n, COMM_I32, COMM_SUM));
  TRY(comm_allreduce(dp, out->logprobs, (size_t)n, COMM_F64, COMM_SUM));
  TRY(comm_allreduce(dp, out->broken, (size_t)out->n, COMM_I32, COMM_MAX));
  for (int64_t i = 0; i < out->n; i++)
    out->skipped += out->broken[i];
  for (int64_t i = 0; i < n; i++)
    out->offsets[i + 1] = out->offsets[i] + lengths[i];
  TRY(memory_alloc(&out->tokens, ARENA_ROLLOUT, (size_t)out->offsets[n], sizeof *out->tokens));
  for (int64_t i = 0; i < n; i++)
    if (round->tokens[i])
      memcpy(out->tokens + out->offsets[i], round->tokens[i], (size_t)lengths[i] * sizeof *out->tokens);
  return comm_allreduce(dp, out->tokens, (size_t)out->offsets[n], COMM_I32, COMM_SUM);
}

static status_t run_round(round_t *round, generator_t *generator, const role_t *role) {
  responses_t *out = round->out;
  size_t n = (size_t)(out->n * out->samples);
  TRY(memory_alloc(&out->offsets, ARENA_ROLLOUT, n + 1, sizeof *out->offsets));
  TRY(memory_alloc(&out->logprobs, ARENA_ROLLOUT, n, sizeof *out->logprobs));
  TRY(memory_alloc(&out->broken, ARENA_ROLLOUT, (size_t)out->n, sizeof *out->broken));
  TRY(memory_alloc(&out->stopped, ARENA_ROLLOUT, n, sizeof *out->stopped));
  TRY(memory_alloc(&round->questions, ARENA_ROLLOUT, (size_t)out->n, sizeof *round->questions));
  TRY(memory_alloc(&round->tokens, ARENA_ROLLOUT, n, sizeof *round->tokens));
  TRY(memory_alloc(&round->lengths, ARENA_ROLLOUT, n, sizeof *round->lengths));
  const generator_source_t source = {.context = round, .load = load, .get = get, .put = put, .stop = stop};
  status_code_t status = generator_run(generator, role, (int64_t)n, &source);
  if (status == STATUS_STOPPED) TRY(session_stopped(round->prompts->session, NULL));
  TRY(status);
  return share(round);
}

status_t prompts_respond(prompts_t *prompts, generator_t *generator, const role_t *role, int64_t begin,
                         int64_t n, responses_t *out) {
  *out = (responses_t){.begin = begin, .n = n, .samples = prompts->options.samples};
  round_t round = {.prompts = prompts, .out = out};
  show_progress(&round, false);
  status_code_t status = run_round(&round, generator, role);
  if (status == STATUS_OK) show_progress(&round, true);
  for (int64_t i = 0; i < n && round.questions; i++)
    question_free(&round.questions[i]);
  for (int64_t i = 0; i < n * out->samples && round.tokens; i++)
    memory_free(round.tokens[i]);
  memory_free(round.questions);
  memory_free(round.tokens);
  memory_free(round.lengths);
  session_skipped(prompts->session, out->skipped, NULL);
  prompts->alone = status != STATUS_OK && status != STATUS_STOPPED;
  if (status != STATUS_OK) responses_free(out);
  return status;
}

void responses_free(responses_t *responses) {
  memory_free(responses->offsets);
  memory_free(responses->tokens);
  memory_free(responses->stopped);
  memory_free(responses->logprobs);
  memory_free(responses->broken);
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
