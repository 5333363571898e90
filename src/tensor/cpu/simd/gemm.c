/* Matrix product with epilogue: blocks of a and b are copied ("packed") into the order in which the
 * micro-kernel reads them, as in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication"
 * (2008). */
#include "tensor/cpu/simd/few_rows.h"
#include "tensor/cpu/simd/gemm_steps.h"
#include "tensor/cpu/simd/nf4.h"

/* A block of b, DEPTH x COLS, fits the second cache; a panel of a, DEPTH x TILE_ROWS, the first. */
#if defined(__AVX512F__)
enum { BLOCK_DEPTH = 256, BLOCK_COLS = 1024 };
#else
enum { BLOCK_DEPTH = 256, BLOCK_COLS = 384 };
#endif
/* Up to so many floats of a are packed for the whole depth at once, and b is streamed past them. */
#if defined(__AVX512F__)
enum { RESIDENT_FLOATS = 320 * 1024 };
#else
enum { RESIDENT_FLOATS = 96 * 1024 };
#endif
/* Columns of c up to which packing a costs more than reading it in place. */
enum { IN_PLACE_COLS = TILE_COLS };
enum { SLACK = LANES }; /* the last packed row is written as a whole vector */

/* A panel (depth, TILE_ROWS) of rows row .. row + rows - 1 (at most TILE_ROWS) of alpha * op(a). */
static void pack_a(const op_gemm_t *op, int64_t row, int64_t rows, int64_t k, int64_t depth, float *to) {
  const float *a = (const float *)op->a;
  float alpha = (float)op->alpha;
  if (!op->trans_a) {
    pack_transposed(rows, depth, a + row * op->lda + k, op->lda, alpha, to, TILE_ROWS);
    return;
  }
  const float *from = a + k * op->lda + row;
  if (row + LANES <= op->m) {
    for (int64_t i = 0; i < depth; i++)
      vec_store(to + i * TILE_ROWS, vec_load(from + i * op->lda) * alpha);
    return;
  }
  for (int64_t i = 0; i < depth; i++)
    for (int64_t j = 0; j < rows; j++)
      to[i * TILE_ROWS + j] = alpha * from[i * op->lda + j];
}

/* A panel (depth, TILE_COLS) of columns col .. col + cols - 1 of op(b), b of floats or (HALF) bf16; beyond
 * cols, vectors hold zeros or are not written. */
ALWAYS_INLINE void pack_b_panel_of(const op_gemm_t *op, const void *b, bool half, int64_t col, int64_t cols,
                                   int64_t k, int64_t depth, float *to) {
  for (int64_t v = 0; v < cols; v += LANES, to += LANES) {
    int64_t count = gemm_min_int(LANES, cols - v);
    if (op->trans_b) {
      int64_t at = (col + v) * op->ldb + k;
      const void *from = half ? (const void *)((const uint16_t *)b + at) : (const float *)b + at;
      pack_transposed_of(count, depth, from, half, op->ldb, 1.0f, to, TILE_COLS);
      continue;
    }
    int64_t at = k * op->ldb + col + v;
    if (count == LANES) {
      for (int64_t i = 0; i < depth; i++)
        vec_store(to + i * TILE_COLS, load_vector(b, half, at + i * op->ldb));
    } else {
      for (int64_t i = 0; i < depth; i++)
        vec_store(to + i * TILE_COLS, load_vector_part(b, half, at + i * op->ldb, count));
    }
  }
}

static void pack_b_nf4(const op_gemm_t *op, int64_t col, int64_t cols, int64_t k, int64_t depth, float *to) {
  nf4_view_t view = weight_nf4_view(op->weight);
  if (!op->trans_b) {
    pack_nf4(&view, col, cols, k, depth, to);
    return;
  }
  for (int64_t c = 0; c < cols; c += LANES)
    pack_nf4_transposed(&view, col + c, gemm_min_int(LANES, cols - c), k, depth,
                        to + c / TILE_COLS * TILE_COLS * depth + c % TILE_COLS);
}

static bool is_nf4(const op_gemm_t *op) {
  return op->weight && op->weight->format == WEIGHT_NF4;
}

