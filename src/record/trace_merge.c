/* The timelines of several ranks as one. Each is as trace_write leaves it: a line that describes it, a line
 * that opens its list, a line for each event, a line that closes both. */
#include "record/trace.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { LINE_MAX_BYTES = 4096 };

typedef struct {
  gzFile to;
  int64_t events; /* written so far */
  char line[LINE_MAX_BYTES];
} merge_t;

/* The next line without its end; NULL at the end of the file, or where it is broken. */
static char *merge_line(merge_t *merge, gzFile from) {
  if (!gzgets(from, merge->line, sizeof merge->line)) return NULL;
  merge->line[strcspn(merge->line, "\n")] = '\0';
  return merge->line;
}

static bool merge_is_head(const char *first) {
  return first && strncmp(first, "{\"displayTimeUnit\"", 18) == 0;
}

/* Events, one a line, up to the line that closes the list; false where that is missing. */
static bool merge_events(merge_t *merge, gzFile from) {
  char *line;
  while ((line = merge_line(merge, from)) != NULL && strcmp(line, "]}") != 0) {
    size_t n = strlen(line);
    if (n > 0 && line[n - 1] == ',') line[n - 1] = '\0';
    gzprintf(merge->to, "%s%s", merge->events++ > 0 ? ",\n" : "", line);
  }
  return line != NULL;
}

static bool merge_whole(merge_t *merge, gzFile from) {
  if (!merge_is_head(merge_line(merge, from))) return false;
  const char *opening = merge_line(merge, from);
  return opening && strcmp(opening, "\"traceEvents\": [") == 0 && merge_events(merge, from);
}

static status_t merge_file(merge_t *merge, const char *path) {
  gzFile from = gzopen(path, "rb");
  if (!from) return error_set(STATUS_DATA, "the timeline %s cannot be read", path);
  bool whole = merge_whole(merge, from);
  (void)gzclose(from);
  if (whole) return STATUS_OK;
  return error_set(STATUS_DATA, "%s is not a whole timeline of a rank; remove it to merge the others", path);
}

static status_t merge_files(merge_t *merge, const glob_t *found) {
  gzprintf(merge->to, "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"ranks\": %zu},\n\"traceEvents\": [\n",
           found->gl_pathc);
  for (size_t i = 0; i < found->gl_pathc; i++)
    TRY(merge_file(merge, found->gl_pathv[i]));
  gzprintf(merge->to, "\n]}\n");
  int error = Z_OK;
  const char *reason = gzerror(merge->to, &error);
  return error == Z_OK ? STATUS_OK : error_set(STATUS_DATA, "the timeline cannot be written: %s", reason);
}

static status_t merge_write(const glob_t *found, const char *path) {
  SCOPED_MEMORY merge_t *merge = NULL;
  char partial[FILE_MAX_PATH];
  TRY(file_partial(partial, path));
  TRY(memory_alloc(&merge, ARENA_OTHER, 1, sizeof *merge));
  merge->to = gzopen(partial, "wb");
  if (!merge->to) return error_set(STATUS_DATA, "%s cannot be made", partial);
  status_code_t status = merge_files(merge, found);
  if (gzclose(merge->to) != Z_OK && status == STATUS_OK)
    status = error_set(STATUS_DATA, "%s cannot be written; is the disk full?", partial);
  if (status == STATUS_OK) status = file_rename(partial, path);
  if (status != STATUS_OK) (void)unlink(partial);
  if (status == STATUS_OK)
    log_info("%s: %lld events of %zu ranks; open it in ui.perfetto.dev or chrome://tracing", path,
             (long long)merge->events, found->gl_pathc);
  return status;
}

status_t trace_merge(const char *run_dir, const char *output) {
  char pattern[FILE_MAX_PATH], path[FILE_MAX_PATH];
  glob_t found = {0};
  TRY(file_join(pattern, run_dir, "trace", "rank_*.json.gz"));
  TRY(file_join(path, run_dir, "trace", "all.json.gz"));
  if (glob(pattern, 0, NULL, &found) != 0) {
    globfree(&found);
    return error_set(STATUS_DATA, "there are no timelines %s; log.trace = .true. makes a run leave them",
                     pattern);
  }
  status_code_t status = merge_write(&found, output ? output : path);
  globfree(&found);
  return status;
}
