#include "io/formats/dataset.h"

#include "base/memory.h"
#include "io/descriptor.h"
#include "io/formats/dataset_layout.h"
#include "io/h5_core.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

enum { BLOCK = 64 << 10 }; /* rows that are checked at a time */

struct dataset {
  char *path;
  int descriptor;
  dataset_info_t info;
  int64_t rows[PART_COUNT];     /* of each part */
  int64_t position[PART_COUNT]; /* byte in the file where each part begins */
  node_memory_t *memory;        /* of the arrays below */
  int64_t *image_offsets;       /* (images + 1) */
  int64_t *images;              /* (samples) */
  uint8_t *held_out;            /* (samples) */
};

/* ---- What rank 0 looks at ---- */

static status_t dataset_mismatch(const dataset_t *dataset, part_t part, int64_t row, const char *problem) {
  return error_set(STATUS_DATA, "%s: %s: row %lld: %s; prepare the dataset again", dataset->path,
                   part_layout(part)->object, (long long)row, problem);
}

/* Where PART lies and how long it is. */
static status_t part_find(dataset_t *dataset, h5_file_t *file, part_t part) {
  const part_layout_t *layout = part_layout(part);
  h5_type_t type;
  h5_span_t span;
  int dims;
  int64_t shape[H5_MAX_DIMS];
  TRY(h5_dataset_info(file, layout->object, &type, &dims, shape));
  if (type != layout->type || dims != 1)
    return error_set(STATUS_DATA, "%s: %s has %d dimensions of %s; one of %s was expected", dataset->path,
                     layout->object, dims, h5_type_name(type), h5_type_name(layout->type));
  TRY(h5_spans(file, &layout->object, 1, &span));
  dataset->rows[part] = shape[0];
  dataset->position[part] = span.begin;
  return STATUS_OK;
}

static status_t rows_expect(const dataset_t *dataset, part_t part, int64_t rows) {
  if (dataset->rows[part] == rows) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: %s has %lld rows, %lld were expected; prepare the dataset again",
                   dataset->path, part_layout(part)->object, (long long)dataset->rows[part], (long long)rows);
}

static status_t shapes_check(const dataset_t *dataset) {
  const dataset_info_t *info = &dataset->info;
  const int64_t limit = INT64_MAX / 2;
  if (info->samples > limit || info->texts > limit || info->images > limit || info->facts > limit)
    return error_set(STATUS_DATA, "%s: impossible counts; prepare the dataset again", dataset->path);
  TRY(rows_expect(dataset, PART_TEXT_OFFSETS, info->texts + 1));
  TRY(rows_expect(dataset, PART_TEXT_KIND, info->texts));
  TRY(rows_expect(dataset, PART_IMAGE_OFFSETS, info->images + 1));
  TRY(rows_expect(dataset, PART_IMAGE_NAME, info->images));
  TRY(rows_expect(dataset, PART_IMAGE_WIDTH, info->images));
  TRY(rows_expect(dataset, PART_IMAGE_HEIGHT, info->images));
  TRY(rows_expect(dataset, PART_IMAGE_HASH, info->images));
  TRY(rows_expect(dataset, PART_FACT_OFFSETS, info->facts + 1));
  for (part_t part = PART_SAMPLE_BEGIN; part < PART_SAMPLE_END; part++)
    TRY(rows_expect(dataset, part, info->samples));
  return STATUS_OK;
}

static status_t dataset_info_read(dataset_t *dataset, h5_file_t *file) {
  dataset_info_t *info = &dataset->info;
  TRY(h5_attr_read_i64(file, "/", "samples", &info->samples, 1));
  TRY(h5_attr_read_i64(file, "/", "images", &info->images, 1));
  TRY(h5_attr_read_i64(file, "/", "texts", &info->texts, 1));
  TRY(h5_attr_read_i64(file, "/", "facts", &info->facts, 1));
  TRY(h5_attr_read_i64(file, "/", "held_out", &info->held_out, 1));
  TRY(h5_attr_read_i64(file, "/", "skipped", &info->skipped, 1));
  return h5_attr_read_u64(file, "/", "identity", &info->identity, 1);
}