static void pack_b_panel(const op_gemm_t *op, int64_t col, int64_t cols, int64_t k, int64_t depth,
                         float *to) {
  if (is_nf4(op))
    pack_b_nf4(op, col, cols, k, depth, to);
  else if (!op->weight)
    pack_b_panel_of(op, op->b, false, col, cols, k, depth, to);
  else if (op->weight->format == WEIGHT_BF16)
    pack_b_panel_of(op, op->weight->data, true, col, cols, k, depth, to);
  else
    pack_b_panel_of(op, op->weight->data, false, col, cols, k, depth, to);
}

/* Panels of TILE_COLS columns, one behind the other. */
static void pack_b(const op_gemm_t *op, int64_t col, int64_t cols, int64_t k, int64_t depth, float *to) {
  if (is_nf4(op)) {
    pack_b_nf4(op, col, cols, k, depth, to);
    return;
  }
  for (int64_t c = 0; c < cols; c += TILE_COLS, to += depth * TILE_COLS)
    pack_b_panel(op, col + c, gemm_min_int(TILE_COLS, cols - c), k, depth, to);
}

/* Where the micro-kernel finds its rows of a: packed in a panel (stride TILE_ROWS along the depth), or in
 * place. */
typedef struct {
  const float *from;
  int64_t row_stride; /* of rows in place; 0: a panel */
} gemm_rows_t;

/* A tile's place in c, and what it starts from. */
typedef struct {
  const float *before;
  float *c;
  int64_t ldc; /* of both */
} gemm_tile_t;

static void gemm_multiply_panel_simd(int rows, int vecs, int64_t depth, const float *a, const float *b,
                                     const gemm_tile_t *tile, float init) {
  tile_multiply(rows, vecs, depth, a, 1, TILE_ROWS, b, TILE_COLS, tile->before, tile->c, tile->ldc, init);
}

static void multiply_in_place(int rows, int vecs, int64_t depth, const float *a, int64_t row_stride,
                              const float *b, const gemm_tile_t *tile, float init) {
  tile_multiply(rows, vecs, depth, a, row_stride, 1, b, TILE_COLS, tile->before, tile->c, tile->ldc, init);
}

static void multiply_simd(const gemm_rows_t *a, int rows, int vecs, int64_t depth, const float *b,
                          const gemm_tile_t *tile, float init) {
  if (a->row_stride == 0)
    gemm_multiply_panel_simd(rows, vecs, depth, a->from, b, tile, init);
  else
    multiply_in_place(rows, vecs, depth, a->from, a->row_stride, b, tile, init);
}

/* A tile that overhangs the last column, by way of a buffer. */
static void multiply_edge(const gemm_rows_t *a, const gemm_step_t *step, int64_t rows, int64_t cols,
                          const float *b, const gemm_tile_t *tile) {
  float buffer[TILE_ROWS * TILE_COLS] __attribute__((aligned(64)));
  int64_t whole = cols / LANES * LANES, part = cols - whole, ldc = tile->ldc;
  for (int64_t r = 0; r < rows && step->init != 0.0f; r++) {
    const float *before = tile->before + r * ldc;
    if (whole > 0) vec_store(buffer + r * TILE_COLS, vec_load(before));
    vec_store(buffer + r * TILE_COLS + whole, vec_load_part(before + whole, part));
  }
  gemm_tile_t edge = {.before = buffer, .c = buffer, .ldc = TILE_COLS};
  multiply_simd(a, (int)rows, whole > 0 ? 2 : 1, step->depth, b, &edge, step->init);
  for (int64_t r = 0; r < rows; r++) {
    if (whole > 0) vec_store(tile->c + r * ldc, vec_load(buffer + r * TILE_COLS));
    vec_store_part(tile->c + r * ldc + whole, vec_load(buffer + r * TILE_COLS + whole), part);
  }
}

