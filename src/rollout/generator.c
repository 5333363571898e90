#include "rollout/generator.h"

#include "base/memory_pool.h"
#include "model/cache.h"
#include "perf/perf.h"

#include <string.h>

/* One sequence in flight. */
typedef struct {
  bool active;
  int64_t prompt, sample;
  int32_t *pages; /* (max_pages) */
  int32_t page_count;
  int32_t cached;    /* positions in the cache */
  int32_t n;         /* response tokens so far; the last one is not cached yet */
  int32_t *tokens;   /* (max_tokens) */
  double *logprobs;  /* (max_tokens) */
  double *entropies; /* (max_tokens) */
} slot_t;

struct generator {
  pass_t *pass;
  base_t *base;
  generator_options_t options;
  cache_t cache;
  sampler_t *sampler;
  int32_t slots, max_pages;
  workspace_t workspace;
  slot_t *slot;                           /* (slots) */
  int32_t *slot_pages, *slot_tokens;      /* (slots, max_pages), (slots, max_tokens): the slots' own */
  double *slot_logprobs, *slot_entropies; /* (slots, max_tokens) */
  /* Items taken from the queue and not yet prefilled. */
  int64_t *pending;
  int32_t pending_count;
  /* Arrays of one decode step or prefill, (slots) unless said otherwise. */
  int32_t *who; /* slot of each row */
  int32_t *rows, *step_tokens, *positions, *cache_slots, *lengths, *drawn;
  int32_t *step_pages; /* (slots, max_pages) */
  int32_t *samples;    /* (slots, 2): low and high word */
  double *step_logprobs, *step_entropies;
  /* Their copies on the device, and what is drawn there. */
  index_t *device_rows, *device_samples, *device_positions, *device_drawn;
  wide_t *device_logprobs, *device_entropies;
};

static int32_t pages_for(const generator_t *generator, int64_t positions) {
  int32_t size = generator->options.page_size;
  return (int32_t)((positions + size - 1) / size);
}

static void generator_describe(generator_t *generator) {
  workspace_t *w = &generator->workspace;
  int64_t n = generator->slots, pages = n * generator->max_pages, tokens = n * generator->options.max_tokens;
  workspace_host(w, "slot", n, &generator->slot);
  workspace_host(w, "slot_pages", pages, &generator->slot_pages);
  workspace_host(w, "slot_tokens", tokens, &generator->slot_tokens);
  workspace_host(w, "slot_logprobs", tokens, &generator->slot_logprobs);
  workspace_host(w, "slot_entropies", tokens, &generator->slot_entropies);
  workspace_host(w, "pending", n, &generator->pending);
  workspace_host(w, "who", n, &generator->who);
  workspace_host(w, "rows", n, &generator->rows);
  workspace_host(w, "step_tokens", n, &generator->step_tokens);
  workspace_host(w, "positions", n, &generator->positions);
  workspace_host(w, "cache_slots", n, &generator->cache_slots);
  workspace_host(w, "lengths", n, &generator->lengths);
  workspace_host(w, "drawn", n, &generator->drawn);
  workspace_host(w, "step_pages", pages, &generator->step_pages);
  workspace_host(w, "samples", 2 * n, &generator->samples);
  workspace_host(w, "step_logprobs", n, &generator->step_logprobs);
  workspace_host(w, "step_entropies", n, &generator->step_entropies);
  workspace_index(w, ARENA_SCRATCH, "rows", n, &generator->device_rows);
  workspace_index(w, ARENA_SCRATCH, "samples", 2 * n, &generator->device_samples);
  workspace_index(w, ARENA_SCRATCH, "positions", n, &generator->device_positions);
  workspace_index(w, ARENA_SCRATCH, "drawn", n, &generator->device_drawn);
  workspace_wide(w, ARENA_SCRATCH, "logprobs", n, &generator->device_logprobs);
  workspace_wide(w, ARENA_SCRATCH, "entropies", n, &generator->device_entropies);
}

