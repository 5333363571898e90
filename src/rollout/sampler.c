#include "rollout/sampler.h"

#include "base/memory.h"
#include "tensor/ops.h"
#include "tensor/workspace.h"

#include <math.h>
#include <string.h>

enum { BUCKETS = 256 };

/* Histograms: count and mass, side by side. */
typedef enum { MEASURE_COUNT, MEASURE_MASS, MEASURES } measure_t;

struct sampler {
  pass_t *pass;
  device_t *device;
  const grid_t *grid;
  const base_t *base;
  sampler_options_t options;
  int32_t most_rows;
  workspace_t workspace;
  /* Device. */
  index_t *samples;           /* (n, 2): low and high word */
  index_t *positions;         /* (n) */
  index_t *cut, *prefix, *id; /* (n) */
  wide_t *value, *max;        /* (n) */
  wide_t *histogram;          /* (n, 256, 2) */
  /* Host. */
  int32_t *words; /* (n, 2) */
  int32_t *ids, *cuts, *prefixes;
  double *values;
  comm_maxloc_t *best;
  double *measures;                 /* (n, 256, 2) */
  double *part;                     /* (n, 256, 2): of one range of ids */
  double *targets, *reached, *mass; /* (n): see selection_t */
};

static bool cuts_used(const sampler_options_t *options) {
  return !options->greedy && (options->top_p < 1.0 || options->top_k > 0);
}

/* N rows at once. */
static void sampler_describe(sampler_t *sampler, int64_t n) {
  workspace_t *w = &sampler->workspace;
  int64_t cut = cuts_used(&sampler->options) ? n : 0, histograms = cut * BUCKETS * MEASURES;
  workspace_index(w, ARENA_SCRATCH, "samples", 2 * n, &sampler->samples);
  workspace_index(w, ARENA_SCRATCH, "positions", n, &sampler->positions);
  workspace_index(w, ARENA_SCRATCH, "id", n, &sampler->id);
  workspace_wide(w, ARENA_SCRATCH, "value", n, &sampler->value);
  workspace_index(w, ARENA_SCRATCH, "cut", cut, &sampler->cut);
  workspace_index(w, ARENA_SCRATCH, "prefix", cut, &sampler->prefix);
  workspace_wide(w, ARENA_SCRATCH, "max", cut, &sampler->max);
  workspace_wide(w, ARENA_SCRATCH, "histogram", histograms, &sampler->histogram);
  workspace_host(w, "words", 2 * n, &sampler->words);
  workspace_host(w, "ids", n, &sampler->ids);
  workspace_host(w, "values", n, &sampler->values);
  workspace_host(w, "best", n, &sampler->best);
  workspace_host(w, "cuts", cut, &sampler->cuts);
  workspace_host(w, "prefixes", cut, &sampler->prefixes);
  workspace_host(w, "targets", cut, &sampler->targets);
  workspace_host(w, "reached", cut, &sampler->reached);
  workspace_host(w, "mass", cut, &sampler->mass);
  workspace_host(w, "measures", histograms, &sampler->measures);
  workspace_host(w, "part", histograms, &sampler->part);
}

