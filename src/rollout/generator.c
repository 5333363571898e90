#include "rollout/generator.h"

#include "model/cache.h"
#include "perf/perf.h"
#include "rollout/decoding.h"
#include "rollout/places.h"
#include "rollout/prefill.h"

#include <string.h>

/* Items of one question that one group gets. */
enum { TOGETHER_MOST = 8 };

struct generator {
  pass_t *pass;
  base_t *base;
  generator_options_t options;
  cache_t cache;
  sampler_t *sampler;
  places_t in_flight;
  decoding_t decoding;
  device_event_t *read; /* behind the responses that are on their way */
  workspace_t workspace;
  /* Host; S is the place of a sequence. */
  int64_t *samples;                 /* (slots): keys of the random numbers */
  int32_t *tokens;                  /* (slots, max_tokens): responses as they are read */
  double *logprobs, *entropies;     /* likewise */
  int32_t *which;                   /* (slots): the places that a step is about */
  int64_t *pending;                 /* items taken from the queue and not yet admitted */
  int32_t pending_count, requested; /* the last ones of them are asked for, but not loaded */
};

/* ---- Life ---- */

static int32_t pages_for(const generator_t *generator, int64_t positions) {
  int32_t size = generator->options.page_size;
  return (int32_t)((positions + size - 1) / size);
}

static void generator_describe(generator_t *generator) {
  workspace_t *w = &generator->workspace;
  int64_t n = generator->options.slots, tokens = n * generator->options.max_tokens;
  workspace_host(w, "samples", n, &generator->samples);
  workspace_host(w, "tokens", tokens, &generator->tokens);
  workspace_host(w, "logprobs", tokens, &generator->logprobs);
  workspace_host(w, "entropies", tokens, &generator->entropies);
  workspace_host(w, "which", n, &generator->which);
  workspace_host(w, "pending", 2 * n + 2 * TOGETHER_MOST, &generator->pending);
}

/* Pages of the cache: the worst case of all slots, as far as it fits CACHE_BYTES and can be numbered. */
static status_t generator_choose_pages(const generator_t *generator, size_t cache_bytes,
                                       places_options_t *all) {
  const generator_options_t *options = &generator->options;
  int64_t positions = (int64_t)options->longest_query + options->max_tokens;
  int64_t most = cache_most_positions / options->page_size;
  if (positions + options->page_size - 1 > cache_most_positions)
    return error_set(STATUS_INPUT,
                     "a sequence may take %lld positions, a key-value cache has at most %lld; reduce "
                     "rollout.response_len or data.query_len",
                     (long long)positions, (long long)cache_most_positions);
  all->max_pages = pages_for(generator, positions);
  size_t page = cache_page_bytes(generator->base, options->page_size);
  if (cache_bytes > 0 && (int64_t)(cache_bytes / page) < most) most = (int64_t)(cache_bytes / page);
  if (most < all->max_pages)
    return error_set(STATUS_INPUT,
                     "the key-value cache of one sequence takes %zu bytes, %zu are allowed; allow more "
                     "(rollout.cache_fraction), or reduce rollout.response_len or data.query_len",
                     (size_t)all->max_pages * page, cache_bytes);
  int64_t wanted = (int64_t)options->slots * all->max_pages;
  all->pages = (int32_t)(wanted < most ? wanted : most);
  return STATUS_OK;
}

/* The cache of PAGES pages, and beside it the memory of what a run passes through the network: prefills,
 * which bring a sequence back at its full length at most, and decode steps. */
static status_t generator_create_cache(generator_t *generator, const role_t *role, int32_t pages) {
  const generator_options_t *options = &generator->options;
  int64_t longest = (int64_t)options->longest_query + options->max_tokens, all = options->slots * longest;
  int64_t rows = options->prefill_tokens < all ? options->prefill_tokens : all;
  if (rows < longest) rows = longest;
  if (rows < decoding_bucket(options->slots)) rows = decoding_bucket(options->slots);
  int32_t places = config_patches(&generator->base->config);
  int64_t images = places > 0 ? rows / places + 1 : 0;
  const pass_cache_t cache = {.pages = pages,
                              .page_size = options->page_size,
                              .rows = rows,
                              .sequences = options->slots,
                              .images = (int32_t)(images < options->slots ? images : options->slots)};
  return pass_create_cache(generator->pass, role, &cache, &generator->cache);
}

