/* The judge CHAIR: objects in descriptions of COCO's images that are not there (Rohrbach et al., arXiv
 * 1809.02156). */
#ifndef EVAL_CHAIR_H
#define EVAL_CHAIR_H

#include "eval/judge.h"

enum { CHAIR_INSTANCE, CHAIR_SENTENCE, CHAIR_RECALL, CHAIR_METRICS };

/* Reads eval.synonyms, the user's, and eval.annotations, COCO's instances and captions, on rank 0: the
 * objects of an image are those that either tell. Collective. Errors, agreed: STATUS_INPUT, STATUS_DATA. */
status_t chair_open(session_t *session, judge_t *out);

/* The number that COCO calls an image by, of its file's NAME: the digits before the extension; -1 where there
 * are none. Local. */
int64_t chair_image_number(const char *name);

#endif
