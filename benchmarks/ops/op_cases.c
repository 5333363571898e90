/* All operations but products, at the sizes of a decoder of hidden 1024 and of the shapes world. */
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>

static void shape_text(char *text, size_t size, const char *format, long long a, long long b) {
  snprintf(text, size, format, a, b);
}

/* ---- Elements and rows ---- */

static void call_swiglu(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, swiglu, (const op_swiglu_t *)op));
}

static void call_swiglu_backward(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, swiglu_backward, (const op_swiglu_backward_t *)op));
}

static void call_rmsnorm(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, rmsnorm, (const op_rmsnorm_t *)op));
}

static void call_rmsnorm_backward(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, rmsnorm_backward, (const op_rmsnorm_backward_t *)op));
}

static void call_rotary(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, rotary, (const op_rotary_t *)op));
}

static void call_adamw(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, adamw, (const op_adamw_t *)op));
}

static void call_embedding_backward(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, embedding_backward, (const op_embedding_backward_t *)op));
}

typedef struct {
  int64_t n;
  wide_t *x, *sum;
  real_t *a, *b;
} plain_op_t;

static void call_sum_squares(bench_t *bench, const void *argument) {
  const plain_op_t *op = argument;
  bench_check(OP(bench->device, sum_squares, &(op_sum_squares_t){.n = op->n, .x = op->x, .sum = op->sum}));
}

static void call_add(bench_t *bench, const void *argument) {
  const plain_op_t *op = argument;
  bench_check(OP(bench->device, add, &(op_add_t){.n = op->n, .x = op->a, .y = op->b}));
}

/* ROWS tokens of COLS columns; heads of 64 or 16. */
static void bench_rows(bench_t *bench, int64_t rows, int64_t cols, int32_t head_size) {
  device_t *device = bench->device;
  int64_t n = rows * cols;
  double bytes = 4.0 * (double)n;
  real_t *x = bench_real(bench, n), *y = bench_real(bench, n), *z = bench_real(bench, n);
  real_t *weight = bench_real(bench, cols), *gate_up = bench_real(bench, 2 * n);
  wide_t *rstd = bench_wide(bench, rows), *dweight = bench_wide(bench, 100 * cols);
  int32_t *positions = malloc((size_t)rows * sizeof *positions);
  if (!positions) exit(1);
  for (int64_t i = 0; i < rows; i++)
    positions[i] = (int32_t)(i % 100);
  index_t *index = bench_index(bench, positions, rows);
  char text[64];
  shape_text(text, sizeof text, "%lld x %lld", rows, cols);
  op_rmsnorm_t norm = {
      .rows = rows, .cols = cols, .x = x, .weight = weight, .eps = 1e-5, .y = y, .rstd = rstd};
  if (bench_wants(bench, "rmsnorm")) bench_line(bench, "rmsnorm", text, call_rmsnorm, &norm, 0, 2 * bytes);
  op_rmsnorm_backward_t norm_backward = {.rows = rows,
                                         .cols = cols,
                                         .x = x,
                                         .weight = weight,
                                         .dy = y,
                                         .rstd = rstd,
                                         .dx = z,
                                         .dx_add = true,
                                         .dweight = dweight};
  if (bench_wants(bench, "rmsnorm backward"))
    bench_line(bench, "rmsnorm backward", text, call_rmsnorm_backward, &norm_backward, 0, 4 * bytes);
  op_swiglu_t swiglu = {.rows = rows, .cols = cols, .gate_up = gate_up, .y = z};
  if (bench_wants(bench, "swiglu")) bench_line(bench, "swiglu", text, call_swiglu, &swiglu, 0, 3 * bytes);
  op_swiglu_backward_t swiglu_backward = {
      .rows = rows, .cols = cols, .gate_up = gate_up, .dy = z, .dgate_up = gate_up, .y = z};
  if (bench_wants(bench, "swiglu backward"))
    bench_line(bench, "swiglu backward", text, call_swiglu_backward, &swiglu_backward, 0, 6 * bytes);
  int32_t heads = (int32_t)(cols / head_size);
  op_rotary_t rotary = {.rows = rows,
                        .heads = heads / 2,
                        .kv_heads = heads - heads / 2,
                        .head_size = head_size,
                        .qkv = gate_up,
                        .ld = 2 * cols,
                        .positions = index,
                        .base = 10000.0};
  if (bench_wants(bench, "rotary")) bench_line(bench, "rotary", text, call_rotary, &rotary, 0, 2 * bytes);
  op_embedding_backward_t embedding = {
      .rows = rows, .cols = cols, .count = 100, .tokens = index, .dy = y, .dweight = dweight};
  if (bench_wants(bench, "embedding backward"))
    bench_line(bench, "embedding backward", text, call_embedding_backward, &embedding, 0, bytes);
  plain_op_t add = {.n = n, .a = y, .b = z};
  if (bench_wants(bench, "add")) bench_line(bench, "add", text, call_add, &add, 0, 3 * bytes);
  void *all[] = {x, y, z, gate_up, weight, rstd, dweight, index};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(device, all[i]);
  free(positions);
}

