#include "rollout/sampler.h"

#include "base/memory.h"
#include "tensor/ops.h"
#include "tensor/workspace.h"

enum { HIGHEST_SHIFT = 24, BUCKET_BITS = 8 };

struct sampler {
  pass_t *pass;
  device_t *device;
  const grid_t *grid;
  sampler_options_t options;
  int64_t most_rows;
  vocab_draw_t draw;
  /* Device memory, where top-k or top-p is used. */
  workspace_t workspace;
  index_t *cut, *prefix; /* (n) */
  wide_t *max;           /* (n) */
  wide_t *histogram;     /* (n, VOCAB_BUCKETS, 2) */
  wide_t *walk;          /* (n, VOCAB_WALK) */
};

static bool cuts_used(const sampler_options_t *options) {
  return !options->greedy && (options->top_p < 1.0 || options->top_k > 0);
}

static void sampler_describe(sampler_t *sampler) {
  workspace_t *w = &sampler->workspace;
  int64_t n = cuts_used(&sampler->options) ? sampler->most_rows : 0;
  workspace_index(w, ARENA_SCRATCH, "cut", n, &sampler->cut);
  workspace_index(w, ARENA_SCRATCH, "prefix", n, &sampler->prefix);
  workspace_wide(w, ARENA_SCRATCH, "max", n, &sampler->max);
  workspace_wide(w, ARENA_SCRATCH, "histogram", n * VOCAB_BUCKETS * 2, &sampler->histogram);
  workspace_wide(w, ARENA_SCRATCH, "walk", n * VOCAB_WALK, &sampler->walk);
}

static status_t sampler_prepare_draw(sampler_t *sampler) {
  const sampler_options_t *options = &sampler->options;
  vocab_ids_t *ids = &sampler->draw.ids;
  sampler->draw.seed = options->seed;
  sampler->draw.greedy = options->greedy;
  if (!options->drawable) return STATUS_OK;
  if (options->ranges > VOCAB_RANGES)
    return error_set(
        STATUS_INPUT,
        "the ids that may be drawn are %d runs, expected at most %d; use a tokenizer whose image "
        "placeholders and unused ids lie together",
        options->ranges, VOCAB_RANGES);
  ids->count = options->ranges;
  for (int32_t r = 0; r < options->ranges; r++)
    ids->range[r] = (vocab_range_t){options->drawable[r].begin, options->drawable[r].end};
  return STATUS_OK;
}

static status_t sampler_build(sampler_t *sampler) {
  TRY(sampler_prepare_draw(sampler));
  workspace_begin(&sampler->workspace);
  sampler_describe(sampler);
  TRY(workspace_end(&sampler->workspace, NULL));
  if (cuts_used(&sampler->options)) sampler->draw.cut = sampler->cut;
  return STATUS_OK;
}

status_t sampler_create(pass_t *pass, device_t *device, const grid_t *grid, const base_t *base,
                        const sampler_options_t *options, int32_t most_rows, sampler_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  sampler_t *sampler = *out;
  int64_t logit_rows = pass_logit_rows(pass, base);
  *sampler = (sampler_t){.pass = pass,
                         .device = device,
                         .grid = grid,
                         .options = *options,
                         .most_rows = most_rows < logit_rows ? most_rows : logit_rows,
                         .workspace = workspace_create(device, "sampler")};
  status_code_t status = sampler_build(sampler);
  if (status != STATUS_OK) {
    sampler_free(sampler);
    *out = NULL;
  }
  return status;
}

void sampler_free(sampler_t *sampler) {
  if (!sampler) return;
  workspace_free(&sampler->workspace);
  memory_free(sampler);
}

/* ---- Cuts ---- */

/* What one selection looks for: the largest cut so that the keys >= cut are IDS ids, or, where that is 0,
 * hold SHARE of the mass. FIRST: over all keys, not within what another one kept. */
typedef struct {
  int32_t ids;
  double share;
  bool first;
} sampler_selection_t;

/* One radix pass at SHIFT: histograms over all shards for the keys that continue the rows' prefixes, and the
 * walk that makes the prefixes longer. */
static status_t sampler_select_level(sampler_t *sampler, const vocab_shard_t *shard,
                                     const sampler_selection_t *selection, int32_t shift) {
  TRY(OP(sampler->device, vocab_histogram,
         &(op_vocab_histogram_t){.shard = *shard,
                                 .ids = &sampler->draw.ids,
                                 .max = sampler->max,
                                 .prefix = sampler->prefix,
                                 .shift = shift,
                                 .histogram = sampler->histogram}));
  TRY(wide_allreduce(sampler->device, sampler->grid->tp, sampler->histogram,
                     (size_t)shard->rows * VOCAB_BUCKETS * 2, COMM_SUM));
  return OP(sampler->device, vocab_walk,
            &(op_vocab_walk_t){.rows = shard->rows,
                               .shift = shift,
                               .first = selection->first,
                               .ids = selection->ids,
                               .share = selection->share,
                               .histogram = sampler->histogram,
                               .prefix = sampler->prefix,
                               .cut = sampler->cut,
                               .state = sampler->walk});
}

/* Four passes from the highest byte of the keys to the lowest. */
static status_t sampler_select(sampler_t *sampler, const vocab_shard_t *shard,
                               const sampler_selection_t *selection) {
  for (int32_t shift = HIGHEST_SHIFT; shift >= 0; shift -= BUCKET_BITS)
    TRY(sampler_select_level(sampler, shard, selection, shift));
  return STATUS_OK;
}

/* Cuts of all rows to sampler->cut: top-k, then top-p within what top-k kept. */
static status_t sampler_find_cuts(sampler_t *sampler, const vocab_shard_t *shard) {
  int32_t top_k = sampler->options.top_k;
  double top_p = sampler->options.top_p;
  TRY(OP(sampler->device, vocab_max, &(op_vocab_max_t){.shard = *shard, .max = sampler->max}));
  TRY(wide_allreduce(sampler->device, sampler->grid->tp, sampler->max, (size_t)shard->rows, COMM_MAX));
  if (top_k > 0) TRY(sampler_select(sampler, shard, &(sampler_selection_t){.ids = top_k, .first = true}));
  if (top_p >= 1.0) return STATUS_OK;
  return sampler_select(sampler, shard, &(sampler_selection_t){.share = top_p, .first = top_k == 0});
}

/* ---- Drawing ---- */

status_t sampler_draw(sampler_t *sampler, int64_t n, const index_t *rows, const index_t *samples,
                      const index_t *positions, index_t *tokens, wide_t *logprobs, wide_t *entropies) {
  double scale = sampler->options.greedy ? 1.0 : 1.0 / sampler->options.temperature;
  const device_t *device = sampler->device;
  for (int64_t i = 0; i < n; i += sampler->most_rows) {
    int64_t count = n - i < sampler->most_rows ? n - i : sampler->most_rows;
    vocab_shard_t shard;
    TRY(pass_logits(sampler->pass, count, index_at(rows, i), scale, &shard));
    if (cuts_used(&sampler->options)) TRY(sampler_find_cuts(sampler, &shard));
    sampler->draw.samples = index_at(samples, 2 * i);
    sampler->draw.positions = index_at(positions, i);
    TRY(pass_draw(sampler->pass, &shard, &sampler->draw, index_at(tokens, i), wide_at(device, logprobs, i),
                  wide_at(device, entropies, i)));
  }
  return STATUS_OK;
}
