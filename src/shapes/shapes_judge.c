#include "shapes/shapes_judge.h"

#include "base/memory.h"
#include "shapes/scene_file.h"

static const judge_metric_t metrics[SHAPES_METRICS] = {
    [SHAPES_RATING] = {.name = "eval/rating", .estimator = ESTIMATOR_MEAN, .by_type = true, .logged = true},
    [SHAPES_HALLUCINATION] = {.name = "eval/hallucination",
                              .estimator = ESTIMATOR_SHARE,
                              .by_type = true,
                              .logged = true},
    [SHAPES_OPEN_HALLUCINATION] = {.name = "eval/open_hallucination",
                                   .estimator = ESTIMATOR_SHARE,
                                   .logged = true},
    [SHAPES_CLAIMS_RIGHT] = {.name = "eval/claims_right", .estimator = ESTIMATOR_RATIO, .logged = true},
    [SHAPES_CLEAN_CLAIMS_RIGHT] = {.name = "eval/clean_claims_right", .estimator = ESTIMATOR_RATIO},
    [SHAPES_CLAIMS_ABSENT] = {.name = "eval/claims_absent", .estimator = ESTIMATOR_RATIO},
    [SHAPES_RECALL] = {.name = "eval/recall", .estimator = ESTIMATOR_RATIO, .logged = true},
    [SHAPES_WORDS] = {.name = "eval/words", .estimator = ESTIMATOR_MEAN, .logged = true},
};

typedef struct {
  const char *path; /* eval.scenes */
  scene_table_t scenes;
} shapes_state_t;

/* ---- Judging ---- */

void shapes_verdict(const judgement_t *j, verdict_t *out) {
  const double hallucinates = j->rating < MMHAL_HONEST, open = j->open;
  out->type = (int32_t)j->type;
  out->counts[SHAPES_RATING] = (judge_count_t){j->rating, 1.0};
  out->counts[SHAPES_HALLUCINATION] = (judge_count_t){hallucinates, 1.0};
  out->counts[SHAPES_OPEN_HALLUCINATION] = (judge_count_t){hallucinates, open};
  out->counts[SHAPES_CLAIMS_RIGHT] = (judge_count_t){j->right, j->claims};
  out->counts[SHAPES_CLAIMS_ABSENT] = (judge_count_t){j->absent, j->claims};
  if (j->open && j->clean) out->counts[SHAPES_CLEAN_CLAIMS_RIGHT] = (judge_count_t){j->right, j->claims};
  if (j->open) out->counts[SHAPES_RECALL] = (judge_count_t){j->given, j->expected};
  out->counts[SHAPES_WORDS] = (judge_count_t){j->words, 1.0};
  if (j->rating < MMHAL_HONEST) out->note = "hallucinates";
}

static void judgement_write(json_writer_t *writer, const judgement_t *judgement) {
  json_write_member(writer, "question_type", question_type_name(judgement->type));
  json_write_int_member(writer, "rating", judgement->rating);
  json_write_int_member(writer, "claims", judgement->claims);
  json_write_int_member(writer, "claims_right", judgement->right);
  json_write_int_member(writer, "claims_absent", judgement->absent);
  json_write_int_member(writer, "expected", judgement->expected);
  json_write_int_member(writer, "given", judgement->given);
  json_write_int_member(writer, "words", judgement->words);
}

static const scene_t *scene_of(const judge_t *judge, const answer_t *answer) {
  const shapes_state_t *state = judge->state;
  return answer->image ? scene_table_find(&state->scenes, answer->image) : NULL;
}

static status_t shapes_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                    verdict_t *out) {
  judgement_t judgement;
  judge_response(scene_of(judge, answer), answer->question, answer->text, &judgement);
  shapes_verdict(&judgement, out);
  if (writer) judgement_write(writer, &judgement);
  return STATUS_OK;
}

static status_t shapes_judge_accept(const judge_t *judge, const answer_t *question) {
  const shapes_state_t *state = judge->state;
  if (scene_of(judge, question)) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "sample '%s': its image '%s' is in none of the scenes of eval.scenes = '%s'; give the "
                   "scenes.jsonl that was written with the images, or eval.judge = 'none'",
                   question->id, question->image ? question->image : "", state->path);
}

static const char *shapes_type_name(int32_t type) {
  return question_type_name((question_type_t)type);
}

/* ---- Opening ---- */

static void shapes_judge_close(judge_t *judge) {
  shapes_state_t *state = judge->state;
  if (state) scene_table_free(&state->scenes);
  memory_free(state);
}

const judge_t shapes_judge = {.metrics = metrics,
                              .metric_count = SHAPES_METRICS,
                              .score = SHAPES_RATING,
                              .type_count = TYPE_COUNT,
                              .type_name = shapes_type_name,
                              .accept = shapes_judge_accept,
                              .judge = shapes_judge_answer,
                              .close = shapes_judge_close};

static status_t state_read(const char *path, void **out) {
  shapes_state_t *state;
  TRY(memory_alloc(&state, ARENA_OTHER, 1, sizeof *state));
  *out = state;
  state->path = path;
  return scene_table_read(path, &state->scenes);
}

status_t shapes_judge_open(session_t *session, judge_t *out) {
  bool judges = comm_rank(session->world) == 0;
  *out = shapes_judge;
  return comm_agree(session->world,
                    judges ? state_read(session->settings->eval.scenes, &out->state) : STATUS_OK);
}
