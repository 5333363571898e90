/* The op table: every operation a device offers to the model, each with its arguments in a struct. All arrays
 * are row-major device memory unless called host; leading dimensions (ld*) count elements; "=" sets and "+="
 * adds. Scalars are exact in double and rounded to the device's types. Operations run in the order of the
 * device's stream; arguments are read when the call is made, device memory when its turn comes. All are
 * local. Errors: STATUS_DEVICE, STATUS_MEMORY.
 *
 * Shapes: T tokens (rows), C hidden size, H query heads, K key-value heads (H % K == 0), D head size, F MLP
 * size, V vocabulary shard, B sequences. */
#ifndef TENSOR_OPS_H
#define TENSOR_OPS_H

#include "tensor/ops_head.h"
#include "tensor/rope.h"
#include "tensor/sequences.h"
#include "tensor/weight.h"

/* CLIP's x sigmoid(1.702 x); GELU by the error function; and GELU by a hyperbolic tangent, SigLIP's. */
typedef enum {
  ACTIVATION_NONE,
  ACTIVATION_QUICK_GELU,
  ACTIVATION_GELU,
  ACTIVATION_GELU_TANH,
  ACTIVATION_COUNT
} activation_t;

/* c = alpha * op(a) op(b) + beta * before, then + bias (n) on every row, then the activation. op(a) is (m,
 * k), op(b) is (k, n): real in B, or WEIGHT in its format (then b is not looked at, and ldb is the weight's
 * cols). before is BEFORE (ldc as c) where not NULL, else c; beta = 0 does not read it. c is wide where
 * c_wide, else real; so is before. With an activation, PRE (m, n; ldc) keeps the value before it (NULL: not
 * kept). The product that op_linear is made of where a device has nothing better (tensor/linear.h); the model
 * calls op_linear. */
typedef struct {
  bool trans_a, trans_b;
  int64_t m, n, k;
  const real_t *a;
  int64_t lda;
  const real_t *b;
  const weight_t *weight; /* NULL: b */
  int64_t ldb;
  void *c;
  const void *before; /* NULL: c */
  int64_t ldc;
  bool c_wide;
  double alpha, beta;
  const real_t *bias; /* NULL: none */
  activation_t activation;
  real_t *pre;
} op_gemm_t;

/* One of the weights that read the same input, and the LoRA adapter on it, if any: A (r, in), B (cols, r).
 * In a layer that is split over ranks, a rank makes a part of u, the sum over ranks of these parts is u, and
 * each rank applies a part of B: then A is NULL, u is given, and b has the rows b_begin .. b_begin + b_rows -
 * 1 of the segment's columns. */
typedef struct {
  weight_t weight; /* (columns of the segment, in) */
  const real_t *a; /* NULL: none, or u is given */
  const real_t *b; /* NULL: no adapter */
  int64_t b_begin, b_rows;
  real_t *u; /* (T, r; ldu) = x a^T: kept for the backward pass */
} linear_segment_t;

/* y = f(residual + x W^T + bias + lora_scale * u b^T): x (T, in), up to three segments whose columns lie side
 * by side in y (T, out), W's rows likewise. Where the segments' weights follow each other in memory they are
 * one matrix, and so are A's of neighbouring segments (linear_weights, linear_adapters in tensor/linear.h).
 * RESIDUAL (T, out; ldy), BIAS (out), activation f with PRE as in op_gemm; all optional. RESIDUAL may be y. A
 * wide y has neither residual nor activation. */
enum { LINEAR_SEGMENTS = 3 };
typedef struct {
  int64_t rows, in, out;
  const real_t *x;
  int64_t ldx;
  int32_t segments;
  linear_segment_t segment[LINEAR_SEGMENTS];
  int32_t lora_rank;
  double lora_scale;
  int64_t ldu;
  const real_t *residual, *bias;
  activation_t activation;
  real_t *pre;
  void *y; /* real, or wide where y_wide */
  int64_t ldy;
  bool y_wide;
} op_linear_t;

