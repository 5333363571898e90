/* Linear operations with a frozen weight in each of its formats: decoding, which reads the weight for a few
 * rows, and training, which multiplies many rows by it in both directions, with LoRA and without. The shapes
 * are those of a 7B model, which no cache holds in any format; other than large, only its gate and up
 * projections. */
#include "measure.h"

#include "tensor/weight_nf4.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  const char *name;
  int32_t in, segments;
  int32_t out[LINEAR_SEGMENTS];
  bool wide;
} linear_cases_weight_t;

static const linear_cases_weight_t weights[] = {
    {"gate|up", 4096, 2, {11008, 11008}, false},
    {"q|k|v", 4096, 3, {4096, 4096, 4096}, false},
    {"o", 4096, 1, {4096}, false},
    {"down", 11008, 1, {4096}, false},
    {"head", 4096, 1, {32000}, true},
};

typedef struct {
  const linear_cases_weight_t *weight;
  weight_format_t format;
  int64_t rows;
  int32_t lora;
  bool trained; /* backward: the weight's gradient */
} linear_cases_shape_t;

static const char *const forward_names[WEIGHT_FORMATS] = {"linear real", "linear bf16", "linear nf4"};
static const char *const backward_names[WEIGHT_FORMATS] = {"linear real backward", "linear bf16 backward",
                                                           "linear nf4 backward"};

static int64_t out_of(const linear_cases_weight_t *weight) {
  int64_t out = 0;
  for (int32_t s = 0; s < weight->segments; s++)
    out += weight->out[s];
  return out;
}

/* Any bytes of real numbers in -1 .. 1 are codes and finite scales. */
static const void *nf4_new(bench_t *bench, const weight_t *weight) {
  return bench_real(bench, (int64_t)(weight_nf4_bytes(weight) / dtype_size(bench->device->real_type)) + 1);
}

/* The segments' weights, one behind the other where their format lets them be one matrix. */
static void make_weights(bench_t *bench, const linear_cases_shape_t *shape, op_linear_t *op) {
  const linear_cases_weight_t *weight = shape->weight;
  int64_t n = out_of(weight) * weight->in, begin = 0;
  const real_t *real = shape->format == WEIGHT_REAL ? bench_real(bench, n) : NULL;
  const half_t *half = shape->format == WEIGHT_BF16 ? bench_half(bench, n) : NULL;
  for (int32_t s = 0; s < weight->segments; s++) {
    weight_t *to = &op->segment[s].weight;
    *to = (weight_t){.format = shape->format,
                     .rows = weight->out[s],
                     .cols = weight->in,
                     .whole_rows = weight->out[s],
                     .whole_cols = weight->in};
    to->data = real   ? (const void *)real_at(bench->device, real, begin)
               : half ? (const void *)half_at(half, begin)
                      : nf4_new(bench, to);
    begin += to->rows * to->cols;
  }
}

static void make_adapters(bench_t *bench, const linear_cases_shape_t *shape, op_linear_t *op) {
  const linear_cases_weight_t *weight = shape->weight;
  const int64_t r = shape->lora;
  if (r == 0) return;
  op->lora_rank = shape->lora;
  op->lora_scale = 0.25;
  op->ldu = r * weight->segments;
  const real_t *a = bench_real(bench, op->ldu * weight->in);
  real_t *u = bench_real(bench, shape->rows * op->ldu);
  for (int32_t s = 0; s < weight->segments; s++) {
    op->segment[s].a = real_at(bench->device, a, s * r * weight->in);
    op->segment[s].b = bench_real(bench, weight->out[s] * r);
    op->segment[s].b_rows = weight->out[s];
    op->segment[s].u = real_at(bench->device, u, s * r);
  }
}