_Static_assert((int)RESPONSE_ENDS_MAX <= (int)DECODE_ENDS_MAX, "the device looks for all ends of a response");

static status_t generator_build(generator_t *generator, const role_t *role, size_t cache_bytes) {
  device_t *device = generator->base->params.device;
  const generator_options_t *options = &generator->options;
  places_options_t all = {
      .slots = options->slots, .page_size = options->page_size, .max_tokens = options->max_tokens};
  TRY(generator_choose_pages(generator, cache_bytes, &all));
  TRY(places_create(&all, &generator->in_flight));
  TRY(generator_create_cache(generator, role, all.pages));
  TRY(sampler_create(generator->pass, device, generator->base->params.grid, generator->base,
                     &options->sampler, decoding_bucket(options->slots), &generator->sampler));
  decoding_options_t decoding = {
      .slots = options->slots, .max_pages = all.max_pages, .max_tokens = options->max_tokens};
  decoding.end_count = response_end_tokens(&options->end, decoding.ends);
  TRY(decoding_create(generator->pass, &generator->cache, generator->sampler, &decoding,
                      &generator->decoding));
  TRY(device_event_create(device, &generator->read));
  generator->workspace = workspace_create(device, "generator");
  workspace_begin(&generator->workspace);
  generator_describe(generator);
  return workspace_end(&generator->workspace, NULL);
}

status_t generator_create(pass_t *pass, const role_t *role, const generator_options_t *options,
                          size_t cache_bytes, generator_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  generator_t *generator = *out;
  generator->pass = pass;
  generator->base = role->base;
  generator->options = *options;
  status_code_t status = generator_build(generator, role, cache_bytes);
  if (status != STATUS_OK) {
    generator_free(generator);
    *out = NULL;
  }
  return status;
}

void generator_free(generator_t *generator) {
  if (!generator) return;
  device_event_free(generator->read);
  decoding_free(&generator->decoding);
  places_free(&generator->in_flight);
  cache_free(&generator->cache);
  sampler_free(generator->sampler);
  workspace_free(&generator->workspace);
  memory_free(generator);
}

/* ---- A run ---- */

typedef struct {
  generator_t *generator;
  const role_t *role;
  const generator_source_t *source;
  queue_t *queue;   /* of blocks of items */
  int64_t n;        /* items */
  int32_t together; /* items of a block */
  bool drained;
  int32_t idle; /* rows of steps so far whose sequence had ended, as the host knows by now */
} run_t;

static place_t *place_of(const run_t *run, int32_t s) {
  return &run->generator->in_flight.places[s];
}

/* Tokens of the response of place S as they were last read. */
static int32_t *tokens_of(const generator_t *generator, int32_t s) {
  return generator->tokens + (int64_t)s * generator->options.max_tokens;
}

/* ---- The end of responses ---- */

/* Tokens of the response of place S, if it is over, else 0. One of max_tokens is over, whatever the device
 * has told. */
static int32_t tokens_at_end(const generator_t *generator, int32_t s) {
  const place_t *place = &generator->in_flight.places[s];
  int32_t ended = generator->decoding.ended[s];
  if (place->state != SEQUENCE_RUNS && place->state != SEQUENCE_PREEMPTED) return 0;
  if (ended != 0) return ended < 0 ? -ended : ended;
  return place_tokens(place) == generator->options.max_tokens ? place_tokens(place) : 0;
}

/* Ends the sequences whose responses are over, as far as the host is told, and asks for the responses. */
static status_t run_end(run_t *run) {
  generator_t *generator = run->generator;
  places_t *all = &generator->in_flight;
  TRY(decoding_read_ended(&generator->decoding));
  for (int32_t s = 0; s < generator->options.slots; s++) {
    int32_t n = tokens_at_end(generator, s);
    int64_t at = (int64_t)s * generator->options.max_tokens;
    if (n == 0) continue;
    run->idle += place_tokens(&all->places[s]) - n;
    places_end(all, s, n);
    TRY(decoding_read(&generator->decoding, s, n, tokens_of(generator, s), generator->logprobs + at,
                      generator->entropies + at));
  }
  return all->ended > 0 ? device_event_record(generator->read) : STATUS_OK;
}

