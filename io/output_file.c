#include "io/output_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

status_t output_file_open(const char *path, output_file_t *out) {
  TRY(file_join(out->path, path, NULL, NULL));
  TRY(file_partial(out->partial, path));
  TRY(file_stream(out->partial, false, &out->stream));
  status_code_t status = json_writer_create(out->stream, &out->writer);
  if (status != STATUS_OK) fclose(out->stream);
  return status;
}

status_t output_file_close(output_file_t *file, status_code_t status) {
  if (status == STATUS_OK) {
    status = error_context(json_writer_finish(file->writer, NULL, NULL), "while writing '%s'", file->path);
    bool closed = fclose(file->stream) == 0;
    if (status == STATUS_OK && !closed)
      status = error_set(STATUS_DATA, "cannot write '%s': %s", file->partial, strerror(errno));
    if (status == STATUS_OK) status = file_sync(file->partial);
    if (status == STATUS_OK) status = file_rename(file->partial, file->path);
  } else {
    json_writer_free(file->writer);
    fclose(file->stream);
  }
  if (status != STATUS_OK) unlink(file->partial);
  return status;
}
