/* Tables: what is read of one, written and read again, is the same. */
#include "fuzz.h"

#include "io/table.h"

#include <string.h>

static const char *path, *again;

void fuzz_start(void) {
  path = fuzz_path("x.tsv");
  again = fuzz_path("again.tsv");
}

/* The present row of TABLE, as a line of FILE. */
static void row_write(FILE *file, const table_t *table) {
  for (int32_t c = 0; c < table_columns(table); c++) {
    if (c > 0) fputc('\t', file);
    table_write_field(file, table_field(table, c));
  }
  fputc('\n', file);
}

/* TABLE's present row is the one of a table of columns 0, 1, ... */
static void row_compare(const table_t *table) {
  FILE *file = fopen(again, "wb");
  FUZZ_EXPECT(file != NULL);
  for (int32_t c = 0; c < table_columns(table); c++)
    fprintf(file, "%s%d", c > 0 ? "\t" : "", c);
  fputc('\n', file);
  row_write(file, table);
  fclose(file);
  table_t *read;
  bool more;
  FUZZ_EXPECT(table_open(again, &read) == STATUS_OK);
  FUZZ_EXPECT(table_next(read, &more) == STATUS_OK);
  /* A row of one empty field is an empty line, which is none. */
  if (more)
    for (int32_t c = 0; c < table_columns(table); c++)
      FUZZ_EXPECT(strcmp(table_field(read, c), table_field(table, c)) == 0);
  table_close(read);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  table_t *table;
  bool more = true;
  fuzz_write(path, bytes, n);
  status_code_t status = table_open(path, &table);
  while (status == STATUS_OK && more) {
    status = table_next(table, &more);
    if (status == STATUS_OK && more) row_compare(table);
  }
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  table_close(table);
  error_clear();
}