static void bench_optimiser(bench_t *bench, int64_t n) {
  wide_t *master = bench_wide(bench, n), *m = bench_wide(bench, n), *v = bench_wide(bench, n);
  wide_t *grad = bench_wide(bench, n), *sum = bench_wide(bench, 1);
  real_t *real = bench_real(bench, n);
  double bytes = 4.0 * (double)n;
  char text[64];
  bench_check(OP(bench->device, fill_wide, &(op_fill_wide_t){.n = n, .value = 0.1, .x = v}));
  shape_text(text, sizeof text, "%lld", n, 0);
  const adamw_run_t run = {n, master, m, v, grad, real};
  op_adamw_t adamw = {.count = 1,
                      .runs = &run,
                      .grad_scale = 1.0,
                      .lr = 1e-4,
                      .beta1 = 0.9,
                      .beta2 = 0.999,
                      .eps = 1e-8,
                      .step = 10};
  if (bench_wants(bench, "adamw")) bench_line(bench, "adamw", text, call_adamw, &adamw, 0, 8 * bytes);
  plain_op_t squares = {.n = n, .x = grad, .sum = sum};
  if (bench_wants(bench, "sum_squares"))
    bench_line(bench, "sum_squares", text, call_sum_squares, &squares, 0, bytes);
  void *all[] = {master, m, v, grad, sum, real};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(bench->device, all[i]);
}

void bench_elementwise(bench_t *bench) {
  bench_rows(bench, 4096, 1024, 64);
  bench_rows(bench, 2000, 128, 16);
  bench_rows(bench, 16, 128, 16);
  bench_optimiser(bench, 16 << 20);
  bench_optimiser(bench, 1 << 20);
}

/* ---- Attention ---- */

typedef struct {
  int32_t sequences, length, heads, kv_heads, head_size;
  bool causal;
} attention_shape_t;

static void call_attention(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, attention, (const op_attention_t *)op));
}

static void call_attention_backward(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, attention_backward, (const op_attention_backward_t *)op));
}

static void bench_packed(bench_t *bench, const attention_shape_t *shape) {
  int64_t tokens = (int64_t)shape->sequences * shape->length,
          width = shape->heads * (int64_t)shape->head_size;
  int64_t kv_width = shape->kv_heads * (int64_t)shape->head_size;
  int32_t *offsets = malloc((size_t)(shape->sequences + 1) * sizeof *offsets);
  if (!offsets) exit(1);
  for (int32_t b = 0; b <= shape->sequences; b++)
    offsets[b] = b * shape->length;
  sequences_t sequences = sequences_create(bench->device);
  bench_check(sequences_prepare(&sequences, shape->sequences, offsets, shape->heads, shape->kv_heads,
                                shape->head_size));
  real_t *q = bench_real(bench, tokens * width), *k = bench_real(bench, tokens * kv_width);
  real_t *v = bench_real(bench, tokens * kv_width), *out = bench_real(bench, tokens * width);
  real_t *dq = bench_real(bench, tokens * width), *dk = bench_real(bench, tokens * kv_width);
  real_t *dv = bench_real(bench, tokens * kv_width), *dout = bench_real(bench, tokens * width);
  wide_t *lse = bench_wide(bench, tokens * shape->heads);
  op_attention_backward_t op = {.forward = {.sequences = &sequences,
                                            .q = q,
                                            .k = k,
                                            .v = v,
                                            .ldq = width,
                                            .ldkv = kv_width,
                                            .ldo = width,
                                            .scale = 0.125,
                                            .causal = shape->causal,
                                            .out = out,
                                            .lse = lse},
                                .dout = dout,
                                .dq = dq,
                                .dk = dk,
                                .dv = dv};
  double pairs = (double)tokens * shape->length * shape->heads * (shape->causal ? 0.5 : 1.0);
  char text[64];
  snprintf(text, sizeof text, "%d x %d, %d/%d heads of %d%s", shape->sequences, shape->length, shape->heads,
           shape->kv_heads, shape->head_size, shape->causal ? "" : " full");
  bench_line(bench, "attention", text, call_attention, &op.forward, 4.0 * pairs * shape->head_size, 0);
  bench_line(bench, "attention backward", text, call_attention_backward, &op, 10.0 * pairs * shape->head_size,
             0);
  sequences_free(&sequences);
  void *all[] = {q, k, v, out, dq, dk, dv, dout, lse};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(bench->device, all[i]);
  free(offsets);
}

static void call_attention_paged(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, attention_paged, (const op_attention_paged_t *)op));
}

