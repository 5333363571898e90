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

static status_t output_file_place(output_file_t *file, bool closed) {
  if (!closed) return error_set(STATUS_DATA, "cannot write '%s': %s", file->partial, strerror(errno));
  TRY(file_sync(file->partial));
  return file_rename(file->partial, file->path);
}

/* Ends a writer whose JSON may be incomplete, keeping the message of the error that stopped it. */
static status_t writer_abandon(json_writer_t *writer, status_code_t status) {
  char message[2048];
  snprintf(message, sizeof message, "%s", error_message());
  if (json_writer_finish(writer, NULL, NULL) != STATUS_OK) return error_set(status, "%s", message);
  return status;
}

status_t output_file_close(output_file_t *file, status_code_t status) {
  if (status == STATUS_OK) {
    status = json_writer_finish(file->writer, NULL, NULL);
    if (status != STATUS_OK) status = error_context(status, "while writing '%s'", file->path);
    bool closed = fclose(file->stream) == 0;
    if (status == STATUS_OK) status = output_file_place(file, closed);
  } else {
    status = writer_abandon(file->writer, status);
    fclose(file->stream);
  }
  if (status != STATUS_OK) unlink(file->partial);
  return status;
}
