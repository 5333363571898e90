#include "rollout/decoding.h"

#include <string.h>

int32_t decoding_bucket(int32_t n) {
  enum { STEP = 8 };
  int32_t power = 1;
  while (power < n && power < STEP)
    power *= 2;
  return n <= STEP ? power : (n + STEP - 1) / STEP * STEP;
}

static void decoding_describe(decoding_t *d) {
  workspace_t *w = &d->workspace;
  int64_t slots = d->options.slots, pages = d->options.max_pages, tokens = slots * d->options.max_tokens;
  int64_t rows = decoding_bucket(d->options.slots);
  workspace_index(w, ARENA_SCRATCH, "state", slots * DECODE_STATE, &d->sequences.state);
  workspace_index(w, ARENA_SCRATCH, "sequence pages", slots * pages, &d->sequences.pages);
  workspace_index(w, ARENA_SCRATCH, "ended", slots, &d->sequences.ended);
  workspace_index(w, ARENA_SCRATCH, "sequence tokens", tokens, &d->sequences.tokens);
  workspace_wide(w, ARENA_SCRATCH, "sequence logprobs", tokens, &d->sequences.logprobs);
  workspace_wide(w, ARENA_SCRATCH, "sequence entropies", tokens, &d->sequences.entropies);
  workspace_index(w, ARENA_SCRATCH, "which", rows, &d->which);
  workspace_index(w, ARENA_SCRATCH, "tokens", rows, &d->tokens);
  workspace_index(w, ARENA_SCRATCH, "positions", rows, &d->positions);
  workspace_index(w, ARENA_SCRATCH, "slots", rows, &d->slots);
  workspace_index(w, ARENA_SCRATCH, "pages", rows * pages, &d->pages);
  workspace_index(w, ARENA_SCRATCH, "lengths", rows, &d->lengths);
  workspace_index(w, ARENA_SCRATCH, "row", rows, &d->row);
  workspace_index(w, ARENA_SCRATCH, "samples", 2 * rows, &d->samples);
  workspace_index(w, ARENA_SCRATCH, "draws", rows, &d->draws);
  workspace_index(w, ARENA_SCRATCH, "drawn", rows, &d->drawn);
  workspace_wide(w, ARENA_SCRATCH, "logprobs", rows, &d->logprobs);
  workspace_wide(w, ARENA_SCRATCH, "entropies", rows, &d->entropies);
  workspace_index(w, ARENA_SCRATCH, "copy_from", slots, &d->copy_from);
  workspace_index(w, ARENA_SCRATCH, "copy_to", slots, &d->copy_to);
  workspace_host(w, "which", rows, &d->which_host);
  workspace_host(w, "ended", slots, &d->ended);
  workspace_host(w, "placed", slots, &d->placed);
  for (int r = 0; r < 2; r++)
    workspace_host(w, "report", slots, &d->reports[r].ended);
}

static status_t decoding_build(decoding_t *d) {
  workspace_begin(&d->workspace);
  decoding_describe(d);
  TRY(workspace_end(&d->workspace, NULL));
  for (int r = 0; r < 2; r++)
    TRY(device_event_create(d->device, &d->reports[r].event));
  return index_upload(d->device, d->sequences.ended, d->ended, (size_t)d->options.slots);
}

status_t decoding_create(pass_t *pass, cache_t *cache, sampler_t *sampler, const decoding_options_t *options,
                         decoding_t *out) {
  device_t *device = cache->workspace->device;
  *out = (decoding_t){.pass = pass,
                      .cache = cache,
                      .sampler = sampler,
                      .device = device,
                      .options = *options,
                      .workspace = workspace_create(device, "decoding"),
                      .sequences = {.sequences = options->slots,
                                    .max_pages = options->max_pages,
                                    .max_tokens = options->max_tokens}};
  status_code_t status = decoding_build(out);
  if (status != STATUS_OK) decoding_free(out);
  return status;
}

void decoding_free(decoding_t *decoding) {
  for (int r = 0; r < 2; r++)
    device_event_free(decoding->reports[r].event);
  workspace_free(&decoding->workspace);
  *decoding = (decoding_t){0};
}

/* ---- What changes ---- */

status_t decoding_place(decoding_t *decoding, int32_t s, int32_t token, int32_t position, int32_t count,
                        int64_t sample) {
  const decode_sequences_t *all = &decoding->sequences;
  const int32_t runs = 0,
                state[DECODE_STATE] = {[DECODE_TOKEN] = token,
                                       [DECODE_POSITION] = position,
                                       [DECODE_COUNT] = count,
                                       [DECODE_SAMPLE] = (int32_t)(uint32_t)(uint64_t)sample,
                                       [DECODE_SAMPLE + 1] = (int32_t)(uint32_t)((uint64_t)sample >> 32)};
  decoding->placed[s] = decoding->reported;
  TRY(index_upload(decoding->device, index_at(all->state, (int64_t)s * DECODE_STATE), state, DECODE_STATE));
  return index_upload(decoding->device, index_at(all->ended, s), &runs, 1);
}

status_t decoding_set_pages(decoding_t *decoding, const int32_t *table) {
  return index_upload(decoding->device, decoding->sequences.pages, table,
                      (size_t)decoding->options.slots * (size_t)decoding->options.max_pages);
}

status_t decoding_set_rows(decoding_t *decoding, int32_t n, const int32_t *which) {
  decoding->running = n;
  decoding->rows = device_replays(decoding->device) && n > 0 ? decoding_bucket(n) : n;
  for (int32_t i = 0; i < decoding->rows; i++)
    decoding->which_host[i] = i < n ? which[i] : -1;
  return index_upload(decoding->device, decoding->which, decoding->which_host, (size_t)decoding->rows);
}

