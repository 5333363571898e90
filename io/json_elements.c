#include "io/json_elements.h"

#include <stdio.h>

static status_t elements_visit(json_reader_t *reader, const char *path, json_visit_t visit, void *context) {
  for (;;) {
    json_element_t element;
    char where[512];
    TRY(json_reader_next(reader, &element));
    if (!element.value) {
      json_reader_warn(reader);
      return STATUS_OK;
    }
    snprintf(where, sizeof where, "%s, line %lld", path, (long long)element.line);
    TRY(visit(context, &element, where));
  }
}

status_t json_elements_visit(const char *path, json_visit_t visit, void *context) {
  json_reader_t *reader;
  TRY(json_reader_open(path, JSON_ELEMENTS, &reader));
  status_code_t status = elements_visit(reader, path, visit, context);
  json_reader_close(reader);
  return status;
}
