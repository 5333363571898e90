#include "input/wrapping.h"

#include <string.h>

enum { TEXT_WIDTH = 96 };

void wrapping_write(FILE *file, const char *first, const char *prefix, const char *text) {
  size_t column = 0;
  while (*text) {
    size_t word = strcspn(text, " ");
    if (column > 0 && column + 1 + word > TEXT_WIDTH) {
      fputc('\n', file);
      first = prefix;
      column = 0;
    }
    if (column == 0)
      column = (size_t)fprintf(file, "%s%.*s", first, (int)word, text);
    else
      column += (size_t)fprintf(file, " %.*s", (int)word, text);
    text += word;
    text += strspn(text, " ");
  }
  fputc('\n', file);
}

status_t wrapping_finish(FILE *file) {
  if (fflush(file) != 0 || ferror(file)) return error_set(STATUS_DATA, "cannot write: the disk may be full");
  return STATUS_OK;
}
