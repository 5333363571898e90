#define _GNU_SOURCE
#include "record/lines.h"

#include <stdlib.h>

lines_t lines_open(const char *path) {
  return (lines_t){.file = fopen(path, "rb")};
}

const json_t *lines_next(lines_t *lines) {
  json_free(&lines->document);
  while (lines->file) {
    ssize_t n = getline(&lines->text, &lines->capacity, lines->file);
    if (n <= 0 || lines->text[n - 1] != '\n') return NULL;
    if (n == 1) continue;
    if (json_parse(lines->text, (size_t)n, "a line", &lines->document) == STATUS_OK) {
      if (lines->document.root->type == JSON_OBJECT) return lines->document.root;
      json_free(&lines->document);
    }
    error_clear();
    lines->dropped++;
  }
  return NULL;
}

void lines_close(lines_t *lines) {
  json_free(&lines->document);
  free(lines->text);
  if (lines->file) fclose(lines->file);
  *lines = (lines_t){0};
}