status_t decoding_copy_pages(decoding_t *decoding, int32_t count, const int32_t *from, const int32_t *to) {
  const cache_t *cache = decoding->cache;
  if (count == 0) return STATUS_OK;
  TRY(index_upload(decoding->device, decoding->copy_from, from, (size_t)count));
  TRY(index_upload(decoding->device, decoding->copy_to, to, (size_t)count));
  return OP(decoding->device, cache_copy,
            &(op_cache_copy_t){.count = count,
                               .layers = cache->layers,
                               .layer_elements = cache->layer_elements,
                               .page_elements = cache->layer_elements / cache->pages,
                               .from = decoding->copy_from,
                               .to = decoding->copy_to,
                               .half = cache->half,
                               .k_cache = cache->k,
                               .v_cache = cache->v});
}

/* ---- Steps ---- */

static status_t decoding_begin(decoding_t *d) {
  return OP(d->device, decode_begin,
            &(op_decode_begin_t){.sequences = d->sequences,
                                 .rows = d->rows,
                                 .page_size = d->cache->page_size,
                                 .which = d->which,
                                 .tokens = d->tokens,
                                 .positions = d->positions,
                                 .slots = d->slots,
                                 .pages = d->pages,
                                 .lengths = d->lengths,
                                 .row = d->row,
                                 .samples = d->samples,
                                 .draws = d->draws});
}

/* Draws for all rows, and notes it. */
static status_t decoding_advance(decoding_t *d) {
  op_decode_advance_t op = {.sequences = d->sequences,
                            .rows = d->rows,
                            .which = d->which,
                            .drawn = d->drawn,
                            .logprobs = d->logprobs,
                            .entropies = d->entropies,
                            .end_count = d->options.end_count};
  memcpy(op.ends, d->options.ends, sizeof op.ends);
  TRY(sampler_draw(d->sampler, d->rows, d->row, d->samples, d->draws, d->drawn, d->logprobs, d->entropies));
  return OP(d->device, decode_advance, &op);
}

status_t decoding_draw(decoding_t *decoding, int32_t n, const int32_t *which, const int32_t *rows) {
  decoding->running = decoding->rows = n;
  TRY(index_upload(decoding->device, decoding->which, which, (size_t)n));
  TRY(decoding_begin(decoding));
  TRY(index_upload(decoding->device, decoding->row, rows, (size_t)n));
  return decoding_advance(decoding);
}

/* What a device may replay: all that it does follows from what is in its memory. */
typedef struct {
  decoding_t *decoding;
  const role_t *role;
  int64_t cached;
} decoding_body_t;

static status_t decoding_body(void *context) {
  const decoding_body_t *body = context;
  decoding_t *d = body->decoding;
  const pass_decode_t step = {.rows = d->rows,
                              .max_pages = d->options.max_pages,
                              .cached = body->cached,
                              .tokens = d->tokens,
                              .positions = d->positions,
                              .slots = d->slots,
                              .pages = d->pages,
                              .lengths = d->lengths};
  TRY(decoding_begin(d));
  TRY(pass_decode(d->pass, body->role, d->cache, &step));
  return decoding_advance(d);
}

/* What a step is: the state that it works on, the role and the shape. */
static uint64_t decoding_key(const decoding_t *decoding, const role_t *role) {
  const uint64_t parts[] = {(uint64_t)(uintptr_t)decoding->sequences.state, (uint64_t)(uintptr_t)role->base,
                            (uint64_t)(uintptr_t)role->adapter, (uint64_t)decoding->rows};
  uint64_t key = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    key = (key ^ parts[i]) * UINT64_C(0x9e3779b97f4a7c15);
  return key;
}

status_t decoding_step(decoding_t *decoding, const role_t *role, int64_t cached) {
  decoding_body_t body = {decoding, role, cached};
  return device_graph(decoding->device, decoding_key(decoding, role), decoding_body, &body);
}

/* ---- What the host reads ---- */

status_t decoding_read_ended(decoding_t *decoding) {
  const decoding_report_t *fresh = &decoding->reports[decoding->reported % 2];
  int64_t heard = decoding->reported++ - device_works_behind(decoding->device);
  const decoding_report_t *report = &decoding->reports[heard & 1];
  TRY(index_download(decoding->device, fresh->ended, decoding->sequences.ended,
                     (size_t)decoding->options.slots));
  TRY(device_event_record(fresh->event));
  if (heard >= 0) TRY(device_event_wait(report->event));
  for (int32_t s = 0; s < decoding->options.slots; s++)
    decoding->ended[s] = heard >= decoding->placed[s] ? report->ended[s] : 0;
  return STATUS_OK;
}

status_t decoding_read(const decoding_t *decoding, int32_t s, int32_t n, int32_t *tokens, double *logprobs,
                       double *entropies) {
  const decode_sequences_t *all = &decoding->sequences;
  device_t *device = decoding->device;
  int64_t place = (int64_t)s * all->max_tokens;
  TRY(index_download(device, tokens, index_at(all->tokens, place), (size_t)n));
  if (logprobs)
    TRY(wide_download(device, logprobs, DTYPE_F64, wide_at(device, all->logprobs, place), (size_t)n));
  if (!entropies) return STATUS_OK;
  return wide_download(device, entropies, DTYPE_F64, wide_at(device, all->entropies, place), (size_t)n);
}
