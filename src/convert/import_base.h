/* Where the parts of a base lie, and their sizes. Internal to convert/. */
#ifndef CONVERT_IMPORT_BASE_H
#define CONVERT_IMPORT_BASE_H

#include "convert/config_read.h"
#include "convert/matching.h"
#include "input/settings.h"

enum { BASE_ORIGINS_MAX = 3 };

typedef struct {
  model_config_t config;
  origin_t origins[BASE_ORIGINS_MAX];
  int count;
  unsigned fresh;  /* 1 << part_t: not in any of them, to be made new */
  void *tokenizer; /* bytes of tokenizer.model */
  int64_t tokenizer_size;
  char *published; /* what no pass needs of the configurations (session/published.h); NULL: nothing */
} import_base_t;

/* Reads the configurations and headers that SETTINGS name; of an outline (import.outline) the configurations
 * alone, so that it has no origins and all of it is fresh. Free with import_base_free, also after an error.
 * Local. Errors: STATUS_INPUT, STATUS_DATA. */
status_t import_base_open(const settings_t *settings, import_base_t *out);
void import_base_free(import_base_t *base);

/* Opens the files at PATH as an origin; tensor_files_close(origin->files) ends it. Local. */
status_t origin_open(const char *setting, const char *path, const char *prefix, unsigned parts,
                     origin_t *out);

#endif