/* Gives the response of place S, which is there, to the sink, and the place back. */
static status_t run_finish(run_t *run, int32_t s) {
  generator_t *generator = run->generator;
  const place_t *place = place_of(run, s);
  int64_t at = (int64_t)s * generator->options.max_tokens;
  int32_t n = place_tokens(place), last = generator->tokens[at + n - 1];
  const generator_response_t response = {.prompt = place->item,
                                         .tokens = generator->tokens + at,
                                         .n = n,
                                         .logprobs = generator->logprobs + at,
                                         .entropies = generator->entropies + at,
                                         .stopped = response_ends(&generator->options.end, last)};
  if (last < 0)
    return error_set(
        STATUS_NUMERIC,
        "sampling found no token for sample %lld at response position %d: its logits are not finite",
        (long long)generator->samples[s], n - 1);
  places_finish(&generator->in_flight, s);
  return run->source->put(run->source->context, &response);
}

/* Hands over the responses that were asked for. */
static status_t run_hand_over(run_t *run) {
  const generator_t *generator = run->generator;
  if (generator->in_flight.ended == 0) return STATUS_OK;
  TRY(device_event_wait(generator->read));
  for (int32_t s = 0; s < generator->options.slots; s++)
    if (place_of(run, s)->state == SEQUENCE_ENDED) TRY(run_finish(run, s));
  return STATUS_OK;
}

/* After all that draws tokens. What a device that works behind the host was asked for the last time is there
 * while it works on what it was asked for since; any other has nothing to be waited for. */
static status_t run_settle(run_t *run) {
  TRY(run_hand_over(run));
  TRY(run_end(run));
  return device_works_behind(run->generator->decoding.device) ? STATUS_OK : run_hand_over(run);
}

/* ---- Admission ---- */

/* Adds the sequence of place S, with what it has drawn so far, to PREFILL. */
static status_t run_add(run_t *run, prefill_t *prefill, int32_t s, const generator_prompt_t *prompt) {
  generator_t *generator = run->generator;
  const place_t *place = place_of(run, s);
  int32_t drawn = place_tokens(place);
  if (drawn > 0) {
    TRY(decoding_read(&generator->decoding, s, drawn, tokens_of(generator, s), NULL, NULL));
    TRY(device_synchronize(generator->decoding.device));
  }
  TRY(prefill_add(prefill, s, prompt, drawn, tokens_of(generator, s)));
  return decoding_place(&generator->decoding, s, -1, place->position, drawn, prompt->sample);
}

/* The oldest preempted sequence S runs again, if there is room; *ROOM. */
static status_t run_resume(run_t *run, prefill_t *prefill, int32_t s, bool *room) {
  generator_prompt_t prompt;
  *room = prefill_has_room(prefill, place_of(run, s)->position + 1) &&
          places_resume(&run->generator->in_flight, s);
  if (!*room) return STATUS_OK;
  TRY(run->source->get(run->source->context, place_of(run, s)->item, &prompt));
  return run_add(run, prefill, s, &prompt);
}

/* The same for item ITEM, which is pending. Where its prompt is shared it goes on with the prompt's last
 * token, without PREFILL. */
static status_t run_admit(run_t *run, prefill_t *prefill, int64_t item, bool *room) {
  generator_t *generator = run->generator;
  generator_prompt_t prompt;
  int32_t s = -1;
  TRY(run->source->get(run->source->context, item, &prompt));
  int32_t length = packed_length(prompt.tokens, prompt.n, config_patches(&generator->base->config));
  if (length > generator->options.longest_query)
    return error_set(STATUS_INTERNAL, "prompt %lld takes %d positions, the generator was made for %d",
                     (long long)item, length, generator->options.longest_query);
  int32_t last = prompt.tokens[prompt.n - 1];
  bool shared = prefill_has_room(prefill, length) &&
                places_admit(&generator->in_flight, item, prompt.question, length, last != TOKEN_IMAGE, &s);
  *room = s >= 0;
  if (!*room) return STATUS_OK;
  generator->samples[s] = prompt.sample;
  if (!shared) return run_add(run, prefill, s, &prompt);
  return decoding_place(&generator->decoding, s, last, length - 1, 0, prompt.sample);
}

/* As many sequences as there is room for: preempted ones, then pending ones; *COUNT of them. */
static status_t run_collect(run_t *run, prefill_t *prefill, int32_t *count) {
  generator_t *generator = run->generator;
  int32_t admitted = 0;
  bool room = true;
  for (*count = 0; room && generator->in_flight.running < generator->options.slots; *count += room) {
    int32_t waiting = places_waiting(&generator->in_flight);
    if (waiting >= 0) {
      TRY(run_resume(run, prefill, waiting, &room));
    } else if (admitted < generator->pending_count - generator->requested) {
      TRY(run_admit(run, prefill, generator->pending[admitted], &room));
      admitted += room;
    } else {
      break;
    }
  }
  generator->pending_count -= admitted;
  memmove(generator->pending, generator->pending + admitted,
          (size_t)generator->pending_count * sizeof *generator->pending);
  return STATUS_OK;
}

