#include "session/estimate.h"

#include "io/file.h"

#include <stdio.h>

/* States per trained weight in a checkpoint: master weight and two moments, in float. TENSOR_BYTES: about
 * what HDF5 and the attributes take for each array. */
enum { STATES = 3, STATE_BYTES = 4, TENSOR_BYTES = 560 };

void estimate_output(estimate_t *estimate, const char *name, double bytes) {
  int32_t i =
      estimate->output_count < ESTIMATE_OUTPUTS_MAX ? estimate->output_count++ : ESTIMATE_OUTPUTS_MAX - 1;
  snprintf(estimate->outputs[i].name, ESTIMATE_NAME_MAX, "%s", name);
  estimate->outputs[i].bytes += bytes;
}

void estimate_output_file(estimate_t *estimate, const char *name, const char *path) {
  int64_t size;
  if (file_size(path, &size) == STATUS_OK)
    estimate_output(estimate, name, (double)size / estimate->part);
  else
    error_clear();
}

void estimate_part(estimate_t *estimate, int64_t all, int64_t wanted, int64_t gone) {
  if (wanted > 0 && wanted < all) all = wanted;
  estimate->part = gone > 0 && gone < all ? (double)gone / (double)all : 1.0;
}

static int64_t estimate_smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t estimate_larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/* Bytes of the largest piece of PARAMS that goes through memory at once. */
static int64_t piece_bytes(const params_t *params) {
  int64_t most = 0;
  for (int32_t i = 0; i < params->count; i++)
    most = estimate_larger(most, params->items[i].elements);
  return estimate_smaller(most, WEIGHTS_PIECE_ELEMENTS) * (int64_t)sizeof(float);
}

/* ---- Files that are read and written ---- */

/* Notes that beside all that there is now, IO bytes of ARENA_IO will be in use, and COMM of ARENA_COMM, where
 * the blank device keeps what reductions have taken in turn. */
static void estimate_beside(estimate_t *estimate, int64_t io, int64_t comm) {
  size_t now = memory_usage_at(MEMORY_HOST, ARENA_COUNT).current +
               memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).current - memory_usage(ARENA_COMM).current +
               (size_t)(io + comm);
  estimate->io = estimate_larger(estimate->io, io);
  estimate->comm = estimate_larger(estimate->comm, comm);
  if (now > estimate->together) estimate->together = now;
}

/* Host memory in ARENA_IO for reading LOADED bytes of weights: a block or a round, and a piece. */
static int64_t reading_bytes(const estimate_t *estimate, int64_t loaded, int64_t piece) {
  int64_t most = weights_reading_bytes(estimate->nodes);
  int64_t least = WEIGHTS_BLOCK_BYTES + piece;
  return estimate->nodes == 1 ? least : estimate_smaller(most, least + loaded);
}

void estimate_reading(estimate_t *estimate, const params_t *params) {
  int64_t loaded = params->elements * (int64_t)sizeof(float);
  estimate_beside(estimate, reading_bytes(estimate, loaded, piece_bytes(params)), 0);
}

void estimate_staging(estimate_t *estimate, int64_t bytes) {
  estimate_beside(estimate, bytes, 0);
}

static void estimate_add_set(const params_t *params, estimate_files_t *files) {
  files->file += params->count * TENSOR_BYTES;
  for (int32_t i = 0; i < params->count; i++) {
    const partition_t *part = &params->items[i].partition;
    int64_t size = (int64_t)dtype_size(param_stored(params, i));
    files->file += part->rows * part->cols * size;
    if (params->grid->dp_rank == 0) files->given += params->items[i].elements * size;
  }
  files->piece = estimate_larger(files->piece, piece_bytes(params));
}

/* Of the states that training adds. */
static int64_t state_bytes(const params_t *params) {
  int64_t bytes = 0;
  for (int32_t i = 0; i < params->count; i++) {
    const partition_t *part = &params->items[i].partition;
    if (params->items[i].trainable) bytes += part->rows * part->cols * STATE_BYTES + TENSOR_BYTES;
  }
  return STATES * bytes;
}

estimate_files_t estimate_files(const store_contents_t *contents, params_t *const *sets, int32_t count,
                                int64_t owned) {
  estimate_files_t files = {.behind = contents->disk.behind};
  if (contents->weights) estimate_add_set(&contents->base->params, &files);
  for (int32_t i = 0; i < contents->adapter_count; i++)
    estimate_add_set(&contents->adapters[i]->params, &files);
  for (int32_t i = 0; i < contents->head_count; i++)
    estimate_add_set(&contents->heads[i]->params, &files);
  if (contents->weights) files.file += contents->tokenizer_size;
  files.result = files.file;
  for (int32_t s = 0; s < count; s++)
    files.file += state_bytes(sets[s]);
  files.given += owned * STATES * STATE_BYTES;
  return files;
}

static int64_t round_bytes(const estimate_files_t *files, int ranks) {
  return estimate_smaller(files->file, weights_round_bytes(ranks));
}

/* Of a SHARE to write, what other ranks give, if this one gives of it as much as of all; at most all of it.
 */
static int64_t from_others(const estimate_files_t *files, int64_t share) {
  return files->file > 0 ? share - (int64_t)((double)share * (double)files->given / (double)files->file) : 0;
}

void estimate_writing(estimate_t *estimate) {
  const estimate_files_t *files = &estimate->files;
  int64_t round = round_bytes(files, estimate->ranks), share = round / estimate->ranks;
  int64_t sent = estimate_smaller(files->given, estimate_smaller(round, WEIGHTS_GIVEN_BYTES));
  int64_t waiting = estimate_smaller(files->file / estimate->ranks - share, share + files->behind);
  estimate_beside(estimate, sent + share + waiting + files->piece,
                  estimate->ranks > 1 ? from_others(files, share) : 0);
  if (estimate->ranks > 1) estimate->comm = estimate_larger(estimate->comm, share);
}

/* ---- All of it ---- */

void estimate_memory(const size_t *before, const size_t *during, estimate_t *estimate) {
  size_t *memory = estimate->memory;
  for (int a = 0; a < ARENA_COUNT; a++)
    memory[a] = during[a] > before[a] ? during[a] : before[a];
  if (memory[ARENA_IO] < (size_t)estimate->io) memory[ARENA_IO] = (size_t)estimate->io;
  if (memory[ARENA_COMM] < (size_t)estimate->comm) memory[ARENA_COMM] = (size_t)estimate->comm;
}
