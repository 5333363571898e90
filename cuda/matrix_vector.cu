/* Products with few rows, those of decode steps: bound by memory, the weight read once where it lies. Bytes:
 * n k b of the weight, beside which x and y are nothing; 2 m n k FLOPs. A warp works on 16 rows of the weight
 * for up to 8 COLUMNS rows of x, by tensor cores, whose operands its lanes load as they lie: what a lane
 * calls k need only be the same in both operands, so that it takes 16 bytes of each. How k is shared out and
 * in which order it is summed depends on k alone, and not on the number of rows.
 *
 * Weights come by asynchronous copies into rings in shared memory: 3 blocks of 8 warps with 2 groups of 4 KiB
 * each have 96 to 192 KiB of a multiprocessor on their way at any time, where memory needs some 25 (3.35 TB/s
 * / 132 for 1 us), and a warp of a short k (o: 4 groups) asks for half of its part at once. */
#include "cuda/matrix_vector.h"

enum { FEW_STAGES = 2 };

/* ---- Weights through registers: the kernel that was measured ---- */

template <int COLUMNS, int STEPS>
static __device__ __forceinline__ void multiply_steps(float (&sum)[COLUMNS][4], const lane_t<COLUMNS> &lane,
                                                      int64_t k) {
  uint4 low[STEPS], high[STEPS], x[COLUMNS][STEPS];
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    low[s] = load_once(lane.low + k + s * FEW_STEP);
    high[s] = load_once(lane.high + k + s * FEW_STEP);
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
#pragma unroll
    for (int s = 0; s < STEPS; s++)
      x[c][s] = load_shared_by_all(lane.x[c] + k + s * FEW_STEP);
#pragma unroll
  for (int s = 0; s < STEPS; s++)
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
      multiply_step(sum[c], low[s], high[s], x[c][s]);
}

/* The part of k that falls to warp SHARE of a tile. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void multiply_direct(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                       const lane_t<COLUMNS> &lane, int32_t share,
                                                       const unsigned char *lines) {
  constexpr int STEPS = COLUMNS == 1 ? FEW_GROUP : FEW_GROUP / 2;
  const int32_t groups = (int32_t)(op.k / FEW_SPAN), ahead = op.streams ? op.fetched * op.share : groups;
  for (int32_t group = share; group < groups; group += op.share) {
    if (group + ahead < groups) fetch_line(lines + (int64_t)(group + ahead) * FEW_SPAN_BYTES);
#pragma unroll
    for (int s = 0; s < FEW_GROUP; s += STEPS)
      multiply_steps<COLUMNS, STEPS>(sum, lane, (int64_t)group * FEW_SPAN + s * FEW_STEP);
  }
  multiply_end(sum, op, lane, share);
}

template <class C, int COLUMNS>
static __global__ void __launch_bounds__(FEW_THREADS, FEW_BLOCKS)
    few_direct_kernel(const __grid_constant__ few_t<C> op) {
  kernel_release();
  const few_place_t place = place_of(op);
  fetch_ahead(op, place);
  kernel_wait();

  float sum[COLUMNS][4] = {};
  multiply_direct(sum, op, lane_of<COLUMNS>(op, place), place.share, lines_of(place));
  few_finish(sum, op, place);
}

/* ---- Weights through shared memory ---- */

template <class C, int COLUMNS>
static __global__ void __launch_bounds__(FEW_THREADS, FEW_BLOCKS)
    few_kernel(const __grid_constant__ few_t<C> op) {
  kernel_release();
  DYNAMIC_SHARED(few_ring_t<FEW_STAGES>, ring);
  const few_place_t place = place_of(op);
  fetch_ahead(op, place);
  kernel_wait();

  float sum[COLUMNS][4] = {};
  multiply_ring(sum, op, lane_of<COLUMNS>(op, place), place.share, ring);
  few_finish(sum, op, place);
}

/* ---- Launches ---- */

/* Warps that share a tile: one for each 256 of k. */
static int32_t share_of(int64_t k) {
  int32_t share = 1;
  while (share < FEW_WARPS && k >= (int64_t)share * 2 * 2 * FEW_SPAN)
    share *= 2;
  return share;
}