/* Offsets must start at 0, never fall, and end at the number of bytes. KEEP (rows) may be NULL. */
static status_t offsets_check(const dataset_t *dataset, h5_file_t *file, part_t part, part_t bytes,
                              int64_t *block, int64_t *keep) {
  int64_t last = 0, rows = dataset->rows[part];
  for (int64_t row = 0; row < rows; row += BLOCK) {
    int64_t n = rows - row < BLOCK ? rows - row : BLOCK;
    TRY(h5_read_range(file, part_layout(part)->object, H5TYPE_I64, row, n, block));
    if (row == 0 && block[0] != 0) return dataset_mismatch(dataset, part, 0, "the first offset is not 0");
    for (int64_t i = 0; i < n; i++) {
      if (block[i] < last)
        return dataset_mismatch(dataset, part, row + i, "an offset is smaller than the one before");
      last = block[i];
    }
    if (keep != NULL) memcpy(keep + row, block, (size_t)n * sizeof *block);
  }
  if (last == dataset->rows[bytes]) return STATUS_OK;
  return dataset_mismatch(dataset, part, rows - 1, "the last offset is not the number of bytes");
}

/* Samples refer to images, and images to names, that are there. */
static status_t dataset_images_check(const dataset_t *dataset, h5_file_t *file, int64_t *block) {
  for (int64_t i = 0; i < dataset->info.samples; i++)
    if (dataset->images[i] < -1 || dataset->images[i] >= dataset->info.images)
      return dataset_mismatch(dataset, PART_IMAGE, i, "there is no such image");
  for (int64_t row = 0; row < dataset->info.images; row += BLOCK) {
    int64_t n = dataset->info.images - row < BLOCK ? dataset->info.images - row : BLOCK;
    TRY(h5_read_range(file, part_layout(PART_IMAGE_NAME)->object, H5TYPE_I64, row, n, block));
    for (int64_t i = 0; i < n; i++)
      if (block[i] < 0 || block[i] >= dataset->info.texts)
        return dataset_mismatch(dataset, PART_IMAGE_NAME, row + i, "there is no such text");
  }
  return STATUS_OK;
}

/* Collective on COMM, which may be NULL. */
static status_t dataset_arrays_alloc(comm_t *comm, dataset_t *dataset) {
  size_t samples = (size_t)dataset->info.samples, offsets = (size_t)dataset->info.images + 1;
  size_t flags = (samples + sizeof(int64_t) - 1) / sizeof(int64_t);
  TRY(node_memory_create(comm, ARENA_DATA, offsets + samples + flags, sizeof(int64_t), &dataset->memory));
  dataset->image_offsets = node_memory_data(dataset->memory);
  dataset->images = dataset->image_offsets + offsets;
  dataset->held_out = (uint8_t *)(dataset->images + samples);
  return STATUS_OK;
}

static status_t dataset_column_read(const dataset_t *dataset, h5_file_t *file, part_t part, void *rows) {
  const part_layout_t *layout = part_layout(part);
  if (dataset->rows[part] == 0) return STATUS_OK;
  return h5_read_range(file, layout->object, layout->type, 0, dataset->rows[part], rows);
}

/* The bytes of PART must be those that were written; BLOCK has room for BLOCK rows of any type. */
static status_t part_verify(const dataset_t *dataset, h5_file_t *file, part_t part, int64_t *block,
                            XXH3_state_t *state, uint64_t *hash) {
  const part_layout_t *layout = part_layout(part);
  size_t size = h5_type_size(layout->type);
  int64_t rows = dataset->rows[part], most = (int64_t)(BLOCK * sizeof *block / size);
  uint64_t written;
  XXH3_64bits_reset(state);
  for (int64_t row = 0; row < rows; row += most) {
    int64_t n = rows - row < most ? rows - row : most;
    TRY(h5_read_range(file, layout->object, layout->type, row, n, block));
    XXH3_64bits_update(state, block, (size_t)n * size);
  }
  TRY(h5_attr_read_u64(file, layout->object, "xxh3", &written, 1));
  *hash = XXH3_64bits_digest(state);
  if (*hash == written) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: %s does not have the hash it was written with: the file is damaged; take another copy "
      "or prepare the dataset again",
      dataset->path, layout->object);
}

