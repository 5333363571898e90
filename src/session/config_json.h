/* A model's configuration as JSON: attribute `config` of weights files. */
#ifndef SESSION_CONFIG_JSON_H
#define SESSION_CONFIG_JSON_H

#include "io/json.h"
#include "model/config.h"

/* JSON text with the field names of Hugging Face's config.json where there are such, for the `config`
 * attribute of weights files. *TEXT is freed by the caller with memory_free. Local. */
status_t config_to_json(const model_config_t *config, char **text);
/* Reads such a text; WHERE names it in messages. Errors: STATUS_DATA (missing or wrong fields). Local. */
status_t config_from_json(const char *text, const char *where, model_config_t *config);

/* The member rope_scaling for SCALING, nothing where that is none. Local. */
void config_write_scaling(json_writer_t *writer, const rope_scaling_t *scaling);
/* Reads the object rope_scaling (or rope_parameters); OUT is not touched where it is of the kind 'default'.
 * Errors: STATUS_DATA for a kind that is not computed here, and for fields that are missing. Local. */
status_t config_read_scaling(const json_t *object, const char *where, rope_scaling_t *out);

#endif
