/* The HDF5 dataset: samples of text, images as the bytes of their files, facts; independent of any model
 * (text is not tokenised, images are not resized). All bytes lie contiguous in the file, so that samples and
 * images are read by pread, by any thread, without HDF5.
 *
 *   /text/{bytes,offsets,kind}   all texts end to end; row i is bytes[offsets[i] .. offsets[i+1]); kind:
 * text_kind_t /image/{bytes,offsets}       image files as they were; /image/{width,height}: 0 where an image
 * is unusable (its bytes are undefined and no sample refers to it); /image/name: the row of /text with its
 * path /facts/{bytes,offsets}       facts (captions, rationales) end to end /sample/...                  one
 * row per sample: id, first_turn (rows of /text), turns, output (row of output_1, output_2 follows; -1 none),
 * preference (0 none, 1, 2), image (-1 none), caption_type, length_bonus, fact (first row of /facts), facts,
 * held_out A sample's texts follow each other: id, turns, outputs. */
#ifndef IO_DATASET_H
#define IO_DATASET_H

#include "base/memory.h"
#include "parallel/node_memory.h"
#include "text/conversation.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { TEXT_IMAGE_NAME, TEXT_ID, TEXT_HUMAN, TEXT_GPT, TEXT_OUTPUT } text_kind_t;

/* A sample; the texts belong to whoever made it. */
typedef struct {
  text_view_t id;
  conversation_t conversation;
  bool paired; /* has two outputs to replace the last answer */
  text_view_t outputs[2];
  int32_t preference;   /* 0 none, 1 or 2 */
  int64_t image;        /* index of its image, -1 none */
  int32_t caption_type; /* 1 general, 2..5 option A..D, 6 truth is no, 7 truth is yes */
  float length_bonus;   /* multiplier, 1 where not given */
  int64_t fact;         /* rows of /facts: fact .. fact + fact_count - 1 */
  int32_t fact_count;
  const text_view_t *facts; /* (fact_count); the writer ignores it */
  bool held_out;
  void *storage; /* the reader's */
} dataset_sample_t;

/* ---- Reading ---- */

typedef struct dataset dataset_t;

typedef struct {
  int64_t samples, images, texts, facts, held_out;
  int64_t skipped;   /* bad samples that were left out when it was made */
  uint64_t identity; /* hash of all contents, images and facts included: equal for equal contents */
} dataset_info_t;

/* Opens PATH: rank 0 reads and checks the metadata and gives them to all; each rank opens the file for its
 * reading. Collective on COMM; local where COMM is NULL. Memory per node: 9 bytes per sample, 8 per image.
 * Free with dataset_close. Errors, agreed over COMM: STATUS_DATA where the file is missing, cut short, not a
 * dataset, or its parts do not fit each other. */
status_t dataset_open(comm_t *comm, const char *path, dataset_t **out);
void dataset_close(dataset_t *dataset);
SCOPED_POINTER(dataset_close, dataset_t)

const char *dataset_path(const dataset_t *dataset);
dataset_info_t dataset_info(const dataset_t *dataset);

/* Image of sample I, -1 if it has none. Local, from memory. */
int64_t dataset_sample_image(const dataset_t *dataset, int64_t i);

/* Which samples. */
typedef enum { DATASET_TRAINING, DATASET_HELD_OUT, DATASET_ALL } dataset_part_t;

/* Rows of a dataset, in memory that the ranks of a node share: node_memory_writes says who may change them.
 */
typedef struct {
  node_memory_t *memory;
  int64_t *rows; /* (count) */
  int64_t count;
} dataset_rows_t;

/* The samples of PART, ascending. Collective on COMM; local where COMM is NULL. Free with dataset_rows_free,
 * likewise. Errors, agreed: STATUS_MEMORY. */
status_t dataset_rows(comm_t *comm, const dataset_t *dataset, dataset_part_t part, dataset_rows_t *out);
void dataset_rows_free(dataset_rows_t *rows);

