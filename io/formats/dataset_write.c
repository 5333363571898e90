#define _GNU_SOURCE
#include "io/formats/dataset.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/formats/dataset_layout.h"
#include "io/h5.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

enum { BYTES_BUFFER = 4 << 20, COLUMN_BUFFER = 64 << 10 };
enum { DATASET_OWN_BYTES = 10 << 10 }; /* about what HDF5 and the attributes take */

/* Rows of one part that wait to be written in one piece. */
typedef struct {
  char *buffer;
  int64_t begin, count, capacity; /* rows */
} dataset_write_column_t;

struct dataset_writer {
  comm_t *comm;
  char *path;
  char partial[FILE_MAX_PATH];
  h5_file_t *file;
  h5_span_t spans[PART_COUNT]; /* where each part lies in the file */
  dataset_write_column_t columns[PART_COUNT];
  int64_t images;
  int64_t *image_offsets;              /* (images + 1) */
  uint64_t *image_hashes;              /* (images): 0 where it is another rank's, until the images end */
  int32_t *image_width, *image_height; /* (images): the same */
  dataset_counts_t planned;
  dataset_counts_t done; /* rank 0: texts and text_bytes include the images' names */
  int64_t names, held_out;
  XXH3_state_t *hashes[PART_COUNT]; /* of the parts that are serial; rank 0 */
};

static status_t dataset_write_agree(dataset_writer_t *writer, status_code_t status) {
  return comm_agree(writer->comm, status);
}

static bool dataset_write_is_first(const dataset_writer_t *writer) {
  return comm_rank(writer->comm) == 0;
}

/* ---- Columns ---- */

static status_t column_flush(dataset_writer_t *writer, part_t part) {
  dataset_write_column_t *column = &writer->columns[part];
  int64_t count = column->count, size = (int64_t)h5_type_size(part_layout(part)->type);
  if (count == 0) return STATUS_OK;
  column->count = 0;
  return h5_write_span(writer->file, writer->spans[part], column->begin * size, column->buffer, count * size);
}

static status_t column_prepare(dataset_write_column_t *column, h5_type_t type) {
  if (column->buffer != NULL) return STATUS_OK;
  size_t size = type == H5TYPE_U8 ? BYTES_BUFFER : COLUMN_BUFFER;
  column->capacity = (int64_t)(size / h5_type_size(type));
  return memory_alloc(&column->buffer, ARENA_IO, size, 1);
}

/* Writes COUNT rows of PART from row AT on, sooner or later. */
static status_t column_put(dataset_writer_t *writer, part_t part, int64_t at, const void *rows,
                           int64_t count) {
  dataset_write_column_t *column = &writer->columns[part];
  const size_t size = h5_type_size(part_layout(part)->type);
  const char *from = rows;
  TRY(column_prepare(column, part_layout(part)->type));
  if (part_is_serial(part)) XXH3_64bits_update(writer->hashes[part], rows, (size_t)count * size);
  if (at != column->begin + column->count) TRY(column_flush(writer, part));
  while (count > 0) {
    if (column->count == column->capacity) TRY(column_flush(writer, part));
    if (column->count == 0) column->begin = at;
    int64_t room = column->capacity - column->count;
    int64_t now = count < room ? count : room;
    memcpy(column->buffer + (size_t)column->count * size, from, (size_t)now * size);
    column->count += now;
    at += now;
    from += (size_t)now * size;
    count -= now;
  }
  return STATUS_OK;
}

static status_t dataset_write_put_i64(dataset_writer_t *writer, part_t part, int64_t at, int64_t value) {
  return column_put(writer, part, at, &value, 1);
}

static status_t dataset_write_put_i32(dataset_writer_t *writer, part_t part, int64_t at, int32_t value) {
  return column_put(writer, part, at, &value, 1);
}

static status_t dataset_write_put_u8(dataset_writer_t *writer, part_t part, int64_t at, uint8_t value) {
  return column_put(writer, part, at, &value, 1);
}

/* How many of everything a file holds; texts with the images' names. */
typedef struct {
  dataset_counts_t texts;
  int64_t images, image_bytes;
} dataset_write_extent_t;