/* The pass over what was collected, pages that are shared in part, and the first tokens. */
static status_t run_prefill(run_t *run, prefill_t *prefill) {
  generator_t *generator = run->generator;
  places_t *all = &generator->in_flight;
  int32_t n = prefill->n;
  if (n > 0) TRY(prefill_pass(prefill, generator->pass, run->role, &generator->cache, all));
  TRY(decoding_copy_pages(&generator->decoding, all->copies, all->copy_from, all->copy_to));
  all->copies = 0;
  if (n == 0) return STATUS_OK;
  TRY(decoding_set_pages(&generator->decoding, all->table));
  all->table_changed = false;
  TRY(decoding_draw(&generator->decoding, n, prefill->places, prefill->rows));
  for (int32_t i = 0; i < n; i++)
    place_of(run, prefill->places[i])->position++;
  return run_settle(run);
}

/* One prefill pass over as many sequences as there is room for; *COUNT of them. */
static status_t run_admit_all(run_t *run, int32_t *count) {
  generator_t *generator = run->generator;
  SCOPED(prefill_free) prefill_t prefill = {.pool.arena = ARENA_OTHER};
  TRY(prefill_create(&generator->base->config, generator->options.slots, generator->options.prefill_tokens,
                     &prefill));
  TRY(run_collect(run, &prefill, count));
  return *count > 0 ? run_prefill(run, &prefill) : STATUS_OK;
}

/* Takes about WANTED more items from the queue and asks for them. */
static status_t run_request(run_t *run, int32_t wanted) {
  generator_t *generator = run->generator;
  int64_t *end = generator->pending + generator->pending_count, taken;
  if (wanted <= 0 || run->drained) return STATUS_OK;
  int32_t blocks = (wanted + run->together - 1) / run->together, count = 0;
  TRY(queue_take(run->queue, blocks, end, &taken));
  run->drained = taken == 0;
  for (int64_t b = taken - 1; b >= 0; b--) /* from the last, since each becomes several */
    for (int32_t i = run->together - 1; i >= 0; i--)
      end[b * run->together + i] = end[b] * run->together + i;
  while (count < taken * run->together && end[count] < run->n)
    count++;
  generator->pending_count += count;
  generator->requested = count;
  return count > 0 && run->source->request ? run->source->request(run->source->context, end, count)
                                           : STATUS_OK;
}

static status_t run_load(run_t *run) {
  generator_t *generator = run->generator;
  int32_t n = generator->requested;
  generator->requested = 0;
  if (n == 0) return STATUS_OK;
  return run->source->load(run->source->context, generator->pending + generator->pending_count - n, n);
}

/* Fills the free slots. Waiting for a quarter of them makes prefill passes of a useful size; so many prompts
 * are asked for ahead, so that their images are there when they are needed. */
static status_t run_refill(run_t *run) {
  generator_t *generator = run->generator;
  const places_t *all = &generator->in_flight;
  int32_t slots = generator->options.slots, quarter = (slots + 3) / 4, count;
  int32_t vacant = slots - all->running - all->ended;
  if (all->running > 0 && vacant < quarter) return STATUS_OK;
  TRY(run_load(run));
  TRY(run_request(run, vacant - all->preempted - generator->pending_count));
  TRY(run_load(run));
  if (generator->pending_count == 0 && all->preempted == 0) return STATUS_OK;
  perf_begin(REGION_PREFILL);
  status_code_t status = STATUS_OK;
  do
    status = run_admit_all(run, &count);
  while (status == STATUS_OK && count > 0);
  perf_end(REGION_PREFILL);
  TRY(status);
  return generator->pending_count == 0 ? run_request(run, quarter) : STATUS_OK;
}

/* ---- Steps ---- */

/* What has changed since the last step. */
static status_t run_upload(run_t *run) {
  generator_t *generator = run->generator;
  places_t *all = &generator->in_flight;
  int32_t n = 0;
  if (all->table_changed) TRY(decoding_set_pages(&generator->decoding, all->table));
  all->table_changed = false;
  if (!all->places_changed) return STATUS_OK;
  all->places_changed = false;
  for (int32_t s = 0; s < generator->options.slots; s++)
    if (all->places[s].state == SEQUENCE_RUNS) generator->which[n++] = s;
  return decoding_set_rows(&generator->decoding, n, generator->which);
}