/* Gradients of FORWARD (as it was given; y, residual and pre are not looked at) from DY (T, out; lddy), the
 * gradient before the activation: dx (T, in; lddx) = or, DX_ADD, += dy W + du A, NULL: not wanted; du of each
 * segment (T, r; ldu) = lora_scale * dy b; dw, da, db, dbias += where not NULL. Where A is NULL, du is this
 * rank's part, and what follows from the sum of the parts (da and its share of dx) is left to the caller. */
typedef struct {
  op_linear_t forward;
  const real_t *dy;
  int64_t lddy;
  real_t *dx;
  int64_t lddx;
  bool dx_add;
  struct {
    wide_t *dw, *da, *db;
    real_t *du; /* NULL without an adapter */
  } segment[LINEAR_SEGMENTS];
  wide_t *dbias;
} op_linear_backward_t;

/* y = x * rstd * weight, rstd = 1/sqrt(mean(x^2) + eps). x, y (T, C); weight (C); rstd (T) kept where not
 * NULL. */
typedef struct {
  int64_t rows, cols;
  const real_t *x, *weight;
  double eps;
  real_t *y;
  wide_t *rstd;
} op_rmsnorm_t;

/* dx += (dx_add) or = gradient; dweight (C) += where not NULL. */
typedef struct {
  int64_t rows, cols;
  const real_t *x, *weight, *dy;
  const wide_t *rstd;
  real_t *dx;
  bool dx_add;
  wide_t *dweight;
} op_rmsnorm_backward_t;

/* y = (x - mean) * rstd * weight + bias. mean, rstd (T) kept where not NULL. */
typedef struct {
  int64_t rows, cols;
  const real_t *x, *weight, *bias;
  double eps;
  real_t *y;
  wide_t *mean, *rstd;
} op_layernorm_t;

typedef struct {
  int64_t rows, cols;
  const real_t *x, *weight, *dy;
  const wide_t *mean, *rstd;
  real_t *dx;
  bool dx_add;
  wide_t *dweight, *dbias; /* (C) += where not NULL */
} op_layernorm_backward_t;

/* dx = dy * f'(pre), n elements; dx may be dy. */
typedef struct {
  int64_t n;
  activation_t activation;
  const real_t *pre, *dy;
  real_t *dx;
} op_activation_backward_t;

/* y (T, F) = silu(gate) * up, of GATE_UP (T, 2F): gate's columns, then up's. */
typedef struct {
  int64_t rows, cols; /* T, F */
  const real_t *gate_up;
  real_t *y;
} op_swiglu_t;

/* dgate_up (T, 2F) = (may be gate_up itself); Y (T, F) = the forward value once more, for who did not keep
 * it, where not NULL. Y may be dy. */
typedef struct {
  int64_t rows, cols;
  const real_t *gate_up, *dy;
  real_t *dgate_up, *y;
} op_swiglu_backward_t;

/* Rotary embedding of queries and keys in place, and keys and values to the cache. qkv (T; row stride ld): H
 * query heads, K key heads, K value heads of D elements each. Element pairs (i, i + D/2) of queries and keys
 * are turned by the angle position * rope_frequency (tensor/rope.h), as in LLaMA. INVERSE turns back (the
 * backward pass). positions (T). Then, where k_cache is not NULL, key and value rows are stored in one
 * layer's cache: slots (T) = page * page_size + place in the page, distinct, -1 = skip. Cache layout: (pages,
 * K, page_size, D). HALF, not with INVERSE: keys, once turned, and values are rounded to bf16 in place, to
 * nearest, and the cache is of bf16: attention finds the same numbers in either. */
typedef struct {
  int64_t rows;
  int32_t heads, kv_heads, head_size;
  real_t *qkv;
  int64_t ld;
  const index_t *positions;
  double base;
  rope_scaling_t scaling;
  bool inverse;
  bool half;
  int32_t page_size;
  const index_t *slots;
  void *k_cache, *v_cache; /* real, or bf16 where HALF */
} op_rotary_t;

/* Attention over packed sequences: out = softmax(scale * q k^T) v within each sequence, causal or not; no T x
 * T matrix is ever formed. q, out (T, H*D), k, v (T, K*D) with row strides ldq, ldkv, ldo; T, H, K and D are
 * those of SEQUENCES, prepared for this device. lse (T, H) = log-sum-exp of each row's scaled scores, kept
 * where not NULL. */
