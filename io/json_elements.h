/* Going through a JSON file element by element. */
#ifndef IO_JSON_ELEMENTS_H
#define IO_JSON_ELEMENTS_H

#include "io/json.h"

/* ELEMENT, which is valid until the return; WHERE: "FILE, line N", for messages. */
typedef status_t (*json_visit_t)(void *context, const json_element_t *element, const char *where);

/* VISIT for each element of PATH (an array, or a value a line), in their order; at the end warns as
 * json_reader_warn. Errors: STATUS_DATA (json_reader_open, json_reader_next), VISIT's. Local. */
status_t json_elements_visit(const char *path, json_visit_t visit, void *context);

#endif
