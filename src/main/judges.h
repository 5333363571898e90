/* The judges of this build. */
#ifndef MAIN_JUDGES_H
#define MAIN_JUDGES_H

#include "eval/judge.h"

/* All judges (*COUNT), as eval.judge names them. */
const judge_entry_t *judges_table(int32_t *count);

/* Is the judge that the settings ask for among them? Errors: STATUS_INPUT. Local. */
status_t judges_check(const settings_t *settings);

#endif
