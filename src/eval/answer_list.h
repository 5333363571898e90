/* Files of answers that are there already, of task generate or of another program. */
#ifndef EVAL_ANSWER_LIST_H
#define EVAL_ANSWER_LIST_H

#include "eval/judge.h"
#include "io/json_elements.h"

typedef status_t (*answer_visit_t)(void *context, const answer_t *answer);

/* VISIT for each answer of PATH in their order: the elements of a JSON array, JSON lines, or the rows of a
 * table
 * (.tsv). The answer is what one of the members prediction, model_answer, model_prediction, response, caption
 * says, beside `prompt` text, else answer; its id that of question_id, id, index, else its number; its image
 * that of image, or the last part of image_src; its question text, question, query or prompt. Errors:
 * STATUS_DATA naming the line; VISIT's. Local. */
status_t answer_list_visit(const char *path, answer_visit_t visit, void *context);

/* Writes all members of RECORD but for KEY, model, and what judges add. Local. */
void answer_list_copy(json_writer_t *writer, const json_t *record, const char *key);

#endif
