#include "tensor/packed.h"

#include "base/memory.h"

#include <inttypes.h>

int32_t packed_length(const int32_t *tokens, int32_t n, int32_t slots) {
  int32_t length = 0;
  for (int32_t i = 0; i < n; i++)
    length += tokens[i] == TOKEN_IMAGE ? slots : 1;
  return length;
}

/* Counts sequences, positions and image places, and fills the offsets. */
static status_t packed_measure(const packed_source_t *sources, packed_t *packed) {
  int64_t total = 0, images = 0;
  for (int32_t s = 0; s < packed->sequences; s++) {
    for (int32_t i = 0; i < sources[s].n; i++) {
      bool image = sources[s].tokens[i] == TOKEN_IMAGE;
      if (image && sources[s].image_index < 0)
        return error_set(STATUS_INTERNAL,
                         "sequence %d of a batch has an image place at token %d but no image", s, i);
      if (image && packed->image_slots < 1)
        return error_set(STATUS_INTERNAL, "sequence %d of a batch shows an image to a model that sees none",
                         s);
      images += image;
      total += image ? packed->image_slots : 1;
    }
    if (total > INT32_MAX)
      return error_set(STATUS_INTERNAL,
                       "a batch of %d sequences has %" PRId64 " positions or more; at most %d fit: "
                       "lower optim.micro_tokens",
                       packed->sequences, total, INT32_MAX);
    packed->offsets[s + 1] = (int32_t)total;
  }
  packed->images = (int32_t)images;
  return STATUS_OK;
}

/* Writes sequence S; *IMAGE counts the image places so far. */
static void packed_fill(const packed_source_t *source, int32_t s, packed_t *packed, int32_t *image) {
  int32_t begin = packed->offsets[s], at = begin;
  for (int32_t i = 0; i < source->n; i++) {
    int32_t width = 1;
    if (source->tokens[i] == TOKEN_IMAGE) {
      width = packed->image_slots;
      packed->image_start[*image] = at;
      packed->image_index[(*image)++] = source->image_index;
    }
    for (int32_t end = at + width; at < end; at++) {
      packed->tokens[at] = source->tokens[i];
      packed->positions[at] = at - begin;
    }
  }
}

static status_t packed_pack(const packed_source_t *sources, packed_t *packed) {
  TRY(memory_alloc(&packed->offsets, ARENA_DATA, (size_t)packed->sequences + 1, sizeof(int32_t)));
  TRY(packed_measure(sources, packed));
  size_t total = (size_t)packed->offsets[packed->sequences];
  TRY(memory_alloc(&packed->tokens, ARENA_DATA, total, sizeof(int32_t)));
  TRY(memory_alloc(&packed->positions, ARENA_DATA, total, sizeof(int32_t)));
  TRY(memory_alloc(&packed->image_start, ARENA_DATA, (size_t)packed->images, sizeof(int32_t)));
  TRY(memory_alloc(&packed->image_index, ARENA_DATA, (size_t)packed->images, sizeof(int32_t)));
  int32_t image = 0;
  for (int32_t s = 0; s < packed->sequences; s++)
    packed_fill(&sources[s], s, packed, &image);
  return STATUS_OK;
}

status_t packed_create(const packed_source_t *sources, int32_t count, int32_t slots, packed_t *out) {
  *out = (packed_t){.sequences = count, .image_slots = slots};
  status_code_t status = packed_pack(sources, out);
  if (status != STATUS_OK) packed_free(out);
  return status;
}

void packed_free(packed_t *packed) {
  memory_free(packed->offsets);
  memory_free(packed->tokens);
  memory_free(packed->positions);
  memory_free(packed->image_start);
  memory_free(packed->image_index);
  *packed = (packed_t){0};
}
