/* Products of floats with weights of bf16 in the tiles of Intel AMX. Each element of c is one chain of sums
 * over the depth in ascending order: of AMX_DEPTH products of the float's upper parts, of the middle ones, of
 * the lower ones, then the next depth; so a row has the same bits alone, where the weight is read in place,
 * and among others. (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS.) */
#include "tensor/cpu/simd/amx/pack.h"

/* The micro-tile of c is two tiles wide and high: its sums take four of the eight tiles, and each tile of a
 * factor is used twice. A block of b, DEPTH x COLS, fits the second cache. */
enum { MICRO = 2 * AMX_TILE, BLOCK_DEPTH = 512, BLOCK_COLS = 1024 };
/* Up to so many rows are multiplied with the weight where it lies; their numbers that scratch has room for.
 */
enum { FEW_ROWS_AMX = AMX_TILE, FEW_HALVES = 640 * 1024 };
/* Bytes of each row of the weight that are asked for ahead of their use. */
enum { FEW_AHEAD = 4 * AMX_LINE };
enum { STEP_B = 2 * AMX_HALVES }; /* MICRO columns of b, AMX_DEPTH deep */

typedef struct __attribute__((packed)) {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_config_t;

/* Has what was written to OF in memory. Tiles and their configuration are loaded by assembler of which GCC
 * before version 14 does not know that it reads memory. */
ALWAYS_INLINE void settle(const void *of) {
  __asm__ volatile("" : : "r"(of) : "memory");
}

/* Tiles 0 to 4 get rows of COLS words, the others whole ones. */
static void configure_tiles(int64_t cols) {
  tile_config_t config = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    config.rows[i] = AMX_TILE;
    config.row_bytes[i] = (uint16_t)(i <= 4 ? cols * 4 : AMX_LINE);
  }
  settle(&config);
  _tile_loadconfig(&config);
}

/* ---- Few rows ---- */

/* c^T (MICRO, cols) += MICRO rows of b, STRIDE bytes apart, times the transposed rows X; AHEAD bytes further
 * on each row is asked for meanwhile. */
static void few_micro(int64_t steps, const char *b, int64_t stride, int64_t ahead, const uint16_t *x,
                      int64_t cols, float *c) {
  const int64_t line = cols * 4, part = AMX_DEPTH * cols;
  settle(b);
  settle(x);
  settle(c);
  _tile_loadd(0, c, line);
  _tile_loadd(1, c + AMX_TILE * cols, line);
  for (int64_t k = 0; k < steps; k++, b += AMX_LINE, x += AMX_PARTS * part) {
#pragma GCC unroll 32
    for (int i = 0; i < MICRO; i++)
      __builtin_prefetch(b + i * stride + ahead, 0, 3);
    _tile_loadd(6, b, stride);
    _tile_loadd(7, b + AMX_TILE * stride, stride);
    _tile_loadd(2, x, line);
    _tile_dpbf16ps(0, 6, 2);
    _tile_dpbf16ps(1, 7, 2);
    _tile_loadd(3, x + part, line);
    _tile_dpbf16ps(0, 6, 3);
    _tile_dpbf16ps(1, 7, 3);
    _tile_loadd(4, x + 2 * part, line);
    _tile_dpbf16ps(0, 6, 4);
    _tile_dpbf16ps(1, 7, 4);
  }
  _tile_stored(0, c, line);
  _tile_stored(1, c + AMX_TILE * cols, line);
}

/* The last numbers of MICRO rows of b, fewer than AMX_DEPTH, zero behind them. */
static void copy_last(const uint16_t *b, int64_t ldb, int64_t n, uint16_t *to) {
  for (int64_t i = 0; i < MICRO; i++)
    _mm512_storeu_si512(to + i * AMX_DEPTH, _mm512_maskz_loadu_epi16(amx_first(n), b + i * ldb));
}

/* MICRO columns of c from COL on, its rows ROW .. ROW + ROWS - 1. */
static void few_columns(const op_gemm_t *op, int64_t row, int64_t rows, int64_t col, const uint16_t *x) {
  float sums[MICRO * AMX_TILE] __attribute__((aligned(AMX_LINE))) = {0}; /* (MICRO, rows) */
  uint16_t last[MICRO * AMX_DEPTH] __attribute__((aligned(AMX_LINE)));
  const uint16_t *b = (const uint16_t *)op->weight->data + col * op->ldb;
  const int64_t whole = op->k / AMX_DEPTH, rest = op->k % AMX_DEPTH;
  float *c = (float *)op->c + row * op->ldc + col;
  const float *before = op->before ? (const float *)op->before + row * op->ldc + col : c;
  const float beta = (float)op->beta;
  if (beta != 0.0f)
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < MICRO; i++)
        sums[i * rows + r] = before[r * op->ldc + i] * beta;
  few_micro(whole, (const char *)b, op->ldb * (int64_t)sizeof *b, FEW_AHEAD, x, rows, sums);
  if (rest > 0) {
    copy_last(b + whole * AMX_DEPTH, op->ldb, rest, last);
    few_micro(1, (const char *)last, AMX_LINE, 0, x + whole * AMX_PARTS * AMX_DEPTH * rows, rows, sums);
  }
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < MICRO; i++)
      c[r * op->ldc + i] = sums[i * rows + r];
  if (op->bias || op->activation != ACTIVATION_NONE) gemm_finish_tile(op, row, col, rows, MICRO);
}