static status_t parts_verify(const dataset_t *dataset, h5_file_t *file, int64_t *block) {
  uint64_t hashes[PART_COUNT] = {0};
  XXH3_state_t *state = XXH3_createState();
  status_code_t status = state ? STATUS_OK : error_set(STATUS_MEMORY, "no memory for a hash");
  for (part_t part = 0; part < PART_COUNT && status == STATUS_OK; part++)
    if (part_is_serial(part)) status = part_verify(dataset, file, part, block, state, &hashes[part]);
  XXH3_freeState(state);
  TRY(status);
  if (dataset->info.identity == dataset_identity(hashes)) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: its identity is not that of its contents: the file is damaged; prepare the "
                   "dataset again",
                   dataset->path);
}

/* Where everything is, and how long. */
static status_t metadata_find(dataset_t *dataset, h5_file_t **file) {
  TRY(h5_open(dataset->path, H5_READ, &dataset_format, file));
  TRY(dataset_info_read(dataset, *file));
  for (part_t part = 0; part < PART_COUNT; part++)
    TRY(part_find(dataset, *file, part));
  return shapes_check(dataset);
}

static status_t metadata_read(dataset_t *dataset, h5_file_t *file) {
  SCOPED_MEMORY int64_t *block = NULL;
  TRY(memory_alloc(&block, ARENA_IO, BLOCK, sizeof *block));
  TRY(parts_verify(dataset, file, block));
  TRY(offsets_check(dataset, file, PART_TEXT_OFFSETS, PART_TEXT_BYTES, block, NULL));
  TRY(offsets_check(dataset, file, PART_FACT_OFFSETS, PART_FACT_BYTES, block, NULL));
  TRY(offsets_check(dataset, file, PART_IMAGE_OFFSETS, PART_IMAGE_BYTES, block, dataset->image_offsets));
  TRY(dataset_column_read(dataset, file, PART_IMAGE, dataset->images));
  TRY(dataset_column_read(dataset, file, PART_HELD_OUT, dataset->held_out));
  return dataset_images_check(dataset, file, block);
}

/* ---- Opening ---- */

static status_t agree(comm_t *comm, status_code_t status) {
  return comm ? comm_agree(comm, status) : status;
}

/* Rank 0 reads, and all get it; COMM may be NULL. */
static status_t metadata_get(comm_t *comm, dataset_t *dataset) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  bool reads = comm == NULL || comm_rank(comm) == 0;
  TRY(agree(comm, reads ? metadata_find(dataset, &file) : STATUS_OK));
  if (comm) {
    TRY(comm_broadcast(comm, &dataset->info, sizeof dataset->info, COMM_BYTE, 0));
    TRY(comm_broadcast(comm, dataset->rows, PART_COUNT, COMM_I64, 0));
    TRY(comm_broadcast(comm, dataset->position, PART_COUNT, COMM_I64, 0));
  }
  TRY(dataset_arrays_alloc(comm, dataset));
  TRY(agree(comm, reads ? metadata_read(dataset, file) : STATUS_OK));
  return node_memory_settle(dataset->memory);
}

static status_t dataset_create(const char *path, dataset_t **out) {
  TRY(memory_alloc(out, ARENA_DATA, 1, sizeof **out));
  (*out)->descriptor = -1;
  return memory_copy_text(&(*out)->path, ARENA_DATA, path, strlen(path));
}

status_t dataset_open(comm_t *comm, const char *path, dataset_t **out) {
  SCOPED(dataset_close_at) dataset_t *dataset = NULL;
  *out = NULL;
  TRY(agree(comm, dataset_create(path, &dataset)));
  TRY(metadata_get(comm, dataset));
  status_code_t status = STATUS_OK;
  int problem = descriptor_open(path, O_RDONLY, &dataset->descriptor);
  if (problem != 0) status = error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(problem));
  TRY(agree(comm, status));
  memory_hand_over(out, &dataset);
  return STATUS_OK;
}