static status_t generator_allocate_host(generator_t *generator) {
  generator->workspace = workspace_create(generator->base->params.device, "generator");
  workspace_begin(&generator->workspace);
  generator_describe(generator);
  TRY(workspace_end(&generator->workspace, NULL));
  for (int64_t s = 0; s < generator->slots; s++) {
    slot_t *slot = &generator->slot[s];
    slot->pages = generator->slot_pages + s * generator->max_pages;
    slot->tokens = generator->slot_tokens + s * generator->options.max_tokens;
    slot->logprobs = generator->slot_logprobs + s * generator->options.max_tokens;
    slot->entropies = generator->slot_entropies + s * generator->options.max_tokens;
  }
  return STATUS_OK;
}

/* Sequences whose worst case fits CACHE_BYTES and can be numbered, at most the slots asked for. */
static status_t generator_choose_slots(generator_t *generator, size_t cache_bytes) {
  const generator_options_t *options = &generator->options;
  int64_t positions = (int64_t)options->longest_query + options->max_tokens;
  int64_t most = cache_most_positions / (positions + options->page_size - 1);
  if (most == 0)
    return error_set(STATUS_INPUT,
                     "a sequence may take %lld positions, a key-value cache has at most %lld; reduce "
                     "rollout.response_len or data.query_len",
                     (long long)positions, (long long)cache_most_positions);
  generator->max_pages = pages_for(generator, positions);
  generator->slots = most < options->slots ? (int32_t)most : options->slots;
  if (cache_bytes == 0) return STATUS_OK;
  size_t sequence = (size_t)generator->max_pages * cache_page_bytes(generator->base, options->page_size);
  size_t fit = cache_bytes / sequence;
  if (fit == 0)
    return error_set(
        STATUS_INPUT,
        "the key-value cache of one sequence takes %zu bytes, %zu are allowed; allow more, or reduce "
        "rollout.response_len or data.query_len",
        sequence, cache_bytes);
  if (fit < (size_t)generator->slots) generator->slots = (int32_t)fit;
  return STATUS_OK;
}

static status_t generator_build(generator_t *generator, size_t cache_bytes) {
  device_t *device = generator->base->params.device;
  TRY(generator_choose_slots(generator, cache_bytes));
  TRY(cache_create(generator->base, generator->slots * generator->max_pages, generator->options.page_size,
                   &generator->cache));
  TRY(sampler_create(generator->pass, device, generator->base->params.grid, generator->base,
                     &generator->options.sampler, generator->slots, &generator->sampler));
  return generator_allocate_host(generator);
}

status_t generator_create(pass_t *pass, base_t *base, const generator_options_t *options, size_t cache_bytes,
                          generator_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  generator_t *generator = *out;
  generator->pass = pass;
  generator->base = base;
  generator->options = *options;
  status_code_t status = generator_build(generator, cache_bytes);
  if (status != STATUS_OK) {
    generator_free(generator);
    *out = NULL;
  }
  return status;
}

void generator_free(generator_t *generator) {
  if (!generator) return;
  cache_free(&generator->cache);
  sampler_free(generator->sampler);
  workspace_free(&generator->workspace);
  memory_free(generator);
}

static int32_t active_count(const generator_t *generator) {
  int32_t active = 0;
  for (int32_t s = 0; s < generator->slots; s++)
    active += generator->slot[s].active;
  return active;
}

/* Place in the cache of position POSITION of a slot. */
static int32_t generator_cache_place(const generator_t *generator, const slot_t *slot, int32_t position) {
  int32_t size = generator->options.page_size;
  return slot->pages[position / size] * size + position % size;
}

/* Gives a finished slot's response to the sink and its pages back. */
static status_t generator_finish(generator_t *generator, slot_t *slot, bool stopped,
                                 const generator_source_t *source) {
  generator_response_t response = {.prompt = slot->prompt,
                                   .tokens = slot->tokens,
                                   .n = slot->n,
                                   .logprobs = slot->logprobs,
                                   .entropies = slot->entropies,
                                   .stopped = stopped};
  cache_give(&generator->cache, slot->page_count, slot->pages);
  slot->active = false;
  return source->put(source->context, &response);
}

