/* Cases of the norms and of the rotary embedding. */
#include "base/memory.h"
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
  /* Rows of one and of several blocks of a fast device, and one that its registers do not hold; more rows
   * than it has blocks. */
  rmsnorm_run(*state, 2, 2056, true, true);
  rmsnorm_run(*state, 3, 4104, false, true);
  rmsnorm_run(*state, 2, 8200, true, true);
  rmsnorm_run(*state, 520, 24, true, true);
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
  layernorm_run(*state, 3, 2056, true, true); /* as above */
  layernorm_run(*state, 2, 8200, false, true);
  layernorm_run(*state, 520, 24, true, true);
}

/* ---- Rotary embedding ---- */

enum { ROTARY_ROWS = 13, LAST_POSITION = 4000, ROTARY_PAGE = 4, ROTARY_PAGES = 6 };

typedef struct {
  int32_t heads, kv_heads, head_size;
  int64_t pad;
  rope_scaling_t scaling;
  bool inverse, cached;
} rotary_case_t;

/* Positions reach 4000: the angle must be kept to more digits than a float has there. Slots are dealt out of
 * order over a cache that is not filled; some rows have none. */
static void rotary_run(op_pair_t *pair, const rotary_case_t *c) {
  int64_t cols = (int64_t)(c->heads + 2 * c->kv_heads) * c->head_size, ld = cols + c->pad,
          cache = (int64_t)ROTARY_PAGES * ROTARY_PAGE * c->kv_heads * c->head_size;
  int32_t positions[ROTARY_ROWS], slots[ROTARY_ROWS];
  int64_t order[ROTARY_PAGES * ROTARY_PAGE];
  random_permutation(random_u32(&pair->random), RANDOM_TEST, 2, ROTARY_PAGES * ROTARY_PAGE, order);
  for (int t = 0; t < ROTARY_ROWS; t++) {
    positions[t] = (int32_t)random_below(&pair->random, LAST_POSITION);
    slots[t] = random_below(&pair->random, 4) == 0 ? -1 : (int32_t)order[t];
  }
  index_pair_t where = index_of(pair, positions, ROTARY_ROWS), places = index_of(pair, slots, ROTARY_ROWS);
  real_pair_t x = real_rows(pair, ROTARY_ROWS, cols, ld, 1.0), k_cache = {0}, v_cache = {0};
  if (c->cached) {
    k_cache = real_untouched(pair, cache);
    v_cache = real_untouched(pair, cache);
  }
  double *before = real_host(pair, &x, TESTED);
  op_rotary_t op[DEVICES];
  for (int s = 0; s < DEVICES; s++) {
    op[s] = (op_rotary_t){.rows = ROTARY_ROWS,
                          .heads = c->heads,
                          .kv_heads = c->kv_heads,
                          .head_size = c->head_size,
                          .qkv = x.on[s],
                          .ld = ld,
                          .positions = where.on[s],
                          .base = 10000.0,
                          .scaling = c->scaling,
                          .inverse = c->inverse,
                          .page_size = ROTARY_PAGE,
                          .slots = places.on[s],
                          .k_cache = k_cache.on[s],
                          .v_cache = v_cache.on[s]};
    EXPECT_OK(OP(pair->devices[s], rotary, &op[s]));
  }
  real_expect_close(pair, "rotary", &x, 0, ROTARY_ROWS, cols, ld, pair->tolerances.forward);
  if (c->cached) {
    real_expect_close(pair, "rotary k_cache", &k_cache, 0, 1, cache, cache, pair->tolerances.forward);
    real_expect_close(pair, "rotary v_cache", &v_cache, 0, 1, cache, cache, 0.0);
  }
  op[TESTED].inverse = !c->inverse;
  EXPECT_OK(OP(pair->devices[TESTED], rotary, &op[TESTED]));
  double *after = real_host(pair, &x, TESTED), error = normalised_error(after, before, x.n);
  memory_free(before);
  memory_free(after);
  if (error > pair->tolerances.forward) fail_msg("turned there and back: off by %g", error);
  pair_release(pair);
}

void case_rotary(void **state) {
  static const int32_t head_sizes[] = {8, 16, 40, 64, 128}, kv_heads[] = {1, 2, 3, 0};
  static const rope_scaling_t scalings[] = {{.factor = 0.0}, {.factor = 4.0}, {8.0, 1.0, 4.0, 8192}};
  enum { SIZES = sizeof head_sizes / sizeof *head_sizes };
  for (int i = 0; i < SIZES * 8; i++) {
    int32_t K = kv_heads[i / 2 % 4];
    rotary_run(*state, &(rotary_case_t){.heads = i % 3 == 0 ? K : 3 * K + (K == 0),
                                        .kv_heads = K,
                                        .head_size = head_sizes[i % SIZES],
                                        .pad = i & 1 ? 5 : 0,
                                        .scaling = scalings[i % 3],
                                        .inverse = i / SIZES & 1,
                                        .cached = K > 0 && i / SIZES & 2});
  }
}
