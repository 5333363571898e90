/* Task prepare: published files of samples and a folder of images become one HDF5 dataset
 * (io/formats/dataset.h).
 *
 * Rank 0 reads each file of samples and of facts once, element by element: it checks the samples, numbers
 * their images and puts the texts aside, into a temporary file beside the output, from which they are written
 * once their number is known. The images are read once, by all cores of all ranks, which draw them from a
 * queue; each is decoded to see that it is whole. Memory grows with the number of samples, of facts and of
 * image names only: some 50 bytes each, besides the names. */
#ifndef DATA_PREPARE_H
#define DATA_PREPARE_H

#include "base/selection.h"
#include "parallel/stop_vote.h"

#include <stdbool.h>
#include <stdint.h>

/* Texts that are not wanted are NULL or "". */
typedef struct {
  const char *conversations; /* JSON array or JSON lines of samples; this one, or preferences, or both */
  const char *preferences;   /* the same with output_1, output_2, preference in each */
  const char *image_prefix;  /* in front of the image paths of both, and of the keys of FACTS */
  const char *dataset;       /* HDF5 dataset whose samples are taken over, with facts and held-out marks */
  const char *scores;        /* of DATASET's samples (io/formats/scores_file.h): chosen by reward */
  double keep;               /* share of the samples, those with the highest rewards, that is kept */
  const char *vqa_questions, *vqa_annotations; /* VQA-v2: yes/no questions, of an image a conversation */
  const char *choices;    /* A-OKVQA: multiple choice; the rationales become the samples' facts */
  bool choices_rationale; /* answered with a rationale, then the option; otherwise with the option */
  const char *captions;   /* COCO's captions: of each image one, as a sample */
  const char *flickr;     /* Flickr30k's captions ("IMAGE#N<tab>caption" a line): the same */
  const char *coco_prefix, *flickr_prefix; /* in front of the names of their images; COCO's have 12 digits */
  /* Samples wanted of each source, drawn by SEED and contents; 0: all. */
  int64_t conversations_limit, preferences_limit, dataset_limit, vqa_limit, choices_limit, captions_limit,
      flickr_limit;
  const char *const *apart_from; /* (apart_count) datasets: samples that show one of their images are left
                                    out; an image is known by its file's name */
  int64_t apart_count;
  const char *const *apart_kinds; /* (apart_kind_count) sources that this is about; none: all */
  int64_t apart_kind_count;
  const char *facts;         /* JSON object: image path (or "aok_" and image path) -> list of facts */
  const char *caption_facts; /* COCO's captions as facts of the images, where FACTS has none */
  int64_t facts_per_image;   /* of them, at most; 0: all */
  const char *image_folder;
  const char *output;          /* dataset to write */
  int64_t held_out;            /* samples to hold out, drawn by SEED: whole images until there are as many */
  bool split_images;           /* samples are drawn one by one: an image may be on both sides */
  const char *held_out_output; /* dataset for them; without, they stay in OUTPUT, marked */
  uint64_t seed;
  bool skip_bad;         /* leave bad samples out and go on, instead of stopping at the first */
  const char *report;    /* JSON lines about the samples that were left out: file, line, sample, reason */
  int workers;           /* threads of a rank that check images; 1 if less */
  stop_vote_t *vote;     /* asked between samples and images whether to stop; NULL: never */
  bool plan;             /* writes nothing: reads the JSON, measures the images' files, and counts */
  selection_t *elements; /* NULL, or on rank 0 the samples, counted through all sources, that are the rows of
                            OUTPUT; freed by the caller with selection_free. Not in a plan. */
  char **summary; /* NULL, or becomes on rank 0 a JSON text: what there was in each source and what became
                  of it; freed by the caller with memory_free */
} prepare_options_t;

typedef struct {
  int64_t samples; /* written, those held out included */
  int64_t held_out;
  int64_t shared;        /* of those held out, whose image samples for training show, too */
  int64_t skipped;       /* bad samples left out */
  int64_t images;        /* distinct, that the written samples show */
  int64_t broken_images; /* others, left out with their samples */
  int64_t turned_images; /* those whose EXIF block asks for another orientation than the stored one, which
                            is what models see; 0 in a plan */
  int64_t
      without_facts;   /* samples with an image for which FACTS has no entry; 0 if no facts were asked for */
  int64_t bytes;       /* about, of the datasets' files */
  int64_t constant;    /* of them, what does not depend on the samples */
  int64_t chosen_away; /* samples left out though they are good: apart, of low reward, not drawn */
  bool gained;  /* of a run that was stopped: it has found images whole that the next one need not decode */
  int64_t kept; /* in a plan: bytes of memory on rank 0 that grow with the samples */
} prepare_counts_t;

/* Makes the dataset(s), or plans them (in COUNTS then samples, skipped, images and bytes). A file that is
 * there already is replaced once the new one is complete. Collective on COMM; all ranks pass the same OPTIONS
 * and get the same COUNTS (may be NULL). Errors, the same on all ranks: STATUS_INPUT (no source, more held
 * out than there are), STATUS_DATA (a broken file, a bad sample unless they are skipped, no sample left,
 * image folder missing), STATUS_STOPPED (a request of the vote; nothing is left behind). */
status_t prepare_run(comm_t *comm, const prepare_options_t *options, prepare_counts_t *counts);

#endif
