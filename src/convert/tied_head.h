/* The output head of a tied model where its files hold it beside the embedding. Internal to convert/. */
#ifndef CONVERT_TIED_HEAD_H
#define CONVERT_TIED_HEAD_H

#include "convert/matching.h"
#include "session/session.h"

/* Compares MATCHING's head, if there is one, with its embedding; each rank reads a share of both, a block at
 * a time. Collective. Errors, agreed: STATUS_DATA where they differ, which transformers takes for a model
 * that is not tied. */
status_t tied_head_check(session_t *session, const matching_t *matching);

#endif