/* Draws for the N rows, samples and positions of the step's arrays, on the device. */
static status_t generator_draw_rows(generator_t *generator, int32_t n) {
  device_t *device = generator->base->params.device;
  size_t count = (size_t)n;
  TRY(index_upload(device, generator->device_rows, generator->rows, count));
  TRY(index_upload(device, generator->device_samples, generator->samples, 2 * count));
  TRY(index_upload(device, generator->device_positions, generator->positions, count));
  TRY(sampler_draw(generator->sampler, n, generator->device_rows, generator->device_samples,
                   generator->device_positions, generator->device_drawn, generator->device_logprobs,
                   generator->device_entropies));
  TRY(index_download(device, generator->drawn, generator->device_drawn, count));
  TRY(wide_download(device, generator->step_logprobs, DTYPE_F64, generator->device_logprobs, count));
  TRY(wide_download(device, generator->step_entropies, DTYPE_F64, generator->device_entropies, count));
  return device_synchronize(device);
}

/* Draws the next token of the N slots in generator->who from generator->rows of the last pass. */
static status_t generator_draw(generator_t *generator, int32_t n, const generator_source_t *source) {
  for (int32_t i = 0; i < n; i++) {
    const slot_t *slot = &generator->slot[generator->who[i]];
    generator->samples[2 * i] = (int32_t)(uint32_t)(uint64_t)slot->sample;
    generator->samples[2 * i + 1] = (int32_t)(uint32_t)((uint64_t)slot->sample >> 32);
    generator->positions[i] = slot->n;
  }
  TRY(generator_draw_rows(generator, n));
  for (int32_t i = 0; i < n; i++) {
    slot_t *slot = &generator->slot[generator->who[i]];
    int32_t token = generator->drawn[i];
    if (token < 0)
      return error_set(
          STATUS_NUMERIC,
          "sampling found no token for sample %lld at response position %d: its logits are not finite",
          (long long)slot->sample, slot->n);
    slot->tokens[slot->n] = token;
    slot->entropies[slot->n] = generator->step_entropies[i];
    slot->logprobs[slot->n++] = generator->step_logprobs[i];
    bool stopped = response_ends(&generator->options.end, token);
    if (stopped || slot->n == generator->options.max_tokens)
      TRY(generator_finish(generator, slot, stopped, source));
  }
  return STATUS_OK;
}

/* One decode step of all active slots. */
static status_t generator_decode(generator_t *generator, const role_t *role,
                                 const generator_source_t *source) {
  int32_t n = 0, max_pages = generator->max_pages;
  for (int32_t s = 0; s < generator->slots; s++) {
    slot_t *slot = &generator->slot[s];
    if (!slot->active) continue;
    generator->who[n] = s;
    generator->step_tokens[n] = slot->tokens[slot->n - 1];
    generator->positions[n] = slot->cached;
    generator->cache_slots[n] = generator_cache_place(generator, slot, slot->cached);
    generator->lengths[n] = ++slot->cached;
    memcpy(generator->step_pages + (size_t)n * (size_t)max_pages, slot->pages,
           (size_t)max_pages * sizeof(int32_t));
    /* Beyond the pages taken: a valid page that is never looked at. */
    for (int32_t p = slot->page_count; p < max_pages; p++)
      generator->step_pages[(size_t)n * (size_t)max_pages + (size_t)p] = slot->pages[0];
    generator->rows[n] = n;
    n++;
  }
  TRY(pass_decode(generator->pass, role, &generator->cache, max_pages, n, generator->step_tokens,
                  generator->positions, generator->cache_slots, generator->step_pages, generator->lengths));
  return generator_draw(generator, n, source);
}

/* What one prefill pass is made of; a source may reuse its memory, so all is copied. */
typedef struct {
  memory_pool_t pool;
  int32_t n;                   /* prompts */
  packed_source_t *sources;    /* (n) */
  generator_prompt_t *prompts; /* (n) */
  float *features;             /* (images, P * vision hidden) */
  int32_t images;
  packed_t packed;
} prefill_t;

static void prefill_free(prefill_t *prefill) {
  packed_free(&prefill->packed);
  memory_free(prefill->features);
  memory_pool_free(&prefill->pool);
}

