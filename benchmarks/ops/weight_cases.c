/* Products with a frozen weight in each of its formats: decoding, which reads the weight for a few rows, and
 * training, which multiplies many rows by it in both directions. The shape is that of a 7B model's gate and
 * up projections, which no cache holds in any format. */
#include "measure.h"
#include "tensor/weight_nf4.h"

#include <stdio.h>

enum { OUT = 22016, IN = 4096 };

static const char *const format_names[WEIGHT_FORMATS] = {"weight real", "weight bf16", "weight nf4"};

static size_t bytes_of(const bench_t *bench, const weight_t *weight) {
  if (weight->format == WEIGHT_NF4) return weight_nf4_bytes(weight);
  return weight_bytes(bench->device, weight->format, weight->rows * weight->cols);
}

static void fill(bench_t *bench, const weight_t *weight, const float *values) {
  size_t n = (size_t)weight->rows * (size_t)weight->cols;
  if (weight->format == WEIGHT_REAL) {
    bench_check(real_upload(bench->device, (real_t *)(uintptr_t)weight->data, values, DTYPE_F32, n));
  } else if (weight->format == WEIGHT_BF16) {
    bench_check(half_upload(bench->device, (half_t *)(uintptr_t)weight->data, values, DTYPE_F32, n));
  } else {
    float *absmax = NULL;
    bench_check(memory_alloc(&absmax, ARENA_OTHER, n / NF4_BLOCK, sizeof *absmax));
    bench_check(weight_nf4_write_rows(bench->device, weight, 0, weight->rows, values, absmax));
    bench_check(weight_nf4_write_scales(bench->device, weight, absmax));
    memory_free(absmax);
  }
}

static weight_t weight_new(bench_t *bench, weight_format_t format) {
  const arena_t arena = ARENA_OTHER;
  weight_t weight = {.format = format, .rows = OUT, .cols = IN, .whole_rows = OUT, .whole_cols = IN};
  void *data = NULL;
  bench_check(device_alloc(bench->device, &arena, bytes_of(bench, &weight), &data));
  weight.data = data;
  float *values = NULL;
  size_t n = (size_t)OUT * IN;
  bench_check(memory_alloc(&values, ARENA_OTHER, n, sizeof *values));
  uint32_t state = 12345;
  for (size_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
  }
  fill(bench, &weight, values);
  memory_free(values);
  return weight;
}

static void call_product(bench_t *bench, const void *op) {
  bench_check(OP(bench->device, gemm, (const op_gemm_t *)op));
}

/* ROWS rows times the weight's transpose or, BACKWARD, the weight. */
static void bench_product(bench_t *bench, const weight_t *weight, int64_t rows, bool backward) {
  int64_t k = backward ? OUT : IN, n = backward ? IN : OUT;
  real_t *a = bench_real(bench, rows * k), *c = bench_real(bench, rows * n);
  op_gemm_t op = {.trans_b = !backward,
                  .m = rows,
                  .n = n,
                  .k = k,
                  .a = a,
                  .lda = k,
                  .weight = weight,
                  .ldb = IN,
                  .c = c,
                  .ldc = n,
                  .alpha = 1.0};
  char text[64];
  snprintf(text, sizeof text, "%5lld %5lld %5lld%s", (long long)rows, (long long)n, (long long)k,
           backward ? "  input" : "");
  bench_line(bench, format_names[weight->format], text, call_product, &op,
             2.0 * (double)rows * (double)n * (double)k, rows <= 8 ? (double)bytes_of(bench, weight) : 0.0);
  device_release(bench->device, a);
  device_release(bench->device, c);
}

void bench_weights(bench_t *bench) {
  static const int64_t rows[] = {1, 2, 4, 8, 256};
  for (int format = 0; format < WEIGHT_FORMATS; format++) {
    if (!bench_wants(bench, format_names[format])) continue;
    weight_t weight = weight_new(bench, (weight_format_t)format);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
      bench_product(bench, &weight, rows[i], false);
    bench_product(bench, &weight, 256, true);
    device_release(bench->device, (void *)(uintptr_t)weight.data);
  }
}
