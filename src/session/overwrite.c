#include "session/overwrite.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file_identity.h"
#include "session/task_files.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The files of a task with what they are, those that it writes twice: the file, and the part of it that is
 * written beside its place. */
typedef struct {
  task_files_t inputs, outputs;
  file_identity_t *read, *written, *partial; /* (inputs), (outputs), (outputs) */
} files_t;

/* ---- One output ---- */

/* IDENTITY is where OUTPUT is to be made. */
static status_t overwrite_check_place(const task_file_t *output, const file_identity_t *identity) {
  bool made = *identity->rest == '\0';
  if (made && identity->folder)
    return error_set(STATUS_INPUT, "%s = '%s' is a folder; name a file to write", output->name, output->path);
  if (!made && !identity->folder)
    return error_set(STATUS_INPUT, "%s = '%s' cannot be made: a file stands where a folder was expected",
                     output->name, output->path);
  if (!made && !identity->writable)
    return error_set(STATUS_INPUT, "%s = '%s' cannot be made: its folder may not be written to", output->name,
                     output->path);
  return STATUS_OK;
}

static status_t overwrite_look(const task_file_t *file, file_identity_t *out) {
  return error_context(file_identity(file->path, out), "while looking at %s", file->name);
}

static status_t look_at_output(const task_file_t *output, file_identity_t *written,
                               file_identity_t *partial) {
  char path[FILE_MAX_PATH];
  TRY(overwrite_look(output, written));
  TRY(overwrite_check_place(output, written));
  TRY(file_partial(path, output->path));
  const task_file_t beside = {output->name, path};
  TRY(overwrite_look(&beside, partial));
  return overwrite_check_place(&beside, partial);
}

/* ---- All of them ---- */

static status_t look_at_all(const settings_t *settings, files_t *files) {
  TRY(task_files_list(settings, &files->inputs, &files->outputs));
  size_t inputs = (size_t)files->inputs.count, outputs = (size_t)files->outputs.count;
  TRY(memory_alloc(&files->read, ARENA_OTHER, inputs, sizeof *files->read));
  TRY(memory_alloc(&files->written, ARENA_OTHER, outputs, sizeof *files->written));
  TRY(memory_alloc(&files->partial, ARENA_OTHER, outputs, sizeof *files->partial));
  for (size_t i = 0; i < inputs; i++)
    TRY(overwrite_look(&files->inputs.items[i], &files->read[i]));
  for (size_t i = 0; i < outputs; i++)
    TRY(look_at_output(&files->outputs.items[i], &files->written[i], &files->partial[i]));
  return STATUS_OK;
}

static status_t overwrite_keep_from_inputs(const files_t *files, int64_t o) {
  const task_file_t *output = &files->outputs.items[o];
  for (int64_t i = 0; i < files->inputs.count; i++) {
    const task_file_t *input = &files->inputs.items[i];
    if (file_identical(&files->written[o], &files->read[i]) ||
        file_identical(&files->partial[o], &files->read[i]))
      return error_set(STATUS_INPUT,
                       "%s = '%s' would be overwritten by the result %s = '%s': choose another place",
                       input->name, input->path, output->name, output->path);
  }
  return STATUS_OK;
}

static status_t overwrite_keep_from_outputs(const files_t *files, int64_t o) {
  const task_file_t *output = &files->outputs.items[o];
  for (int64_t i = 0; i < o; i++) {
    const task_file_t *other = &files->outputs.items[i];
    if (file_identical(&files->written[o], &files->written[i]) ||
        file_identical(&files->written[o], &files->partial[i]) ||
        file_identical(&files->partial[o], &files->written[i]))
      return error_set(STATUS_INPUT, "%s = '%s' and %s = '%s' are one file, and would overwrite each other",
                       other->name, other->path, output->name, output->path);
  }
  return STATUS_OK;
}

static void files_free(files_t *files) {
  memory_free(files->read);
  memory_free(files->written);
  memory_free(files->partial);
  task_files_free(&files->inputs);
  task_files_free(&files->outputs);
}

static status_t overwrite_check_all(const settings_t *settings) {
  SCOPED(files_free) files_t files = {0};
  TRY(look_at_all(settings, &files));
  for (int64_t o = 0; o < files.outputs.count; o++) {
    TRY(overwrite_keep_from_inputs(&files, o));
    TRY(overwrite_keep_from_outputs(&files, o));
  }
  return STATUS_OK;
}

status_t overwrite_check(comm_t *comm, const settings_t *settings) {
  return comm_agree(comm, comm_rank(comm) == 0 ? overwrite_check_all(settings) : STATUS_OK);
}

/* ---- Remains ---- */

static status_t overwrite_remove_partial(const task_file_t *output) {
  char path[FILE_MAX_PATH];
  TRY(file_partial(path, output->path));
  if (unlink(path) == 0)
    log_info("removed    %s, left by a job that died", path);
  else if (errno != ENOENT && errno != ENOTDIR)
    return error_set(STATUS_DATA, "%s, left by a job that died, cannot be removed: %s", path,
                     strerror(errno));
  return STATUS_OK;
}

static status_t overwrite_clear_all(const settings_t *settings) {
  SCOPED(task_files_free) task_files_t inputs = {0}, outputs = {0};
  TRY(task_files_list(settings, &inputs, &outputs));
  for (int64_t i = 0; i < outputs.count; i++)
    TRY(overwrite_remove_partial(&outputs.items[i]));
  return STATUS_OK;
}

status_t overwrite_clear(comm_t *comm, const settings_t *settings) {
  return comm_agree(comm, comm_rank(comm) == 0 ? overwrite_clear_all(settings) : STATUS_OK);
}