/* Copies PROMPT as the next of PREFILL. */
static status_t prefill_add(generator_t *generator, prefill_t *prefill, const generator_prompt_t *prompt) {
  const model_config_t *config = &generator->base->config;
  size_t per_image = (size_t)config_patches(config) * (size_t)config->vision_hidden;
  int32_t i = prefill->n++, *copy;
  TRY(memory_pool_alloc(&prefill->pool, &copy, (size_t)prompt->n, sizeof *copy));
  memcpy(copy, prompt->tokens, (size_t)prompt->n * sizeof *copy);
  prefill->prompts[i] = *prompt;
  prefill->sources[i] = (packed_source_t){.tokens = copy, .n = prompt->n, .image_index = -1};
  if (!prompt->features) return STATUS_OK;
  memcpy(prefill->features + (size_t)prefill->images * per_image, prompt->features,
         per_image * sizeof(float));
  prefill->sources[i].image_index = prefill->images++;
  return STATUS_OK;
}

/* Takes the longest run of pending prompts that one pass may hold. */
static status_t prefill_collect(generator_t *generator, prefill_t *prefill, int32_t most,
                                const generator_source_t *source) {
  const model_config_t *config = &generator->base->config;
  int32_t patches = config_patches(config);
  size_t per_image = (size_t)patches * (size_t)config->vision_hidden;
  TRY(memory_pool_alloc(&prefill->pool, &prefill->sources, (size_t)most, sizeof *prefill->sources));
  TRY(memory_pool_alloc(&prefill->pool, &prefill->prompts, (size_t)most, sizeof *prefill->prompts));
  TRY(memory_alloc(&prefill->features, ARENA_FEATURES, (size_t)most * per_image, sizeof *prefill->features));
  int64_t positions = 0;
  for (int32_t i = 0; i < most; i++) {
    generator_prompt_t next;
    TRY(source->get(source->context, generator->pending[i], &next));
    int32_t length = packed_length(next.tokens, next.n, patches);
    if (length > generator->options.longest_query)
      return error_set(STATUS_INTERNAL, "prompt %lld takes %d positions, the generator was made for %d",
                       (long long)generator->pending[i], length, generator->options.longest_query);
    if (i > 0 && positions + length > generator->options.prefill_tokens) break;
    positions += length;
    TRY(prefill_add(generator, prefill, &next));
  }
  return packed_create(prefill->sources, prefill->n, patches, &prefill->packed);
}

/* Gives prompt I of PREFILL a free slot and its worst case of pages; writes the places of its positions to
 * PLACES. */
static status_t generator_occupy(generator_t *generator, const prefill_t *prefill, int32_t i,
                                 int32_t *places) {
  const packed_t *packed = &prefill->packed;
  int32_t s = 0;
  while (generator->slot[s].active)
    s++;
  slot_t *slot = &generator->slot[s];
  int32_t length = packed->offsets[i + 1] - packed->offsets[i];
  slot->page_count = pages_for(generator, (int64_t)length + generator->options.max_tokens);
  if (!cache_take(&generator->cache, slot->page_count, slot->pages))
    return error_set(STATUS_INTERNAL, "the key-value cache ran out of pages, which admission rules out");
  slot->active = true;
  slot->prompt = generator->pending[i];
  slot->sample = prefill->prompts[i].sample;
  slot->cached = length;
  slot->n = 0;
  generator->who[i] = s;
  generator->rows[i] = packed->offsets[i + 1] - 1;
  for (int32_t p = 0; p < length; p++)
    places[packed->offsets[i] + p] = generator_cache_place(generator, slot, p);
  return STATUS_OK;
}

static status_t prefill_run(generator_t *generator, const role_t *role, prefill_t *prefill,
                            const generator_source_t *source) {
  const packed_t *packed = &prefill->packed;
  int32_t *places, n = prefill->n;
  TRY(memory_pool_alloc(&prefill->pool, &places, (size_t)packed->offsets[packed->sequences], sizeof *places));
  for (int32_t i = 0; i < n; i++)
    TRY(generator_occupy(generator, prefill, i, places));
  pass_images_t images = {.count = prefill->images, .features = prefill->features};
  TRY(pass_forward(generator->pass, role, packed, &images, false, &generator->cache, places));
  generator->pending_count -= n;
  memmove(generator->pending, generator->pending + n,
          (size_t)generator->pending_count * sizeof *generator->pending);
  return generator_draw(generator, n, source);
}