status_t sampler_create(pass_t *pass, device_t *device, const grid_t *grid, const base_t *base,
                        const sampler_options_t *options, int32_t most_rows, sampler_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  sampler_t *sampler = *out;
  int64_t logit_rows = pass_logit_rows(pass, base);
  *sampler = (sampler_t){.pass = pass,
                         .device = device,
                         .grid = grid,
                         .base = base,
                         .options = *options,
                         .most_rows = most_rows < logit_rows ? most_rows : (int32_t)logit_rows,
                         .workspace = workspace_create(device, "sampler")};
  workspace_begin(&sampler->workspace);
  sampler_describe(sampler, sampler->most_rows);
  status_code_t status = workspace_end(&sampler->workspace, NULL);
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

int32_t sampler_walk(const double *histogram, double target, double *reached) {
  int32_t lowest = 0;
  double above = *reached, above_lowest = *reached;
  for (int32_t b = BUCKETS - 1; b >= 0; b--) {
    if (histogram[b] <= 0.0) continue;
    lowest = b;
    above_lowest = above;
    if (above + histogram[b] >= target) break;
    above += histogram[b];
  }
  *reached = above_lowest;
  return lowest;
}

static int32_t ranges_of(const sampler_t *sampler) {
  return sampler->options.drawable ? sampler->options.ranges : 1;
}

/* The part of SHARD, which may be empty, whose ids are in range number R of those that may be drawn. */
static vocab_shard_t drawable_part(const sampler_t *sampler, const vocab_shard_t *shard, int32_t r) {
  if (!sampler->options.drawable) return *shard;
  const token_range_t *range = &sampler->options.drawable[r];
  int64_t begin = range->begin > shard->begin ? range->begin : shard->begin;
  int64_t end = shard->begin + shard->count < range->end ? shard->begin + shard->count : range->end;
  vocab_shard_t part = *shard;
  part.begin = begin;
  part.count = end > begin ? end - begin : 0;
  if (part.count > 0) part.logits = wide_at(sampler->device, shard->logits, begin - shard->begin);
  return part;
}

/* Histograms of PART are added to sampler->measures. */
static status_t histogram_part(sampler_t *sampler, const vocab_shard_t *part, int32_t shift) {
  size_t n = (size_t)part->rows * BUCKETS * MEASURES;
  TRY(OP(sampler->device, vocab_histogram,
         &(op_vocab_histogram_t){.shard = *part,
                                 .max = sampler->max,
                                 .prefix = sampler->prefix,
                                 .shift = shift,
                                 .histogram = sampler->histogram}));
  TRY(wide_download(sampler->device, sampler->part, DTYPE_F64, sampler->histogram, n));
  TRY(device_synchronize(sampler->device));
  for (size_t i = 0; i < n; i++)
    sampler->measures[i] += sampler->part[i];
  return STATUS_OK;
}

/* One pass: histograms of all rows for the keys that continue the rows' prefixes, over all shards, to
 * sampler->measures. */
static status_t histogram_pass(sampler_t *sampler, const vocab_shard_t *shard, int32_t shift) {
  size_t n = (size_t)shard->rows;
  TRY(index_upload(sampler->device, sampler->prefix, sampler->prefixes, n));
  memset(sampler->measures, 0, n * BUCKETS * MEASURES * sizeof *sampler->measures);
  for (int32_t r = 0; r < ranges_of(sampler); r++) {
    vocab_shard_t part = drawable_part(sampler, shard, r);
    if (part.count > 0) TRY(histogram_part(sampler, &part, shift));
  }
  return comm_allreduce(sampler->grid->tp, sampler->measures, n * BUCKETS * MEASURES, COMM_F64, COMM_SUM);
}

/* What one selection looks for: the largest cut so that MEASURE over keys >= cut reaches the rows' targets.
 */
typedef struct {
  measure_t measure;
  double *targets; /* (n); MEASURE_MASS: a share, turned into a mass in the first pass where only_above */
  double *reached; /* (n): measure above the current prefix */
  double *mass;    /* (n): mass above the current prefix; at the end mass of all keys >= cut */
} selection_t;

/* Walks row I's histogram at one level. */
static void sampler_select_level(sampler_t *sampler, const selection_t *selection, int32_t i) {
  double measure[BUCKETS], mass[BUCKETS];
  const double *histogram = sampler->measures + (size_t)i * BUCKETS * MEASURES;
  for (int32_t b = 0; b < BUCKETS; b++) {
    measure[b] = histogram[b * MEASURES + selection->measure];
    mass[b] = histogram[b * MEASURES + MEASURE_MASS];
  }
  int32_t bucket = sampler_walk(measure, selection->targets[i], &selection->reached[i]);
  for (int32_t b = BUCKETS - 1; b > bucket; b--)
    selection->mass[i] += mass[b];
  sampler->prefixes[i] = (int32_t)((uint32_t)sampler->prefixes[i] << 8 | (uint32_t)bucket);
}

/* Four passes from the highest byte of the keys to the lowest: the rows' cuts end up in sampler->prefixes. */
static status_t sampler_select_cut(sampler_t *sampler, const vocab_shard_t *shard,
                                   const selection_t *selection) {
  int32_t n = (int32_t)shard->rows;
  for (int32_t i = 0; i < n; i++) {
    sampler->prefixes[i] = 0;
    selection->reached[i] = selection->mass[i] = 0.0;
  }
  for (int32_t shift = 24; shift >= 0; shift -= 8) {
    TRY(histogram_pass(sampler, shard, shift));
    for (int32_t i = 0; i < n; i++)
      sampler_select_level(sampler, selection, i);
  }
  /* The cut's own bucket (ties of one key) belongs to what is kept. */
  for (int32_t i = 0; i < n; i++) {
    uint32_t bucket = (uint32_t)sampler->prefixes[i] & (BUCKETS - 1);
    selection->mass[i] += sampler->measures[((size_t)i * BUCKETS + bucket) * MEASURES + MEASURE_MASS];
  }
  return STATUS_OK;
}

/* Mass of the whole row, from the first pass over all keys. */
static status_t row_masses(sampler_t *sampler, const vocab_shard_t *shard, double *mass) {
  int32_t n = (int32_t)shard->rows;
  for (int32_t i = 0; i < n; i++)
    sampler->prefixes[i] = 0;
  TRY(histogram_pass(sampler, shard, 24));
  for (int32_t i = 0; i < n; i++) {
    mass[i] = 0.0;
    for (int32_t b = 0; b < BUCKETS; b++)
      mass[i] += sampler->measures[((size_t)i * BUCKETS + (size_t)b) * MEASURES + MEASURE_MASS];
  }
  return STATUS_OK;
}

/* Cuts of all rows to sampler->cut: top-k, then top-p within what top-k kept. */
static status_t sampler_find_cuts(sampler_t *sampler, const vocab_shard_t *shard) {
  int32_t n = (int32_t)shard->rows;
  const sampler_options_t *options = &sampler->options;
  selection_t selection = {.targets = sampler->targets, .reached = sampler->reached, .mass = sampler->mass};
  TRY(OP(sampler->device, vocab_max, &(op_vocab_max_t){.shard = *shard, .max = sampler->max}));
  TRY(wide_allreduce(sampler->device, sampler->grid->tp, sampler->max, (size_t)n, COMM_MAX));
  for (int32_t i = 0; i < n; i++)
    sampler->cuts[i] = 0;
  if (options->top_k > 0) {
    selection.measure = MEASURE_COUNT;
    for (int32_t i = 0; i < n; i++)
      selection.targets[i] = options->top_k;
    TRY(sampler_select_cut(sampler, shard, &selection));
    for (int32_t i = 0; i < n; i++)
      sampler->cuts[i] = sampler->prefixes[i];
  } else {
    TRY(row_masses(sampler, shard, selection.mass));
  }
  if (options->top_p < 1.0) {
    selection.measure = MEASURE_MASS;
    for (int32_t i = 0; i < n; i++)
      selection.targets[i] = options->top_p * selection.mass[i];
    TRY(sampler_select_cut(sampler, shard, &selection));
    for (int32_t i = 0; i < n; i++)
      if ((uint32_t)sampler->prefixes[i] > (uint32_t)sampler->cuts[i])
        sampler->cuts[i] = sampler->prefixes[i];
  }
  return index_upload(sampler->device, sampler->cut, sampler->cuts, (size_t)n);
}

/* The best perturbed id of PART to sampler->best, where it is better than what is there. */
static status_t sampler_draw_part(sampler_t *sampler, const vocab_shard_t *part) {
  size_t n = (size_t)part->rows;
  TRY(OP(sampler->device, sample,
         &(op_sample_t){.shard = *part,
                        .seed = sampler->options.seed,
                        .samples = sampler->samples,
                        .positions = sampler->positions,
                        .cut = cuts_used(&sampler->options) ? sampler->cut : NULL,
                        .greedy = sampler->options.greedy,
                        .value = sampler->value,
                        .id = sampler->id}));
  TRY(wide_download(sampler->device, sampler->values, DTYPE_F64, sampler->value, n));
  TRY(index_download(sampler->device, sampler->ids, sampler->id, n));
  TRY(device_synchronize(sampler->device));
  for (size_t i = 0; i < n; i++)
    if (sampler->values[i] > sampler->best[i].value)
      sampler->best[i] = (comm_maxloc_t){sampler->values[i], sampler->ids[i]};
  return STATUS_OK;
}

/* The best perturbed id over all shards, to sampler->best. */
static status_t sampler_draw_best(sampler_t *sampler, const vocab_shard_t *shard, const int64_t *samples,
                                  const int32_t *positions) {
  size_t n = (size_t)shard->rows;
  for (size_t i = 0; i < n; i++) {
    sampler->words[2 * i] = (int32_t)(uint32_t)(uint64_t)samples[i];
    sampler->words[2 * i + 1] = (int32_t)(uint32_t)((uint64_t)samples[i] >> 32);
  }
  TRY(index_upload(sampler->device, sampler->samples, sampler->words, 2 * n));
  TRY(index_upload(sampler->device, sampler->positions, positions, n));
  for (size_t i = 0; i < n; i++)
    sampler->best[i] = (comm_maxloc_t){-INFINITY, -1};
  for (int32_t r = 0; r < ranges_of(sampler); r++) {
    vocab_shard_t part = drawable_part(sampler, shard, r);
    if (part.count > 0) TRY(sampler_draw_part(sampler, &part));
  }
  return comm_allreduce_maxloc(sampler->grid->tp, sampler->best, n);
}

static status_t sampler_draw_chunk(sampler_t *sampler, int32_t n, const int32_t *rows, const int64_t *samples,
                                   const int32_t *positions, int32_t *tokens, double *logprobs,
                                   double *entropies) {
  double scale = sampler->options.greedy ? 1.0 : 1.0 / sampler->options.temperature;
  const wide_t *logits;
  TRY(pass_logits(sampler->pass, n, rows, &logits));
  vocab_shard_t shard = {.rows = n,
                         .ld = sampler->base->vocab_rows,
                         .begin = sampler->base->vocab_begin,
                         .count = sampler->base->vocab_count,
                         .logits = logits,
                         .scale = scale};
  if (cuts_used(&sampler->options)) TRY(sampler_find_cuts(sampler, &shard));
  TRY(sampler_draw_best(sampler, &shard, samples, positions));
  for (int32_t i = 0; i < n; i++) {
    tokens[i] = (int32_t)sampler->best[i].index;
    if (tokens[i] < 0)
      return error_set(
          STATUS_NUMERIC,
          "sampling found no token for sample %lld at response position %d: its logits are not finite",
          (long long)samples[i], positions[i]);
  }
  return pass_logprobs_of_logits(sampler->pass, n, tokens, scale, logprobs, entropies);
}

status_t sampler_draw(sampler_t *sampler, int32_t n, const int32_t *rows, const int64_t *samples,
                      const int32_t *positions, int32_t *tokens, double *logprobs, double *entropies) {
  for (int32_t i = 0; i < n; i += sampler->most_rows) {
    int32_t count = n - i < sampler->most_rows ? n - i : sampler->most_rows;
    TRY(sampler_draw_chunk(sampler, count, rows + i, samples + i, positions + i, tokens + i, logprobs + i,
                           entropies + i));
  }
  return STATUS_OK;
}
