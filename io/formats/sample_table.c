#include "io/formats/sample_table.h"

#include "base/memory.h"
#include "parallel/exchange.h"

#include <string.h>
#include <xxhash.h>

#define HASH_PATH "/sample/xxh3"

void sample_table_add(table_t *table, const char *path, const char *meaning, h5_type_t type, int ragged,
                      void *data_at) {
  table->columns[table->column_count++] = (table_column_t){
      .path = path, .meaning = meaning, .type = type, .ragged = ragged, .width = 1, .data_at = data_at};
}

/* ---- elements ---- */

static void *pointer_load(const void *at) {
  void *pointer;
  memcpy(&pointer, at, sizeof pointer);
  return pointer;
}

/* Elements of COLUMN that sample I has. */
static int64_t column_length(const table_t *table, const table_column_t *column, int64_t i) {
  if (column->ragged < 0) return column->width;
  const int64_t *offsets = *table->ragged[column->ragged].offsets;
  return offsets[i + 1] - offsets[i];
}

static const char *column_bytes(const table_t *table, const table_column_t *column, int64_t i) {
  int64_t first = column->ragged < 0 ? i * column->width : (*table->ragged[column->ragged].offsets)[i];
  return (const char *)pointer_load(column->data_at) + first * (int64_t)h5_type_size(column->type);
}

/* ---- moving samples ---- */

/* A sample as it travels: its lengths (ragged_count int64), then its elements column by column, then the hash
 * of these bytes, which the file keeps as a column behind the others. */
typedef uint64_t record_hash_t;

/* Without the hash. */
static size_t record_bytes(const table_t *table, int64_t i) {
  size_t bytes = (size_t)table->ragged_count * sizeof(int64_t);
  for (int c = 0; c < table->column_count; ++c)
    bytes += (size_t)column_length(table, &table->columns[c], i) * h5_type_size(table->columns[c].type);
  return bytes;
}

static record_hash_t record_pack(const table_t *table, int64_t i, char *to) {
  const char *begin = to;
  for (int r = 0; r < table->ragged_count; ++r) {
    const int64_t *offsets = *table->ragged[r].offsets;
    int64_t length = offsets[i + 1] - offsets[i];
    memcpy(to, &length, sizeof length);
    to += sizeof length;
  }
  for (int c = 0; c < table->column_count; ++c) {
    const table_column_t *column = &table->columns[c];
    size_t bytes = (size_t)column_length(table, column, i) * h5_type_size(column->type);
    if (bytes > 0) memcpy(to, column_bytes(table, column, i), bytes);
    to += bytes;
  }
  return XXH3_64bits(begin, (size_t)(to - begin));
}

typedef struct {
  h5_file_t *file;
  comm_t *comm;
  const table_t *table;
  const table_end_t *end; /* of what is in the file already; NULL: datasets are made */
  int64_t total;          /* samples of all ranks */
  int64_t begin, count;   /* this rank's run of them in the file */
  int64_t widths[TABLE_MAX_COLUMNS];
  exchange_item_t *items; /* (table->samples) */
  char *packed;
  exchange_t received;
  size_t *cursor;                    /* (count): how far each received record has been read */
  int64_t places[TABLE_MAX_RAGGED];  /* elements before this rank's, per ragged group */
  int64_t lengths[TABLE_MAX_RAGGED]; /* this rank's elements */
  int64_t totals[TABLE_MAX_RAGGED];  /* of all ranks */
  int64_t *everyone;                 /* (comm size, ragged_count): scratch */
  char *column;                      /* one column of this rank's run */
} mover_t;

static void mover_free(mover_t *mover) {
  memory_free(mover->items);
  memory_free(mover->packed);
  exchange_free(&mover->received);
  memory_free(mover->cursor);
  memory_free(mover->everyone);
  memory_free(mover->column);
}

static status_t items_make(mover_t *mover) {
  const table_t *table = mover->table;
  size_t bytes = 0;
  for (int64_t i = 0; i < table->samples; ++i) {
    if (table->index[i] < 0 || table->index[i] >= mover->total)
      return error_set(STATUS_INTERNAL, "a sample has index %lld, expected 0 to %lld",
                       (long long)table->index[i], (long long)mover->total - 1);
    bytes += record_bytes(table, i) + sizeof(record_hash_t);
  }
  TRY(memory_alloc(&mover->items, ARENA_ROLLOUT, (size_t)table->samples, sizeof *mover->items));
  TRY(memory_alloc(&mover->packed, ARENA_ROLLOUT, bytes, 1));
  char *to = mover->packed;
  for (int64_t i = 0; i < table->samples; ++i) {
    size_t size = record_bytes(table, i) + sizeof(record_hash_t);
    int owner = (int)(((table->index[i] + 1) * comm_size(mover->comm) - 1) / mover->total);
    mover->items[i] =
        (exchange_item_t){.id = table->index[i], .destination = owner, .bytes = to, .size = size};
    record_hash_t hash = record_pack(table, i, to);
    to += size;
    memcpy(to - sizeof hash, &hash, sizeof hash);
  }
  return STATUS_OK;
}

