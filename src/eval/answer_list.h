/* Files of answers that are there already, of task generate or of another program. */
#ifndef EVAL_ANSWER_LIST_H
#define EVAL_ANSWER_LIST_H

#include "eval/judge.h"
#include "io/json_elements.h"

typedef status_t (*answer_visit_t)(void *context, const answer_t *answer);

/* VISIT for each answer of PATH in their order: the elements of a JSON array, JSON lines, or the rows of a
 * table (.tsv). What `generate` and `evaluate` have written, with a member `stopped`, has the answer where
 * they write it, whatever else the question says. Elsewhere the answer is what the first of these members
 * says: the one that the published grader of JUDGE reads, text (beside prompt), answer, prediction,
 * model_answer, model_prediction, response, caption, but never the judge's truth. Its id is that of
 * question_id, id, index, else its number; its image that of image, or the last part of image_src; its
 * question text, question, query or prompt. Errors: STATUS_DATA naming the line; VISIT's. Local. */
status_t answer_list_visit(const char *path, const judge_t *judge, answer_visit_t visit, void *context);

/* Writes all members of RECORD but for model, what judges add and, where an answer is written beside them
 * under KEY (NULL: none is), that and stopped. Local. */
void answer_list_copy(json_writer_t *writer, const json_t *record, const char *key);

#endif
