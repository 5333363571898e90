#include "tensor/nf4.h"

#include <math.h>

const float nf4_code[NF4_CODES] = {
    -1.0f,      -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f, -0.091050036f, 0.0f,
    0.0795803f, 0.1609302f,  0.2461123f,   0.33791524f, 0.44070983f,  0.562617f,    0.72295684f,   1.0f,
};

const float nf4_scale_map[256] = {
    -0.99296874f,   -0.9789063f,   -0.96484375f,   -0.9507812f,    -0.93671876f,   -0.92265624f,
    -0.9085938f,    -0.89453125f,  -0.8804687f,    -0.86640626f,   -0.85234374f,   -0.8382813f,
    -0.82421875f,   -0.8101562f,   -0.79609376f,   -0.78203124f,   -0.7679688f,    -0.75390625f,
    -0.7398437f,    -0.72578126f,  -0.7117188f,    -0.6976563f,    -0.68359375f,   -0.6695312f,
    -0.65546876f,   -0.6414063f,   -0.6273438f,    -0.61328125f,   -0.5992187f,    -0.58515626f,
    -0.5710938f,    -0.5570313f,   -0.54296875f,   -0.5289062f,    -0.5148437f,    -0.50078124f,
    -0.4867187f,    -0.47265625f,  -0.45859373f,   -0.44453126f,   -0.43046874f,   -0.41640624f,
    -0.40234375f,   -0.38828123f,  -0.37421876f,   -0.36015624f,   -0.34609374f,   -0.33203125f,
    -0.31796873f,   -0.30390626f,  -0.28984374f,   -0.27578127f,   -0.26171875f,   -0.24765624f,
    -0.23359375f,   -0.21953125f,  -0.20546874f,   -0.19140625f,   -0.17734376f,   -0.16328125f,
    -0.14921875f,   -0.13515624f,  -0.12109375f,   -0.107031256f,  -0.09859375f,   -0.09578126f,
    -0.092968754f,  -0.09015625f,  -0.08734375f,   -0.08453125f,   -0.08171876f,   -0.07890625f,
    -0.07609375f,   -0.07328125f,  -0.070468746f,  -0.067656256f,  -0.06484375f,   -0.06203125f,
    -0.059218753f,  -0.05640625f,  -0.05359375f,   -0.05078125f,   -0.04796875f,   -0.04515625f,
    -0.042343747f,  -0.03953125f,  -0.036718752f,  -0.03390625f,   -0.03109375f,   -0.028281251f,
    -0.02546875f,   -0.02265625f,  -0.019843752f,  -0.01703125f,   -0.01421875f,   -0.01140625f,
    -0.00971875f,   -0.009156249f, -0.00859375f,   -0.00803125f,   -0.00746875f,   -0.00690625f,
    -0.00634375f,   -0.00578125f,  -0.0052187503f, -0.0046562497f, -0.00409375f,   -0.0035312497f,
    -0.00296875f,   -0.00240625f,  -0.00184375f,   -0.0012812499f, -9.437501e-4f,  -8.3125e-4f,
    -7.1875006e-4f, -6.062501e-4f, -4.9375003e-4f, -3.8125002e-4f, -2.6875004e-4f, -1.5625001e-4f,
    -8.875e-5f,     -6.625e-5f,    -4.375e-5f,     -2.1249998e-5f, -7.75e-6f,      -3.2500002e-6f,
    -5.5000004e-7f, 0.0f,          5.5000004e-7f,  3.2500002e-6f,  7.75e-6f,       2.1249998e-5f,
    4.375e-5f,      6.625e-5f,     8.875e-5f,      1.5625001e-4f,  2.6875004e-4f,  3.8125002e-4f,
    4.9375003e-4f,  6.062501e-4f,  7.1875006e-4f,  8.3125e-4f,     9.437501e-4f,   0.0012812499f,
    0.00184375f,    0.00240625f,   0.00296875f,    0.0035312497f,  0.00409375f,    0.0046562497f,
    0.0052187503f,  0.00578125f,   0.00634375f,    0.00690625f,    0.00746875f,    0.00803125f,
    0.00859375f,    0.009156249f,  0.00971875f,    0.01140625f,    0.01421875f,    0.01703125f,
    0.019843752f,   0.02265625f,   0.02546875f,    0.028281251f,   0.03109375f,    0.03390625f,
    0.036718752f,   0.03953125f,   0.042343747f,   0.04515625f,    0.04796875f,    0.05078125f,
    0.05359375f,    0.05640625f,   0.059218753f,   0.06203125f,    0.06484375f,    0.067656256f,
    0.070468746f,   0.07328125f,   0.07609375f,    0.07890625f,    0.08171876f,    0.08453125f,
    0.08734375f,    0.09015625f,   0.092968754f,   0.09578126f,    0.09859375f,    0.107031256f,
    0.12109375f,    0.13515624f,   0.14921875f,    0.16328125f,    0.17734376f,    0.19140625f,
    0.20546874f,    0.21953125f,   0.23359375f,    0.24765624f,    0.26171875f,    0.27578127f,
    0.28984374f,    0.30390626f,   0.31796873f,    0.33203125f,    0.34609374f,    0.36015624f,
    0.37421876f,    0.38828123f,   0.40234375f,    0.41640624f,    0.43046874f,    0.44453126f,
    0.45859373f,    0.47265625f,   0.4867187f,     0.50078124f,    0.5148437f,     0.5289062f,
    0.54296875f,    0.5570313f,    0.5710938f,     0.58515626f,    0.5992187f,     0.61328125f,
    0.6273438f,     0.6414063f,    0.65546876f,    0.6695312f,     0.68359375f,    0.6976563f,
    0.7117188f,     0.72578126f,   0.7398437f,     0.75390625f,    0.7679688f,     0.78203124f,
    0.79609376f,    0.8101562f,    0.82421875f,    0.8382813f,     0.85234374f,    0.86640626f,
    0.8804687f,     0.89453125f,   0.9085938f,     0.92265624f,    0.93671876f,    0.9507812f,
    0.96484375f,    0.9789063f,    0.99296874f,    1.0f,
};

