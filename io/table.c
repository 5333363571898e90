#include "io/table.h"

#include "text/buffer.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct table {
  const char *path; /* of path_kept */
  char *path_kept;
  FILE *file;
  text_buffer_t names, row; /* fields, each ended by '\0' */
  size_t name_at[TABLE_MAX_COLUMNS], field_at[TABLE_MAX_COLUMNS];
  int32_t columns;
  int64_t line; /* 1-based, of the next byte */
  int64_t row_line;
  char where[512];
};

static status_t table_refuse(table_t *table, int64_t line, const char *problem) {
  return error_set(STATUS_DATA, "%s, line %lld: %s", table->path, (long long)line, problem);
}

/* ---- Fields ---- */

static int table_byte(table_t *table) {
  int c = getc_unlocked(table->file);
  if (c == '\n') table->line++;
  return c;
}

static status_t table_append(table_t *table, text_buffer_t *row, int c) {
  const char byte = (char)c;
  if (c == '\0') return table_refuse(table, table->line, "holds a zero byte; text was expected");
  if (row->n >= TABLE_MAX_ROW)
    return table_refuse(table, table->row_line, "the row is longer than 64 MiB; is a quote missing?");
  return text_buffer_append(row, (text_view_t){&byte, 1});
}

/* The rest of a field behind its opening quote; *C: the byte behind the closing one. */
static status_t quoted_read(table_t *table, text_buffer_t *row, int *c) {
  for (;;) {
    *c = table_byte(table);
    if (*c == EOF) return table_refuse(table, table->row_line, "the file ends within a quoted field");
    if (*c == '"') {
      *c = table_byte(table);
      if (*c != '"') break;
    }
    TRY(table_append(table, row, *c));
  }
  if (*c == '\r') *c = table_byte(table);
  if (*c == '\t' || *c == '\n' || *c == EOF) return STATUS_OK;
  return table_refuse(table, table->line, "text behind a closing quote; expected a tab or the line's end");
}

/* A field that begins with *C, and what ends it. */
static status_t field_read(table_t *table, text_buffer_t *row, int *c) {
  if (*c == '"') return quoted_read(table, row, c);
  for (; *c != '\t' && *c != '\n' && *c != EOF; *c = table_byte(table))
    TRY(table_append(table, row, *c));
  if (*c != '\t' && row->n > 0 && row->bytes[row->n - 1] == '\r') row->bytes[--row->n] = '\0';
  return STATUS_OK;
}

/* The fields of a line that begins with C. */
static status_t line_read(table_t *table, text_buffer_t *row, size_t *at, int32_t *count, int c) {
  row->n = 0;
  for (*count = 0;;) {
    if (*count == TABLE_MAX_COLUMNS)
      return table_refuse(table, table->row_line, "has more than 256 fields between tabs");
    size_t begin = row->n;
    at[(*count)++] = begin;
    TRY(field_read(table, row, &c));
    TRY(text_buffer_append(row, (text_view_t){"", 1}));
    if (!text_is_utf8((text_view_t){row->bytes + begin, row->n - 1 - begin}, NULL))
      return table_refuse(table, table->row_line, "is not UTF-8");
    if (c != '\t') return STATUS_OK;
    c = table_byte(table);
  }
}

/* ---- Opening ---- */

static status_t table_file_open(table_t *table) {
  struct stat info;
  /* Looked at first: opening a named pipe would wait for its writer. */
  if (stat(table->path, &info) == 0 && !S_ISREG(info.st_mode))
    return error_set(STATUS_DATA, "%s: a regular file was expected", table->path);
  table->file = fopen(table->path, "rb");
  if (table->file) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be opened: %s", table->path, strerror(errno));
}

static status_t names_check(table_t *table) {
  char problem[128];
  for (int32_t i = 0; i < table->columns; i++) {
    const char *name = table_name(table, i);
    if (table_find(table, name) == i) continue;
    snprintf(problem, sizeof problem, "has two columns called '%.60s'", name);
    return table_refuse(table, 1, problem);
  }
  return STATUS_OK;
}

static status_t names_read(table_t *table) {
  table->row_line = table->line;
  int c = table_byte(table);
  if (c == 0xef) {
    const int second = table_byte(table), third = table_byte(table);
    if (second != 0xbb || third != 0xbf) return table_refuse(table, 1, "is not UTF-8");
    c = table_byte(table);
  }
  if (c == EOF || c == '\n') return table_refuse(table, 1, "empty; names of columns were expected");
  TRY(line_read(table, &table->names, table->name_at, &table->columns, c));
  return names_check(table);
}

status_t table_open(const char *path, table_t **out) {
  SCOPED(table_close_at) table_t *table = NULL;
  *out = NULL;
  TRY(memory_alloc(&table, ARENA_IO, 1, sizeof *table));
  table->line = 1;
  TRY(memory_copy_text(&table->path_kept, ARENA_IO, path, strlen(path)));
  table->path = table->path_kept;
  TRY(table_file_open(table));
  TRY(names_read(table));
  memory_hand_over(out, &table);
  return STATUS_OK;
}

void table_close(table_t *table) {
  if (!table) return;
  text_buffer_free(&table->names);
  text_buffer_free(&table->row);
  if (table->file) fclose(table->file);
  memory_free(table->path_kept);
  memory_free(table);
}

/* ---- Rows ---- */

/* The first byte of the next line that is not empty. */
static int row_begin(table_t *table) {
  int c;
  do {
    table->row_line = table->line;
    c = table_byte(table);
    if (c == '\r') c = table_byte(table);
  } while (c == '\n');
  return c;
}

status_t table_next(table_t *table, bool *more) {
  char problem[128];
  int32_t count;
  int c = row_begin(table);
  *more = c != EOF;
  if (ferror(table->file)) return table_refuse(table, table->row_line, strerror(errno));
  if (!*more) return STATUS_OK;
  snprintf(table->where, sizeof table->where, "%s, line %lld", table->path, (long long)table->row_line);
  TRY(line_read(table, &table->row, table->field_at, &count, c));
  if (count == table->columns) return STATUS_OK;
  snprintf(problem, sizeof problem, "has %d fields between tabs, expected %d as in the first line", count,
           table->columns);
  return table_refuse(table, table->row_line, problem);
}

int32_t table_columns(const table_t *table) {
  return table->columns;
}

const char *table_name(const table_t *table, int32_t column) {
  return table->names.bytes + table->name_at[column];
}

int32_t table_find(const table_t *table, const char *name) {
  for (int32_t i = 0; i < table->columns; i++)
    if (strcmp(table_name(table, i), name) == 0) return i;
  return -1;
}

const char *table_field(const table_t *table, int32_t column) {
  return column < 0 ? "" : table->row.bytes + table->field_at[column];
}

const char *table_where(const table_t *table) {
  return table->where;
}

void table_write_field(FILE *file, const char *field) {
  if (!strpbrk(field, "\t\r\n\"")) {
    fputs(field, file);
    return;
  }
  fputc('"', file);
  for (; *field; field++) {
    if (*field == '"') fputc('"', file);
    fputc(*field, file);
  }
  fputc('"', file);
}