/* Widths may be unknown to a rank without samples: the widest counts, and whoever has samples must have that
 * one. */
static status_t widths_agree(mover_t *mover) {
  const table_t *table = mover->table;
  for (int c = 0; c < table->column_count; ++c)
    mover->widths[c] = table->samples > 0 ? table->columns[c].width : 0;
  TRY(comm_allreduce(mover->comm, mover->widths, (size_t)table->column_count, COMM_I64, COMM_MAX));
  status_code_t status = STATUS_OK;
  for (int c = 0; c < table->column_count; ++c) {
    if (table->samples > 0 && table->columns[c].ragged < 0 && table->columns[c].width != mover->widths[c])
      status =
          error_set(STATUS_INTERNAL, "%s has %lld elements per sample here and %lld elsewhere",
                    table->columns[c].path, (long long)table->columns[c].width, (long long)mover->widths[c]);
  }
  return comm_agree(mover->comm, status);
}

static status_t received_check(mover_t *mover) {
  const exchange_t *received = &mover->received;
  bool good = received->count == mover->count;
  for (int64_t k = 0; good && k < received->count; ++k)
    good = received->items[k].id == mover->begin + k;
  if (!good)
    return error_set(STATUS_INTERNAL,
                     "the samples' indices are not 0 to %lld each once (%lld came for %lld from %lld on)",
                     (long long)mover->total - 1, (long long)received->count, (long long)mover->count,
                     (long long)mover->begin);
  return memory_alloc(&mover->cursor, ARENA_ROLLOUT, (size_t)mover->count, sizeof *mover->cursor);
}

static int64_t record_length(const mover_t *mover, int64_t k, int ragged) {
  int64_t length;
  const char *bytes = mover->received.items[k].bytes;
  memcpy(&length, bytes + (size_t)ragged * sizeof length, sizeof length);
  return length;
}

/* Where this rank's elements of each ragged group begin in the file. */
static status_t places_find(mover_t *mover) {
  int groups = mover->table->ragged_count, size = comm_size(mover->comm), rank = comm_rank(mover->comm);
  status_code_t status =
      memory_alloc(&mover->everyone, ARENA_ROLLOUT, (size_t)size * (size_t)groups, sizeof(int64_t));
  TRY(comm_agree(mover->comm, status));
  for (int r = 0; r < groups; ++r)
    for (int64_t k = 0; k < mover->count; ++k)
      mover->lengths[r] += record_length(mover, k, r);
  TRY(comm_allgather(mover->comm, mover->lengths, mover->everyone, (size_t)groups, COMM_I64));
  for (int other = 0; other < size; ++other) {
    for (int r = 0; r < groups; ++r) {
      int64_t length = mover->everyone[other * groups + r];
      if (other < rank) mover->places[r] += length;
      mover->totals[r] += length;
    }
  }
  for (int64_t k = 0; k < mover->count; ++k)
    mover->cursor[k] = (size_t)groups * sizeof(int64_t);
  return STATUS_OK;
}

static status_t samples_move(mover_t *mover) {
  int size = comm_size(mover->comm), rank = comm_rank(mover->comm);
  mover->total = mover->table->samples;
  TRY(comm_allreduce(mover->comm, &mover->total, 1, COMM_I64, COMM_SUM));
  mover->begin = mover->total * rank / size;
  mover->count = mover->total * (rank + 1) / size - mover->begin;
  TRY(widths_agree(mover));
  TRY(comm_agree(mover->comm, items_make(mover)));
  status_code_t status = exchange_items(mover->comm, mover->items, mover->table->samples, &mover->received);
  if (status == STATUS_OK) status = received_check(mover);
  TRY(comm_agree(mover->comm, status));
  return places_find(mover);
}

/* ---- writing ---- */

/* One dataset of the table as this rank writes it. */
typedef struct {
  const char *path, *meaning;
  h5_type_t type;
  int ndim;
  int64_t shape[2];    /* with what the file has already */
  int64_t begin, rows; /* this rank's */
} sample_table_piece_t;

