/* Operations on elements, rows and the vocabulary, at the sizes of a decoder of hidden 1024 and of the shapes
 * world, or of a 7B model in training and decoding. */
#include "measure.h"

#include <stdio.h>

/* ---- Elements and rows ---- */

typedef struct {
  int64_t rows, cols, mlp;
  int32_t head_size;
} op_cases_rows_t;

static void make_rmsnorm(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  int64_t n = shape->rows * shape->cols;
  *(op_rmsnorm_t *)arguments = (op_rmsnorm_t){.rows = shape->rows,
                                              .cols = shape->cols,
                                              .x = bench_real(bench, n),
                                              .weight = bench_real(bench, shape->cols),
                                              .eps = 1e-5,
                                              .y = bench_real(bench, n),
                                              .rstd = bench_wide(bench, shape->rows)};
}

static void make_rmsnorm_backward(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  int64_t n = shape->rows * shape->cols;
  *(op_rmsnorm_backward_t *)arguments = (op_rmsnorm_backward_t){.rows = shape->rows,
                                                                .cols = shape->cols,
                                                                .x = bench_real(bench, n),
                                                                .weight = bench_real(bench, shape->cols),
                                                                .dy = bench_real(bench, n),
                                                                .rstd = bench_wide(bench, shape->rows),
                                                                .dx = bench_real(bench, n),
                                                                .dx_add = true,
                                                                .dweight = bench_wide(bench, shape->cols)};
}

static void make_swiglu(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  int64_t n = shape->rows * shape->mlp;
  *(op_swiglu_t *)arguments = (op_swiglu_t){.rows = shape->rows,
                                            .cols = shape->mlp,
                                            .gate_up = bench_real(bench, 2 * n),
                                            .y = bench_real(bench, n)};
}

/* In place, and the value once more. */
static void make_swiglu_backward(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  int64_t n = shape->rows * shape->mlp;
  real_t *gate_up = bench_real(bench, 2 * n), *dy = bench_real(bench, n);
  *(op_swiglu_backward_t *)arguments = (op_swiglu_backward_t){
      .rows = shape->rows, .cols = shape->mlp, .gate_up = gate_up, .dy = dy, .dgate_up = gate_up, .y = dy};
}

enum { POSITIONS = 2048, PAGE = 16 };

static void make_rotary(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  int32_t heads = (int32_t)(shape->cols / shape->head_size);
  *(op_rotary_t *)arguments = (op_rotary_t){.rows = shape->rows,
                                            .heads = heads,
                                            .kv_heads = heads,
                                            .head_size = shape->head_size,
                                            .qkv = bench_real(bench, 3 * shape->rows * shape->cols),
                                            .ld = 3 * shape->cols,
                                            .positions = bench_count(bench, shape->rows, 0, 1, POSITIONS),
                                            .base = 10000.0};
}

static void make_rotary_cache(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  op_rotary_t *op = arguments;
  int64_t cached = (shape->rows + PAGE) * shape->cols;
  make_rotary(bench, of, arguments);
  op->page_size = PAGE;
  op->slots = bench_count(bench, shape->rows, 0, 1, INT32_MAX);
  op->k_cache = bench_real(bench, cached);
  op->v_cache = bench_real(bench, cached);
}

enum { TABLE_ROWS = 100 };

static void make_embedding_backward(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  *(op_embedding_backward_t *)arguments =
      (op_embedding_backward_t){.rows = shape->rows,
                                .cols = shape->cols,
                                .count = TABLE_ROWS,
                                .tokens = bench_count(bench, shape->rows, 0, 1, TABLE_ROWS),
                                .dy = bench_real(bench, shape->rows * shape->cols),
                                .dweight = bench_wide(bench, TABLE_ROWS * shape->cols)};
}

static void make_add(bench_t *bench, const void *of, void *arguments) {
  const op_cases_rows_t *shape = of;
  int64_t n = shape->rows * shape->cols;
  *(op_add_t *)arguments = (op_add_t){.n = n, .x = bench_real(bench, n), .y = bench_real(bench, n)};
}

static void bench_rows(bench_t *bench, const op_cases_rows_t *shape) {
  const char *format = "%lld x %lld";
  long long rows = shape->rows, cols = shape->cols, mlp = shape->mlp;
  BENCH_CASE(bench, "rmsnorm", rmsnorm, make_rmsnorm, shape, format, rows, cols);
  BENCH_CASE(bench, "rmsnorm backward", rmsnorm_backward, make_rmsnorm_backward, shape, format, rows, cols);
  BENCH_CASE(bench, "swiglu", swiglu, make_swiglu, shape, format, rows, mlp);
  BENCH_CASE(bench, "swiglu backward", swiglu_backward, make_swiglu_backward, shape, format, rows, mlp);
  BENCH_CASE(bench, "rotary", rotary, make_rotary, shape, "%lld x 3 x %lld", rows, cols);
  BENCH_CASE(bench, "rotary to cache", rotary, make_rotary_cache, shape, "%lld x 3 x %lld", rows, cols);
  BENCH_CASE(bench, "embedding backward", embedding_backward, make_embedding_backward, shape, format, rows,
             cols);
  BENCH_CASE(bench, "add", add, make_add, shape, format, rows, cols);
}

/* ---- The optimiser ---- */

static void make_adamw(bench_t *bench, const void *of, void *arguments) {
  int64_t n = *(const int64_t *)of;
  adamw_run_t *run = bench_host(bench, sizeof *run);
  *run = (adamw_run_t){n,
                       bench_wide(bench, n),
                       bench_wide(bench, n),
                       bench_wide(bench, n),
                       bench_wide(bench, n),
                       bench_real(bench, n)};
  bench_check(OP(bench->device, fill_wide, &(op_fill_wide_t){.n = n, .value = 0.1, .x = run->v}));
  *(op_adamw_t *)arguments = (op_adamw_t){.count = 1,
                                          .runs = run,
                                          .grad_scale = 1.0,
                                          .lr = 1e-4,
                                          .beta1 = 0.9,
                                          .beta2 = 0.999,
                                          .eps = 1e-8,
                                          .step = 10};
}

