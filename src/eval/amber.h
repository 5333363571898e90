/* The judge of AMBER's discriminative part: yes/no questions about what an image shows, with "no" as the
 * positive class (Wang et al., arXiv 2311.07397). */
#ifndef EVAL_AMBER_H
#define EVAL_AMBER_H

#include "eval/classes.h"

/* Types of questions. */
enum {
  AMBER_EXISTENCE,
  AMBER_ATTRIBUTE,
  AMBER_STATE,
  AMBER_NUMBER,
  AMBER_ACTION,
  AMBER_RELATION,
  AMBER_TYPES
};

/* Reads eval.annotations (id, type, truth), on rank 0. Questions of the generative part are passed over. An
 * attribute's state, number and action are counted as attributes, too. Collective. Errors, agreed:
 * STATUS_INPUT, STATUS_DATA. */
status_t amber_open(session_t *session, judge_t *out);

#endif