enum { TABLE_MAX_PIECES = TABLE_MAX_RAGGED + TABLE_MAX_COLUMNS + 1 };

static int piece_count(const table_t *table) {
  return table->ragged_count + table->column_count + 1;
}

/* Column C of the file, whose last one is the hashes. */
static table_column_t column_at(const table_t *table, int c) {
  const table_column_t hashes = {.path = HASH_PATH,
                                 .meaning =
                                     "XXH3 hash of the sample's lengths and elements, column by column",
                                 .type = H5TYPE_U64,
                                 .ragged = -1,
                                 .width = 1};
  return c < table->column_count ? table->columns[c] : hashes;
}

/* Offsets: the last rank adds the end, which the next round writes again as its first sample's begin. */
static sample_table_piece_t offsets_piece(const mover_t *mover, int ragged) {
  int64_t before = mover->end ? mover->end->samples : 0;
  bool last = comm_rank(mover->comm) == comm_size(mover->comm) - 1;
  return (sample_table_piece_t){.path = mover->table->ragged[ragged].path,
                                .meaning = "sample i has the elements offsets[i] .. offsets[i + 1] - 1",
                                .type = H5TYPE_I64,
                                .ndim = 1,
                                .shape = {before + mover->total + 1, 1},
                                .begin = before + mover->begin,
                                .rows = mover->count + last};
}

static sample_table_piece_t column_piece(const mover_t *mover, int c) {
  const table_column_t own = column_at(mover->table, c), *column = &own;
  int ragged = column->ragged;
  int64_t before = !mover->end ? 0 : ragged < 0 ? mover->end->samples : mover->end->elements[ragged];
  return (sample_table_piece_t){.path = column->path,
                                .meaning = column->meaning,
                                .type = column->type,
                                .ndim = column->matrix ? 2 : 1,
                                .shape = {before + (ragged < 0 ? mover->total : mover->totals[ragged]),
                                          column->matrix ? mover->widths[c] : 1},
                                .begin = before + (ragged < 0 ? mover->begin : mover->places[ragged]),
                                .rows = ragged < 0 ? mover->count : mover->lengths[ragged]};
}

/* The offsets come first, then the columns, then the hashes. */
static sample_table_piece_t piece_at(const mover_t *mover, int i) {
  int ragged = mover->table->ragged_count;
  return i < ragged ? offsets_piece(mover, i) : column_piece(mover, i - ragged);
}

static void offsets_fill(const mover_t *mover, int ragged, int64_t rows) {
  int64_t place = mover->places[ragged] + (mover->end ? mover->end->elements[ragged] : 0);
  int64_t *to = (int64_t *)(void *)mover->column;
  for (int64_t k = 0; k < rows; ++k) {
    to[k] = place;
    if (k < mover->count) place += record_length(mover, k, ragged);
  }
}

/* Takes the next column out of the records. */
static void column_fill(const mover_t *mover, int c) {
  const table_column_t own = column_at(mover->table, c), *column = &own;
  char *to = mover->column;
  for (int64_t k = 0; k < mover->count; ++k) {
    int64_t length = column->ragged < 0 ? (column->matrix ? mover->widths[c] : 1)
                                        : record_length(mover, k, column->ragged);
    size_t bytes = (size_t)length * h5_type_size(column->type);
    if (bytes > 0) memcpy(to, (const char *)mover->received.items[k].bytes + mover->cursor[k], bytes);
    mover->cursor[k] += bytes;
    to += bytes;
  }
}

/* Puts this rank's rows of piece I, the one after the last that was asked for, into mover->column. */
static status_t piece_gather(mover_t *mover, int i, const sample_table_piece_t *piece) {
  memory_free(mover->column);
  mover->column = NULL;
  TRY(memory_alloc(&mover->column, ARENA_ROLLOUT, (size_t)(piece->rows * piece->shape[1]),
                   h5_type_size(piece->type)));
  if (i < mover->table->ragged_count)
    offsets_fill(mover, i, piece->rows);
  else
    column_fill(mover, i - mover->table->ragged_count);
  return STATUS_OK;
}

/* Rank 0. GROWING: without rows yet. */
static status_t pieces_make(const mover_t *mover, bool growing) {
  for (int i = 0; i < piece_count(mover->table); ++i) {
    sample_table_piece_t piece = piece_at(mover, i);
    if (growing && piece.ndim > 1)
      return error_set(STATUS_INTERNAL, "%s is a matrix, which is not written in rounds", piece.path);
    TRY(growing ? h5_create_growing(mover->file, piece.path, piece.type)
                : h5_create_dataset(mover->file, piece.path, piece.type, piece.ndim, piece.shape));
    if (piece.meaning) TRY(h5_attr_write_text(mover->file, piece.path, "meaning", piece.meaning));
  }
  return STATUS_OK;
}

