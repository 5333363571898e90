/* The JSON files of the world and its tokenizer. Inside world only; all local, rank 0 calls them. */
#ifndef WORLD_WORLD_FILES_H
#define WORLD_WORLD_FILES_H

#include "shapes/world_task.h"

/* scenes.jsonl, the sets, facts.json, eval.json, pope.jsonl. Errors: STATUS_DATA. */
status_t world_files_write(const world_options_t *options);

/* corpus.txt and tokenizer.model. Errors: STATUS_DATA, STATUS_INPUT (vocab too small). */
status_t world_tokenizer_write(const world_options_t *options);

#endif