/* One prefill pass over as many pending prompts as there are slots and room for. */
static status_t generator_admit(generator_t *generator, const role_t *role, int32_t free_slots,
                                const generator_source_t *source) {
  int32_t most = generator->pending_count < free_slots ? generator->pending_count : free_slots;
  prefill_t prefill = {.pool.arena = ARENA_OTHER};
  status_code_t status = prefill_collect(generator, &prefill, most, source);
  if (status == STATUS_OK) status = prefill_run(generator, role, &prefill, source);
  prefill_free(&prefill);
  return status;
}

/* Fills the free slots from the queue. Waiting for a quarter of the slots makes prefill passes of a useful
 * size. */
static status_t generator_refill(generator_t *generator, const role_t *role, queue_t *queue, bool *drained,
                                 const generator_source_t *source) {
  int32_t active = active_count(generator);
  int32_t free_slots = generator->slots - active;
  if (active > 0 && free_slots < (generator->slots + 3) / 4) return STATUS_OK;
  if (!*drained && generator->pending_count < free_slots) {
    int64_t taken, *end = generator->pending + generator->pending_count;
    TRY(queue_take(queue, free_slots - generator->pending_count, end, &taken));
    *drained = taken == 0;
    if (taken > 0) TRY(source->load(source->context, end, (int32_t)taken));
    generator->pending_count += (int32_t)taken;
  }
  if (generator->pending_count == 0) return STATUS_OK;
  perf_begin(REGION_PREFILL);
  status_code_t status = STATUS_OK;
  while (status == STATUS_OK && generator->pending_count > 0 && active_count(generator) < generator->slots)
    status = generator_admit(generator, role, generator->slots - active_count(generator), source);
  perf_end(REGION_PREFILL);
  return status;
}

static status_t generator_run_inner(generator_t *generator, const role_t *role, queue_t *queue,
                                    stop_vote_t *vote, const generator_source_t *source) {
  bool drained = false, stop;
  for (;;) {
    TRY(stop_vote_poll(vote, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(generator_refill(generator, role, queue, &drained, source));
    TRY(queue_progress(queue));
    if (active_count(generator) == 0) {
      if (drained && generator->pending_count == 0) return STATUS_OK;
      continue;
    }
    perf_begin(REGION_DECODE);
    status_code_t status = generator_decode(generator, role, source);
    perf_end(REGION_DECODE);
    TRY(status);
  }
}

/* After an interrupted run: nothing in flight, all pages free. */
static void generator_reset(generator_t *generator) {
  for (int32_t s = 0; s < generator->slots; s++) {
    slot_t *slot = &generator->slot[s];
    if (slot->active) cache_give(&generator->cache, slot->page_count, slot->pages);
    slot->active = false;
  }
  generator->pending_count = 0;
}

static bool generator_never(void *context) {
  (void)context;
  return false;
}

/* This group's share; then the others are waited for. Looks cost a collective on tp, beside a decode step's
 * two for each layer. */
static status_t run_watched(generator_t *generator, const role_t *role, queue_t *queue,
                            const generator_source_t *source) {
  enum { LOOKS_PER_COLLECTIVE = 8 };
  stop_vote_t *vote;
  bool stop = false;
  TRY(stop_vote_start(generator->base->params.grid, LOOKS_PER_COLLECTIVE,
                      source->stop ? source->stop : generator_never, source->context, &vote));
  status_code_t status = generator_run_inner(generator, role, queue, vote, source);
  if (status == STATUS_OK) {
    perf_begin(REGION_IMBALANCE);
    status = stop_vote_finish(vote, &stop);
    perf_end(REGION_IMBALANCE);
  }
  stop_vote_free(vote);
  TRY(status);
  return stop ? STATUS_STOPPED : STATUS_OK;
}

status_t generator_run(generator_t *generator, const role_t *role, int64_t n,
                       const generator_source_t *source) {
  queue_t *queue;
  const grid_t *grid = generator->base->params.grid;
  generator_reset(generator);
  TRY(queue_create(grid, n, generator->options.deterministic, &queue));
  status_code_t status = run_watched(generator, role, queue, source);
  /* After an error the other groups are not waited for: it ends the run. A queue that all share ends with
   * all.
   */
  bool together = status == STATUS_OK || status == STATUS_STOPPED;
  if (together || generator->options.deterministic || grid->dp_size == 1) queue_free(queue);
  return status;
}