/* One tile of c, its rows' next columns on their way to the cache meanwhile. */
static void make_tile(const op_gemm_t *op, const gemm_step_t *step, const gemm_rows_t *a, int64_t row,
                      int64_t col, int64_t rows, int64_t cols, const float *b) {
  int64_t place = row * op->ldc + col;
  gemm_tile_t tile = {.c = (float *)op->c + place, .ldc = op->ldc};
  tile.before = step->first && op->before ? (const float *)op->before + place : tile.c;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < TILE_COLS; i += 16)
      __builtin_prefetch(tile.c + r * op->ldc + TILE_COLS + i, 1);
  if (cols % LANES == 0)
    multiply_simd(a, (int)rows, (int)(cols / LANES), step->depth, b, &tile, step->init);
  else
    multiply_edge(a, step, rows, cols, b, &tile);
  if (step->last && (op->bias || op->activation != ACTIVATION_NONE))
    gemm_finish_tile(op, row, col, rows, cols);
}

/* A strip of rows of c from one panel of a, which stays in the first cache, and packed b. */
static void make_strip(const op_gemm_t *op, const gemm_step_t *step, const gemm_rows_t *a, int64_t row,
                       int64_t col, int64_t rows, int64_t cols, const float *b) {
  for (int64_t j = 0; j < cols; j += TILE_COLS)
    make_tile(op, step, a, row, col + j, rows, gemm_min_int(TILE_COLS, cols - j), b + j * step->depth);
}

/* Rows per tile, so that all tiles are about equally high. */
static int64_t tile_height(int64_t rows) {
  int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
  return (rows + tiles - 1) / tiles;
}

static bool is_resident(const op_gemm_t *op, int64_t rows) {
  int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
  return tiles * TILE_ROWS * op->k <= RESIDENT_FLOATS;
}

/* Packs rows begin .. end-1 of alpha * op(a) for the whole depth: block by block of the depth, panels of
 * HEIGHT rows. */
static void pack_a_whole(const op_gemm_t *op, int64_t begin, int64_t end, int64_t height, float *to) {
  for (int64_t k = 0; k < op->k; k += BLOCK_DEPTH) {
    int64_t depth = gemm_min_int(BLOCK_DEPTH, op->k - k);
    for (int64_t row = begin; row < end; row += height, to += depth * TILE_ROWS)
      pack_a(op, row, gemm_min_int(height, end - row), k, depth, to);
  }
}

/* Few rows: a is packed whole, b passes once, panel by panel, through the first cache. */
static void gemm_streaming(const gemm_part_t *part) {
  const op_gemm_t *op = &part->op;
  int64_t all = part->row_end - part->row_begin, height = tile_height(all);
  int64_t panels = (all + height - 1) / height;
  float *a = part->scratch, *b = a + panels * TILE_ROWS * op->k + SLACK;
  pack_a_whole(op, part->row_begin, part->row_end, height, a);
  for (int64_t col = part->col_begin; col < part->col_end; col += TILE_COLS) {
    int64_t cols = gemm_min_int(TILE_COLS, part->col_end - col);
    for (int64_t k = 0; k == 0 || k < op->k; k += BLOCK_DEPTH) {
      gemm_step_t step = gemm_step_at(op, k, BLOCK_DEPTH);
      pack_b_panel(op, col, cols, k, step.depth, b);
      for (int64_t i = 0; i < panels; i++) {
        gemm_rows_t rows = {.from = a + TILE_ROWS * (panels * k + i * step.depth)};
        make_tile(op, &step, &rows, part->row_begin + i * height, col, gemm_min_int(height, all - i * height),
                  cols, b);
      }
    }
  }
}

/* Many rows: a block of b is packed into the second cache, and panel by panel of a is packed into the first
 * and meets all of it. Along a strip c is written row by row, which suits prefetchers and page tables. Where
 * c is narrow, a is not worth packing. */