typedef struct {
  const sequences_t *sequences;
  const real_t *q, *k, *v;
  int64_t ldq, ldkv, ldo;
  double scale;
  bool causal;
  real_t *out;
  wide_t *lse;
} op_attention_t;

/* dq, dk, dv = (strides as q, k, v). */
typedef struct {
  op_attention_t forward; /* with out and lse as the forward pass left them */
  const real_t *dout;     /* stride ldo */
  real_t *dq, *dk, *dv;
} op_attention_backward_t;

/* One query per sequence against the paged cache: out (n, H*D); q (n, H*D; stride ldq); sequence i attends to
 * its first lengths[i] cached positions through pages[i * max_pages + position / page_size]; where lengths[i]
 * is 0, a row of padding, out is 0. POSITIONS is the sum of the lengths, for those who count. */
typedef struct {
  int64_t rows;
  int32_t heads, kv_heads, head_size, page_size, max_pages;
  int64_t positions;
  const real_t *q;
  int64_t ldq;
  bool half;                     /* the cache is of bf16 */
  const void *k_cache, *v_cache; /* real, or bf16 */
  const index_t *pages, *lengths;
  double scale;
  real_t *out;
  int64_t ldo;
} op_attention_paged_t;

/* Copies COUNT pages of both caches, in every layer: page to[i] = page from[i]; no page is in both lists.
 * Cache layout: (layers, pages, K, page_size, D) of layer_elements each, page_elements = K * page_size * D.
 */
typedef struct {
  int32_t count, layers;
  int64_t layer_elements, page_elements;
  const index_t *from, *to;
  bool half;               /* the caches are of bf16 */
  void *k_cache, *v_cache; /* real, or bf16 */
} op_cache_copy_t;

/* What the device knows of each sequence that it decodes, numbered 0 .. sequences-1. */
enum {
  DECODE_TOKEN,    /* goes in next */
  DECODE_POSITION, /* its position */
  DECODE_COUNT,    /* tokens drawn so far */
  DECODE_SAMPLE,   /* key of its random numbers: low and high word */
  DECODE_STATE = DECODE_SAMPLE + 2
};
typedef struct {
  int32_t sequences, max_pages, max_tokens;
  index_t *state;               /* (sequences, DECODE_STATE) */
  index_t *pages;               /* (sequences, max_pages): the cache's pages; what lies behind those taken is
                                   not looked at */
  index_t *ended;               /* (sequences): 0, or the tokens of a response that is over, negative where
                                   none could be drawn for the last of them */
  index_t *tokens;              /* (sequences, max_tokens): the response so far */
  wide_t *logprobs, *entropies; /* likewise */
} decode_sequences_t;

/* What goes into a decode step: row i is sequence which[i]. Where that is -1 or has ended, a row of padding:
 * token -1, position 0, slot -1, length 0, row -1, pages, sample and draw 0. */
typedef struct {
  decode_sequences_t sequences;
  int32_t rows, page_size;
  const index_t *which;                /* (n), distinct but for -1 */
  index_t *tokens, *positions, *slots; /* (n); slots as in op_rotary_t */
  index_t *pages, *lengths;            /* (n, max_pages), (n): as in op_attention_paged_t */
  index_t *row;                        /* (n): i, the hidden state that is drawn from */
  index_t *samples, *draws;            /* (n, 2), (n): sample and position of op_sample_t */
} op_decode_begin_t;

/* What comes out of it: row i drew token drawn[i] for sequence which[i] (-1 or ended: nothing), with its
 * log-probability and entropy. They are noted, and the token goes in next, one position further on; or the
 * sequence has ended, where it has max_tokens or the token is one of ENDS (end_count), or below 0. */
enum { DECODE_ENDS_MAX = 12 };
typedef struct {
  decode_sequences_t sequences;
  int32_t rows;
  const index_t *which, *drawn;
  const wide_t *logprobs, *entropies;
  int32_t ends[DECODE_ENDS_MAX];
  int32_t end_count;
} op_decode_advance_t;

/* y (T, C) = rows tokens[t] - begin of weight (at least COUNT rows, C); zero where that is outside 0..count-1
 * (another shard's, or an image slot). */
