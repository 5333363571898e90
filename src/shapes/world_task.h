/* Task `world`: writes the shapes world as a user would bring data - JPEG files, JSON in the published
 * formats, a tokenizer. */
#ifndef WORLD_WORLD_TASK_H
#define WORLD_WORLD_TASK_H

#include "parallel/stop_vote.h"

typedef struct {
  const char *dir;
  uint64_t seed;
  int64_t pretrain_images;
  int64_t sft_images;
  int64_t pair_images;        /* prompts whose answers are sampled twice for preferences */
  int64_t policy_init_images; /* two thirds of them (as far as they go) are those of pair_images, with their
                                 conversations */
  int64_t rl_images;
  int64_t eval_images;
  int objects_min, objects_max; /* of a scene; 1..8 */
  int turns;                    /* of a conversation; 1..32 */
  int image_size;               /* side in pixels */
  int quality;                  /* of the JPEG files, 1..100 */
  int vocab;                    /* pieces of the tokenizer, at most */
  stop_vote_t *vote;            /* asked between images and texts whether to stop; NULL: never */
  double bias; /* share of the machine-written conversations about tempting scenes that make something up */
} world_options_t;

/* The quickstart's sizes. Local. */
world_options_t world_options_default(void);

/* Scenes of all sets, of which each has an image. Local. */
int64_t world_scene_count(const world_options_t *options);

/* The same world with fewer images in each set, so that it takes a second or two to draw: what the whole one
 * takes follows from it. Local. */
world_options_t world_options_smaller(const world_options_t *options);

/* Writes into options->dir:
 *
 * - images/NNN/NNNNNN.jpg: one per scene, folders of a thousand; `image` in all files is the path below
 * images/
 * - scenes.jsonl: the scene graphs, {"id", "image", "objects": [{"size", "color", "shape", "row", "column"}],
 *   "background"}
 * - pretrain.json: true descriptions
 * - sft.json: the SFT+ mixture, with biased conversations
 * - prompts.json: held-out conversations' first turns, for sampling preference pairs
 * - policy_init.json: the conversations of prompts.json, and questions with options answered with reasons
 * - rl.json: first turns with caption_type
 * - facts.json: captions by image of prompts, policy_init, rl and eval; rationales under "aok_<image>"
 * - eval.json: questions of the eight MMHal-Bench types (type = index mod 8), with the fields of MMHal-Bench
 * - pope.jsonl: two questions per eval image, one true, one not
 * - corpus.txt: what the tokenizer was trained on
 * - tokenizer.model: every word of the world is one piece of it, if vocab allows
 *
 * Images are shared out (rank r draws the scenes r, r + size, ...), rank 0 writes the rest; the bytes are the
 * same for any number of ranks. Files but images appear whole or not at all; an older world in the folder is
 * overwritten. Collective on COMM. Errors, agreed: STATUS_INPUT (an option out of range, a vocabulary that is
 * too small), STATUS_DATA (cannot write), STATUS_STOPPED (a request of the vote; no file is left half
 * written).
 */
status_t world_write(comm_t *comm, const world_options_t *options);

#endif
