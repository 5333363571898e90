/* Tables with one row per sample, some columns of which hold several elements per sample ("ragged", end to
 * end with an offsets array). Each rank has samples of its own, in any order; the file has them in the order
 * of their index, with a hash of all of each sample (`/sample/xxh3`), which is compared whenever the sample
 * is read. The shared part of rollout, response and score files; internal to io/. */
#ifndef IO_SAMPLE_TABLE_H
#define IO_SAMPLE_TABLE_H

#include "io/h5.h"

enum { TABLE_MAX_RAGGED = 4, TABLE_MAX_COLUMNS = 40 };

/* Offsets that several columns share. */
typedef struct {
  const char *path;  /* of the dataset of offsets, int64 (samples + 1) */
  int64_t **offsets; /* where the caller keeps them: (samples + 1), the first is 0 */
} table_ragged_t;

typedef struct {
  const char *path;
  const char *meaning; /* becomes the attribute `meaning` */
  h5_type_t type;
  int ragged;    /* which offsets; -1: WIDTH elements per sample */
  bool matrix;   /* ragged -1: stored as (samples, width) rather than (samples) */
  int64_t width; /* 1 unless matrix */
  void *data_at; /* address of the caller's pointer to the elements, whatever its type */
} table_column_t;

typedef struct {
  int64_t samples;      /* of this rank */
  const int64_t *index; /* (samples): place in the file; over all ranks 0 .. total - 1, each once */
  int ragged_count, column_count;
  table_ragged_t ragged[TABLE_MAX_RAGGED];
  table_column_t columns[TABLE_MAX_COLUMNS];
} table_t;

/* Adds a column of one element per sample or, with RAGGED from 0 on, as many as those offsets say. Local. */
void sample_table_add(table_t *table, const char *path, const char *meaning, h5_type_t type, int ragged,
                      void *data_at);

/* Writes TABLE to FILE, which COMM has created. Samples are first moved so that each rank has a run of
 * neighbours, then each rank writes its run of each column. Widths are those of the ranks that have samples.
 * Collective. Errors, agreed: STATUS_INTERNAL where the indices are not 0 .. total - 1 each once, or widths
 * differ; STATUS_DATA. */
status_t sample_table_write(h5_file_t *file, comm_t *comm, const table_t *table);

/* How much of a table that is written in rounds is in the file. */
typedef struct {
  int64_t samples;
  int64_t elements[TABLE_MAX_RAGGED];
} table_end_t;

/* Makes TABLE's datasets in FILE without samples, for sample_table_append; no column is a matrix. What TABLE
 * holds is not looked at. Collective. Errors, agreed: STATUS_DATA, STATUS_INTERNAL. */
status_t sample_table_begin(h5_file_t *file, comm_t *comm, const table_t *table);

/* Writes TABLE behind the samples that FILE has (*END, moved on): indices count from the first of this round.
 * Otherwise as sample_table_write. Memory: this round's samples. Collective. */
status_t sample_table_append(h5_file_t *file, comm_t *comm, const table_t *table, table_end_t *end);

/* Reads samples BEGIN .. BEGIN + COUNT - 1 (COUNT -1: all from BEGIN on) of TABLE's columns; sets TABLE's
 * samples and widths, allocates (ARENA_ROLLOUT) and sets the caller's offsets and elements, and *INDEX (their
 * places in the file); offsets start at 0. On error the caller still frees *INDEX, with memory_free, and the
 * others, with sample_table_free. Local. Errors: STATUS_DATA (damage, too). */
status_t sample_table_read(h5_file_t *file, int64_t begin, int64_t count, table_t *table, int64_t **index);
void sample_table_free(const table_t *table);

#endif
