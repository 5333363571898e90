#include "tensor/op_cost.h"

#include "tensor/weight_nf4.h"

/* Bytes of an element: compute type, accumulation type, bf16, index. */
typedef struct {
  double real, wide, half, index;
} op_cost_sizes_t;

static double op_cost_written(double bytes, bool added) {
  return added ? 2.0 * bytes : bytes;
}

static double weight_cost(op_cost_sizes_t size, const weight_t *weight) {
  if (weight->format == WEIGHT_NF4) return (double)weight_nf4_bytes(weight);
  return (double)weight->rows * (double)weight->cols *
         (weight->format == WEIGHT_BF16 ? size.half : size.real);
}

static op_cost_t gemm_cost(op_cost_sizes_t size, const op_gemm_t *op) {
  double m = (double)op->m, n = (double)op->n, k = (double)op->k, c = op->c_wide ? size.wide : size.real;
  double b = op->weight ? weight_cost(size, op->weight) : k * n * size.real;
  return (op_cost_t){.flops = 2.0 * m * n * k,
                     .bytes = (m * k + (op->bias ? n : 0.0) + (op->pre ? m * n : 0.0)) * size.real + b +
                              op_cost_written(m * n * c, op->beta != 0.0)};
}

/* Each operand once: what a device needs that makes the operation in one go. */
static op_cost_t linear_cost(op_cost_sizes_t size, const op_linear_t *op) {
  double t = (double)op->rows, in = (double)op->in, out = (double)op->out, r = op->lora_rank;
  double y = t * out * (op->y_wide ? size.wide : size.real);
  op_cost_t cost = {.flops = 2.0 * t * in * out, .bytes = t * in * size.real + y};
  if (op->residual) cost.bytes += y;
  if (op->pre) cost.bytes += t * out * size.real;
  if (op->bias) cost.bytes += out * size.real;
  for (int32_t i = 0; i < op->segments; i++) {
    const linear_segment_t *segment = &op->segment[i];
    double a = segment->a ? r * in : 0.0, b = segment->b ? r * (double)segment->b_rows : 0.0;
    cost.flops += 2.0 * t * (a + b);
    cost.bytes += weight_cost(size, &segment->weight) + (a + b + (segment->b ? t * r : 0.0)) * size.real;
  }
  return cost;
}

/* The products for dx, dW, du, dA, dB that are wanted, and their operands once. */
static op_cost_t linear_backward_cost(op_cost_sizes_t size, const op_linear_backward_t *op) {
  const op_linear_t *forward = &op->forward;
  double t = (double)forward->rows, in = (double)forward->in, out = (double)forward->out;
  double r = forward->lora_rank, dx = op->dx ? t * in : 0.0;
  op_cost_t cost = {.flops = 2.0 * dx * out,
                    .bytes = (t * out + t * in) * size.real + op_cost_written(dx * size.real, op->dx_add)};
  for (int32_t i = 0; i < forward->segments; i++) {
    const linear_segment_t *segment = &forward->segment[i];
    double cols = (double)segment->weight.rows, b = segment->b ? r * (double)segment->b_rows : 0.0;
    double a = segment->a ? r * in : 0.0;
    double dw = op->segment[i].dw ? cols * in : 0.0, da = op->segment[i].da ? a : 0.0,
           db = op->segment[i].db ? b : 0.0;
    cost.flops += 2.0 * t * (dw + b + db + da + (op->dx ? a : 0.0));
    cost.bytes += (a + b + (segment->b ? 2.0 * t * r : 0.0)) * size.real +
                  op_cost_written((dw + da + db) * size.wide, true);
    if (op->dx) cost.bytes += weight_cost(size, &segment->weight);
  }
  return cost;
}

/* ---- Norms and what goes element by element ---- */

/* VECTORS of the rows' width beside the weight, and STATISTICS for each row. */
static op_cost_t norm_cost(op_cost_sizes_t size, int64_t rows, int64_t cols, int vectors, int weights,
                           int statistics) {
  double t = (double)rows, c = (double)cols;
  return (op_cost_t){.bytes = (vectors * t * c + weights * c) * size.real + statistics * t * size.wide};
}