static void gemm_blocked(const gemm_part_t *part) {
  const op_gemm_t *op = &part->op;
  float *a = part->scratch, *b = a + TILE_ROWS * BLOCK_DEPTH + SLACK;
  bool in_place = !op->trans_a && op->alpha == 1.0 && part->col_end - part->col_begin <= IN_PLACE_COLS;
  for (int64_t col = part->col_begin; col < part->col_end; col += BLOCK_COLS) {
    int64_t cols = gemm_min_int(BLOCK_COLS, part->col_end - col);
    for (int64_t k = 0; k == 0 || k < op->k; k += BLOCK_DEPTH) {
      gemm_step_t step = gemm_step_at(op, k, BLOCK_DEPTH);
      pack_b(op, col, cols, k, step.depth, b);
      for (int64_t row = part->row_begin; row < part->row_end; row += TILE_ROWS) {
        int64_t rows = gemm_min_int(TILE_ROWS, part->row_end - row);
        gemm_rows_t from = {.from = a};
        if (in_place)
          from = (gemm_rows_t){.from = (const float *)op->a + row * op->lda + k, .row_stride = op->lda};
        else
          pack_a(op, row, rows, k, step.depth, a);
        make_strip(op, &step, &from, row, col, rows, cols, b);
      }
    }
  }
}

/* Rows ROW .. ROW + ROWS - 1 times the whole tiles among columns BEGIN .. END - 1 of c; returns where they
 * end. */
ALWAYS_INLINE int64_t few_tiles(const op_gemm_t *op, int rows, bool half, int64_t row, int64_t begin,
                                int64_t end) {
  const int64_t step = few_panels(rows) * LANES, whole = begin + (end - begin) / TILE_COLS * TILE_COLS;
  const float *a = (const float *)op->a + row * op->lda;
  for (int64_t col = begin; col < whole; col += step) {
    const void *b = op->weight ? op->weight->data : op->b;
    b = half ? (const void *)((const uint16_t *)b + col * op->ldb) : (const float *)b + col * op->ldb;
    float *c = (float *)op->c + row * op->ldc + col;
    const float *before = op->before ? (const float *)op->before + row * op->ldc + col : c;
    few_multiply(rows, half, op->k, a, op->lda, b, op->ldb, before, c, op->ldc, (float)op->beta);
    if (op->bias || op->activation != ACTIVATION_NONE) gemm_finish_tile(op, row, col, rows, step);
  }
  return whole;
}

static bool is_few(const op_gemm_t *op, int64_t rows) {
  return rows <= FEW_ROWS && op->trans_b && !op->trans_a && op->alpha == 1.0 && !is_nf4(op);
}

/* The same for a number of rows and a format that are known at run time. */
static int64_t gemm_few(const gemm_part_t *part) {
  const op_gemm_t *op = &part->op;
  int64_t row = part->row_begin, begin = part->col_begin, end = part->col_end;
  bool half = op->weight && op->weight->format == WEIGHT_BF16;
#define FEW_CASE(n)                                                                                          \
  case n:                                                                                                    \
    return half ? few_tiles(op, n, true, row, begin, end) : few_tiles(op, n, false, row, begin, end);
  switch (part->row_end - row) {
    FEW_CASE(1)
    FEW_CASE(2)
    FEW_CASE(3)
    FEW_CASE(4)
  default:
    return begin;
  }
#undef FEW_CASE
}

static void gemm_simd(const gemm_part_t *all) {
  gemm_part_t rest = *all, *part = &rest;
  if (is_few(&part->op, part->row_end - part->row_begin)) part->col_begin = gemm_few(part);
  if (is_resident(&part->op, part->row_end - part->row_begin))
    gemm_streaming(part);
  else
    gemm_blocked(part);
}

static int64_t gemm_scratch(void) {
  int64_t blocked = TILE_ROWS * BLOCK_DEPTH + BLOCK_DEPTH * BLOCK_COLS;
  int64_t streaming = RESIDENT_FLOATS + BLOCK_DEPTH * TILE_COLS;
  return (blocked > streaming ? blocked : streaming) + 2 * SLACK;
}

void SIMD_NAME(kernels_fill_gemm)(kernels_t *table) {
  table->gemm = (gemm_kernel_t){.tile_rows = TILE_ROWS,
                                .tile_cols = TILE_COLS,
                                .products_per_ns = 60.0,
                                .products_per_packed = 16.0,
                                .scratch = gemm_scratch,
                                .run = gemm_simd};
  table->gemm_half = table->gemm;
}
