#include "convert/tied_head.h"

#include "base/memory.h"

enum { BLOCK = 2 << 20 /* elements */ };

typedef struct {
  const wanted_t *head, *embedding;
  float *values[2]; /* (BLOCK) each */
} tied_head_t;

static status_t tied_head_read(const wanted_t *wanted, int64_t first, int64_t n, float *values) {
  return tensor_files_read_f32(wanted->origin->files, wanted->entry, first, n, values);
}

static status_t tied_head_refuse(const tied_head_t *tied, int64_t place) {
  const tensor_entry_t *head = tied->head->entry, *embedding = tied->embedding->entry;
  int64_t columns = head->shape[1];
  return error_set(STATUS_DATA,
                   "config.json says tie_word_embeddings = true, but %s of %s and %s of %s differ, as "
                   "in row %lld, column %lld; set tie_word_embeddings = false (in text_config too, where "
                   "there is one) to keep both, or leave %s out of the files",
                   head->name, head->file, embedding->name, embedding->file, (long long)(place / columns),
                   (long long)(place % columns), head->name);
}

static status_t tied_head_compare(const tied_head_t *tied, int64_t first, int64_t n) {
  TRY(tied_head_read(tied->head, first, n, tied->values[0]));
  TRY(tied_head_read(tied->embedding, first, n, tied->values[1]));
  for (int64_t i = 0; i < n; i++)
    if (tied->values[0][i] != tied->values[1][i]) return tied_head_refuse(tied, first + i);
  return STATUS_OK;
}

/* The blocks of rank RANK among SIZE. */
static status_t tied_head_compare_share(const tied_head_t *tied, int rank, int size) {
  int64_t elements = tied->head->entry->elements;
  for (int64_t first = (int64_t)rank * BLOCK; first < elements; first += (int64_t)size * BLOCK)
    TRY(tied_head_compare(tied, first, elements - first < BLOCK ? elements - first : BLOCK));
  return STATUS_OK;
}

status_t tied_head_check(session_t *session, const matching_t *matching) {
  const grid_t *grid = &session->grid;
  tied_head_t tied = {.head = &matching->head, .embedding = matching_embedding(matching)};
  if (!tied.head->entry) return STATUS_OK;
  status_code_t status = memory_alloc(&tied.values[0], ARENA_IO, BLOCK, sizeof *tied.values[0]);
  if (status == STATUS_OK) status = memory_alloc(&tied.values[1], ARENA_IO, BLOCK, sizeof *tied.values[1]);
  if (status == STATUS_OK) status = tied_head_compare_share(&tied, grid->rank, grid->size);
  memory_free(tied.values[0]);
  memory_free(tied.values[1]);
  return comm_agree(session->world, status);
}
