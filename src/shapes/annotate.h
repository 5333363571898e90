/* The annotator of the shapes world: prefers the answer of a pair that hallucinates less. */
#ifndef WORLD_ANNOTATE_H
#define WORLD_ANNOTATE_H

#include "parallel/stop_vote.h"
#include "shapes/scene.h"

#include <stdint.h>

typedef struct {
  uint64_t seed;
  double noise;      /* share of preferences that are turned round */
  stop_vote_t *vote; /* annotate_file: asked between pairs whether to stop; NULL: never */
} annotator_t;

typedef struct {
  int64_t pairs, first; /* pairs, and those where output_1 is preferred */
  int64_t ties;         /* nothing to choose: left out */
  int64_t noisy;        /* turned round */
} annotation_counts_t;

/* Which of two answers to QUESTION about SCENE is better: 1 or 2, or 0 where there is nothing to choose.
 * Fewer wrong claims first, then more of what was asked, then, if nothing is wrong, fewer words. With
 * probability NOISE the other one is named. Random numbers are those of PAIR (RANDOM_ANNOTATE). COUNTS (may
 * be NULL) is added to. Local.
 */
int annotate_pair(const annotator_t *annotator, const scene_t *scene, const char *question, const char *first,
                  const char *second, int64_t pair, annotation_counts_t *counts);

/* Reads the JSON file PAIRS (elements with image, conversations, output_1, output_2) and writes OUTPUT with
 * `preference` filled in, all else unchanged, but for pairs with nothing to choose, which are left out.
 * SCENES is the world's scenes.jsonl. Errors: STATUS_DATA (names file and element; an image without a scene),
 * STATUS_STOPPED (a request of the vote).
 * OUTPUT appears whole or not at all. Local: one rank calls it.
 */
status_t annotate_file(const annotator_t *annotator, const char *pairs, const char *scenes,
                       const char *output, annotation_counts_t *counts);

#endif