static status_t run_step(run_t *run) {
  generator_t *generator = run->generator;
  places_t *all = &generator->in_flight;
  int64_t cached = 0;
  while (!places_grow(all))
    if (places_preempt(all) < 0)
      return error_set(STATUS_INTERNAL, "the key-value cache has no page for the only sequence");
  TRY(run_upload(run));
  for (int32_t s = 0; s < generator->options.slots; s++)
    if (all->places[s].state == SEQUENCE_RUNS) cached += all->places[s].position + 1;
  int32_t running = all->running;
  TRY(decoding_step(&generator->decoding, run->role, cached));
  places_advance(all);
  TRY(run_settle(run));
  if (generator->base->params.grid->tp_rank == 0) perf_tokens(running - run->idle);
  run->idle = 0;
  return STATUS_OK;
}

static status_t run_all(run_t *run, stop_vote_t *vote) {
  const generator_t *generator = run->generator;
  bool stop;
  for (;;) {
    TRY(stop_vote_poll(vote, &stop));
    if (stop || generator->in_flight.running == 0) TRY(run_hand_over(run));
    if (stop) return STATUS_STOPPED;
    TRY(run_refill(run));
    TRY(queue_progress(run->queue));
    if (generator->in_flight.running == 0) {
      const places_t *all = &generator->in_flight;
      if (run->drained && generator->pending_count == 0 && all->preempted == 0 && all->ended == 0)
        return STATUS_OK;
      continue;
    }
    perf_begin(REGION_DECODE);
    status_code_t status = run_step(run);
    perf_end(REGION_DECODE);
    TRY(status);
  }
}

static bool generator_never(void *context) {
  (void)context;
  return false;
}

/* This group's share; then the others are waited for. Looks cost a collective on tp, beside a decode step's
 * two for each layer. */
static status_t run_watched(run_t *run) {
  enum { LOOKS_PER_COLLECTIVE = 8 };
  const generator_source_t *source = run->source;
  stop_vote_t *vote;
  bool stop = false;
  TRY(stop_vote_start(run->generator->base->params.grid, LOOKS_PER_COLLECTIVE,
                      source->stop ? source->stop : generator_never, source->context, &vote));
  status_code_t status = run_all(run, vote);
  if (status == STATUS_OK) {
    perf_begin(REGION_IMBALANCE);
    status = stop_vote_finish(vote, &stop);
    perf_end(REGION_IMBALANCE);
  }
  stop_vote_free(vote);
  TRY(status);
  return stop ? STATUS_STOPPED : STATUS_OK;
}

/* Items of a block: those of a question, as long as there are several blocks for each group. */
static int32_t block_of(const grid_t *grid, int64_t n, int32_t together) {
  enum { BLOCKS_PER_GROUP = 4 };
  int32_t block = together < 1 ? 1 : together > TOGETHER_MOST ? TOGETHER_MOST : together;
  while (block > 1 && grid->dp_size > 1 && n / block < (int64_t)BLOCKS_PER_GROUP * grid->dp_size)
    block /= 2;
  return block;
}

status_t generator_run(generator_t *generator, const role_t *role, int64_t n,
                       const generator_source_t *source) {
  const grid_t *grid = generator->base->params.grid;
  run_t run = {.generator = generator,
               .role = role,
               .source = source,
               .n = n,
               .together = block_of(grid, n, source->together)};
  /* After an interrupted run too: nothing in flight, all pages free. */
  places_reset(&generator->in_flight);
  generator->pending_count = generator->requested = 0;
  TRY(queue_create(grid, (n + run.together - 1) / run.together, generator->options.deterministic,
                   &run.queue));
  status_code_t status = run_watched(&run);
  /* Nothing is on its way to the host's memory any more. */
  status_code_t arrived = device_synchronize(generator->decoding.device);
  if (status == STATUS_OK) status = arrived;
  /* After an error the other groups are not waited for: it ends the run. A queue that all share ends with
   * all.
   */
  bool together = status == STATUS_OK || status == STATUS_STOPPED;
  if (together || generator->options.deterministic || grid->dp_size == 1) queue_free(run.queue);
  return status;
}