/* Whether the rows of PART are multiplied with the weight where it lies. */
static bool is_few(const gemm_part_t *part) {
  int64_t rows = part->row_end - part->row_begin;
  return rows <= FEW_ROWS_AMX && part->op.trans_b &&
         rows * amx_steps(part->op.k) * AMX_PARTS * AMX_DEPTH <= FEW_HALVES;
}

/* The whole micro-tiles among the columns of PART; returns where they end. */
static int64_t gemm_few(const gemm_part_t *part) {
  const op_gemm_t *op = &part->op;
  int64_t rows = part->row_end - part->row_begin, col = part->col_begin;
  uint16_t *x = (uint16_t *)part->scratch;
  configure_tiles(rows);
  amx_pack_rows_transposed(op, part->row_begin, rows, op->k, x);
  for (; col + MICRO <= part->col_end; col += MICRO)
    few_columns(op, part->row_begin, rows, col, x);
  return col;
}

/* ---- Many rows ---- */

/* A micro-tile's place in c, and what it starts from: NULL: zero. */
typedef struct {
  const float *before;
  float *c;
  int64_t ldc; /* of both */
} micro_tile_t;

/* HIGH x WIDE tiles, constants at each call, of STEPS steps of packed a and b. Panels of a lie A_PANEL
 * numbers apart. */