static status_t pieces_write(mover_t *mover, const h5_span_t *spans) {
  for (int i = 0; i < piece_count(mover->table); ++i) {
    sample_table_piece_t piece = piece_at(mover, i);
    int64_t row_bytes = piece.shape[1] * (int64_t)h5_type_size(piece.type);
    TRY(piece_gather(mover, i, &piece));
    TRY(h5_write_span(mover->file, spans[i], piece.begin * row_bytes, mover->column, piece.rows * row_bytes));
  }
  return STATUS_OK;
}

status_t sample_table_write(h5_file_t *file, comm_t *comm, const table_t *table) {
  SCOPED(mover_free) mover_t mover = {.file = file, .comm = comm, .table = table};
  const char *paths[TABLE_MAX_PIECES];
  h5_span_t spans[TABLE_MAX_PIECES];
  TRY(samples_move(&mover));
  TRY(comm_agree(comm, comm_rank(comm) == 0 ? pieces_make(&mover, false) : STATUS_OK));
  for (int i = 0; i < piece_count(table); ++i)
    paths[i] = piece_at(&mover, i).path;
  TRY(h5_spans(file, paths, piece_count(table), spans));
  return comm_agree(comm, pieces_write(&mover, spans));
}

/* ---- in rounds ---- */

status_t sample_table_begin(h5_file_t *file, comm_t *comm, const table_t *table) {
  const table_end_t end = {0};
  const mover_t mover = {.file = file, .comm = comm, .table = table, .end = &end};
  const int64_t nothing = 0;
  TRY(comm_agree(comm, comm_rank(comm) == 0 ? pieces_make(&mover, true) : STATUS_OK));
  for (int r = 0; r < table->ragged_count; ++r) { /* the end of no samples */
    TRY(comm_agree(comm, h5_grow(file, table->ragged[r].path, 1)));
    TRY(h5_write_rows(file, table->ragged[r].path, H5TYPE_I64, 0, comm_rank(comm) == 0, &nothing));
  }
  return STATUS_OK;
}

status_t sample_table_append(h5_file_t *file, comm_t *comm, const table_t *table, table_end_t *end) {
  SCOPED(mover_free) mover_t mover = {.file = file, .comm = comm, .table = table, .end = end};
  TRY(samples_move(&mover));
  for (int i = 0; i < piece_count(table); ++i) {
    sample_table_piece_t piece = piece_at(&mover, i);
    status_code_t status = piece_gather(&mover, i, &piece);
    if (status == STATUS_OK) status = h5_grow(file, piece.path, piece.shape[0]);
    TRY(comm_agree(comm, status));
    TRY(h5_write_rows(file, piece.path, piece.type, piece.begin, piece.rows, mover.column));
  }
  end->samples += mover.total;
  for (int r = 0; r < table->ragged_count; ++r)
    end->elements[r] += mover.totals[r];
  return STATUS_OK;
}

/* ---- reading ---- */

static status_t sample_table_dimension(h5_file_t *file, const char *path, int ndim, int64_t *rows,
                                       int64_t *width) {
  h5_type_t type;
  int found;
  int64_t shape[H5_MAX_DIMS];
  TRY(h5_dataset_info(file, path, &type, &found, shape));
  if (found != ndim)
    return error_set(STATUS_DATA, "%s: %s has %d dimensions, expected %d", h5_path(file), path, found, ndim);
  *rows = shape[0];
  *width = shape[1];
  return STATUS_OK;
}

/* The number of samples in the file, from the first column that has one row for each. */
static status_t samples_count(h5_file_t *file, const table_t *table, int64_t *total) {
  int64_t width;
  for (int c = 0; c < table->column_count; ++c) {
    if (table->columns[c].ragged < 0)
      return sample_table_dimension(file, table->columns[c].path, table->columns[c].matrix ? 2 : 1, total,
                                    &width);
  }
  return error_set(STATUS_INTERNAL, "a table without a column of one row per sample");
}

