/* TensorBoard event files: scalars over steps. */
#ifndef RECORD_TENSORBOARD_H
#define RECORD_TENSORBOARD_H

#include "base/status.h"

#include <stdint.h>

typedef struct tensorboard tensorboard_t;

/* Makes a new event file in FOLDER (made if need be), events.out.tfevents.<seconds since 1970>.<host>. Points
 * of FIRST_STEP and later in the folder's older files count no longer: what a continued run did again. Close
 * with tensorboard_close. Errors: STATUS_DATA. Local. */
status_t tensorboard_open(const char *folder, int64_t first_step, tensorboard_t **out);

/* Adds VALUES (count) called NAMES (count) at STEP; in the file when it returns. A metric's first value in
 * the file carries its description (metric_table.h). Errors: STATUS_DATA. Local.
 */
status_t tensorboard_add(tensorboard_t *tensorboard, int64_t step, int32_t count, const char *const *names,
                         const double *values);

/* Closes the file; NULL is fine. Local. */
void tensorboard_close(tensorboard_t *tensorboard);

#endif
