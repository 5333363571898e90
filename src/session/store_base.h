/* Inside the store: which file holds the weights that another one's adapters belong to. */
#ifndef MODEL_STORE_BASE_H
#define MODEL_STORE_BASE_H

#include "session/store.h"

bool store_has_weights(const weights_file_t *file);

/* Configuration, tokenizer and identity of a file that has weights. Local. */
status_t store_read_base(weights_file_t *file, store_info_t *info);

/* Fills INFO, of a file of adapters for a base of identity WANTED at info->base_path, with what
 * store_read_base says of that base, wherever it is found (store_inspect). Collective on COMM. Errors,
 * agreed: STATUS_DATA naming what was looked at. */
status_t store_find_base(comm_t *comm, uint64_t wanted, const store_info_t *base, store_info_t *info);

#endif
