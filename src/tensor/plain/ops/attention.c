/* Attention over packed sequences. */
#include "tensor/plain/ops/element.h"

#include <math.h>

static double dot_plain(const element_t *a, const element_t *b, int64_t n) {
  double sum = 0.0;
  for (int64_t d = 0; d < n; d++)
    sum += (double)a[d] * (double)b[d];
  return sum;
}

static void attention_require(access_t *access, const sequences_t *all) {
  access_require(access, all->count >= 0, "%d sequences", all->count);
  access_require(
      access, all->heads > 0 && all->kv_heads > 0 && all->head_size > 0 && all->heads % all->kv_heads == 0,
      "%d query heads, %d key-value heads, head size %d", all->heads, all->kv_heads, all->head_size);
  access_index(access, "offsets", all->offsets, all->count + (int64_t)1, 0, INT32_MAX, false);
  const int32_t *offsets = (const int32_t *)all->offsets;
  for (int32_t b = 0; access->status == STATUS_OK && b <= all->count; b++)
    access_require(access, offsets[b] == all->offsets_host[b],
                   "offset %d is %d on the device, %d on the host", b, offsets[b], all->offsets_host[b]);
}

/* The operands that forward and backward share, as inputs. */
static int64_t attention_operands(access_t *access, const op_attention_t *op) {
  const sequences_t *all = op->sequences;
  attention_require(access, all);
  if (access->status != STATUS_OK) return 0;
  int64_t T = sequences_positions(all), kv_cols = (int64_t)all->kv_heads * all->head_size;
  reads(access, "q", op->q, T, (int64_t)all->heads * all->head_size, op->ldq);
  reads(access, "k", op->k, T, kv_cols, op->ldkv);
  reads(access, "v", op->v, T, kv_cols, op->ldkv);
  return T;
}

/* Row t of head h: the keys from BEGIN to END. SCORES holds END - BEGIN values. */
static void attention_row(const op_attention_t *op, int64_t t, int64_t h, int64_t begin, int64_t end,
                          double *scores) {
  int64_t D = op->sequences->head_size, kv = h / (op->sequences->heads / op->sequences->kv_heads);
  const element_t *q = (const element_t *)op->q + t * op->ldq + h * D;
  const element_t *k = (const element_t *)op->k + kv * D, *v = (const element_t *)op->v + kv * D;
  element_t *out = (element_t *)op->out + t * op->ldo + h * D;
  double max = -INFINITY, sum = 0.0;
  for (int64_t j = begin; j < end; j++) {
    scores[j - begin] = op->scale * dot_plain(q, k + j * op->ldkv, D);
    max = fmax(max, scores[j - begin]);
  }
  for (int64_t j = begin; j < end; j++)
    sum += exp(scores[j - begin] - max);
  double lse = max + log(sum);
  for (int64_t j = begin; j < end; j++)
    scores[j - begin] = exp(scores[j - begin] - lse); /* now probabilities */
  for (int64_t d = 0; d < D; d++) {
    double value = 0.0;
    for (int64_t j = begin; j < end; j++)
      value += scores[j - begin] * (double)v[j * op->ldkv + d];
    out[d] = (element_t)value;
  }
  if (op->lse) ((element_t *)op->lse)[t * op->sequences->heads + h] = (element_t)lse;
}

static status_t attention_plain(device_t *device, const op_attention_t *op) {
  const sequences_t *all = op->sequences;
  access_t access = access_begin(device, "attention");
  int64_t T = attention_operands(&access, op);
  writes(&access, "out", op->out, T, (int64_t)all->heads * all->head_size, op->ldo);
  if (op->lse) writes(&access, "lse", op->lse, T, all->heads, all->heads);
  TRY(access_ready(&access));
  double *scores = NULL;
  status_code_t status = memory_alloc(&scores, ARENA_SCRATCH, (size_t)all->longest, sizeof *scores);
  for (int32_t b = 0; status == STATUS_OK && b < all->count; b++) {
    int64_t begin = all->offsets_host[b], end = all->offsets_host[b + 1];
    for (int64_t h = 0; h < all->heads; h++)
      for (int64_t t = begin; t < end; t++)
        attention_row(op, t, h, begin, op->causal ? t + 1 : end, scores);
  }
  memory_free(scores);
  access_end(&access);
  return status;
}

/* Gradients of one row: p = exp(score - lse), dp = dout v, ds = p (dp - dout out); dq = scale ds k, dk +=
 * scale ds q, dv += p dout. DK and DV (keys of the sequence, D); DQ_SUM (D) is scratch. */
