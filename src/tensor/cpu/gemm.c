/* Matrix product: how its work is shared among threads. */
#include "tensor/cpu/state.h"

#include <omp.h>

/* Multiply-adds that a thread does in about a nanosecond. */
static const double multiply_adds_per_ns = 60.0;

typedef struct {
  int64_t rows, cols; /* threads along each dimension of c */
} grid_shape_t;

/* The shape of THREADS that copies least: each thread packs its own rows of a and columns of b. */
static grid_shape_t choose_shape(const cpu_state_t *state, const op_gemm_t *op, int threads) {
  int64_t row_tiles = (op->m + state->kernels.gemm_tile_rows - 1) / state->kernels.gemm_tile_rows;
  int64_t col_tiles = (op->n + state->kernels.gemm_tile_cols - 1) / state->kernels.gemm_tile_cols;
  grid_shape_t best = {1, 1};
  double best_cost = 1e300;
  for (int64_t rows = 1; rows <= threads; rows++) {
    int64_t cols = threads / rows;
    if (rows > row_tiles) break;
    if (cols > col_tiles) cols = col_tiles;
    double tiles = (double)((row_tiles + rows - 1) / rows) * (double)((col_tiles + cols - 1) / cols);
    double made = tiles * (double)(state->kernels.gemm_tile_rows * state->kernels.gemm_tile_cols);
    double packed = (double)op->m / (double)rows + (double)op->n / (double)cols;
    double cost = made / 32.0 + packed; /* a vector of products costs about as much as a packed element */
    if (cost < best_cost) {
      best_cost = cost;
      best = (grid_shape_t){rows, cols};
    }
  }
  return best;
}

static int64_t share(int64_t n, int64_t tile, int64_t part, int64_t parts) {
  int64_t tiles = (n + tile - 1) / tile;
  int64_t at = tiles * part / parts * tile;
  return at < n ? at : n;
}

static void make_part(const cpu_state_t *state, const op_gemm_t *op, grid_shape_t shape, int64_t index) {
  int64_t row = index / shape.cols, col = index % shape.cols;
  int64_t tile_rows = state->kernels.gemm_tile_rows, tile_cols = state->kernels.gemm_tile_cols;
  gemm_part_t part = {
      .op = *op,
      .row_begin = share(op->m, tile_rows, row, shape.rows),
      .row_end = share(op->m, tile_rows, row + 1, shape.rows),
      .col_begin = share(op->n, tile_cols, col, shape.cols),
      .col_end = share(op->n, tile_cols, col + 1, shape.cols),
      .scratch = state->scratch + index * state->scratch_floats,
  };
  if (part.row_begin < part.row_end && part.col_begin < part.col_end) state->kernels.gemm(&part);
}

static status_t gemm(device_t *device, const op_gemm_t *op) {
  cpu_state_t *state = cpu_state(device);
  if (op->m <= 0 || op->n <= 0) return STATUS_OK;
  TRY(cpu_scratch(state, state->kernels.gemm_scratch()));
  double work = (double)op->m * (double)op->n * (double)op->k / multiply_adds_per_ns;
  int threads = cpu_threads(state, work);
  grid_shape_t shape = threads > 1 ? choose_shape(state, op, threads) : (grid_shape_t){1, 1};
  int64_t parts = shape.rows * shape.cols;
  if (parts == 1) {
    make_part(state, op, shape, 0);
    return STATUS_OK;
  }
#pragma omp parallel num_threads((int)parts)
  for (int64_t i = omp_get_thread_num(); i < parts; i += omp_get_num_threads())
    make_part(state, op, shape, i);
  return STATUS_OK;
}

void cpu_fill_gemm(ops_t *ops) {
  ops->gemm = gemm;
}