/* Whether rows from POINTER on, LD elements apart, can be loaded by 16 bytes. */
static bool rows_packed(const void *pointer, int64_t ld) {
  return is_packed(pointer) && ld % pack_t<bf16>::N == 0;
}

/* PARTS of OP have weights and adapters; the rest is filled in. */
template <class C> static status_code_t few_launch(device_t *device, few_t<C> *op) {
  const cuda_state_t *state = cuda_state(device);
  int64_t col = 0;
  op->share = share_of(op->k);
  op->tiles_each = FEW_WARPS / op->share;
  for (int32_t i = 0; i < op->parts; i++) {
    few_part_t *part = &op->part[i];
    if (i > 0 && !part->u_to && op->part[i - 1].u_to) { /* blocks are of the one kind or the other */
      op->a_blocks = (op->tiles + op->tiles_each - 1) / op->tiles_each;
      op->tiles = op->a_blocks * op->tiles_each;
    }
    part->tile = op->tiles;
    part->col = col;
    op->tiles += (int32_t)((part->rows + FEW_TILE - 1) / FEW_TILE);
    if (!part->u_to) col += part->rows;
  }
  launch_t shape = launch_over(op->tiles, op->tiles_each, FEW_THREADS);
  /* As many groups as a third of the cache holds for the blocks that run at once. */
  const bool is_nf4 = !op->part[op->parts - 1].w;
  const int64_t span = is_nf4 ? few_nf4_span() : FEW_SPAN,
                most = (int64_t)state->multiprocessors * FEW_BLOCKS,
                blocks = (int64_t)shape.grid.x < most ? (int64_t)shape.grid.x : most,
                group_bytes = (int64_t)FEW_WARPS * FEW_TILE * (is_nf4 ? span / 2 : FEW_SPAN_BYTES),
                groups = (int64_t)state->l2_bytes / 3 / (blocks * group_bytes),
                warp_groups = (op->k + span - 1) / span / op->share + 1;
  op->fetched = (int32_t)(groups < 1 ? 1 : groups < warp_groups ? groups : warp_groups);
  if (is_nf4) return few_nf4_launch(device, shape, *op);
  const bool is_one = op->rows <= FEW_COLUMNS;
  constexpr int MORE = FEW_ROWS_MOST / FEW_COLUMNS;
  if (state->options.measured) {
    op->streams = blocks < most;
    return launch(device, "product of few rows", shape,
                  is_one ? few_direct_kernel<C, 1> : few_direct_kernel<C, MORE>, *op);
  }
  shape.shared = sizeof(few_ring_t<FEW_STAGES>);
  return launch(device, "product of few rows", shape, is_one ? few_kernel<C, 1> : few_kernel<C, MORE>, *op);
}

/* Where PART's weight lies. */
static void part_weight(few_part_t *part, const weight_t *weight) {
  if (weight->format == WEIGHT_NF4)
    part->nf4 = weight_nf4_view(weight);
  else
    part->w = static_cast<const bf16 *>(weight->data);
}

template <class C> static status_code_t few_gemm(device_t *device, const op_gemm_t *op) {
  few_t<C> few = {};
  few.rows = (int32_t)op->m;
  few.parts = 1;
  if (op->weight)
    part_weight(&few.part[0], op->weight);
  else
    few.part[0].w = real<bf16>(op->b);
  few.part[0].rows = op->n;
  few.part[0].ld = op->ldb;
  few.k = op->k;
  few.x = real<bf16>(op->a);
  few.ldx = op->lda;
  few.alpha = (float)op->alpha;
  few.beta = (float)op->beta;
  few.bias = real<bf16>(op->bias);
  few.before = static_cast<const C *>(op->before ? op->before : op->c);
  few.y = static_cast<C *>(op->c);
  few.ldy = op->ldc;
  return few_launch(device, &few);
}

static bool few_fits(const device_t *device, int64_t rows, int64_t k, activation_t activation) {
  return device->real_type == DTYPE_BF16 && rows > 0 && rows <= FEW_ROWS_MOST && k % pack_t<bf16>::N == 0 &&
         activation == ACTIVATION_NONE;
}

