/* LoRA adapters as PEFT writes them: a folder of adapter_config.json and the weights. */
#ifndef CONVERT_PEFT_H
#define CONVERT_PEFT_H

#include "convert/names.h"
#include "io/tensors/tensor_file.h"
#include "model/base.h"

enum { PEFT_BASE_MAX = 512 };

/* Rank and scale of FOLDER/adapter_config.json, and its targets: the projections that FILES, its weights, are
 * for in all LAYERS of the base. BASE (PEFT_BASE_MAX): base_model_name_or_path, for the log. Errors:
 * STATUS_DATA, for what such an adapter computes beside alpha / r * B A x too, for an adapter of some layers,
 * and for weights of modules that it does not name. Local. */
status_t peft_read(const char *folder, const tensor_files_t *files, int32_t layers, adapter_config_t *config,
                   char base[PEFT_BASE_MAX]);

/* Writes FOLDER/adapter_config.json for an adapter on a model of NAMING that is called BASE outside ("":
 * unnamed). Local. */
status_t peft_write(const char *folder, naming_t naming, const adapter_config_t *config, const char *base);

/* The module names that PEFT puts before an adapter's weights on a model of NAMING. OURS: an adapter's own
 * name. False where it becomes too long. Local. */
bool peft_name(naming_t naming, const char *ours, char outside[PARAM_NAME_MAX]);

#endif