static op_cost_t norm_backward_cost(op_cost_sizes_t size, int64_t rows, int64_t cols, bool add,
                                    int statistics, int gradients) {
  op_cost_t cost = norm_cost(size, rows, cols, add ? 4 : 3, 1, statistics);
  cost.bytes += 2.0 * gradients * (double)cols * size.wide;
  return cost;
}

/* N elements of BYTES each, all operands together. */
static op_cost_t elements_cost(int64_t n, double bytes) {
  return (op_cost_t){.bytes = (double)n * bytes};
}

/* Of a cache. */
static double cache_element(op_cost_sizes_t size, bool half) {
  return half ? size.half : size.real;
}

/* Queries and keys read and written, and values where they are rounded; values read otherwise where there is
 * a cache, to which both are written. */
static op_cost_t rotary_cost(op_cost_sizes_t size, const op_rotary_t *op) {
  double t = (double)op->rows, q = t * op->heads * op->head_size, kv = t * op->kv_heads * op->head_size;
  double in_place = 2.0 * (q + kv) + (op->half ? 2.0 : op->k_cache ? 1.0 : 0.0) * kv;
  double kept = op->k_cache ? 2.0 * kv * cache_element(size, op->half) : 0.0;
  return (op_cost_t){.bytes = in_place * size.real + kept + (op->k_cache ? 2.0 : 1.0) * t * size.index};
}

/* ---- Attention ---- */

/* QUERY_ROWS and KEY_ROWS: how often the queries' and the keys' shape is moved. */
static op_cost_t attention_cost(op_cost_sizes_t size, const op_attention_t *op, int query_rows,
                                int key_rows) {
  const sequences_t *all = op->sequences;
  double t = (double)sequences_positions(all);
  double q = t * all->heads * all->head_size, kv = t * all->kv_heads * all->head_size;
  return (op_cost_t){.flops = 4.0 * sequences_pairs(all, op->causal) * all->heads * all->head_size,
                     .bytes = (query_rows * q + key_rows * kv) * size.real +
                              (op->lse ? t * all->heads * size.wide : 0.0)};
}

/* Reads q, k, v, out and dout, writes dq, dk and dv. */
static op_cost_t attention_backward_cost(op_cost_sizes_t size, const op_attention_backward_t *op) {
  op_cost_t cost = attention_cost(size, &op->forward, 4, 4);
  cost.flops *= 2.0;
  return cost;
}

static op_cost_t attention_paged_cost(op_cost_sizes_t size, const op_attention_paged_t *op) {
  double n = (double)op->rows, cached = (double)op->positions;
  return (op_cost_t){.flops = 4.0 * cached * op->heads * op->head_size,
                     .bytes = 2.0 * n * op->heads * op->head_size * size.real +
                              2.0 * cached * op->kv_heads * op->head_size * cache_element(size, op->half) +
                              (cached / op->page_size + n) * size.index};
}

/* ---- Decoding ---- */

static op_cost_t cache_copy_cost(op_cost_sizes_t size, const op_cache_copy_t *op) {
  double page = (double)op->page_elements * cache_element(size, op->half);
  return (op_cost_t){.bytes = op->count * (4.0 * op->layers * page + 2.0 * size.index)};
}

/* For each row: its number, its state and whether it has ended; eight integers and its pages go out. */
static op_cost_t decode_begin_cost(op_cost_sizes_t size, const op_decode_begin_t *op) {
  return (op_cost_t){.bytes =
                         op->rows * (2.0 + DECODE_STATE + 8.0 + 2.0 * op->sequences.max_pages) * size.index};
}

/* For each row: its number, its token and whether it has ended; three of its state are read and written; the
 * token and two numbers are noted. */
static op_cost_t decode_advance_cost(op_cost_sizes_t size, const op_decode_advance_t *op) {
  return (op_cost_t){.bytes = op->rows * ((4.0 + 6.0) * size.index + 4.0 * size.wide)};
}

/* ---- Rows ---- */

static op_cost_t embedding_cost(op_cost_sizes_t size, const op_embedding_t *op) {
  double t = (double)op->rows;
  return (op_cost_t){.bytes = 2.0 * t * (double)op->cols * size.real + t * size.index};
}