/* Whether there is a kernel that reads WEIGHT, of rows LD elements apart. */
static bool weight_fits(const device_t *device, const weight_t *weight, int64_t ld) {
  if (weight->format != WEIGHT_NF4) return rows_packed(weight->data, ld);
  return !cuda_state(device)->options.measured && few_nf4_fits(weight);
}

static status_code_t matrix_vector_cuda(device_t *device, const op_gemm_t *op, bool *taken) {
  *taken = few_fits(device, op->m, op->k, op->activation) && !op->trans_a && op->trans_b &&
           (op->weight ? weight_fits(device, op->weight, op->ldb) : rows_packed(op->b, op->ldb)) &&
           rows_packed(op->a, op->lda);
  if (!*taken) return STATUS_OK;
  return op->c_wide ? few_gemm<float>(device, op) : few_gemm<bf16>(device, op);
}

/* ---- Linear operations: all A, weights and B in one kernel ---- */

static bool linear_fits(const device_t *device, const op_linear_t *op) {
  if (!few_fits(device, op->rows, op->in, op->activation) || !rows_packed(op->x, op->ldx)) return false;
  for (int32_t i = 0; i < op->segments; i++) {
    const linear_segment_t *segment = &op->segment[i];
    if (segment->weight.format != op->segment[0].weight.format ||
        !weight_fits(device, &segment->weight, op->in))
      return false;
    if (segment->a && !rows_packed(segment->a, op->in)) return false;
    if (segment->b && !(rows_packed(segment->b, op->lora_rank) && rows_packed(segment->u, op->ldu)))
      return false;
  }
  return true;
}

/* All A are the first parts. */
template <class C> static void few_parts_of_a(few_t<C> *few, device_t *device, const op_linear_t *op) {
  for (int32_t i = 0, count; i<op->segments; i += count> 0 ? count : 1) {
    count = linear_adapters(device, op, i);
    if (count == 0) continue;
    few_part_t *part = &few->part[few->parts++];
    part->w = real<bf16>(op->segment[i].a);
    part->u_to = real<bf16>(op->segment[i].u);
    part->rows = (int64_t)count * op->lora_rank;
    part->ld = op->in;
  }
}

template <class C> static status_code_t few_linear(device_t *device, const op_linear_t *op) {
  few_t<C> few = {};
  few.rows = (int32_t)op->rows;
  few_parts_of_a(&few, device, op);
  for (int32_t i = 0, count; i < op->segments; i += count, few.parts++) {
    /* Weights that are one matrix are one part where no adapters lie between them. */
    const linear_segment_t *segment = &op->segment[i];
    few_part_t *part = &few.part[few.parts];
    count = segment->b ? 1 : linear_weights(device, op, i);
    for (int32_t j = 1; j < count; j++)
      if (op->segment[i + j].b) count = j;
    const weight_t weight = linear_weight(op, i, count);
    part_weight(part, &weight);
    part->rows = weight.rows;
    part->ld = op->in;
    part->u = real<bf16>(segment->u);
    part->b = real<bf16>(segment->b);
    part->b_begin = segment->b_begin;
    part->b_end = segment->b_begin + segment->b_rows;
  }
  few.k = op->in;
  few.x = real<bf16>(op->x);
  few.ldx = op->ldx;
  few.rank = op->lora_rank;
  few.ldu = op->ldu;
  few.alpha = 1.0f;
  few.beta = op->residual ? 1.0f : 0.0f;
  few.scale = (float)op->lora_scale;
  few.bias = real<bf16>(op->bias);
  few.before = reinterpret_cast<const C *>(op->residual);
  few.y = static_cast<C *>(op->y);
  few.ldy = op->ldy;
  return few_launch(device, &few);
}

status_t cuda_linear_few(device_t *device, const op_linear_t *op, bool *taken) {
  *taken = linear_fits(device, op);
  if (!*taken || op->out == 0) return STATUS_OK;
  return op->y_wide ? few_linear<float>(device, op) : few_linear<bf16>(device, op);
}

void cuda_fill_matrix_vector(cuda_state_t *state) {
  state->matrix_vector = matrix_vector_cuda;
}