typedef struct {
  int64_t rows, cols, begin, count;
  const index_t *tokens;
  weight_t weight;
  real_t *y;
} op_embedding_t;

/* dweight (count, C) += dy rows. The same bits in every run (no atomics in arbitrary order). */
typedef struct {
  int64_t rows, cols, begin, count;
  const index_t *tokens;
  const real_t *dy;
  wide_t *dweight;
} op_embedding_backward_t;

/* Gather: to[i] = (or +=, ADD) from[index[i]]; scatter: to[index[i]] = (or +=) from[i]; rows of COLS
 * elements, index -1 skips. Scatter's indices are distinct. */
typedef struct {
  int64_t rows, cols;
  const real_t *from;
  int64_t ld_from;
  const index_t *index;
  real_t *to;
  int64_t ld_to;
  bool add;
} op_rows_t;
typedef op_rows_t op_rows_gather_t;
typedef op_rows_t op_rows_scatter_t;

/* x (rows, cols) += table[r % period] (period, cols). */
typedef struct {
  int64_t rows, cols, period;
  const real_t *table;
  real_t *x;
} op_add_periodic_t;

/* sums[r % period] (period, cols; wide) += x (rows, cols): the gradient of the above, and of a bias (period
 * 1). */
typedef struct {
  int64_t rows, cols, period;
  const real_t *x;
  int64_t ldx;
  wide_t *sums;
} op_sum_periodic_t;

/* One AdamW step (PyTorch's form) on COUNT runs of n elements each, RUNS on the host: master *= 1 - lr *
 * weight_decay; g = grad * grad_scale; m, v moments with bias correction for STEP (from 1); master -= lr *
 * mhat / (sqrt(vhat) + eps); real = master, where not NULL. No two runs overlap. */
typedef struct {
  int64_t n;
  wide_t *master, *m, *v;
  const wide_t *grad;
  real_t *real;
} adamw_run_t;
typedef struct {
  int32_t count;
  const adamw_run_t *runs;
  double grad_scale, lr, beta1, beta2, eps, weight_decay;
  int64_t step;
} op_adamw_t;

/* y (n) += x. */
typedef struct {
  int64_t n;
  const real_t *x;
  real_t *y;
} op_add_t;

/* y (n) = x. */
typedef struct {
  int64_t n;
  const real_t *x;
  real_t *y;
} op_copy_t;

/* x (n) = value. */
typedef struct {
  int64_t n;
  double value;
  real_t *x;
} op_fill_real_t;
typedef struct {
  int64_t n;
  double value;
  wide_t *x;
} op_fill_wide_t;

/* to (n) = from, between the two types. */
typedef struct {
  int64_t n;
  const wide_t *from;
  real_t *to;
} op_narrow_t;
typedef struct {
  int64_t n;
  const real_t *from;
  wide_t *to;
} op_widen_t;

/* *sum (1) += sum of squares of x (n), in an order that does not depend on the number of threads. */
typedef struct {
  int64_t n;
  const wide_t *x;
  wide_t *sum;
} op_sum_squares_t;