static int64_t part_rows(const dataset_write_extent_t *extent, part_t part) {
  switch (part) {
  case PART_TEXT_BYTES:
    return extent->texts.text_bytes;
  case PART_TEXT_OFFSETS:
    return extent->texts.texts + 1;
  case PART_TEXT_KIND:
    return extent->texts.texts;
  case PART_IMAGE_BYTES:
    return extent->image_bytes;
  case PART_IMAGE_OFFSETS:
    return extent->images + 1;
  case PART_IMAGE_NAME:
  case PART_IMAGE_WIDTH:
  case PART_IMAGE_HEIGHT:
  case PART_IMAGE_HASH:
    return extent->images;
  case PART_FACT_BYTES:
    return extent->texts.fact_bytes;
  case PART_FACT_OFFSETS:
    return extent->texts.facts + 1;
  default:
    return extent->texts.samples;
  }
}

/* Rank 0. */
static status_t part_create(dataset_writer_t *writer, part_t part, const dataset_write_extent_t *extent) {
  const part_layout_t *layout = part_layout(part);
  const int64_t rows = part_rows(extent, part);
  TRY(h5_create_dataset(writer->file, layout->object, layout->type, 1, &rows));
  return h5_attr_write_text(writer->file, layout->object, "meaning", layout->meaning);
}

int64_t dataset_file_bytes(const dataset_counts_t *counts, int64_t name_bytes, int64_t images,
                           int64_t image_bytes) {
  dataset_write_extent_t extent = {*counts, images, image_bytes};
  int64_t bytes = DATASET_OWN_BYTES;
  extent.texts.texts += images;
  extent.texts.text_bytes += name_bytes;
  for (part_t part = 0; part < PART_COUNT; part++)
    bytes += part_rows(&extent, part) * (int64_t)h5_type_size(part_layout(part)->type);
  return bytes;
}

size_t dataset_writer_memory(bool first) {
  size_t bytes = 0;
  if (!first) return BYTES_BUFFER; /* images' bytes */
  for (part_t part = 0; part < PART_COUNT; part++)
    bytes += part_layout(part)->type == H5TYPE_U8 ? BYTES_BUFFER : COLUMN_BUFFER;
  return bytes;
}

/* ---- Opening and ending ---- */

static void dataset_write_writer_free(dataset_writer_t *writer) {
  if (writer == NULL) return;
  for (part_t part = 0; part < PART_COUNT; part++) {
    memory_free(writer->columns[part].buffer);
    XXH3_freeState(writer->hashes[part]);
  }
  memory_free(writer->image_offsets);
  memory_free(writer->image_hashes);
  memory_free(writer->image_width);
  memory_free(writer->image_height);
  memory_free(writer->path);
  memory_free(writer);
}

SCOPED_POINTER(dataset_write_writer_free, dataset_writer_t)

static status_t writer_start(dataset_writer_t *writer, const char *path) {
  TRY(memory_copy_text(&writer->path, ARENA_IO, path, strlen(path)));
  TRY(file_partial(writer->partial, path));
  for (part_t part = 0; part < PART_COUNT && dataset_write_is_first(writer); part++) {
    if (!part_is_serial(part)) continue;
    writer->hashes[part] = XXH3_createState();
    if (writer->hashes[part] == NULL) return error_set(STATUS_MEMORY, "no memory for a hash");
    XXH3_64bits_reset(writer->hashes[part]);
  }
  return STATUS_OK;
}

status_t dataset_writer_open(comm_t *comm, const char *path, dataset_writer_t **out) {
  SCOPED(dataset_write_writer_free_at) dataset_writer_t *writer = NULL;
  *out = NULL;
  TRY(comm_agree(comm, memory_alloc(&writer, ARENA_IO, 1, sizeof *writer)));
  writer->comm = comm;
  TRY(comm_agree(comm, writer_start(writer, path)));
  TRY(h5_create(writer->partial, comm, &dataset_format, &writer->file));
  memory_hand_over(out, &writer);
  return STATUS_OK;
}

void dataset_writer_abandon(dataset_writer_t *writer) {
  if (writer == NULL) return;
  h5_abandon(writer->file);
  if (dataset_write_is_first(writer)) unlink(writer->partial);
  dataset_write_writer_free(writer);
}