/* Reads sample I. Each text is followed by a '\0'. Free with dataset_sample_free. Errors: STATUS_DATA. Local,
 * thread-safe. */
status_t dataset_sample_read(const dataset_t *dataset, int64_t i, dataset_sample_t *out);
void dataset_sample_free(dataset_sample_t *sample);

/* Bytes of the file of image I. Local, from memory. */
int64_t dataset_image_size(const dataset_t *dataset, int64_t i);
/* Reads them to BYTES (dataset_image_size) and compares their hash. Errors: STATUS_DATA. Local, thread-safe.
 */
status_t dataset_image_read(const dataset_t *dataset, int64_t i, uint8_t *bytes);
/* Path of image I below the image folder it came from: *NAME is freed by the caller with memory_free. Local,
 * thread-safe. */
status_t dataset_image_name(const dataset_t *dataset, int64_t i, char **name);

/* ---- Writing ----
 * All ranks open and give the images' sizes; each writes a share of the images; rank 0 alone writes names,
 * facts and samples, whose numbers are known before; all close. Between dataset_writer_open and _close all
 * ranks agree on failure (comm_agree) before the next collective call, and call dataset_writer_abandon then.
 */

typedef struct dataset_writer dataset_writer_t;

typedef struct {
  int64_t samples;
  int64_t texts, text_bytes; /* ids, turns, outputs; without the images' names, which are added */
  int64_t facts, fact_bytes;
} dataset_counts_t;

/* About the size of a file of COUNTS and IMAGES images with NAME_BYTES of names and IMAGE_BYTES of files. The
 * constant part is what COUNTS of nothing give. Local. */
int64_t dataset_file_bytes(const dataset_counts_t *counts, int64_t name_bytes, int64_t images,
                           int64_t image_bytes);
/* Bytes that a writer's buffers grow to, on rank 0 (FIRST) and on others, besides DATASET_IMAGE_MEMORY an
 * image. Local. */
enum { DATASET_IMAGE_MEMORY = 24 };
size_t dataset_writer_memory(bool first);

/* Starts PATH (in PATH.partial). Collective on COMM. Errors, agreed: STATUS_DATA. */
status_t dataset_writer_open(comm_t *comm, const char *path, dataset_writer_t **out);

/* SIZES (n) of the images' files, the same on all ranks. Collective. */
status_t dataset_writer_images(dataset_writer_t *writer, const int64_t *sizes, int64_t n);
/* Bytes of image I (SIZES[i]); NULL: it is unusable. Each image once over all ranks, ascending on each.
 * Local. */
status_t dataset_writer_image(dataset_writer_t *writer, int64_t i, const uint8_t *bytes, int32_t width,
                              int32_t height);

/* Ends the images; COUNTS and NAME_BYTES (of all images' names together) are the same on all ranks.
 * Collective. */
status_t dataset_writer_texts(dataset_writer_t *writer, const dataset_counts_t *counts, int64_t name_bytes);
/* Rank 0 only, in order: the names of all images, then facts and samples. Errors: STATUS_INTERNAL where more
 * comes than was announced. Local. */
status_t dataset_writer_name(dataset_writer_t *writer, text_view_t name);
status_t dataset_writer_fact(dataset_writer_t *writer, text_view_t fact);
status_t dataset_writer_sample(dataset_writer_t *writer, const dataset_sample_t *sample);

/* Completes the file and moves it to its place in one step; frees WRITER in any case. SOURCES: a JSON text
 * about the files it was made from (rank 0's counts). Collective. Errors, agreed: STATUS_DATA;
 * STATUS_INTERNAL where less came than announced. */
status_t dataset_writer_close(dataset_writer_t *writer, const char *sources, int64_t skipped);
/* Removes what was written and frees WRITER; NULL is fine. Collective. */
void dataset_writer_abandon(dataset_writer_t *writer);

#endif