void dataset_close(dataset_t *dataset) {
  if (dataset == NULL) return;
  if (dataset->descriptor >= 0) descriptor_close(dataset->descriptor);
  node_memory_free(dataset->memory);
  memory_free(dataset->path);
  memory_free(dataset);
}

/* ---- From memory ---- */

const char *dataset_path(const dataset_t *dataset) {
  return dataset->path;
}

dataset_info_t dataset_info(const dataset_t *dataset) {
  return dataset->info;
}

int64_t dataset_sample_image(const dataset_t *dataset, int64_t i) {
  return dataset->images[i];
}

int64_t dataset_image_size(const dataset_t *dataset, int64_t i) {
  return dataset->image_offsets[i + 1] - dataset->image_offsets[i];
}

static bool row_is_of(const dataset_t *dataset, int64_t i, dataset_part_t part) {
  return part == DATASET_ALL || (dataset->held_out[i] != 0) == (part == DATASET_HELD_OUT);
}

status_t dataset_rows(comm_t *comm, const dataset_t *dataset, dataset_part_t part, dataset_rows_t *out) {
  SCOPED(node_memory_free_at) node_memory_t *memory = NULL;
  int64_t count = 0, n = 0;
  *out = (dataset_rows_t){0};
  for (int64_t i = 0; i < dataset->info.samples; i++)
    count += row_is_of(dataset, i, part);
  TRY(node_memory_create(comm, ARENA_DATA, (size_t)count, sizeof *out->rows, &memory));
  int64_t *rows = node_memory_data(memory);
  for (int64_t i = 0; i < dataset->info.samples && node_memory_writes(memory); i++)
    if (row_is_of(dataset, i, part)) rows[n++] = i;
  TRY(node_memory_meet(memory));
  *out = (dataset_rows_t){.rows = rows, .count = count};
  memory_hand_over(&out->memory, &memory);
  return STATUS_OK;
}

void dataset_rows_free(dataset_rows_t *rows) {
  node_memory_free(rows->memory);
  *rows = (dataset_rows_t){0};
}

/* ---- From the file, by any thread ---- */

static status_t dataset_read_rows(const dataset_t *dataset, part_t part, int64_t begin, int64_t count,
                                  void *rows) {
  size_t size = h5_type_size(part_layout(part)->type);
  if (begin < 0 || count < 0 || begin > dataset->rows[part] - count)
    return dataset_mismatch(dataset, part, begin, "there is no such row, but another part refers to it");
  int64_t position = dataset->position[part] + begin * (int64_t)size;
  size_t found;
  int problem = descriptor_read_at(dataset->descriptor, rows, (size_t)count * size, position, &found);
  if (problem == 0 && found == (size_t)count * size) return STATUS_OK;
  return dataset_mismatch(dataset, part, begin, problem ? strerror(problem) : "the file has become shorter");
}

/* Reads COUNT + 1 offsets, which must grow. */
static status_t dataset_read_offsets(const dataset_t *dataset, part_t part, int64_t begin, int64_t count,
                                     int64_t *offsets) {
  TRY(dataset_read_rows(dataset, part, begin, count + 1, offsets));
  for (int64_t i = 0; i < count; i++)
    if (offsets[i] < 0 || offsets[i + 1] < offsets[i])
      return dataset_mismatch(dataset, part, begin + i, "offsets do not grow");
  return STATUS_OK;
}

status_t dataset_image_name(const dataset_t *dataset, int64_t i, char **out) {
  SCOPED_MEMORY char *name = NULL;
  int64_t row = 0, offsets[2] = {0};
  *out = NULL;
  TRY(dataset_read_rows(dataset, PART_IMAGE_NAME, i, 1, &row));
  TRY(dataset_read_offsets(dataset, PART_TEXT_OFFSETS, row, 1, offsets));
  int64_t n = offsets[1] - offsets[0];
  TRY(memory_alloc(&name, ARENA_DATA, (size_t)n + 1, 1));
  TRY(dataset_read_rows(dataset, PART_TEXT_BYTES, offsets[0], n, name));
  memory_hand_over(out, &name);
  return STATUS_OK;
}

