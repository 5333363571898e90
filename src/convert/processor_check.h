/* What a published image processor makes of images. Internal to convert/. */
#ifndef CONVERT_PROCESSOR_CHECK_H
#define CONVERT_PROCESSOR_CHECK_H

#include "model/config.h"

/* Checks that FOLDER/preprocessor_config.json, if there is one, makes the pixels that MODEL's tower reads
 * here, and where the tower's size is known as many. Errors: STATUS_DATA naming the field. Local. */
status_t processor_check(const char *folder, const model_config_t *model);

#endif
