/* Files of questions as users bring them: datasets, or JSON with a folder of images, which becomes a dataset
 * first. */
#ifndef ROLLOUT_QUESTIONS_H
#define ROLLOUT_QUESTIONS_H

#include "io/dataset.h"
#include "io/json.h"
#include "run/session.h"

/* True if PATH is JSON by its name (.json, .jsonl), not a dataset. Local. */
bool questions_are_json(const char *path);

/* Makes the dataset NAME in the run directory of the JSON file PATH (array or lines); its path to DATASET.
 * IMAGE_FOLDER "": the folder `images` beside PATH. Samples that data.bad_sample leaves out are listed in
 * NAME.skipped.jsonl. Collective. Errors, agreed: STATUS_DATA. */
status_t questions_prepare(session_t *session, const char *path, const char *image_folder, const char *name,
                           char dataset[FILE_MAX_PATH]);

/* The same for one question, with the image file IMAGE ("": none). Collective. Errors, agreed: STATUS_DATA.
 */
status_t questions_prepare_one(session_t *session, const char *image, const char *text,
                               char dataset[FILE_MAX_PATH]);

/* Moves READER on to the element of sample ID; elements before it are not in the dataset. Errors: STATUS_DATA
 * where there is none. Local. */
status_t questions_find(json_reader_t *reader, const char *id, json_element_t *element);

/* The last question of SAMPLE as it was asked, without image marks, stripped: *TEXT is freed by the caller
 * with memory_free. Local. */
status_t questions_text(const dataset_sample_t *sample, char **text);

#endif
