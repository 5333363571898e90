/* What published configurations say that no pass needs: special tokens, defaults of generation. */
#ifndef CONVERT_CONFIG_PUBLISHED_H
#define CONVERT_CONFIG_PUBLISHED_H

#include "session/published.h"

/* Reads it from FOLDER/config.json, its text_config before itself, and from FOLDER/generation_config.json
 * where there is one, for a model of VOCAB rows. Free with published_free, also after an error. Errors:
 * STATUS_DATA (not JSON, ids that are none). Local. */
status_t config_read_published(const char *folder, int32_t vocab, published_t *out);

#endif
