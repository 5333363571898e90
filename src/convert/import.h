/* Task import: published weights of one or several places become a model file. */
#ifndef CONVERT_IMPORT_H
#define CONVERT_IMPORT_H

#include "session/session.h"

/* The base of import.weights with the tower, projector and tokenizer that lie with it or are named apart, and
 * the adapter and head that are to come along; without import.weights adapter and head alone, for model.base.
 * Everything is matched before a byte of it is read; each byte is read once, by one rank. Writes
 * import.output. Collective. Errors, agreed: STATUS_INPUT, STATUS_DATA (files that are broken, do not fit
 * together, or hold what is not computed here), STATUS_STOPPED. */
status_t import_run(session_t *session);

#endif
