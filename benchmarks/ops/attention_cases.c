/* Attention over packed sequences, forward and backward, and over the paged cache. */
#include "measure.h"

#include <stdio.h>

typedef struct {
  int32_t sequences, length, heads, kv_heads, head_size;
  bool causal;
} attention_shape_t;

typedef struct {
  const attention_shape_t *shape;
  sequences_t prepared;
} attention_cases_packed_t;

static void make_attention(bench_t *bench, const void *of, void *arguments) {
  const attention_cases_packed_t *packed = of;
  const attention_shape_t *shape = packed->shape;
  int64_t tokens = (int64_t)shape->sequences * shape->length;
  int64_t width = (int64_t)shape->heads * shape->head_size,
          kv_width = (int64_t)shape->kv_heads * shape->head_size;
  *(op_attention_t *)arguments = (op_attention_t){.sequences = &packed->prepared,
                                                  .q = bench_real(bench, tokens * width),
                                                  .k = bench_real(bench, tokens * kv_width),
                                                  .v = bench_real(bench, tokens * kv_width),
                                                  .ldq = width,
                                                  .ldkv = kv_width,
                                                  .ldo = width,
                                                  .scale = 0.125,
                                                  .causal = shape->causal,
                                                  .out = bench_real(bench, tokens * width),
                                                  .lse = bench_wide(bench, tokens * shape->heads)};
}

static void make_attention_backward(bench_t *bench, const void *of, void *arguments) {
  op_attention_backward_t *op = arguments;
  make_attention(bench, of, &op->forward);
  bench_check(OP(bench->device, attention, &op->forward));
  const attention_cases_packed_t *packed = of;
  int64_t tokens = (int64_t)packed->shape->sequences * packed->shape->length;
  op->dout = bench_real(bench, tokens * op->forward.ldo);
  op->dq = bench_real(bench, tokens * op->forward.ldq);
  op->dk = bench_real(bench, tokens * op->forward.ldkv);
  op->dv = bench_real(bench, tokens * op->forward.ldkv);
}

/* Its backward pass is reported as publications do: with the scores that it makes again, 10 D for each pair
 * of positions and head, against 4 D of the forward pass. */
static void bench_packed(bench_t *bench, const attention_shape_t *shape) {
  attention_cases_packed_t packed = {shape, sequences_create(bench->device)};
  int32_t *offsets = bench_host(bench, (size_t)(shape->sequences + 1) * sizeof *offsets);
  for (int32_t b = 0; b <= shape->sequences; b++)
    offsets[b] = b * shape->length;
  bench_check(sequences_prepare(&packed.prepared, shape->sequences, offsets, shape->heads, shape->kv_heads,
                                shape->head_size));
  double pairs = sequences_pairs(&packed.prepared, shape->causal) * shape->heads;
  bench_case_t forward = {"attention",    "",      op_attention, sizeof(op_attention_t),
                          make_attention, &packed, 0.0};
  bench_case_t backward = {
      "attention backward",    "",      op_attention_backward,          sizeof(op_attention_backward_t),
      make_attention_backward, &packed, 10.0 * pairs * shape->head_size};
  snprintf(forward.shape, sizeof forward.shape, "%d x %d, %d/%d heads of %d%s", shape->sequences,
           shape->length, shape->heads, shape->kv_heads, shape->head_size, shape->causal ? "" : " full");
  snprintf(backward.shape, sizeof backward.shape, "%s", forward.shape);
  bench_measure(bench, &forward);
  bench_measure(bench, &backward);
  sequences_free(&packed.prepared);
  bench_release(bench);
}

typedef struct {
  int32_t rows, length, heads, kv_heads, head_size;
} attention_cases_paged_t;

static void make_paged(bench_t *bench, const void *of, void *arguments) {
  enum { PAGE = 16 };
  const attention_cases_paged_t *shape = of;
  int32_t per_row = (shape->length + PAGE - 1) / PAGE;
  int64_t width = (int64_t)shape->heads * shape->head_size;
  int64_t cache = (int64_t)shape->rows * per_row * PAGE * shape->kv_heads * shape->head_size;
  *(op_attention_paged_t *)arguments =
      (op_attention_paged_t){.rows = shape->rows,
                             .heads = shape->heads,
                             .kv_heads = shape->kv_heads,
                             .head_size = shape->head_size,
                             .page_size = PAGE,
                             .max_pages = per_row,
                             .positions = (int64_t)shape->rows * shape->length,
                             .q = bench_real(bench, shape->rows * width),
                             .ldq = width,
                             .k_cache = bench_real(bench, cache),
                             .v_cache = bench_real(bench, cache),
                             .pages = bench_count(bench, (int64_t)shape->rows * per_row, 0, 1, INT32_MAX),
                             .lengths = bench_count(bench, shape->rows, shape->length, 0, INT32_MAX),
                             .scale = 0.125,
                             .out = bench_real(bench, shape->rows * width),
                             .ldo = width};
}

static void bench_paged(bench_t *bench, const attention_cases_paged_t *shape) {
  BENCH_CASE(bench, "attention paged", attention_paged, make_paged, shape, "%d rows x %d, %d/%d heads of %d",
             shape->rows, shape->length, shape->heads, shape->kv_heads, shape->head_size);
}

void bench_attention(bench_t *bench) {
  static const attention_shape_t small[] = {
      {8, 512, 16, 16, 64, true}, {2, 2048, 16, 4, 128, true}, {32, 64, 8, 8, 16, true},
      {32, 100, 8, 2, 16, true},  {32, 9, 6, 6, 16, false},    {8, 577, 16, 16, 64, false},
  };
  static const attention_shape_t large[] = {
      {16, 2048, 32, 32, 128, true}, {4, 8192, 32, 32, 128, true}, {16, 2048, 32, 32, 64, true},
      {4, 8192, 32, 32, 64, true},   {16, 2048, 32, 8, 128, true}, {64, 577, 16, 16, 64, false},
  };
  static const attention_cases_paged_t small_paged[] = {
      {1, 2048, 16, 16, 64}, {16, 1024, 32, 32, 128}, {16, 1024, 32, 8, 128}, {64, 60, 8, 8, 16}};
  static const attention_cases_paged_t large_paged[] = {
      {1, 600, 32, 32, 128},  {8, 600, 32, 32, 128},   {64, 600, 32, 32, 128}, {1, 2048, 32, 32, 128},
      {8, 2048, 32, 32, 128}, {64, 2048, 32, 32, 128}, {64, 2048, 32, 8, 128}};
  if (bench_wants(bench, "attention") || bench_wants(bench, "attention backward"))
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
      bench_packed(bench, bench->large ? &large[i] : &small[i]);
  if (bench->large)
    for (size_t i = 0; i < sizeof large_paged / sizeof large_paged[0]; i++)
      bench_paged(bench, &large_paged[i]);
  else
    for (size_t i = 0; i < sizeof small_paged / sizeof small_paged[0]; i++)
      bench_paged(bench, &small_paged[i]);
}
