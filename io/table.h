/* Tables of text: a line of names, then rows of fields between tabs, as spreadsheets and pandas write them.
 */
#ifndef IO_TABLE_H
#define IO_TABLE_H

#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
  TABLE_MAX_ROW = 64 * 1024 * 1024, /* bytes of a row: a field may hold an image */
  TABLE_MAX_COLUMNS = 256
};

typedef struct table table_t;

/* Opens PATH and reads its line of names. A field may stand between double quotes, in which tabs and line
 * ends are text and two quotes are one. Errors: STATUS_DATA (cannot be read, no names, a name twice). Close
 * with table_close. Local. */
status_t table_open(const char *path, table_t **out);

/* Goes to the next row; *MORE is false behind the last one. Empty lines are passed over. Errors: STATUS_DATA
 * with file and line: another number of fields than names, an unfinished quote, no UTF-8, a row beyond
 * TABLE_MAX_ROW. Local. */
status_t table_next(table_t *table, bool *more);

int32_t table_columns(const table_t *table);
const char *table_name(const table_t *table, int32_t column);

/* The column called NAME, -1 where there is none. Local. */
int32_t table_find(const table_t *table, const char *name);

/* The present row's field, valid until the next call of table_next; of column -1 "". Local. */
const char *table_field(const table_t *table, int32_t column);

/* "FILE, line N" of the present row, for messages. Local. */
const char *table_where(const table_t *table);

/* Writes FIELD to FILE, between quotes where it needs them. */
void table_write_field(FILE *file, const char *field);

void table_close(table_t *table);
SCOPED_POINTER(table_close, table_t)

#endif
