/* Random numbers for models that are measured, not used: fast enough for 13B weights. */
#include "base/memory.h"
#include "base/random.h"
#include "model/param_writer.h"

#include <string.h>

enum { TABLE = 1 << 20, BLOCK = 1 << 22 };

typedef struct {
  uint64_t seed;
  float *normals; /* (TABLE + columns of the widest weight) */
} randoms_t;

static status_t randoms_make(const params_t *params, uint64_t seed, randoms_t *out) {
  int64_t widest = 0;
  for (int32_t i = 0; i < params->count; i++)
    if (params->items[i].partition.cols > widest) widest = params->items[i].partition.cols;
  out->seed = seed;
  TRY(memory_alloc(&out->normals, ARENA_OTHER, (size_t)(TABLE + widest), sizeof *out->normals));
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < TABLE + widest; i++) {
    random_stream_t stream = random_stream(seed, RANDOM_INIT, (uint64_t)i);
    out->normals[i] = (float)random_normal(&stream);
  }
  return STATUS_OK;
}

static void randoms_free(randoms_t *randoms) {
  memory_free(randoms->normals);
}

/* Row R of a stored shard, the columns that WRITER takes. A weight's row is a piece of the table that begins
 * where its number in the whole weight says. */
static void fill_row(const randoms_t *randoms, const param_writer_t *writer, int64_t r, float *row) {
  const param_t *param = &writer->params->items[writer->id];
  const partition_t *part = &param->partition;
  int64_t whole_row = part->row_begin + r, cols = writer->col_count;
  if (r >= part->row_count) {
    memset(row, 0, (size_t)cols * sizeof *row);
  } else if (param->init != INIT_NORMAL) {
    param_initial(param, randoms->seed, whole_row * part->cols + writer->col_begin, cols, row);
  } else {
    random_words_t words =
        random_words(randoms->seed, RANDOM_INIT, (uint64_t)writer->id, (uint64_t)whole_row);
    const float *piece = randoms->normals + words.v[0] % TABLE + writer->col_begin;
    const float scale = (float)param->init_scale;
    for (int64_t c = 0; c < cols; c++)
      row[c] = scale * piece[c];
  }
}

static status_t randomise_one(const randoms_t *randoms, param_writer_t *writer, float *values) {
  int64_t rows = writer->params->items[writer->id].partition.local_rows, cols = writer->col_count;
  int64_t block = cols < BLOCK ? BLOCK / cols : 1;
  for (int64_t first = 0; first < rows; first += block) {
    int64_t count = rows - first < block ? rows - first : block;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < count; r++)
      fill_row(randoms, writer, first + r, values + r * cols);
    TRY(param_writer_take(writer, first * cols, count * cols, values));
  }
  return param_writer_end(writer);
}

status_t params_randomise(params_t *params, uint64_t seed) {
  SCOPED(randoms_free) randoms_t randoms = {0};
  TRY(randoms_make(params, seed, &randoms));
  for (int32_t i = 0; i < params->count; i++) {
    if (params->items[i].elements == 0) continue;
    SCOPED(param_writer_free) param_writer_t writer = {0};
    SCOPED_MEMORY float *values = NULL;
    TRY(param_writer_begin(params, i, &writer));
    int64_t most = writer.col_count > BLOCK ? writer.col_count : BLOCK;
    TRY(memory_alloc(&values, ARENA_OTHER, (size_t)most, sizeof *values));
    TRY(randomise_one(&randoms, &writer, values));
  }
  return STATUS_OK;
}
