/* Task prepare: published JSON files and a folder of images become one HDF5 dataset (io/formats/dataset.h).
 *
 * Rank 0 reads the JSON twice, element by element: once to check the samples, number the images and count,
 * once to write. The images are read once, shared out over the ranks; each is decoded to see that it is
 * whole. Memory grows with the number of samples and of image names only. */
#ifndef DATA_PREPARE_H
#define DATA_PREPARE_H

#include "parallel/stop_vote.h"

#include <stdbool.h>
#include <stdint.h>

/* Texts that are not wanted are NULL or "". */
typedef struct {
  const char *conversations; /* JSON array or JSON lines of samples; this one, or preferences, or both */
  const char *preferences;   /* the same with output_1, output_2, preference in each */
  const char *facts;         /* JSON object: image path (or "aok_" and image path) -> list of facts */
  const char *image_folder;
  const char *output;          /* dataset to write */
  int64_t held_out;            /* samples to hold out, drawn by SEED: whole images until there are as many */
  bool split_images;           /* samples are drawn one by one: an image may be on both sides */
  const char *held_out_output; /* dataset for them; without, they stay in OUTPUT, marked */
  uint64_t seed;
  bool skip_bad;      /* leave bad samples out and go on, instead of stopping at the first */
  const char *report; /* JSON lines about the samples that were left out: file, line, sample, reason */
  int workers;        /* threads of a rank that check images, at least 1 */
  stop_vote_t *vote;  /* asked between samples and images whether to stop; NULL: never */
  bool plan;          /* writes nothing: reads the JSON, measures the images' files, and counts */
  int64_t **elements; /* NULL, or becomes on rank 0 for each row of OUTPUT the number of its element, counted
                         through both files; freed by the caller with memory_free. Not in a plan. */
} prepare_options_t;

typedef struct {
  int64_t samples; /* written, those held out included */
  int64_t held_out;
  int64_t shared;        /* of those held out, whose image samples for training show, too */
  int64_t skipped;       /* bad samples left out */
  int64_t images;        /* distinct */
  int64_t broken_images; /* of them, left out */
  int64_t turned_images; /* of them, whose EXIF block asks for another orientation than the stored one, which
                            is what models see; 0 in a plan */
  int64_t
      without_facts; /* samples with an image for which FACTS has no entry; 0 if no facts were asked for */
  int64_t bytes;     /* about, of the datasets' files */
  int64_t constant;  /* of them, what does not depend on the samples */
  int64_t kept;      /* in a plan: bytes of memory on rank 0 that grow with the samples */
} prepare_counts_t;

/* Makes the dataset(s), or plans them (in COUNTS then samples, skipped, images and bytes). A file that is
 * there already is replaced once the new one is complete. Collective on COMM; all ranks pass the same OPTIONS
 * and get the same COUNTS (may be NULL). Errors, the same on all ranks: STATUS_INPUT (no source, more held
 * out than there are), STATUS_DATA (broken JSON, a bad sample unless they are skipped, no sample left, image
 * folder missing), STATUS_STOPPED (a request of the vote; nothing is left behind). */
status_t prepare_run(comm_t *comm, const prepare_options_t *options, prepare_counts_t *counts);

#endif
