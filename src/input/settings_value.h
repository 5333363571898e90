/* One setting's value: from texts to its field and back. */
#ifndef INPUT_SETTINGS_VALUE_H
#define INPUT_SETTINGS_VALUE_H

#include "input/namelist.h"
#include "input/settings_table.h"

/* Stores VALUES (count) in the field of ROW; what was there is freed. PLACE is the setting's own. Where they
 * are wrong, the mistake is added, the field is left alone and *STORED is false. Errors: STATUS_MEMORY.
 * Local. */
status_t setting_store(const setting_t *row, settings_t *settings, const namelist_value_t *values, int count,
                       place_t place, mistakes_t *mistakes, bool *stored);

/* Writes the field's value as it stands in an input. */
void setting_write(const setting_t *row, const settings_t *settings, FILE *file);

/* Whether the field holds the same value in both. */
bool setting_equal(const setting_t *row, const settings_t *left, const settings_t *right);

/* Frees the field's texts and sets it to zero. */
void setting_release(const setting_t *row, settings_t *settings);

#endif