/* Reads the offsets of a group; *FIRST is what they began with in the file. */
static status_t offsets_read(h5_file_t *file, const table_t *table, int ragged, int64_t begin,
                             int64_t *first) {
  const table_ragged_t *group = &table->ragged[ragged];
  TRY(memory_alloc(group->offsets, ARENA_ROLLOUT, (size_t)table->samples + 1, sizeof(int64_t)));
  int64_t *offsets = *group->offsets;
  TRY(h5_read_rows(file, group->path, H5TYPE_I64, begin, table->samples + 1, offsets));
  *first = offsets[0];
  for (int64_t i = 0; i <= table->samples; ++i) {
    if (*first < 0 || offsets[i] < *first || (i > 0 && offsets[i] - *first < offsets[i - 1]))
      return error_set(STATUS_DATA,
                       "%s: the offsets %s are negative or fall at sample %lld; the file is damaged",
                       h5_path(file), group->path, (long long)(begin + i));
    offsets[i] -= *first;
  }
  return STATUS_OK;
}

static status_t sample_table_column_read(h5_file_t *file, table_t *table, int c, int64_t begin,
                                         const int64_t *firsts) {
  table_column_t *column = &table->columns[c];
  int64_t rows, elements;
  void *data;
  TRY(sample_table_dimension(file, column->path, column->matrix ? 2 : 1, &rows, &column->width));
  if (column->ragged >= 0) {
    int64_t wanted = (*table->ragged[column->ragged].offsets)[table->samples];
    begin = firsts[column->ragged];
    if (begin < 0 || wanted > rows - begin)
      return error_set(STATUS_DATA, "%s: %s has %lld rows, its offsets reach further; the file is damaged",
                       h5_path(file), column->path, (long long)rows);
    rows = elements = wanted;
  } else {
    if (begin > rows - table->samples)
      return error_set(STATUS_DATA, "%s: %s has %lld rows for %lld samples; the file is damaged",
                       h5_path(file), column->path, (long long)rows, (long long)(begin + table->samples));
    rows = table->samples;
    elements = rows * column->width;
  }
  TRY(memory_alloc(&data, ARENA_ROLLOUT, (size_t)elements, h5_type_size(column->type)));
  memcpy(column->data_at, &data, sizeof data);
  return h5_read_rows(file, column->path, column->type, begin, rows, data);
}

/* The samples have the hashes they were written with. */
static status_t hashes_compare(h5_file_t *file, const table_t *table, int64_t begin) {
  SCOPED_MEMORY record_hash_t *hashes = NULL;
  SCOPED_MEMORY char *record = NULL;
  TRY(memory_alloc(&hashes, ARENA_ROLLOUT, (size_t)table->samples, sizeof *hashes));
  TRY(h5_read_rows(file, HASH_PATH, H5TYPE_U64, begin, table->samples, hashes));
  for (int64_t i = 0; i < table->samples; ++i) {
    TRY(memory_reserve(&record, ARENA_ROLLOUT, record_bytes(table, i), 1));
    if (record_pack(table, i, record) != hashes[i])
      return error_set(STATUS_DATA,
                       "%s: sample %lld does not have the hash it was written with: the file is damaged",
                       h5_path(file), (long long)(begin + i));
  }
  return STATUS_OK;
}

status_t sample_table_read(h5_file_t *file, int64_t begin, int64_t count, table_t *table, int64_t **index) {
  int64_t total = 0, firsts[TABLE_MAX_RAGGED] = {0};
  void *nothing = NULL;
  for (int r = 0; r < table->ragged_count; ++r)
    *table->ragged[r].offsets = NULL;
  for (int c = 0; c < table->column_count; ++c)
    memcpy(table->columns[c].data_at, &nothing, sizeof nothing);
  TRY(samples_count(file, table, &total));
  table->samples = count < 0 ? total - begin : count;
  if (begin < 0 || table->samples < 0 || begin > total - table->samples)
    return error_set(STATUS_DATA, "%s holds %lld samples, %lld from %lld on were asked for", h5_path(file),
                     (long long)total, (long long)count, (long long)begin);
  for (int r = 0; r < table->ragged_count; ++r)
    TRY(offsets_read(file, table, r, begin, &firsts[r]));
  for (int c = 0; c < table->column_count; ++c)
    TRY(sample_table_column_read(file, table, c, begin, firsts));
  TRY(hashes_compare(file, table, begin));
  TRY(memory_alloc(index, ARENA_ROLLOUT, (size_t)table->samples, sizeof **index));
  for (int64_t i = 0; i < table->samples; ++i)
    (*index)[i] = begin + i;
  return STATUS_OK;
}

void sample_table_free(const table_t *table) {
  void *nothing = NULL;
  for (int r = 0; r < table->ragged_count; ++r) {
    memory_free(*table->ragged[r].offsets);
    *table->ragged[r].offsets = NULL;
  }
  for (int c = 0; c < table->column_count; ++c) {
    memory_free(pointer_load(table->columns[c].data_at));
    memcpy(table->columns[c].data_at, &nothing, sizeof nothing);
  }
}