static void make_linear(bench_t *bench, const void *of, void *arguments) {
  const linear_cases_shape_t *shape = of;
  op_linear_t *op = arguments;
  int64_t out = out_of(shape->weight);
  *op = (op_linear_t){.rows = shape->rows,
                      .in = shape->weight->in,
                      .out = out,
                      .x = bench_real(bench, shape->rows * shape->weight->in),
                      .ldx = shape->weight->in,
                      .segments = shape->weight->segments,
                      .ldy = out,
                      .y_wide = shape->weight->wide};
  if (op->y_wide)
    op->y = bench_wide(bench, shape->rows * out);
  else
    op->y = bench_real(bench, shape->rows * out);
  make_weights(bench, shape, op);
  make_adapters(bench, shape, op);
}

static void make_backward(bench_t *bench, const void *of, void *arguments) {
  const linear_cases_shape_t *shape = of;
  const linear_cases_weight_t *weight = shape->weight;
  op_linear_backward_t *op = arguments;
  make_linear(bench, of, &op->forward);
  op->dy = bench_real(bench, shape->rows * op->forward.out);
  op->lddy = op->forward.out;
  op->dx = bench_real(bench, shape->rows * weight->in);
  op->lddx = weight->in;
  real_t *du = shape->lora > 0 ? bench_real(bench, shape->rows * op->forward.ldu) : NULL;
  for (int32_t s = 0; s < weight->segments; s++) {
    if (shape->trained) op->segment[s].dw = bench_wide(bench, (int64_t)weight->out[s] * weight->in);
    if (shape->lora == 0) continue;
    op->segment[s].da = bench_wide(bench, (int64_t)shape->lora * weight->in);
    op->segment[s].db = bench_wide(bench, (int64_t)shape->lora * weight->out[s]);
    op->segment[s].du = real_at(bench->device, du, (int64_t)s * shape->lora);
  }
}

static void bench_shape(bench_t *bench, const linear_cases_shape_t *shape, bool backward) {
  char extra[16] = "";
  if (shape->lora > 0) snprintf(extra, sizeof extra, ", r %d", shape->lora);
  if (shape->trained) snprintf(extra, sizeof extra, ", dw");
  if (backward)
    BENCH_CASE(bench, backward_names[shape->format], linear_backward, make_backward, shape, "%s, %lld rows%s",
               shape->weight->name, (long long)shape->rows, extra);
  else
    BENCH_CASE(bench, forward_names[shape->format], linear, make_linear, shape, "%s, %lld rows%s",
               shape->weight->name, (long long)shape->rows, extra);
}

enum { LORA = 64 };

static void bench_few_rows(bench_t *bench, weight_format_t format) {
  static const int64_t rows[] = {1, 2, 4, 8, 256};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    bench_shape(bench, &(linear_cases_shape_t){&weights[0], format, rows[i], 0, false}, false);
  bench_shape(bench, &(linear_cases_shape_t){&weights[0], format, 256, 0, false}, true);
}

static void bench_large(bench_t *bench, const linear_cases_weight_t *weight, weight_format_t format) {
  static const int64_t rows[] = {1, 8, 64, 16384};
  enum { TRAINED_ROWS = 16384 };
  int32_t lora = weight->wide ? 0 : LORA; /* the head has none */
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int32_t r = 0; r <= lora; r += LORA)
      bench_shape(bench, &(linear_cases_shape_t){weight, format, rows[i], r, false}, false);
  for (int32_t r = 0; r <= lora; r += LORA)
    bench_shape(bench, &(linear_cases_shape_t){weight, format, TRAINED_ROWS, r, false}, true);
  if (format == WEIGHT_REAL)
    bench_shape(bench, &(linear_cases_shape_t){weight, format, TRAINED_ROWS, 0, true}, true);
}

void bench_linear(bench_t *bench) {
  for (int format = 0; format < WEIGHT_FORMATS; format++) {
    if (format == WEIGHT_BF16 && bench->device->real_type == DTYPE_BF16) continue;
    if (!bench->large)
      bench_few_rows(bench, (weight_format_t)format);
    else
      for (size_t w = 0; w < sizeof weights / sizeof *weights; w++)
        bench_large(bench, &weights[w], (weight_format_t)format);
  }
}
