/* Cases of the norms and of the rotary embedding. */
#include "tensor/op_pair.h"

static const int64_t row_counts[] = {1, 3, 17};
static const int64_t col_counts[] = {8, 33, 128, 1000};
enum {
  ROW_COUNTS = sizeof row_counts / sizeof *row_counts,
  COL_COUNTS = sizeof col_counts / sizeof *col_counts
};
static const double norm_eps = 1e-5;

static void rmsnorm_run(op_pair_t *pair, int64_t T, int64_t C, bool dx_add, bool weight_grad) {
  real_pair_t x = real_random(pair, T * C, 2.0), weight = real_random(pair, C, 1.0),
              dy = real_random(pair, T * C, 1.0);
  real_pair_t y = real_untouched(pair, T * C), bare = real_untouched(pair, T * C);
  real_pair_t dx = dx_add ? real_random(pair, T * C, 1.0) : real_untouched(pair, T * C);
  wide_pair_t rstd = wide_untouched(pair, T), dweight = wide_random(pair, C, 1.0);
  for (int s = 0; s < DEVICES; s++) {
    op_rmsnorm_t forward = {.rows = T,
                            .cols = C,
                            .x = x.on[s],
                            .weight = weight.on[s],
                            .eps = norm_eps,
                            .y = y.on[s],
                            .rstd = rstd.on[s]};
    EXPECT_OK(OP(pair->devices[s], rmsnorm, &forward));
    forward.rstd = NULL;
    forward.y = bare.on[s];
    EXPECT_OK(OP(pair->devices[s], rmsnorm, &forward));
    op_rmsnorm_backward_t backward = {.rows = T,
                                      .cols = C,
                                      .x = x.on[s],
                                      .weight = weight.on[s],
                                      .dy = dy.on[s],
                                      .rstd = rstd.on[s],
                                      .dx = dx.on[s],
                                      .dx_add = dx_add,
                                      .dweight = weight_grad ? dweight.on[s] : NULL};
    EXPECT_OK(OP(pair->devices[s], rmsnorm_backward, &backward));
  }
  real_expect_close(pair, "rmsnorm y", &y, 0, T, C, C, pair->tolerances.forward);
  real_expect_close(pair, "rmsnorm y without rstd", &bare, 0, T, C, C, pair->tolerances.forward);
  wide_expect_close(pair, "rmsnorm rstd", &rstd, 0, 1, T, T, pair->tolerances.forward);
  real_expect_close(pair, "rmsnorm dx", &dx, 0, T, C, C, pair->tolerances.gradient);
  wide_expect_close(pair, "rmsnorm dweight", &dweight, 0, 1, C, C, pair->tolerances.gradient);
  pair_release(pair);
}

void case_rmsnorm(void **state) {
  for (int i = 0; i < ROW_COUNTS * COL_COUNTS; i++)
    rmsnorm_run(*state, row_counts[i % ROW_COUNTS], col_counts[i / ROW_COUNTS], i & 1, i & 2);
}

static void layernorm_run(op_pair_t *pair, int64_t T, int64_t C, bool dx_add, bool weight_grad) {
  real_pair_t x = real_random(pair, T * C, 2.0), weight = real_random(pair, C, 1.0),
              bias = real_random(pair, C, 1.0);
  real_pair_t y = real_untouched(pair, T * C), bare = real_untouched(pair, T * C),
              dy = real_random(pair, T * C, 1.0);
  real_pair_t dx = dx_add ? real_random(pair, T * C, 1.0) : real_untouched(pair, T * C);
  wide_pair_t mean = wide_untouched(pair, T), rstd = wide_untouched(pair, T);
  wide_pair_t dweight = wide_random(pair, C, 1.0), dbias = wide_random(pair, C, 1.0);
  for (int s = 0; s < DEVICES; s++) {
    op_layernorm_t forward = {.rows = T,
                              .cols = C,
                              .x = x.on[s],
                              .weight = weight.on[s],
                              .bias = bias.on[s],
                              .eps = norm_eps,
                              .y = y.on[s],
                              .mean = mean.on[s],
                              .rstd = rstd.on[s]};
    EXPECT_OK(OP(pair->devices[s], layernorm, &forward));
    forward.mean = forward.rstd = NULL;
    forward.y = bare.on[s];
    EXPECT_OK(OP(pair->devices[s], layernorm, &forward));
    op_layernorm_backward_t backward = {.rows = T,
                                        .cols = C,
                                        .x = x.on[s],
                                        .weight = weight.on[s],
                                        .dy = dy.on[s],
                                        .mean = mean.on[s],
                                        .rstd = rstd.on[s],
                                        .dx = dx.on[s],
                                        .dx_add = dx_add,
                                        .dweight = weight_grad ? dweight.on[s] : NULL,
                                        .dbias = weight_grad ? dbias.on[s] : NULL};
    EXPECT_OK(OP(pair->devices[s], layernorm_backward, &backward));
  }
  real_expect_close(pair, "layernorm y", &y, 0, T, C, C, pair->tolerances.forward);
  real_expect_close(pair, "layernorm y without mean", &bare, 0, T, C, C, pair->tolerances.forward);
  wide_expect_close(pair, "layernorm mean", &mean, 0, 1, T, T, pair->tolerances.forward);
  wide_expect_close(pair, "layernorm rstd", &rstd, 0, 1, T, T, pair->tolerances.forward);
  real_expect_close(pair, "layernorm dx", &dx, 0, T, C, C, pair->tolerances.gradient);
  wide_expect_close(pair, "layernorm dweight", &dweight, 0, 1, C, C, pair->tolerances.gradient);
  wide_expect_close(pair, "layernorm dbias", &dbias, 0, 1, C, C, pair->tolerances.gradient);
  pair_release(pair);
}

void case_layernorm(void **state) {
  for (int i = 0; i < ROW_COUNTS * COL_COUNTS; i++)
    layernorm_run(*state, row_counts[i % ROW_COUNTS], col_counts[i / ROW_COUNTS], i & 1, i & 2);
}

/* Positions reach 4000: the angle must be kept to more digits than a float has there. */
void case_rope(void **state) {
  op_pair_t *pair = *state;
  static const int64_t head_sizes[] = {8, 16, 40, 64, 128};
  static const rope_scaling_t scalings[] = {{.factor = 0.0}, {.factor = 4.0}, {8.0, 1.0, 4.0, 8192}};
  enum { SIZES = sizeof head_sizes / sizeof *head_sizes, T = 13, LAST_POSITION = 4000 };
  for (int i = 0; i < SIZES * 4; i++) {
    int32_t D = (int32_t)head_sizes[i % SIZES], heads = i / SIZES % 2 ? 3 : 1, positions[T];
    int64_t cols = (int64_t)heads * D, ld = cols + (i & 1 ? 5 : 0);
    for (int t = 0; t < T; t++)
      positions[t] = (int32_t)random_below(&pair->random, LAST_POSITION);
    index_pair_t where = index_of(pair, positions, T);
    real_pair_t x = real_random(pair, T * ld, 1.0);
    for (int s = 0; s < DEVICES; s++) {
      op_rope_t op = {.rows = T,
                      .heads = heads,
                      .head_size = D,
                      .x = x.on[s],
                      .ld = ld,
                      .positions = where.on[s],
                      .base = 10000.0,
                      .scaling = scalings[i % 3],
                      .inverse = i / SIZES / 2};
      EXPECT_OK(OP(pair->devices[s], rope, &op));
    }
    real_expect_close(pair, "rope", &x, 0, 1, T * ld, T * ld, pair->tolerances.forward);
    pair_release(pair);
  }
}
