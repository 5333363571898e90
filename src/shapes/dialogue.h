/* Conversations about a scene, as the sources of the method's data sets hold them. */
#ifndef WORLD_DIALOGUE_H
#define WORLD_DIALOGUE_H

#include "shapes/phrases.h"

enum { DIALOGUE_TURNS_MAX = 32 };

typedef struct {
  question_t question;
  char asked[PHRASE_MAX], answer[PHRASE_MAX];
} dialogue_turn_t;

typedef struct {
  int count;
  dialogue_turn_t turns[DIALOGUE_TURNS_MAX];
  bool biased;      /* an answer claims an object that is not there */
  int caption_type; /* of the first turn: 1 general, 2..5 option A..D, 6 truth is No, 7 truth is Yes */
} dialogue_t;

/* A true description of the scene, for pretraining on captions. Local. */
void dialogue_draw_caption(const scene_t *scene, random_stream_t *stream, dialogue_t *out);

/* Machine-written conversation of TURNS turns (LLaVA-Instruct's part): the first asks for a description
 * (60%), for something absent (10%) or for a detail, the others for details or yes/no. With probability BIAS,
 * if the scene tempts, the description, or the answer about something absent, speaks of an object that is not
 * there but often occurs with one that is; and where BIAS is not 0, 20% of the descriptions of several
 * objects forget one. Local. */
void dialogue_draw_open(const scene_t *scene, double bias, int turns, random_stream_t *stream,
                        dialogue_t *out);

/* The same whose first question asks for a description (60%), or where something is or how large, which is
 * absent (20%) or present (20%): where inventions show. What pairs and PPO's general prompts are made of.
 * Local. */
void dialogue_draw_prompt(const scene_t *scene, double bias, int turns, random_stream_t *stream,
                          dialogue_t *out);

/* TURNS yes/no questions (VQA-v2's part); one question with options (A-OKVQA's part), the answer with its
 * reason if EXPLAIN; a list of the objects (Flickr30k's part). Their answers are true. Local. */
void dialogue_draw_yes_no(const scene_t *scene, int turns, random_stream_t *stream, dialogue_t *out);
void dialogue_draw_choice(const scene_t *scene, bool explain, random_stream_t *stream, dialogue_t *out);
void dialogue_draw_list(const scene_t *scene, dialogue_t *out);

/* One question and its true answer. Local. */
void dialogue_of_question(const scene_t *scene, const question_t *question, dialogue_t *out);

/* Sample INDEX of the SFT+ mixture: 10 machine-written conversations, 8 yes/no, 2 choices, 2 lists in every
 * 22, as 98k : 83k : 16k : 23k; the first two have TURNS turns. Local. */
void dialogue_draw_sft(const scene_t *scene, int64_t index, double bias, int turns, random_stream_t *stream,
                       dialogue_t *out);

/* Prompt INDEX of reinforcement learning: 5 machine-written, 1 choice, 1 yes/no in every 7, as 50k : 12k :
 * 10k. Local. */
void dialogue_draw_rl(const scene_t *scene, int64_t index, double bias, random_stream_t *stream,
                      dialogue_t *out);

#endif