static void make_sum_squares(bench_t *bench, const void *of, void *arguments) {
  int64_t n = *(const int64_t *)of;
  *(op_sum_squares_t *)arguments =
      (op_sum_squares_t){.n = n, .x = bench_wide(bench, n), .sum = bench_wide(bench, 1)};
}

static void bench_optimiser(bench_t *bench, int64_t n) {
  BENCH_CASE(bench, "adamw", adamw, make_adamw, &n, "%lld", (long long)n);
  BENCH_CASE(bench, "sum_squares", sum_squares, make_sum_squares, &n, "%lld", (long long)n);
}

void bench_elementwise(bench_t *bench) {
  static const op_cases_rows_t small[] = {{4096, 1024, 1024, 64}, {2000, 128, 128, 16}, {16, 128, 128, 16}};
  static const op_cases_rows_t large[] = {
      {16384, 4096, 11008, 128}, {64, 4096, 11008, 128}, {1, 4096, 11008, 128}};
  for (size_t i = 0; i < sizeof small / sizeof *small; i++)
    bench_rows(bench, bench->large ? &large[i] : &small[i]);
  bench_optimiser(bench, bench->large ? 160 << 20 : 16 << 20); /* the adapters of 7B */
  bench_optimiser(bench, 1 << 20);
}

/* ---- Vocabulary ---- */

typedef struct {
  int64_t rows, count;
} op_cases_logits_t;

static vocab_shard_t shard_of(bench_t *bench, const op_cases_logits_t *shape) {
  return (vocab_shard_t){.rows = shape->rows,
                         .ld = shape->count,
                         .count = shape->count,
                         .logits = bench_wide(bench, shape->rows * shape->count),
                         .scale = 1.0};
}

static void make_vocab_max(bench_t *bench, const void *of, void *arguments) {
  const op_cases_logits_t *shape = of;
  *(op_vocab_max_t *)arguments =
      (op_vocab_max_t){.shard = shard_of(bench, shape), .max = bench_wide(bench, shape->rows)};
}

static void make_vocab_statistics(bench_t *bench, const void *of, void *arguments) {
  const op_cases_logits_t *shape = of;
  *(op_vocab_statistics_t *)arguments =
      (op_vocab_statistics_t){.shard = shard_of(bench, shape),
                              .targets = bench_count(bench, shape->rows, 0, 0, 1),
                              .records = bench_wide(bench, shape->rows * VOCAB_RECORD)};
}

static void make_draw(bench_t *bench, const void *of, void *arguments) {
  const op_cases_logits_t *shape = of;
  op_vocab_statistics_t *op = arguments;
  vocab_draw_t *draw = bench_host(bench, sizeof *draw);
  make_vocab_statistics(bench, of, arguments);
  *draw = (vocab_draw_t){.seed = 1,
                         .samples = bench_count(bench, 2 * shape->rows, 0, 0, 1),
                         .positions = bench_count(bench, shape->rows, 0, 0, 1)};
  op->targets = NULL;
  op->draw = draw;
}

static void make_vocab_backward(bench_t *bench, const void *of, void *arguments) {
  const op_cases_logits_t *shape = of;
  *(op_vocab_backward_t *)arguments =
      (op_vocab_backward_t){.shard = shard_of(bench, shape),
                            .normaliser = bench_wide(bench, 2 * shape->rows),
                            .dlogprob = bench_wide(bench, shape->rows),
                            .targets = bench_count(bench, shape->rows, 0, 0, 1),
                            .dlogits = bench_real(bench, shape->rows * shape->count)};
}

static void make_vocab_histogram(bench_t *bench, const void *of, void *arguments) {
  enum { FIRST_SHIFT = 24 };
  const op_cases_logits_t *shape = of;
  *(op_vocab_histogram_t *)arguments =
      (op_vocab_histogram_t){.shard = shard_of(bench, shape),
                             .max = bench_wide(bench, shape->rows),
                             .prefix = bench_count(bench, shape->rows, 0, 0, 1),
                             .shift = FIRST_SHIFT,
                             .histogram = bench_wide(bench, shape->rows * VOCAB_BUCKETS * 2)};
}

static void bench_shard(bench_t *bench, const op_cases_logits_t *shape) {
  const char *format = "%lld x %lld";
  long long rows = shape->rows, count = shape->count;
  BENCH_CASE(bench, "vocab_max", vocab_max, make_vocab_max, shape, format, rows, count);
  BENCH_CASE(bench, "vocab_statistics", vocab_statistics, make_vocab_statistics, shape, format, rows, count);
  BENCH_CASE(bench, "vocab_backward", vocab_backward, make_vocab_backward, shape, format, rows, count);
  BENCH_CASE(bench, "draw", vocab_statistics, make_draw, shape, format, rows, count);
  BENCH_CASE(bench, "vocab_histogram", vocab_histogram, make_vocab_histogram, shape, format, rows, count);
}

void bench_vocab(bench_t *bench) {
  static const op_cases_logits_t small[] = {{512, 32000}, {1, 32000}, {2000, 47}, {64, 47}};
  static const op_cases_logits_t large[] = {{2048, 32000}, {64, 32000}, {8, 32000}, {1, 32000}};
  for (size_t i = 0; i < sizeof small / sizeof *small; i++)
    bench_shard(bench, bench->large ? &large[i] : &small[i]);
}