/* A block smaller than this is divided by this instead, so that one of zeros gives zeros. */
static const float absmax_least = 1e-38f;

/* Values from which on other threads are worth being woken: some ten microseconds' work. Blocks and groups do
 * not depend on each other. */
static const int64_t worth_threads = 16384;

int64_t nf4_row_blocks(int64_t cols) {
  return (cols + NF4_BLOCK - 1) / NF4_BLOCK;
}

/* Values of block B of a row: NF4_BLOCK, or what is left of COLS. */
static int64_t block_values(int64_t cols, int64_t b) {
  int64_t left = cols - b * NF4_BLOCK;
  return left < NF4_BLOCK ? left : NF4_BLOCK;
}

static float largest(const float *values, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; i++)
    most = fabsf(values[i]) > most ? fabsf(values[i]) : most;
  return most;
}

/* What values are multiplied by to lie in [-1, 1]: the reciprocal, as published, not a division of each. */
static float normaliser(float absmax) {
  return 1.0f / (absmax > absmax_least ? absmax : absmax_least);
}

static float normalised(float value, float normal) {
  float x = value * normal;
  x = x < -1.0f ? -1.0f : x;
  return x > 1.0f ? 1.0f : x;
}

void nf4_absmax(const float *values, int64_t rows, int64_t cols, float *absmax) {
  int64_t blocks = nf4_row_blocks(cols);
#pragma omp parallel for schedule(static) if (rows * cols > worth_threads)
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < blocks; b++)
      absmax[r * blocks + b] = largest(values + r * cols + b * NF4_BLOCK, block_values(cols, b));
}

/* The code of a value is the number of midpoints below it: counted for all values of a block side by side. */
static void block_encode(const float *values, int64_t n, float absmax, uint8_t *codes) {
  float x[NF4_BLOCK] = {0}, normal = normaliser(absmax);
  int32_t code[NF4_BLOCK] = {0};
  for (int64_t i = 0; i < n; i++)
    x[i] = normalised(values[i], normal);
  for (int c = 0; c + 1 < NF4_CODES; c++) {
    float midpoint = (nf4_code[c] + nf4_code[c + 1]) / 2;
    for (int i = 0; i < NF4_BLOCK; i++)
      code[i] += x[i] > midpoint;
  }
  for (int i = 0; i < NF4_BLOCK_BYTES; i++)
    codes[i] = (uint8_t)(code[2 * i] << 4 | code[2 * i + 1]);
}

