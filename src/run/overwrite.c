#include "run/overwrite.h"

#include "io/file.h"

#include <sys/stat.h>

/* A setting that names a file. */
typedef struct {
  const char *name, *path;
} named_t;

static bool is_same_file(const char *a, const char *b) {
  struct stat first, second;
  return *a && *b && stat(a, &first) == 0 && stat(b, &second) == 0 && S_ISREG(first.st_mode) &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static status_t keep_apart(named_t output, const named_t *inputs, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (is_same_file(output.path, inputs[i].path))
      return error_set(STATUS_INPUT,
                       "%s = '%s' would be overwritten by the result (%s): choose another place",
                       inputs[i].name, inputs[i].path, output.name);
  return STATUS_OK;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static status_t check_data_task(const settings_t *settings) {
  const named_t sources[] = {{"prepare.conversations", settings->prepare.conversations},
                             {"prepare.preferences", settings->prepare.preferences},
                             {"prepare.facts", settings->prepare.facts}};
  const named_t pairs[] = {{"annotate.pairs", settings->annotate.pairs},
                           {"annotate.scenes", settings->annotate.scenes}};
  const named_t questions[] = {{"generate.dataset", settings->generate.dataset},
                               {"generate.image", settings->generate.image},
                               {"model.base", settings->model.base},
                               {"model.adapter", settings->model.adapter}};
  switch (settings_task(settings)) {
  case TASK_PREPARE:
    TRY(keep_apart((named_t){"prepare.output", settings->prepare.output}, sources, COUNT(sources)));
    return keep_apart((named_t){"prepare.held_out_output", settings->prepare.held_out_output}, sources,
                      COUNT(sources));
  case TASK_ANNOTATE:
    return keep_apart((named_t){"annotate.output", settings->annotate.output}, pairs, COUNT(pairs));
  case TASK_GENERATE:
    return keep_apart((named_t){"generate.output", settings->generate.output}, questions, COUNT(questions));
  default:
    return STATUS_OK;
  }
}

static status_t check_training(const settings_t *settings) {
  char path[FILE_MAX_PATH];
  if (!task_trains(settings_task(settings))) return STATUS_OK;
  const named_t inputs[] = {{"model.base", settings->model.base},
                            {"model.adapter", settings->model.adapter},
                            {"reward.model", settings->reward.model}};
  TRY(file_join(path, settings->job.run_dir, "model.h5", NULL));
  return keep_apart((named_t){"model.h5 in job.run_dir", path}, inputs, COUNT(inputs));
}

status_t overwrite_check(comm_t *comm, const settings_t *settings) {
  status_code_t status = STATUS_OK;
  if (comm_rank(comm) == 0) {
    status = check_data_task(settings);
    if (status == STATUS_OK) status = check_training(settings);
  }
  return comm_agree(comm, status);
}
