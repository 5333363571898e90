#include "rollout/oracle.h"

#include "base/random.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
  uint32_t key;
  double mass;
  int32_t id;
} oracle_entry_t;

static int by_key_descending(const void *a, const void *b) {
  uint32_t one = ((const oracle_entry_t *)a)->key, two = ((const oracle_entry_t *)b)->key;
  return (one < two) - (one > two);
}

/* First entry behind those tied with entry I. */
static int32_t ties_end(const oracle_entry_t *entries, int32_t n, int32_t i) {
  int32_t end = i + 1;
  while (end < n && entries[end].key == entries[i].key)
    end++;
  return end;
}

static bool may_be_drawn(const sampler_options_t *options, int32_t id) {
  for (int32_t r = 0; r < options->ranges; r++)
    if (id >= options->drawable[r].begin && id < options->drawable[r].end) return true;
  return options->drawable == NULL;
}

static void keep(const sampler_options_t *options, oracle_row_t *out) {
  oracle_entry_t entries[ORACLE_VOCAB_MAX];
  int32_t n = 0;
  for (int32_t j = 0; j < out->vocab; j++)
    if (may_be_drawn(options, j))
      entries[n++] = (oracle_entry_t){vocab_key((float)out->z[j]), exp(out->logprob[j]), j};
  qsort(entries, (size_t)n, sizeof *entries, by_key_descending);
  if (options->top_k > 0 && options->top_k < n) n = ties_end(entries, n, options->top_k - 1);
  if (options->top_p < 1.0) {
    double whole = 0.0, mass = 0.0;
    for (int32_t i = 0; i < n; i++)
      whole += entries[i].mass;
    int32_t i = 0;
    while (i < n - 1 && (mass += entries[i].mass) < options->top_p * whole)
      i++;
    n = ties_end(entries, n, i);
  }
  for (int32_t i = 0; i < n; i++)
    out->kept[entries[i].id] = true;
}

void oracle_row(const sampler_options_t *options, const double *logits, int32_t vocab, oracle_row_t *out) {
  double scale = options->greedy ? 1.0 : 1.0 / options->temperature, max = -INFINITY, sum = 0.0;
  *out = (oracle_row_t){.vocab = vocab};
  for (int32_t j = 0; j < vocab; j++) {
    out->z[j] = scale * logits[j];
    max = fmax(max, out->z[j]);
  }
  for (int32_t j = 0; j < vocab; j++)
    sum += exp(out->z[j] - max);
  for (int32_t j = 0; j < vocab; j++) {
    out->logprob[j] = out->z[j] - max - log(sum);
    out->entropy -= exp(out->logprob[j]) * out->logprob[j];
  }
  keep(options, out);
}

int32_t oracle_draw(const sampler_options_t *options, const oracle_row_t *row, int64_t sample,
                    int32_t position) {
  int32_t best = -1;
  double largest = -INFINITY;
  for (int32_t j = 0; j < row->vocab; j++) {
    if (options->greedy ? !may_be_drawn(options, j) : !row->kept[j]) continue;
    random_words_t words = random_words(options->seed, RANDOM_SAMPLING, (uint64_t)sample,
                                        (uint64_t)position << 32 | (uint64_t)j);
    double noise = options->greedy ? 0.0 : -log(-log(random_open_unit(words.v[0])));
    if (!(row->z[j] + noise > largest)) continue;
    largest = row->z[j] + noise;
    best = j;
  }
  return best;
}

status_t oracle_logits(pass_t *pass, const base_t *base, int32_t row, double *logits) {
  device_t *device = base->params.device;
  vocab_shard_t shard;
  index_t *rows;
  TRY(index_alloc(device, ARENA_OTHER, 1, &rows));
  status_code_t status = index_upload(device, rows, &row, 1);
  if (status == STATUS_OK) status = pass_logits(pass, 1, rows, 1.0, &shard);
  if (status == STATUS_OK)
    status = wide_download(device, logits, DTYPE_F64, shard.logits, (size_t)base->config.vocab);
  device_release(device, rows);
  TRY(status);
  return device_synchronize(device);
}