ALWAYS_INLINE void multiply_tiles(int high, int wide, int64_t steps, const uint16_t *a, int64_t a_panel,
                                  const uint16_t *b, const micro_tile_t *tile) {
  const int64_t line = tile->ldc * (int64_t)sizeof(float);
  settle(a);
  settle(b);
  settle(tile->before);
  if (tile->before) {
    const float *before = tile->before, *lower = before + AMX_TILE * tile->ldc;
    _tile_loadd(0, before, line);
    if (wide > 1) _tile_loadd(1, before + AMX_TILE, line);
    if (high > 1) _tile_loadd(2, lower, line);
    if (high > 1 && wide > 1) _tile_loadd(3, lower + AMX_TILE, line);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < steps; k++, a += AMX_STEP_A, b += STEP_B) {
    _tile_loadd(6, b, AMX_LINE);
    if (wide > 1) _tile_loadd(7, b + AMX_HALVES, AMX_LINE);
#pragma GCC unroll 3
    for (int p = 0; p < AMX_PARTS; p++) {
      _tile_loadd(4, a + p * AMX_HALVES, AMX_LINE);
      _tile_dpbf16ps(0, 4, 6);
      if (wide > 1) _tile_dpbf16ps(1, 4, 7);
      if (high > 1) _tile_loadd(5, a + a_panel + p * AMX_HALVES, AMX_LINE);
      if (high > 1) _tile_dpbf16ps(2, 5, 6);
      if (high > 1 && wide > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  float *c = tile->c, *low = c + AMX_TILE * tile->ldc;
  _tile_stored(0, c, line);
  if (wide > 1) _tile_stored(1, c + AMX_TILE, line);
  if (high > 1) _tile_stored(2, low, line);
  if (high > 1 && wide > 1) _tile_stored(3, low + AMX_TILE, line);
}

static void multiply_micro(int64_t rows, int64_t cols, int64_t steps, const uint16_t *a, int64_t a_panel,
                           const uint16_t *b, const micro_tile_t *tile) {
  if (rows > AMX_TILE && cols > AMX_TILE)
    multiply_tiles(2, 2, steps, a, a_panel, b, tile);
  else if (rows > AMX_TILE)
    multiply_tiles(2, 1, steps, a, a_panel, b, tile);
  else if (cols > AMX_TILE)
    multiply_tiles(1, 2, steps, a, a_panel, b, tile);
  else
    multiply_tiles(1, 1, steps, a, a_panel, b, tile);
}

/* A micro-tile that overhangs c, or starts from a multiple of what was there, by way of a buffer. */
static void multiply_buffered(int64_t rows, int64_t cols, const gemm_step_t *step, const uint16_t *a,
                              int64_t a_panel, const uint16_t *b, const micro_tile_t *tile) {
  float buffer[MICRO * MICRO] __attribute__((aligned(AMX_LINE))) = {0};
  for (int64_t r = 0; r < rows && tile->before; r++)
    for (int64_t i = 0; i < cols; i++)
      buffer[r * MICRO + i] = tile->before[r * tile->ldc + i] * step->init;
  micro_tile_t whole = {.before = buffer, .c = buffer, .ldc = MICRO};
  multiply_micro(rows, cols, amx_steps(step->depth), a, a_panel, b, &whole);
  for (int64_t r = 0; r < rows; r++)
    memcpy(tile->c + r * tile->ldc, buffer + r * MICRO, (size_t)cols * sizeof *buffer);
}

/* One micro-tile of c, its rows' next columns on their way to the cache meanwhile. */
static void make_micro(const op_gemm_t *op, const gemm_step_t *step, int64_t row, int64_t col, int64_t rows,
                       int64_t cols, const uint16_t *a, int64_t a_panel, const uint16_t *b) {
  int64_t place = row * op->ldc + col;
  micro_tile_t tile = {.c = (float *)op->c + place, .ldc = op->ldc};
  if (step->init != 0.0f)
    tile.before = step->first && op->before ? (const float *)op->before + place : tile.c;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < MICRO; i += LANES)
      __builtin_prefetch(tile.c + r * op->ldc + MICRO + i, 1);
  bool direct = rows % AMX_TILE == 0 && cols % AMX_TILE == 0 && (step->init == 0.0f || step->init == 1.0f);
  if (direct)
    multiply_micro(rows, cols, amx_steps(step->depth), a, a_panel, b, &tile);
  else
    multiply_buffered(rows, cols, step, a, a_panel, b, &tile);
  if (step->last && (op->bias || op->activation != ACTIVATION_NONE))
    gemm_finish_tile(op, row, col, rows, cols);
}

/* Panels of MICRO columns, one behind the other. */
static void pack_b(const op_gemm_t *op, int64_t col, int64_t cols, int64_t k, int64_t depth, uint16_t *to) {
  for (int64_t c = 0; c < cols; c += MICRO, to += amx_steps(depth) * STEP_B)
    for (int64_t half = 0; half < MICRO && c + half < cols; half += AMX_TILE)
      amx_pack_weight(op, col + c + half, gemm_min_int(AMX_TILE, cols - c - half), k, depth,
                      to + half / AMX_TILE * AMX_HALVES, STEP_B);
}

/* A strip of rows of c from packed a and b. */
static void make_strip(const op_gemm_t *op, const gemm_step_t *step, int64_t row, int64_t col, int64_t rows,
                       int64_t cols, uint16_t *a, const uint16_t *b) {
  const int64_t steps = amx_steps(step->depth), panel = steps * AMX_STEP_A;
  for (int64_t r = 0; r < rows; r += AMX_TILE)
    amx_pack_rows(op, row + r, gemm_min_int(AMX_TILE, rows - r), step->begin, step->depth,
                  a + r / AMX_TILE * panel);
  for (int64_t c = 0; c < cols; c += MICRO)
    make_micro(op, step, row, col + c, rows, gemm_min_int(MICRO, cols - c), a, panel,
               b + c / MICRO * steps * STEP_B);
}

/* A block of b is packed into the second cache, and every MICRO rows of a meet all of it. */
static void gemm_blocked(const gemm_part_t *part) {
  const op_gemm_t *op = &part->op;
  uint16_t *a = (uint16_t *)part->scratch, *b = a + 2 * amx_steps(BLOCK_DEPTH) * AMX_STEP_A;
  configure_tiles(AMX_TILE);
  for (int64_t col = part->col_begin; col < part->col_end; col += BLOCK_COLS) {
    int64_t cols = gemm_min_int(BLOCK_COLS, part->col_end - col);
    for (int64_t k = 0; k == 0 || k < op->k; k += BLOCK_DEPTH) {
      gemm_step_t step = gemm_step_at(op, k, BLOCK_DEPTH);
      pack_b(op, col, cols, k, step.depth, b);
      for (int64_t row = part->row_begin; row < part->row_end; row += MICRO)
        make_strip(op, &step, row, col, gemm_min_int(MICRO, part->row_end - row), cols, a, b);
    }
  }
}

static void gemm_amx(const gemm_part_t *all) {
  gemm_part_t part = *all;
  if (is_few(&part)) part.col_begin = gemm_few(&part);
  gemm_blocked(&part);
  _tile_release();
}

static int64_t gemm_scratch_amx(void) {
  const int64_t blocked = 2 * amx_steps(BLOCK_DEPTH) * AMX_STEP_A + (int64_t)BLOCK_DEPTH * BLOCK_COLS;
  return (blocked > FEW_HALVES ? blocked : FEW_HALVES) / 2;
}

void kernels_fill_amx(kernels_t *table) {
  kernels_fill_avx512(table);
  table->gemm_half = (gemm_kernel_t){.tile_rows = MICRO,
                                     .tile_cols = MICRO,
                                     .products_per_ns = 300.0,
                                     .products_per_packed = 50.0,
                                     .scratch = gemm_scratch_amx,
                                     .run = gemm_amx};
}