static void bench_paged(bench_t *bench, int32_t rows, int32_t length, int32_t heads, int32_t kv_heads,
                        int32_t head_size) {
  enum { PAGE = 16 };
  int32_t per_row = (length + PAGE - 1) / PAGE;
  int64_t width = heads * (int64_t)head_size, cache = (int64_t)rows * per_row * PAGE * kv_heads * head_size;
  int32_t *numbers = malloc((size_t)(rows * per_row + rows) * sizeof *numbers);
  if (!numbers) exit(1);
  for (int32_t i = 0; i < rows * per_row; i++)
    numbers[i] = i;
  for (int32_t i = 0; i < rows; i++)
    numbers[rows * per_row + i] = length;
  index_t *pages = bench_index(bench, numbers, rows * per_row);
  index_t *lengths = bench_index(bench, numbers + rows * per_row, rows);
  real_t *q = bench_real(bench, rows * width), *out = bench_real(bench, rows * width);
  real_t *k_cache = bench_real(bench, cache), *v_cache = bench_real(bench, cache);
  op_attention_paged_t op = {.rows = rows,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .head_size = head_size,
                             .page_size = PAGE,
                             .max_pages = per_row,
                             .q = q,
                             .ldq = width,
                             .k_cache = k_cache,
                             .v_cache = v_cache,
                             .pages = pages,
                             .lengths = lengths,
                             .scale = 0.125,
                             .out = out,
                             .ldo = width};
  char text[64];
  snprintf(text, sizeof text, "%d rows x %d, %d/%d heads of %d", rows, length, heads, kv_heads, head_size);
  bench_line(bench, "attention paged", text, call_attention_paged, &op, 0, 8.0 * (double)cache);
  void *all[] = {pages, lengths, q, out, k_cache, v_cache};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(bench->device, all[i]);
  free(numbers);
}

void bench_attention(bench_t *bench) {
  static const attention_shape_t shapes[] = {
      {8, 512, 16, 16, 64, true}, {2, 2048, 16, 4, 128, true}, {32, 64, 8, 8, 16, true},
      {32, 100, 8, 2, 16, true},  {32, 9, 6, 6, 16, false},    {8, 577, 16, 16, 64, false},
  };
  if (bench_wants(bench, "attention"))
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
      bench_packed(bench, &shapes[i]);
  if (!bench_wants(bench, "attention paged")) return;
  bench_paged(bench, 1, 2048, 16, 16, 64);
  bench_paged(bench, 16, 1024, 32, 32, 128);
  bench_paged(bench, 16, 1024, 32, 8, 128);
  bench_paged(bench, 64, 60, 8, 8, 16);
}

/* ---- Vocabulary ---- */

static void call_vocab_max(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, vocab_max, (const op_vocab_max_t *)op));
}

static void call_vocab_statistics(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, vocab_statistics, (const op_vocab_statistics_t *)op));
}

static void call_vocab_backward(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, vocab_backward, (const op_vocab_backward_t *)op));
}

static void call_histogram(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, vocab_histogram, (const op_vocab_histogram_t *)op));
}

static void bench_shard(bench_t *bench, int64_t rows, int64_t count) {
  wide_t *logits = bench_wide(bench, rows * count), *max = bench_wide(bench, rows),
         *records = bench_wide(bench, rows * VOCAB_RECORD), *normaliser = bench_wide(bench, rows * 2);
  wide_t *dlogprob = bench_wide(bench, rows), *histogram = bench_wide(bench, rows * 512);
  real_t *dlogits = bench_real(bench, rows * count);
  int32_t *numbers = calloc((size_t)(2 * rows), sizeof *numbers);
  if (!numbers) exit(1);
  index_t *zeros = bench_index(bench, numbers, 2 * rows);
  vocab_shard_t shard = {.rows = rows, .ld = count, .count = count, .logits = logits, .scale = 1.0};
  double bytes = 4.0 * (double)rows * (double)count;
  char text[64];
  shape_text(text, sizeof text, "%lld x %lld", rows, count);
  op_vocab_max_t find = {.shard = shard, .max = max};
  if (bench_wants(bench, "vocab_max")) bench_line(bench, "vocab_max", text, call_vocab_max, &find, 0, bytes);
  op_vocab_statistics_t statistics = {.shard = shard, .targets = zeros, .records = records};
  if (bench_wants(bench, "vocab_statistics"))
    bench_line(bench, "vocab_statistics", text, call_vocab_statistics, &statistics, 0, bytes);
  op_vocab_backward_t backward = {
      .shard = shard, .normaliser = normaliser, .dlogprob = dlogprob, .targets = zeros, .dlogits = dlogits};
  if (bench_wants(bench, "vocab_backward"))
    bench_line(bench, "vocab_backward", text, call_vocab_backward, &backward, 0, 2 * bytes);
  const vocab_draw_t draw = {.seed = 1, .samples = zeros, .positions = zeros};
  op_vocab_statistics_t drawing = {.shard = shard, .draw = &draw, .records = records};
  if (bench_wants(bench, "draw")) bench_line(bench, "draw", text, call_vocab_statistics, &drawing, 0, bytes);
  op_vocab_histogram_t count_op = {
      .shard = shard, .max = max, .prefix = zeros, .shift = 24, .histogram = histogram};
  if (bench_wants(bench, "vocab_histogram"))
    bench_line(bench, "vocab_histogram", text, call_histogram, &count_op, 0, bytes);
  void *all[] = {logits, max, records, normaliser, dlogprob, histogram, dlogits, zeros};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(bench->device, all[i]);
  free(numbers);
}

void bench_vocab(bench_t *bench) {
  bench_shard(bench, 512, 32000);
  bench_shard(bench, 1, 32000);
  bench_shard(bench, 2000, 47);
  bench_shard(bench, 64, 47);
}