static op_cost_t embedding_backward_cost(op_cost_sizes_t size, const op_embedding_backward_t *op) {
  double t = (double)op->rows;
  return (op_cost_t){.bytes = t * (double)op->cols * (size.real + 2.0 * size.wide) + t * size.index};
}

static op_cost_t rows_cost(op_cost_sizes_t size, const op_rows_t *op) {
  double t = (double)op->rows, moved = t * (double)op->cols * size.real;
  return (op_cost_t){.bytes = moved + op_cost_written(moved, op->add) + t * size.index};
}

static op_cost_t op_cost_add_periodic_cost(op_cost_sizes_t size, const op_add_periodic_t *op) {
  return (op_cost_t){.bytes = (2.0 * (double)op->rows + (double)op->period) * (double)op->cols * size.real};
}

static op_cost_t sum_periodic_cost(op_cost_sizes_t size, const op_sum_periodic_t *op) {
  return (op_cost_t){.bytes = (double)op->cols *
                              ((double)op->rows * size.real + 2.0 * (double)op->period * size.wide)};
}

/* ---- Vocabulary ---- */

/* The logits of a shard, and NUMBERS wide and INDICES integers for each row. */
static op_cost_t vocab_cost(op_cost_sizes_t size, const vocab_shard_t *shard, int numbers, int indices) {
  double n = (double)shard->rows;
  return (op_cost_t){.bytes =
                         n * ((double)shard->count * size.wide + numbers * size.wide + indices * size.index)};
}

static op_cost_t vocab_backward_cost(op_cost_sizes_t size, const op_vocab_backward_t *op) {
  op_cost_t cost = vocab_cost(size, &op->shard, 2 + 1, 1);
  cost.bytes += (double)op->shard.rows * (double)op->shard.ld * size.real;
  return cost;
}

static op_cost_t vocab_combine_cost(op_cost_sizes_t size, const op_vocab_combine_t *op) {
  int numbers = 1 + (op->entropy != NULL) + (op->ties != NULL) + 2 * (op->normaliser != NULL);
  return elements_cost(op->rows, (double)(op->shards * VOCAB_RECORD + numbers) * size.wide +
                                     (op->tokens ? size.index : 0.0));
}

/* AdamW: gradient read, master and both moments read and written. */
enum { ADAMW_MOVES = 7 };
/* Count and mass of each bucket. */
enum { HISTOGRAM = 2 * VOCAB_BUCKETS };

/* The arguments of operation NAME. */
#define ARGUMENTS(name) ((const op_##name##_t *)arguments)

static op_cost_t norms_cost(op_cost_sizes_t size, op_number_t number, const void *arguments) {
  switch (number) {
  case op_rmsnorm:
    return norm_cost(size, ARGUMENTS(rmsnorm)->rows, ARGUMENTS(rmsnorm)->cols, 2, 1,
                     ARGUMENTS(rmsnorm)->rstd ? 1 : 0);
  case op_layernorm:
    return norm_cost(size, ARGUMENTS(layernorm)->rows, ARGUMENTS(layernorm)->cols, 2, 2,
                     ARGUMENTS(layernorm)->mean ? 2 : 0);
  case op_rmsnorm_backward:
    return norm_backward_cost(size, ARGUMENTS(rmsnorm_backward)->rows, ARGUMENTS(rmsnorm_backward)->cols,
                              ARGUMENTS(rmsnorm_backward)->dx_add, 1,
                              ARGUMENTS(rmsnorm_backward)->dweight ? 1 : 0);
  default:
    return norm_backward_cost(size, ARGUMENTS(layernorm_backward)->rows, ARGUMENTS(layernorm_backward)->cols,
                              ARGUMENTS(layernorm_backward)->dx_add, 2,
                              ARGUMENTS(layernorm_backward)->dweight ? 2 : 0);
  }
}

static op_cost_t adamw_cost(op_cost_sizes_t size, const op_adamw_t *op) {
  op_cost_t cost = {0};
  for (int32_t i = 0; i < op->count; i++)
    cost.bytes += (double)op->runs[i].n * (ADAMW_MOVES * size.wide + (op->runs[i].real ? size.real : 0.0));
  return cost;
}