status_t dataset_image_read(const dataset_t *dataset, int64_t i, uint8_t *bytes) {
  SCOPED_MEMORY char *name = NULL;
  int64_t size = dataset_image_size(dataset, i);
  uint64_t written = 0;
  TRY(dataset_read_rows(dataset, PART_IMAGE_BYTES, dataset->image_offsets[i], size, bytes));
  TRY(dataset_read_rows(dataset, PART_IMAGE_HASH, i, 1, &written));
  if (XXH3_64bits(bytes, (size_t)size) == written) return STATUS_OK;
  TRY(dataset_image_name(dataset, i, &name));
  return error_set(
      STATUS_DATA,
      "%s: image %s does not have the hash it was written with: the file is damaged; take another "
      "copy or prepare the dataset again",
      dataset->path, name);
}

/* Where a sample's texts and facts lie. */
typedef struct {
  int64_t id, first_turn, output, fact;
  int32_t turns, facts, texts;
} dataset_place_t;

static status_t dataset_place_read(const dataset_t *dataset, int64_t i, dataset_place_t *place) {
  TRY(dataset_read_rows(dataset, PART_ID, i, 1, &place->id));
  TRY(dataset_read_rows(dataset, PART_FIRST_TURN, i, 1, &place->first_turn));
  TRY(dataset_read_rows(dataset, PART_TURNS, i, 1, &place->turns));
  TRY(dataset_read_rows(dataset, PART_OUTPUT, i, 1, &place->output));
  TRY(dataset_read_rows(dataset, PART_FACT, i, 1, &place->fact));
  TRY(dataset_read_rows(dataset, PART_FACTS, i, 1, &place->facts));
  if (place->id < 0 || place->id >= dataset->info.texts || place->first_turn != place->id + 1)
    return dataset_mismatch(dataset, PART_FIRST_TURN, i, "not the text after the id");
  if (place->turns < 0 || place->turns > dataset->info.texts)
    return dataset_mismatch(dataset, PART_TURNS, i, "impossible number");
  if (place->output != -1 && place->output != place->first_turn + place->turns)
    return dataset_mismatch(dataset, PART_OUTPUT, i, "not the text after the turns");
  if (place->facts < 0 || place->facts > dataset->info.facts)
    return dataset_mismatch(dataset, PART_FACTS, i, "impossible number");
  place->texts = 1 + place->turns + (place->output == -1 ? 0 : 2);
  return STATUS_OK;
}

/* Reads TEXTS texts (offsets of them known) behind each other with a '\0' after each to AT, and their views.
 */
static status_t texts_read(const dataset_t *dataset, part_t part, const int64_t *offsets, int64_t count,
                           char *at, text_view_t *views) {
  int64_t bytes = offsets[count] - offsets[0];
  char *from = at + count; /* read to the end of the room, then moved apart from the front */
  TRY(dataset_read_rows(dataset, part, offsets[0], bytes, from));
  for (int64_t i = 0; i < count; i++) {
    size_t n = (size_t)(offsets[i + 1] - offsets[i]);
    memmove(at, from, n);
    at[n] = '\0';
    views[i] = (text_view_t){at, n};
    at += n + 1;
    from += n;
  }
  return STATUS_OK;
}

static status_t turns_make(const dataset_t *dataset, const dataset_place_t *place, const text_view_t *views,
                           turn_t *turns, uint8_t *kinds) {
  TRY(dataset_read_rows(dataset, PART_TEXT_KIND, place->first_turn, place->turns, kinds));
  for (int32_t t = 0; t < place->turns; t++) {
    if (kinds[t] != TEXT_HUMAN && kinds[t] != TEXT_GPT)
      return dataset_mismatch(dataset, PART_TEXT_KIND, place->first_turn + t, "a turn was expected");
    turns[t] = (turn_t){kinds[t] == TEXT_HUMAN ? TURN_HUMAN : TURN_GPT, views[1 + t]};
  }
  return STATUS_OK;
}

