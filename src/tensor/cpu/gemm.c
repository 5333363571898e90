/* Matrix product: how its work is shared among threads. */
#include "tensor/cpu/state.h"
#include "tensor/linear.h"

#include <math.h>

/* The part of a share by which the last thread is late as a rule. */
static const double share_held_up = 0.06;

/* Shares along each dimension of c. */
typedef struct {
  int64_t rows, cols;
} grid_shape_t;

static const gemm_kernel_t *kernel_of(const cpu_state_t *state, const op_gemm_t *op) {
  bool half = op->weight && op->weight->format == WEIGHT_BF16;
  return half ? &state->kernels.gemm_half : &state->kernels.gemm;
}

/* The micro-tiles of c. */
static grid_shape_t tiles_of(const gemm_kernel_t *kernel, const op_gemm_t *op) {
  int64_t rows = kernel->tile_rows, cols = kernel->tile_cols;
  return (grid_shape_t){(op->m + rows - 1) / rows, (op->n + cols - 1) / cols};
}

/* Time of one of the shares of SHAPE: each packs its own rows of a and columns of b. */
static double cost_of_share(const gemm_kernel_t *kernel, grid_shape_t tiles, grid_shape_t shape) {
  double high = (double)((tiles.rows + shape.rows - 1) / shape.rows * kernel->tile_rows);
  double wide = (double)((tiles.cols + shape.cols - 1) / shape.cols * kernel->tile_cols);
  return high * wide / kernel->products_per_packed + high + wide;
}

/* The shape of about SHARES shares, or of fewer where c has no more tiles, that costs least. */
static grid_shape_t shape_of_shares(const gemm_kernel_t *kernel, grid_shape_t tiles, int64_t shares) {
  grid_shape_t best = {1, 1};
  double best_cost = INFINITY;
  for (int64_t rows = 1; rows <= shares && rows <= tiles.rows; rows++) {
    grid_shape_t shape = {rows, shares / rows < tiles.cols ? shares / rows : tiles.cols};
    double cost = cost_of_share(kernel, tiles, shape);
    if (cost < best_cost) {
      best_cost = cost;
      best = shape;
    }
  }
  return best;
}

/* The shape of at most MOST shares that THREADS threads are through with first: more shares pack more, fewer
 * leave more undone where a thread is held up. */
static grid_shape_t choose_shape(const gemm_kernel_t *kernel, const op_gemm_t *op, int threads,
                                 int64_t most) {
  grid_shape_t tiles = tiles_of(kernel, op), best = {1, 1};
  double best_cost = INFINITY;
  for (int64_t shares = threads; shares <= most; shares *= 2) {
    grid_shape_t shape = shape_of_shares(kernel, tiles, shares);
    double rounds = (double)((shape.rows * shape.cols + threads - 1) / threads);
    double cost = cost_of_share(kernel, tiles, shape) * (rounds + share_held_up);
    if (cost < best_cost) {
      best_cost = cost;
      best = shape;
    }
  }
  return best;
}

typedef struct {
  const cpu_state_t *state;
  const gemm_kernel_t *kernel;
  const op_gemm_t *op;
  grid_shape_t shape;
} gemm_job_t;

static int64_t share_begin_cpu(int64_t n, int64_t tile, int64_t part, int64_t parts) {
  int64_t tiles = (n + tile - 1) / tile;
  int64_t at = tiles * part / parts * tile;
  return at < n ? at : n;
}

static void make_share(const void *context, int64_t item, int thread) {
  const gemm_job_t *job = context;
  int64_t row = item / job->shape.cols, col = item % job->shape.cols;
  int64_t tile_rows = job->kernel->tile_rows, tile_cols = job->kernel->tile_cols;
  gemm_part_t part = {
      .op = *job->op,
      .row_begin = share_begin_cpu(job->op->m, tile_rows, row, job->shape.rows),
      .row_end = share_begin_cpu(job->op->m, tile_rows, row + 1, job->shape.rows),
      .col_begin = share_begin_cpu(job->op->n, tile_cols, col, job->shape.cols),
      .col_end = share_begin_cpu(job->op->n, tile_cols, col + 1, job->shape.cols),
      .scratch = cpu_scratch_of(job->state, thread),
  };
  if (part.row_begin < part.row_end && part.col_begin < part.col_end) job->kernel->run(&part);
}

/* Nanoseconds of one thread, about: of few rows most is to read the weight. */
static double work_of(const gemm_kernel_t *kernel, const op_gemm_t *op) {
  double read = (double)(op->m + op->n) * (double)op->k;
  double products = (double)op->m * (double)op->n * (double)op->k;
  return (products + kernel->products_per_packed * read) / kernel->products_per_ns;
}

static status_t gemm_cpu(device_t *device, const op_gemm_t *op) {
  cpu_state_t *state = cpu_state(device);
  if (op->m <= 0 || op->n <= 0) return STATUS_OK;
  const gemm_kernel_t *kernel = kernel_of(state, op);
  TRY(cpu_scratch(state, kernel->scratch()));
  double work = work_of(kernel, op);
  int threads = cpu_threads(state, work);
  gemm_job_t job = {.state = state, .kernel = kernel, .op = op, .shape = {1, 1}};
  if (threads > 1) job.shape = choose_shape(kernel, op, threads, cpu_shares(work, threads, INT32_MAX));
  pool_run(state->pool, threads, job.shape.rows * job.shape.cols, make_share, &job);
  return STATUS_OK;
}

void cpu_fill_gemm(ops_t *ops) {
  ops->gemm = gemm_cpu;
  ops->linear = linear_by_products;
  ops->linear_backward = linear_backward_by_products;
}