/* What a device fills: a function for each operation, NULL where it has none. */
typedef struct ops {
  status_t (*gemm)(device_t *device, const op_gemm_t *op);
  status_t (*linear)(device_t *device, const op_linear_t *op);
  status_t (*linear_backward)(device_t *device, const op_linear_backward_t *op);
  status_t (*rmsnorm)(device_t *device, const op_rmsnorm_t *op);
  status_t (*rmsnorm_backward)(device_t *device, const op_rmsnorm_backward_t *op);
  status_t (*layernorm)(device_t *device, const op_layernorm_t *op);
  status_t (*layernorm_backward)(device_t *device, const op_layernorm_backward_t *op);
  status_t (*activation_backward)(device_t *device, const op_activation_backward_t *op);
  status_t (*swiglu)(device_t *device, const op_swiglu_t *op);
  status_t (*swiglu_backward)(device_t *device, const op_swiglu_backward_t *op);
  status_t (*rotary)(device_t *device, const op_rotary_t *op);
  status_t (*attention)(device_t *device, const op_attention_t *op);
  status_t (*attention_backward)(device_t *device, const op_attention_backward_t *op);
  status_t (*attention_paged)(device_t *device, const op_attention_paged_t *op);
  status_t (*cache_copy)(device_t *device, const op_cache_copy_t *op);
  status_t (*decode_begin)(device_t *device, const op_decode_begin_t *op);
  status_t (*decode_advance)(device_t *device, const op_decode_advance_t *op);
  status_t (*embedding)(device_t *device, const op_embedding_t *op);
  status_t (*embedding_backward)(device_t *device, const op_embedding_backward_t *op);
  status_t (*rows_gather)(device_t *device, const op_rows_gather_t *op);
  status_t (*rows_scatter)(device_t *device, const op_rows_scatter_t *op);
  status_t (*add_periodic)(device_t *device, const op_add_periodic_t *op);
  status_t (*sum_periodic)(device_t *device, const op_sum_periodic_t *op);
  status_t (*vocab_max)(device_t *device, const op_vocab_max_t *op);
  status_t (*vocab_statistics)(device_t *device, const op_vocab_statistics_t *op);
  status_t (*vocab_combine)(device_t *device, const op_vocab_combine_t *op);
  status_t (*vocab_backward)(device_t *device, const op_vocab_backward_t *op);
  status_t (*vocab_histogram)(device_t *device, const op_vocab_histogram_t *op);
  status_t (*vocab_walk)(device_t *device, const op_vocab_walk_t *op);
  status_t (*policy_loss)(device_t *device, const op_policy_loss_t *op);
  status_t (*value_loss)(device_t *device, const op_value_loss_t *op);
  status_t (*pair_loss)(device_t *device, const op_pair_loss_t *op);
  status_t (*adamw)(device_t *device, const op_adamw_t *op);
  status_t (*add)(device_t *device, const op_add_t *op);
  status_t (*copy)(device_t *device, const op_copy_t *op);
  status_t (*fill_real)(device_t *device, const op_fill_real_t *op);
  status_t (*fill_wide)(device_t *device, const op_fill_wide_t *op);
  status_t (*narrow)(device_t *device, const op_narrow_t *op);
  status_t (*widen)(device_t *device, const op_widen_t *op);
  status_t (*sum_squares)(device_t *device, const op_sum_squares_t *op);
} ops_t;

/* Every operation, by number: for those who handle all of them alike (OP, below; a device's run function). */
typedef enum {
  op_gemm,
  op_linear,
  op_linear_backward,
  op_rmsnorm,
  op_rmsnorm_backward,
  op_layernorm,
  op_layernorm_backward,
  op_activation_backward,
  op_swiglu,
  op_swiglu_backward,
  op_rotary,
  op_attention,
  op_attention_backward,
  op_attention_paged,
  op_cache_copy,
  op_decode_begin,
  op_decode_advance,
  op_embedding,
  op_embedding_backward,
  op_rows_gather,
  op_rows_scatter,
  op_add_periodic,
  op_sum_periodic,
  op_vocab_max,
  op_vocab_statistics,
  op_vocab_combine,
  op_vocab_backward,
  op_vocab_histogram,
  op_vocab_walk,
  op_policy_loss,
  op_value_loss,
  op_pair_loss,
  op_adamw,
  op_add,
  op_copy,
  op_fill_real,
  op_fill_wide,
  op_narrow,
  op_widen,
  op_sum_squares,
  op_count
} op_number_t;

/* Name of an operation ("gemm"). */
const char *op_name(op_number_t number);

/* The run function of a device that has a table of OPS: calls the entry of operation NUMBER with its
 * arguments, a const op_NAME_t *. Errors: STATUS_DEVICE naming the operation where the table has none (a
 * missing operation is never a slow path in disguise). Local. */
status_t ops_run(device_t *device, int number, const void *arguments);

/* Calls operation NAME of DEVICE with its arguments, a (const) op_NAME_t *: the only door to operations,
 * where a watcher sees all of them (tensor/device.h). */
#define OP(device, name, ...)                                                                                \
  device_run((device), op_##name, (true) ? (__VA_ARGS__) : (const op_##name##_t *)NULL)

#endif
