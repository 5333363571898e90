/* Which scenes belong to which set of the world, and the texts of each. Inside world only. */
#ifndef WORLD_WORLD_SETS_H
#define WORLD_WORLD_SETS_H

#include "shapes/dialogue.h"
#include "shapes/world_task.h"

typedef enum { SET_PRETRAIN, SET_SFT, SET_PAIRS, SET_CHOICES, SET_RL, SET_EVAL, SET_COUNT } world_set_t;

/* Scene ids of a set: first .. first + count - 1; sets follow each other. SET_CHOICES: what policy
 * initialisation has beyond SET_PAIRS. Local. */
typedef struct {
  int64_t first, count;
} world_range_t;
world_range_t world_set_range(const world_options_t *options, world_set_t set);

/* Conversations of SET_PAIRS that policy initialisation uses. Local. */
int64_t world_policy_pairs(const world_options_t *options);

/* Scene ID, with what its set asks for (eval: two objects or more). Local. */
void world_scene_draw(const world_options_t *options, int64_t id, scene_t *out);

/* The conversation about scene ID of SET. Local. */
void world_dialogue_draw(const world_options_t *options, world_set_t set, const scene_t *scene,
                         dialogue_t *out);

/* What the random numbers of a scene's texts are for. */
typedef enum { TEXT_OF_DIALOGUE, TEXT_OF_CAPTIONS, TEXT_OF_POPE, TEXT_PURPOSES } text_purpose_t;
random_stream_t world_text_stream(const world_options_t *options, int64_t id, text_purpose_t purpose);

#endif