/* Rank 0 makes parts FIRST .. LAST, and all find their places. Collective. */
static status_t parts_make(dataset_writer_t *writer, part_t first, part_t last,
                           const dataset_write_extent_t *extent) {
  const char *objects[PART_COUNT];
  status_code_t status = STATUS_OK;
  for (part_t part = first; part <= last; part++) {
    objects[part - first] = part_layout(part)->object;
    if (status == STATUS_OK && dataset_write_is_first(writer)) status = part_create(writer, part, extent);
  }
  TRY(dataset_write_agree(writer, status));
  return h5_spans(writer->file, objects, last - first + 1, writer->spans + first);
}

/* ---- Images ---- */

static status_t offsets_make(dataset_writer_t *writer, const int64_t *sizes, int64_t n) {
  writer->images = n;
  TRY(memory_alloc(&writer->image_offsets, ARENA_IO, (size_t)n + 1, sizeof *writer->image_offsets));
  TRY(memory_alloc(&writer->image_hashes, ARENA_IO, (size_t)n, sizeof *writer->image_hashes));
  TRY(memory_alloc(&writer->image_width, ARENA_IO, (size_t)n, sizeof *writer->image_width));
  TRY(memory_alloc(&writer->image_height, ARENA_IO, (size_t)n, sizeof *writer->image_height));
  for (int64_t i = 0; i < n; i++)
    writer->image_offsets[i + 1] = writer->image_offsets[i] + sizes[i];
  /* Now, so that a rank's memory does not depend on which images it will have. */
  return n == 0 ? STATUS_OK
                : column_prepare(&writer->columns[PART_IMAGE_BYTES], part_layout(PART_IMAGE_BYTES)->type);
}

status_t dataset_writer_images(dataset_writer_t *writer, const int64_t *sizes, int64_t n) {
  TRY(dataset_write_agree(writer, offsets_make(writer, sizes, n)));
  const dataset_write_extent_t extent = {.images = n, .image_bytes = writer->image_offsets[n]};
  TRY(parts_make(writer, PART_IMAGE_BYTES, PART_IMAGE_HASH, &extent));
  status_code_t status = STATUS_OK;
  if (dataset_write_is_first(writer))
    status = column_put(writer, PART_IMAGE_OFFSETS, 0, writer->image_offsets, n + 1);
  return dataset_write_agree(writer, status);
}

status_t dataset_writer_image(dataset_writer_t *writer, int64_t i, const uint8_t *bytes, int32_t width,
                              int32_t height) {
  if (i < 0 || i >= writer->images)
    return error_set(STATUS_INTERNAL, "image %lld of %lld was to be written", (long long)i,
                     (long long)writer->images);
  int64_t begin = writer->image_offsets[i], size = writer->image_offsets[i + 1] - begin;
  writer->image_hashes[i] = XXH3_64bits(bytes, bytes == NULL ? 0 : (size_t)size);
  if (bytes == NULL) return STATUS_OK;
  writer->image_width[i] = width;
  writer->image_height[i] = height;
  return column_put(writer, PART_IMAGE_BYTES, begin, bytes, size);
}

/* What each rank knows of its images goes to rank 0, which writes it. */
static status_t images_end(dataset_writer_t *writer) {
  size_t n = (size_t)writer->images;
  int64_t rows = writer->images;
  TRY(dataset_write_agree(writer, column_flush(writer, PART_IMAGE_BYTES)));
  TRY(comm_allreduce(writer->comm, writer->image_hashes, n, COMM_U64, COMM_SUM));
  TRY(comm_allreduce(writer->comm, writer->image_width, n, COMM_I32, COMM_SUM));
  TRY(comm_allreduce(writer->comm, writer->image_height, n, COMM_I32, COMM_SUM));
  if (!dataset_write_is_first(writer)) return STATUS_OK;
  TRY(column_put(writer, PART_IMAGE_HASH, 0, writer->image_hashes, rows));
  TRY(column_put(writer, PART_IMAGE_WIDTH, 0, writer->image_width, rows));
  return column_put(writer, PART_IMAGE_HEIGHT, 0, writer->image_height, rows);
}