void nf4_encode(const float *values, int64_t rows, int64_t cols, const float *absmax, uint8_t *codes) {
  int64_t blocks = nf4_row_blocks(cols);
#pragma omp parallel for schedule(static) if (rows * cols > worth_threads)
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < blocks; b++) {
      int64_t block = r * blocks + b;
      block_encode(values + r * cols + b * NF4_BLOCK, block_values(cols, b), absmax[block],
                   codes + block * NF4_BLOCK_BYTES);
    }
}

float nf4_offset(const float *absmax, int64_t blocks) {
  double sum = 0;
  for (int64_t b = 0; b < blocks; b++)
    sum += absmax[b];
  return blocks > 0 ? (float)(sum / (double)blocks) : 0;
}

/* The number of midpoints of the map below X in [-1, 1]. */
static uint8_t scale_code(float x) {
  int low = 0, high = 255;
  while (low < high) {
    int middle = (low + high) / 2;
    if ((nf4_scale_map[middle] + nf4_scale_map[middle + 1]) / 2 < x)
      low = middle + 1;
    else
      high = middle;
  }
  return (uint8_t)low;
}

void nf4_scales_encode(const float *absmax, int64_t blocks, float offset, uint8_t *scales, float *groups) {
#pragma omp parallel for schedule(static) if (blocks > worth_threads / NF4_BLOCK)
  for (int64_t begin = 0; begin < blocks; begin += NF4_GROUP) {
    int64_t end = blocks - begin < NF4_GROUP ? blocks : begin + NF4_GROUP;
    float most = 0;
    for (int64_t b = begin; b < end; b++)
      most = fmaxf(most, fabsf(absmax[b] - offset));
    groups[begin / NF4_GROUP] = most;
    float normal = normaliser(most);
    for (int64_t b = begin; b < end; b++)
      scales[b] = scale_code(normalised(absmax[b] - offset, normal));
  }
}

static float nf4_scale(uint8_t scale, float group, float offset) {
  return nf4_scale_map[scale] * group + offset;
}

void nf4_scales_decode(const uint8_t *scales, const float *groups, float offset, int64_t blocks,
                       float *decoded) {
  for (int64_t b = 0; b < blocks; b++)
    decoded[b] = nf4_scale(scales[b], groups[b / NF4_GROUP], offset);
}

void nf4_decode(const uint8_t *codes, const float *scales, int64_t rows, int64_t cols, float *values) {
  int64_t blocks = nf4_row_blocks(cols);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) {
      int64_t block = r * blocks + c / NF4_BLOCK, within = c % NF4_BLOCK;
      uint8_t pair = codes[block * NF4_BLOCK_BYTES + within / 2];
      values[r * cols + c] = nf4_code[within % 2 ? pair & 15 : pair >> 4] * scales[block];
    }
}

void nf4_view_scales(const nf4_view_t *view, int64_t row, int64_t rows, int64_t block, int64_t blocks,
                     int64_t ld, float *to) {
  float offset = *view->offset;
  for (int64_t r = 0; r < rows; r++) {
    const uint8_t *scales = view->scales + (row + r) * view->row_blocks + block;
    uint64_t number = (uint64_t)(view->first + (row + r) * view->whole_row_blocks + block);
    for (int64_t b = 0; b < blocks; b++)
      to[b * ld + r] = nf4_scale(scales[b], view->groups[(number + (uint64_t)b) / NF4_GROUP], offset);
  }
}

float nf4_view_value(const nf4_view_t *view, int64_t r, int64_t c) {
  int64_t at = view->skip + c;
  uint8_t pair = view->codes[r * view->row_blocks * NF4_BLOCK_BYTES + at / 2];
  float scale;
  nf4_view_scales(view, r, 1, at / NF4_BLOCK, 1, 1, &scale);
  return nf4_code[at % 2 ? pair & 15 : pair >> 4] * scale;
}