static void attention_backward_row(const op_attention_backward_t *op, int64_t t, int64_t h, int64_t begin,
                                   int64_t end, double *dk, double *dv, double *dq_sum) {
  const op_attention_t *f = &op->forward;
  int64_t D = f->sequences->head_size, kv = h / (f->sequences->heads / f->sequences->kv_heads);
  const element_t *q = (const element_t *)f->q + t * f->ldq + h * D;
  const element_t *out = (const element_t *)f->out + t * f->ldo + h * D;
  const element_t *dout = (const element_t *)op->dout + t * f->ldo + h * D;
  element_t *dq = (element_t *)op->dq + t * f->ldq + h * D;
  double lse = (double)((const element_t *)f->lse)[t * f->sequences->heads + h],
         out_dout = dot_plain(out, dout, D);
  for (int64_t d = 0; d < D; d++)
    dq_sum[d] = 0.0;
  for (int64_t j = begin; j < end; j++) {
    const element_t *k = (const element_t *)f->k + j * f->ldkv + kv * D;
    const element_t *v = (const element_t *)f->v + j * f->ldkv + kv * D;
    double p = exp(f->scale * dot_plain(q, k, D) - lse);
    double ds = f->scale * p * (dot_plain(dout, v, D) - out_dout);
    for (int64_t d = 0; d < D; d++) {
      dq_sum[d] += ds * (double)k[d];
      dk[(j - begin) * D + d] += ds * (double)q[d];
      dv[(j - begin) * D + d] += p * (double)dout[d];
    }
  }
  for (int64_t d = 0; d < D; d++)
    dq[d] = (element_t)dq_sum[d];
}

/* One sequence and key-value head: the rows of all its query heads. SUMS holds (2 * length + 1) * D. */
static void attention_backward_head(const op_attention_backward_t *op, int32_t b, int64_t kv, double *sums) {
  const op_attention_t *f = &op->forward;
  int64_t begin = f->sequences->offsets_host[b], end = f->sequences->offsets_host[b + 1],
          D = f->sequences->head_size, n = (end - begin) * D;
  int64_t group = f->sequences->heads / f->sequences->kv_heads;
  double *dk = sums, *dv = sums + n;
  for (int64_t i = 0; i < 2 * n; i++)
    sums[i] = 0.0;
  for (int64_t h = kv * group; h < (kv + 1) * group; h++)
    for (int64_t t = begin; t < end; t++)
      attention_backward_row(op, t, h, begin, f->causal ? t + 1 : end, dk, dv, dv + n);
  for (int64_t j = begin; j < end; j++)
    for (int64_t d = 0; d < D; d++) {
      ((element_t *)op->dk)[j * f->ldkv + kv * D + d] = (element_t)dk[(j - begin) * D + d];
      ((element_t *)op->dv)[j * f->ldkv + kv * D + d] = (element_t)dv[(j - begin) * D + d];
    }
}

static void attention_backward_operands(access_t *access, const op_attention_backward_t *op) {
  const op_attention_t *f = &op->forward;
  const sequences_t *all = f->sequences;
  int64_t T = attention_operands(access, f), cols = (int64_t)all->heads * all->head_size;
  int64_t kv_cols = (int64_t)all->kv_heads * all->head_size;
  reads(access, "out", f->out, T, cols, f->ldo);
  reads(access, "lse", f->lse, T, all->heads, all->heads);
  reads(access, "dout", op->dout, T, cols, f->ldo);
  writes(access, "dq", op->dq, T, cols, f->ldq);
  writes(access, "dk", op->dk, T, kv_cols, f->ldkv);
  writes(access, "dv", op->dv, T, kv_cols, f->ldkv);
}

static status_t attention_backward_plain(device_t *device, const op_attention_backward_t *op) {
  access_t access = access_begin(device, "attention_backward");
  attention_backward_operands(&access, op);
  TRY(access_ready(&access));
  const op_attention_t *f = &op->forward;
  const sequences_t *all = f->sequences;
  double *sums = NULL;
  size_t count = (2 * (size_t)all->longest + 1) * (size_t)all->head_size;
  status_code_t status = memory_alloc(&sums, ARENA_SCRATCH, count, sizeof *sums);
  for (int32_t b = 0; status == STATUS_OK && b < all->count; b++)
    for (int64_t kv = 0; kv < all->kv_heads; kv++)
      attention_backward_head(op, b, kv, sums);
  memory_free(sums);
  access_end(&access);
  return status;
}

void PLAIN_NAME(plain_fill_attention)(ops_t *ops) {
  ops->attention = attention_plain;
  ops->attention_backward = attention_backward_plain;
}