/* ---- Texts ---- */

status_t dataset_writer_texts(dataset_writer_t *writer, const dataset_counts_t *counts, int64_t name_bytes) {
  TRY(dataset_write_agree(writer, images_end(writer)));
  writer->planned = *counts;
  writer->planned.texts += writer->images;
  writer->planned.text_bytes += name_bytes;
  const dataset_write_extent_t extent = {.texts = writer->planned};
  TRY(parts_make(writer, PART_TEXT_BYTES, PART_TEXT_KIND, &extent));
  TRY(parts_make(writer, PART_FACT_BYTES, PART_COUNT - 1, &extent));
  if (!dataset_write_is_first(writer)) return STATUS_OK;
  TRY(dataset_write_put_i64(writer, PART_TEXT_OFFSETS, 0, 0));
  return dataset_write_put_i64(writer, PART_FACT_OFFSETS, 0, 0);
}

static status_t too_much(const char *what, int64_t planned) {
  return error_set(STATUS_INTERNAL, "more than the %lld %s that were announced", (long long)planned, what);
}

static status_t dataset_write_text_put(dataset_writer_t *writer, text_kind_t kind, text_view_t text) {
  dataset_counts_t *done = &writer->done;
  if (done->texts == writer->planned.texts) return too_much("texts", writer->planned.texts);
  if (done->text_bytes + (int64_t)text.n > writer->planned.text_bytes)
    return too_much("bytes of text", writer->planned.text_bytes);
  TRY(column_put(writer, PART_TEXT_BYTES, done->text_bytes, text.bytes, (int64_t)text.n));
  TRY(dataset_write_put_u8(writer, PART_TEXT_KIND, done->texts, (uint8_t)kind));
  done->texts++;
  done->text_bytes += (int64_t)text.n;
  return dataset_write_put_i64(writer, PART_TEXT_OFFSETS, done->texts, done->text_bytes);
}

status_t dataset_writer_name(dataset_writer_t *writer, text_view_t name) {
  if (writer->names == writer->images) return too_much("image names", writer->images);
  TRY(dataset_write_put_i64(writer, PART_IMAGE_NAME, writer->names, writer->done.texts));
  writer->names++;
  return dataset_write_text_put(writer, TEXT_IMAGE_NAME, name);
}

status_t dataset_writer_fact(dataset_writer_t *writer, text_view_t fact) {
  dataset_counts_t *done = &writer->done;
  if (done->facts == writer->planned.facts) return too_much("facts", writer->planned.facts);
  if (done->fact_bytes + (int64_t)fact.n > writer->planned.fact_bytes)
    return too_much("bytes of facts", writer->planned.fact_bytes);
  TRY(column_put(writer, PART_FACT_BYTES, done->fact_bytes, fact.bytes, (int64_t)fact.n));
  done->facts++;
  done->fact_bytes += (int64_t)fact.n;
  return dataset_write_put_i64(writer, PART_FACT_OFFSETS, done->facts, done->fact_bytes);
}

static status_t sample_put_texts(dataset_writer_t *writer, const dataset_sample_t *sample) {
  TRY(dataset_write_text_put(writer, TEXT_ID, sample->id));
  for (int32_t t = 0; t < sample->conversation.count; t++) {
    const turn_t *turn = &sample->conversation.turns[t];
    TRY(dataset_write_text_put(writer, turn->role == TURN_HUMAN ? TEXT_HUMAN : TEXT_GPT, turn->text));
  }
  for (int k = 0; k < 2 && sample->paired; k++)
    TRY(dataset_write_text_put(writer, TEXT_OUTPUT, sample->outputs[k]));
  return STATUS_OK;
}