op_cost_t op_cost(const device_t *device, op_number_t number, const void *arguments) {
  const op_cost_sizes_t size = {(double)dtype_size(device->real_type), (double)dtype_size(device->wide_type),
                                (double)dtype_size(DTYPE_BF16), (double)sizeof(int32_t)};
  switch (number) {
  case op_gemm:
    return gemm_cost(size, arguments);
  case op_linear:
    return linear_cost(size, arguments);
  case op_linear_backward:
    return linear_backward_cost(size, arguments);
  case op_rmsnorm:
  case op_rmsnorm_backward:
  case op_layernorm:
  case op_layernorm_backward:
    return norms_cost(size, number, arguments);
  case op_activation_backward:
    return elements_cost(ARGUMENTS(activation_backward)->n, 3.0 * size.real);
  case op_swiglu:
    return elements_cost(ARGUMENTS(swiglu)->rows * ARGUMENTS(swiglu)->cols, 3.0 * size.real);
  case op_swiglu_backward:
    return elements_cost(ARGUMENTS(swiglu_backward)->rows * ARGUMENTS(swiglu_backward)->cols,
                         (ARGUMENTS(swiglu_backward)->y ? 6.0 : 5.0) * size.real);
  case op_rotary:
    return rotary_cost(size, arguments);
  case op_attention:
    return attention_cost(size, arguments, 2, 2);
  case op_attention_backward:
    return attention_backward_cost(size, arguments);
  case op_attention_paged:
    return attention_paged_cost(size, arguments);
  case op_cache_copy:
    return cache_copy_cost(size, arguments);
  case op_decode_begin:
    return decode_begin_cost(size, arguments);
  case op_decode_advance:
    return decode_advance_cost(size, arguments);
  case op_embedding:
    return embedding_cost(size, arguments);
  case op_embedding_backward:
    return embedding_backward_cost(size, arguments);
  case op_rows_gather:
  case op_rows_scatter:
    return rows_cost(size, arguments);
  case op_add_periodic:
    return op_cost_add_periodic_cost(size, arguments);
  case op_sum_periodic:
    return sum_periodic_cost(size, arguments);
  case op_vocab_max:
    return vocab_cost(size, &ARGUMENTS(vocab_max)->shard, 1, 0);
  case op_vocab_statistics:
    return vocab_cost(size, &ARGUMENTS(vocab_statistics)->shard, VOCAB_RECORD,
                      ARGUMENTS(vocab_statistics)->targets        ? 1
                      : ARGUMENTS(vocab_statistics)->draw->greedy ? 0
                                                                  : 3);
  case op_vocab_combine:
    return vocab_combine_cost(size, arguments);
  case op_vocab_backward:
    return vocab_backward_cost(size, arguments);
  case op_vocab_histogram:
    return vocab_cost(size, &ARGUMENTS(vocab_histogram)->shard, 1 + HISTOGRAM, 1);
  case op_vocab_walk:
    return elements_cost(ARGUMENTS(vocab_walk)->rows,
                         (HISTOGRAM + 2 * VOCAB_WALK) * size.wide + 2 * size.index);
  case op_policy_loss:
    return elements_cost(ARGUMENTS(policy_loss)->n, 4.0 * size.wide);
  case op_value_loss:
    return elements_cost(ARGUMENTS(value_loss)->n, 5.0 * size.wide);
  case op_pair_loss:
    return elements_cost(ARGUMENTS(pair_loss)->pairs, 4.0 * size.wide + size.index);
  case op_adamw:
    return adamw_cost(size, arguments);
  case op_add:
    return elements_cost(ARGUMENTS(add)->n, 3.0 * size.real);
  case op_copy:
    return elements_cost(ARGUMENTS(copy)->n, 2.0 * size.real);
  case op_fill_real:
    return elements_cost(ARGUMENTS(fill_real)->n, size.real);
  case op_fill_wide:
    return elements_cost(ARGUMENTS(fill_wide)->n, size.wide);
  case op_narrow:
    return elements_cost(ARGUMENTS(narrow)->n, size.wide + size.real);
  case op_widen:
    return elements_cost(ARGUMENTS(widen)->n, size.wide + size.real);
  case op_sum_squares:
    return elements_cost(ARGUMENTS(sum_squares)->n, size.wide);
  case op_count:
    break;
  }
  return (op_cost_t){0};
}
