/* Task `generate`: answers to one question, or to a file of questions. */
#ifndef ROLLOUT_GENERATE_H
#define ROLLOUT_GENERATE_H

#include "session/session.h"

/* Answers generate.prompt (about generate.image), or the last question of each sample of generate.dataset (a
 * dataset, JSON of questions or conversations, or a benchmark's file), and writes generate.output, in the
 * order of the questions, in the form that the benchmark's grader reads (rollout/answer_file.h), else as
 *
 *   JSON lines: all members of the question (of a dataset question_id, image, text), then answer, model,
 *               stopped (false: cut at generate.max_tokens), and sample where there are several;
 *   with generate.samples = 2 the published pairs: a JSON array of id, image, conversations, output_1,
 *               output_2, for an annotator to add `preference`.
 *
 * The file appears whole or not at all. Collective. Errors: STATUS_INPUT, STATUS_DATA, STATUS_STOPPED. */
status_t generate_run(session_t *session);

#endif