static status_t sample_put_numbers(dataset_writer_t *writer, const dataset_sample_t *sample) {
  int64_t row = writer->done.samples, text = writer->done.texts;
  int32_t turns = sample->conversation.count;
  TRY(dataset_write_put_i64(writer, PART_ID, row, text));
  TRY(dataset_write_put_i64(writer, PART_FIRST_TURN, row, text + 1));
  TRY(dataset_write_put_i32(writer, PART_TURNS, row, turns));
  TRY(dataset_write_put_i64(writer, PART_OUTPUT, row, sample->paired ? text + 1 + turns : -1));
  TRY(dataset_write_put_i32(writer, PART_PREFERENCE, row, sample->preference));
  TRY(dataset_write_put_i64(writer, PART_IMAGE, row, sample->image));
  TRY(dataset_write_put_i32(writer, PART_CAPTION_TYPE, row, sample->caption_type));
  TRY(column_put(writer, PART_LENGTH_BONUS, row, &sample->length_bonus, 1));
  TRY(dataset_write_put_i64(writer, PART_FACT, row, sample->fact));
  TRY(dataset_write_put_i32(writer, PART_FACTS, row, sample->fact_count));
  return dataset_write_put_u8(writer, PART_HELD_OUT, row, sample->held_out);
}

status_t dataset_writer_sample(dataset_writer_t *writer, const dataset_sample_t *sample) {
  if (writer->done.samples == writer->planned.samples) return too_much("samples", writer->planned.samples);
  TRY(sample_put_numbers(writer, sample));
  TRY(sample_put_texts(writer, sample));
  writer->done.samples++;
  writer->held_out += sample->held_out;
  return STATUS_OK;
}

/* ---- The end ---- */

static status_t counts_check(const dataset_writer_t *writer) {
  const dataset_counts_t *done = &writer->done, *planned = &writer->planned;
  if (done->samples == planned->samples && done->texts == planned->texts &&
      done->text_bytes == planned->text_bytes && done->facts == planned->facts &&
      done->fact_bytes == planned->fact_bytes && writer->names == writer->images)
    return STATUS_OK;
  return error_set(STATUS_INTERNAL,
                   "%s: %lld samples, %lld texts, %lld facts were written; %lld, %lld, %lld were announced",
                   writer->path, (long long)done->samples, (long long)done->texts, (long long)done->facts,
                   (long long)planned->samples, (long long)planned->texts, (long long)planned->facts);
}

/* Attributes of the root, and hashes: those of the parts of which the identity is made. */
static status_t attributes_write(dataset_writer_t *writer, const char *sources, int64_t skipped) {
  uint64_t hashes[PART_COUNT] = {0};
  TRY(h5_attr_write_text(writer->file, "/", "sources", sources));
  TRY(h5_attr_write_i64(writer->file, "/", "samples", &writer->planned.samples, 1));
  TRY(h5_attr_write_i64(writer->file, "/", "images", &writer->images, 1));
  TRY(h5_attr_write_i64(writer->file, "/", "texts", &writer->planned.texts, 1));
  TRY(h5_attr_write_i64(writer->file, "/", "facts", &writer->planned.facts, 1));
  TRY(h5_attr_write_i64(writer->file, "/", "held_out", &writer->held_out, 1));
  TRY(h5_attr_write_i64(writer->file, "/", "skipped", &skipped, 1));
  for (part_t part = 0; part < PART_COUNT; part++) {
    if (!part_is_serial(part)) continue;
    hashes[part] = XXH3_64bits_digest(writer->hashes[part]);
    TRY(h5_attr_write_u64(writer->file, part_layout(part)->object, "xxh3", &hashes[part], 1));
  }
  const uint64_t identity = dataset_identity(hashes);
  return h5_attr_write_u64(writer->file, "/", "identity", &identity, 1);
}

/* Rank 0. */
static status_t contents_end(dataset_writer_t *writer, const char *sources, int64_t skipped) {
  for (part_t part = 0; part < PART_COUNT; part++)
    TRY(column_flush(writer, part));
  TRY(counts_check(writer));
  return attributes_write(writer, sources, skipped);
}

status_t dataset_writer_close(dataset_writer_t *writer, const char *sources, int64_t skipped) {
  status_code_t status = dataset_write_is_first(writer) ? contents_end(writer, sources, skipped) : STATUS_OK;
  status = h5_end(writer->file, dataset_write_agree(writer, status));
  status = file_commit(writer->comm, writer->path, status, false);
  dataset_write_writer_free(writer);
  return status;
}
