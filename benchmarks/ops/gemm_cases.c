/* Products of the shapes that training and decoding make, each beside OpenBLAS. */
#include "measure.h"

#include <cblas.h>
#include <stdio.h>

typedef struct {
  const char *name;
  bool trans_a, trans_b;
  int64_t m, n, k;
  activation_t activation;
} gemm_cases_shape_t;

static const gemm_cases_shape_t shapes[] = {
    /* Decoder of hidden 1024, MLP 2816, 4096 tokens: forward, gradient of the input, gradient of the weight.
     */
    {"gemm forward", false, true, 4096, 1024, 1024, ACTIVATION_NONE},
    {"gemm forward", false, true, 4096, 2816, 1024, ACTIVATION_NONE},
    {"gemm forward", false, true, 4096, 1024, 2816, ACTIVATION_NONE},
    {"gemm forward gelu", false, true, 4096, 2816, 1024, ACTIVATION_GELU},
    {"gemm head", false, true, 512, 32000, 1024, ACTIVATION_NONE},
    {"gemm input", false, false, 4096, 1024, 2816, ACTIVATION_NONE},
    {"gemm input", false, false, 4096, 2816, 1024, ACTIVATION_NONE},
    {"gemm weight", true, false, 1024, 1024, 4096, ACTIVATION_NONE},
    {"gemm weight", true, false, 2816, 1024, 4096, ACTIVATION_NONE},
    {"gemm weight head", true, false, 32000, 1024, 512, ACTIVATION_NONE},
    {"gemm lora", false, true, 4096, 64, 1024, ACTIVATION_NONE},
    {"gemm lora", false, true, 4096, 1024, 64, ACTIVATION_NONE},
    /* The shapes world: hidden 128, MLP 384, vocabulary 47; tower 96 with patches of 768. */
    {"gemm small forward", false, true, 2000, 128, 128, ACTIVATION_NONE},
    {"gemm small forward", false, true, 2000, 384, 128, ACTIVATION_NONE},
    {"gemm small forward", false, true, 2000, 128, 384, ACTIVATION_NONE},
    {"gemm small forward", false, true, 2000, 47, 128, ACTIVATION_NONE},
    {"gemm small forward", false, true, 288, 96, 768, ACTIVATION_NONE},
    {"gemm small gelu", false, true, 288, 384, 96, ACTIVATION_QUICK_GELU},
    {"gemm small input", false, false, 2000, 128, 384, ACTIVATION_NONE},
    {"gemm small input", false, false, 2000, 384, 128, ACTIVATION_NONE},
    {"gemm small weight", true, false, 128, 128, 2000, ACTIVATION_NONE},
    {"gemm small weight", true, false, 384, 128, 2000, ACTIVATION_NONE},
    {"gemm small weight", true, false, 47, 128, 2000, ACTIVATION_NONE},
    {"gemm small lora", false, true, 2000, 8, 128, ACTIVATION_NONE},
    {"gemm small lora", false, true, 2000, 128, 8, ACTIVATION_NONE},
    {"gemm small lora", true, false, 8, 128, 2000, ACTIVATION_NONE},
    {"gemm small lora", true, false, 128, 8, 2000, ACTIVATION_NONE},
    {"gemm small lora", false, true, 2000, 64, 128, ACTIVATION_NONE},
    {"gemm small lora", false, true, 2000, 128, 64, ACTIVATION_NONE},
    {"gemm small lora", true, false, 64, 128, 2000, ACTIVATION_NONE},
    {"gemm small lora", true, false, 384, 64, 2000, ACTIVATION_NONE},
    {"gemm small decode", false, true, 1, 128, 128, ACTIVATION_NONE},
    {"gemm small decode", false, true, 16, 384, 128, ACTIVATION_NONE},
    {"gemm small decode", false, true, 64, 384, 128, ACTIVATION_NONE},
    {"gemm small decode", false, true, 64, 128, 384, ACTIVATION_NONE},
    /* Decoding against weights that no cache holds. */
    {"gemm decode", false, true, 1, 32000, 1024, ACTIVATION_NONE},
    {"gemm decode", false, true, 1, 4096, 4096, ACTIVATION_NONE},
    {"gemm decode", false, true, 2, 4096, 4096, ACTIVATION_NONE},
    {"gemm decode", false, true, 4, 4096, 4096, ACTIVATION_NONE},
    {"gemm decode", false, true, 8, 4096, 4096, ACTIVATION_NONE},
    {"gemm decode", false, true, 16, 4096, 4096, ACTIVATION_NONE},
    {"gemm decode", false, true, 32, 4096, 4096, ACTIVATION_NONE},
    {"gemm decode", false, true, 64, 4096, 4096, ACTIVATION_NONE},
};

static void call_blas(bench_t *bench, const void *argument) {
  const op_gemm_t *op = argument;
  (void)bench;
  cblas_sgemm(CblasRowMajor, op->trans_a ? CblasTrans : CblasNoTrans, op->trans_b ? CblasTrans : CblasNoTrans,
              (int)op->m, (int)op->n, (int)op->k, 1.0f, (const float *)op->a, (int)op->lda,
              (const float *)op->b, (int)op->ldb, (float)op->beta, (float *)op->c, (int)op->ldc);
}

static void make_gemm(bench_t *bench, const void *of, void *arguments) {
  const gemm_cases_shape_t *shape = of;
  *(op_gemm_t *)arguments =
      (op_gemm_t){.trans_a = shape->trans_a,
                  .trans_b = shape->trans_b,
                  .m = shape->m,
                  .n = shape->n,
                  .k = shape->k,
                  .a = bench_real(bench, shape->m * shape->k),
                  .lda = shape->trans_a ? shape->m : shape->k,
                  .b = bench_real(bench, shape->n * shape->k),
                  .ldb = shape->trans_b ? shape->k : shape->n,
                  .c = bench_real(bench, shape->m * shape->n),
                  .ldc = shape->n,
                  .alpha = 1.0,
                  .beta = shape->trans_a ? 1.0 : 0.0,
                  .bias = shape->activation == ACTIVATION_NONE ? NULL : bench_real(bench, shape->n),
                  .activation = shape->activation};
}

static void bench_shape(bench_t *bench, const gemm_cases_shape_t *shape) {
  op_gemm_t op;
  if (!bench_wants(bench, shape->name)) return;
  make_gemm(bench, shape, &op);
  double flops = 2.0 * (double)shape->m * (double)shape->n * (double)shape->k;
  double blas = bench_time(bench, call_blas, &op);
  bench_release(bench);
  BENCH_CASE(bench, shape->name, gemm, make_gemm, shape, "%5lld %5lld %5lld  OpenBLAS %7.1f",
             (long long)shape->m, (long long)shape->n, (long long)shape->k, 1e-9 * flops / blas);
}

void bench_gemm(bench_t *bench) {
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    bench_shape(bench, &shapes[i]);
}