/* The one block behind a sample: turns, views of texts and facts, kinds, then the bytes. */
static status_t sample_fill(const dataset_t *dataset, const dataset_place_t *place,
                            const int64_t *text_offsets, const int64_t *fact_offsets, dataset_sample_t *out) {
  size_t turns = (size_t)place->turns, texts = (size_t)place->texts, facts = (size_t)place->facts;
  size_t text_bytes = (size_t)(text_offsets[texts] - text_offsets[0]) + texts;
  size_t fact_bytes = (size_t)(fact_offsets[facts] - fact_offsets[0]) + facts;
  size_t views_bytes = turns * sizeof(turn_t) + (texts + facts) * sizeof(text_view_t);
  TRY(memory_alloc(&out->storage, ARENA_DATA, views_bytes + turns + text_bytes + fact_bytes, 1));
  turn_t *turn = out->storage;
  text_view_t *views = (text_view_t *)(turn + turns);
  uint8_t *kinds = (uint8_t *)(views + texts + facts);
  char *bytes = (char *)(kinds + turns);
  TRY(texts_read(dataset, PART_TEXT_BYTES, text_offsets, place->texts, bytes, views));
  TRY(texts_read(dataset, PART_FACT_BYTES, fact_offsets, place->facts, bytes + text_bytes, views + texts));
  TRY(turns_make(dataset, place, views, turn, kinds));
  out->id = views[0];
  out->conversation = (conversation_t){.turns = turn, .count = place->turns, .imageless = out->image < 0};
  out->paired = place->output != -1;
  for (int k = 0; k < 2 && out->paired; k++)
    out->outputs[k] = views[1 + turns + (size_t)k];
  out->fact = place->fact;
  out->fact_count = place->facts;
  out->facts = views + texts;
  return STATUS_OK;
}

static status_t sample_read_texts(const dataset_t *dataset, const dataset_place_t *place,
                                  dataset_sample_t *out) {
  SCOPED_MEMORY int64_t *offsets = NULL;
  size_t texts = (size_t)place->texts + 1;
  TRY(memory_alloc(&offsets, ARENA_DATA, texts + (size_t)place->facts + 1, sizeof *offsets));
  TRY(dataset_read_offsets(dataset, PART_TEXT_OFFSETS, place->id, place->texts, offsets));
  TRY(dataset_read_offsets(dataset, PART_FACT_OFFSETS, place->fact, place->facts, offsets + texts));
  return sample_fill(dataset, place, offsets, offsets + texts, out);
}

status_t dataset_sample_read(const dataset_t *dataset, int64_t i, dataset_sample_t *out) {
  dataset_place_t place = {0};
  *out = (dataset_sample_t){.image = -1};
  if (i < 0 || i >= dataset->info.samples)
    return error_set(STATUS_INTERNAL, "%s: sample %lld of %lld was asked for", dataset->path, (long long)i,
                     (long long)dataset->info.samples);
  out->image = dataset->images[i];
  out->held_out = dataset->held_out[i] != 0;
  TRY(dataset_read_rows(dataset, PART_PREFERENCE, i, 1, &out->preference));
  TRY(dataset_read_rows(dataset, PART_CAPTION_TYPE, i, 1, &out->caption_type));
  TRY(dataset_read_rows(dataset, PART_LENGTH_BONUS, i, 1, &out->length_bonus));
  if (out->preference < 0 || out->preference > 2)
    return dataset_mismatch(dataset, PART_PREFERENCE, i, "neither 0 nor 1 nor 2");
  if (out->caption_type < 1 || out->caption_type > 7)
    return dataset_mismatch(dataset, PART_CAPTION_TYPE, i, "not a number from 1 to 7");
  if (!isfinite(out->length_bonus))
    return dataset_mismatch(dataset, PART_LENGTH_BONUS, i, "not a finite number");
  TRY(dataset_place_read(dataset, i, &place));
  status_code_t status = sample_read_texts(dataset, &place, out);
  if (status != STATUS_OK) dataset_sample_free(out);
  return status;
}

void dataset_sample_free(dataset_sample_t *sample) {
  memory_free(sample->storage);
  *sample = (dataset_sample_t){.image = -1};
}
