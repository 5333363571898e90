#include "train/resume_state.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char group[] = "/state";
enum { NAME_MOST = 64 };

static const char *file_attribute(const resume_file_t *file, const char *what, char name[NAME_MOST]) {
  snprintf(name, NAME_MOST, "%s_%s", file->name, what);
  return name;
}

/* ---- Writing ---- */

static status_t resume_state_write_counts(h5_file_t *file, const session_t *session,
                                          const resume_state_t *state) {
  int64_t seen = state->step * state->batch;
  const struct {
    const char *name;
    int64_t value;
  } counts[] = {{"step", state->step},
                {"optimizer_steps", optimizer_steps(state->optimizer)},
                {"best_step", state->best_step},
                {"waited", state->waited},
                {"owes_evaluation", state->owes_evaluation},
                {"sample_lines", state->sample_lines},
                {"seed", session->settings->job.seed},
                {"samples", state->samples},
                {"batch", state->batch},
                {"epoch", state->samples > 0 ? seen / state->samples : 0},
                {"position", state->samples > 0 ? seen % state->samples : 0},
                {"samples_seen", seen},
                {"skipped", session->record.skipped}};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    TRY(h5_attr_write_i64(file, group, counts[i].name, &counts[i].value, 1));
  return h5_attr_write_f64(file, group, "best", &state->best, 1);
}

static const char *const end_names[RESUME_ENDS] = {
    [RESUME_CONTINUES] = "no", [RESUME_ALL_STEPS] = "all steps", [RESUME_PATIENCE] = "patience"};

/* Names one to a line, their values, and the time. */
static status_t resume_state_write_line(h5_file_t *file, const metrics_t *line) {
  char names[METRICS_MAX * METRICS_NAME_MAX + 1] = "";
  size_t used = 0;
  for (int32_t i = 0; i < line->count; i++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s\n", line->names[i]);
  TRY(h5_attr_write_text(file, group, "metrics", names));
  TRY(h5_attr_write_f64(file, group, "metric_seconds", &line->seconds, 1));
  return h5_attr_write_f64(file, group, "metric_values", line->values, line->count);
}

static status_t resume_state_write_files(h5_file_t *file, const resume_state_t *state) {
  char name[NAME_MOST];
  for (int32_t i = 0; i < state->file_count; i++) {
    const resume_file_t *made = &state->files[i];
    TRY(h5_attr_write_u64(file, group, file_attribute(made, "identity", name), &made->identity, 1));
    TRY(h5_attr_write_text(file, group, file_attribute(made, "path", name), made->path));
  }
  return STATUS_OK;
}

status_t resume_state_write(h5_file_t *file, const session_t *session, const resume_state_t *state) {
  const int64_t layout[2] = {session->grid.dp_size, session->grid.tp_size};
  char *text;
  TRY(h5_create_group(file, group));
  TRY(resume_state_write_counts(file, session, state));
  TRY(resume_state_write_line(file, &state->line));
  TRY(resume_state_write_files(file, state));
  TRY(h5_attr_write_text(file, group, "ended", end_names[state->ended]));
  TRY(h5_attr_write_text(file, group, "task", session->settings->job.task));
  TRY(h5_attr_write_i64(file, group, "layout", layout, 2));
  TRY(settings_text(session->settings, &text));
  status_code_t status = h5_attr_write_text(file, group, "settings", text);
  memory_free(text);
  return status;
}

/* ---- Comparing ---- */

static const char way_out[] =
    "give back what the run was begun with, or begin another one in another job.run_dir";

static status_t resume_state_require(h5_file_t *file, const char *name) {
  if (h5_attr_exists(file, group, name)) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s has no attribute %s in %s: an older version of this program wrote it, which did not say "
      "what its run was made from; end that run with that version, or begin another one in another "
      "job.run_dir",
      h5_path(file), name, group);
}

/* Before all else: another task's checkpoint lacks what this one's has. */
static status_t resume_state_check_task(h5_file_t *file, const char *task) {
  char *found;
  if (!h5_exists(file, group))
    return error_set(STATUS_DATA,
                     "%s is no checkpoint: it has no group %s; job.restart takes a file of a run's "
                     "checkpoints/",
                     h5_path(file), group);
  TRY(resume_state_require(file, "task"));
  TRY(h5_attr_read_text(file, group, "task", &found));
  status_code_t status = STATUS_OK;
  if (strcmp(found, task) != 0)
    status = error_set(STATUS_DATA,
                       "%s is a checkpoint of task '%s', this run's task is '%s'; use another job.run_dir",
                       h5_path(file), found, task);
  memory_free(found);
  return status;
}

static status_t resume_state_check_complete(h5_file_t *file, const resume_state_t *state) {
  static const char *const names[] = {
      "step",    "optimizer_steps", "best",         "best_step", "waited",         "owes_evaluation",
      "ended",   "metrics",         "sample_lines", "seed",      "samples",        "batch",
      "epoch",   "position",        "samples_seen", "skipped",   "metric_seconds", "metric_values",
      "settings"};
  char name[NAME_MOST];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    TRY(resume_state_require(file, names[i]));
  for (int32_t i = 0; i < state->file_count; i++)
    TRY(resume_state_require(file, file_attribute(&state->files[i], "identity", name)));
  return STATUS_OK;
}

/* The attribute NAME must be what this run has as SETTING. */
static status_t resume_state_check_number(h5_file_t *file, const char *name, const char *setting,
                                          int64_t expected) {
  int64_t found;
  TRY(h5_attr_read_i64(file, group, name, &found, 1));
  if (found == expected) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s belongs to a run with %s = %" PRId64 ", this run has %" PRId64
                   ": it cannot continue from "
                   "there; %s",
                   h5_path(file), setting, found, expected, way_out);
}

static status_t resume_state_check_file(h5_file_t *file, const resume_file_t *made) {
  char name[NAME_MOST], *path = NULL;
  uint64_t found;
  TRY(h5_attr_read_u64(file, group, file_attribute(made, "identity", name), &found, 1));
  if (found == made->identity) return STATUS_OK;
  TRY(h5_attr_read_text(file, group, file_attribute(made, "path", name), &path));
  status_code_t status =
      error_set(STATUS_DATA,
                "%s belongs to a run with %s = '%s' of other contents (identity %016" PRIx64
                ") than '%s' has now (%016" PRIx64 "): it cannot continue from there; %s",
                h5_path(file), made->setting, path, found, made->path, made->identity, way_out);
  memory_free(path);
  return status;
}

/* Adapters must have the saved rank and scale; their modules are compared as they are read. */
static status_t resume_state_check_adapter(h5_file_t *file, const char *role,
                                           const adapter_config_t *config) {
  char path[NAME_MOST];
  int64_t r;
  double alpha;
  snprintf(path, sizeof path, "/adapters/%s", role);
  TRY(h5_attr_read_i64(file, path, "r", &r, 1));
  TRY(h5_attr_read_f64(file, path, "alpha", &alpha, 1));
  if (r == config->r && alpha == config->alpha) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: the adapter '%s' has r %" PRId64 " and alpha %g, this run's %d and %g (adapter.r and "
                   "adapter.alpha, or the adapter that it starts from): it cannot continue from there; %s",
                   h5_path(file), role, r, alpha, config->r, config->alpha, way_out);
}

static status_t resume_state_compare_settings(h5_file_t *file, const settings_t *settings,
                                              char **differences) {
  char *text;
  settings_t was;
  TRY(h5_attr_read_text(file, group, "settings", &text));
  status_code_t status = settings_read_text("the checkpoint's settings", text, 0, NULL, &was, NULL);
  memory_free(text);
  if (status == STATUS_INPUT) { /* of a version with other settings: all others have been compared */
    error_clear();
    static const char unknown[] = "settings that this version does not have";
    return memory_copy_text(differences, ARENA_OTHER, unknown, sizeof unknown - 1);
  }
  TRY(status);
  status = settings_compare(&was, settings, differences);
  settings_free(&was);
  return status;
}

status_t resume_state_check(h5_file_t *file, const session_t *session, const store_contents_t *contents,
                            const resume_state_t *state, char **differences) {
  *differences = NULL;
  TRY(resume_state_check_task(file, session->settings->job.task));
  TRY(resume_state_check_complete(file, state));
  TRY(resume_state_check_number(file, "seed", "job.seed", session->settings->job.seed));
  TRY(resume_state_check_number(file, "batch", state->batch_setting, state->batch));
  for (int32_t i = 0; i < state->file_count; i++)
    TRY(resume_state_check_file(file, &state->files[i]));
  TRY(resume_state_check_number(file, "samples", "samples of an epoch (data.limit, data.query_len)",
                                state->samples));
  for (int32_t i = 0; i < contents->adapter_count; i++)
    TRY(resume_state_check_adapter(file, contents->adapter_names[i], &contents->adapters[i]->config));
  return resume_state_compare_settings(file, session->settings, differences);
}

/* ---- Reading ---- */

static status_t resume_state_read_end(h5_file_t *file, resume_end_t *ended) {
  char *text;
  TRY(h5_attr_read_text(file, group, "ended", &text));
  int end = RESUME_ENDS - 1;
  while (end >= 0 && strcmp(text, end_names[end]) != 0)
    end--;
  status_code_t status = STATUS_OK;
  if (end < 0)
    status = error_set(STATUS_DATA, "%s: attribute ended of %s is '%s', expected '%s', '%s' or '%s'",
                       h5_path(file), group, text, end_names[0], end_names[1], end_names[2]);
  *ended = end < 0 ? RESUME_CONTINUES : (resume_end_t)end;
  memory_free(text);
  return status;
}

static status_t resume_state_read_names(h5_file_t *file, char *names, metrics_t *line) {
  char *rest, *name = strtok_r(names, "\n", &rest);
  for (; name; name = strtok_r(NULL, "\n", &rest))
    metrics_add(line, name, 0.0);
  int64_t values;
  TRY(h5_attr_count(file, group, "metric_values", &values));
  if (!*line->refused && values == line->count) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: the attributes metrics and metric_values of %s do not fit: %d names, %lld values",
                   h5_path(file), group, (int)line->count, (long long)values);
}

static status_t resume_state_read_line(h5_file_t *file, int64_t step, metrics_t *line) {
  char *names;
  *line = (metrics_t){.step = step};
  TRY(h5_attr_read_text(file, group, "metrics", &names));
  status_code_t status = resume_state_read_names(file, names, line);
  memory_free(names);
  TRY(status);
  TRY(h5_attr_read_f64(file, group, "metric_seconds", &line->seconds, 1));
  return h5_attr_read_f64(file, group, "metric_values", line->values, line->count);
}

status_t resume_state_read(h5_file_t *file, session_t *session, resume_state_t *state) {
  int64_t steps, owes;
  TRY(h5_attr_read_i64(file, group, "step", &state->step, 1));
  TRY(h5_attr_read_i64(file, group, "optimizer_steps", &steps, 1));
  TRY(h5_attr_read_i64(file, group, "best_step", &state->best_step, 1));
  TRY(h5_attr_read_f64(file, group, "best", &state->best, 1));
  TRY(h5_attr_read_i64(file, group, "waited", &state->waited, 1));
  TRY(h5_attr_read_i64(file, group, "owes_evaluation", &owes, 1));
  TRY(h5_attr_read_i64(file, group, "sample_lines", &state->sample_lines, 1));
  TRY(h5_attr_read_i64(file, group, "skipped", &session->record.skipped, 1));
  state->owes_evaluation = owes != 0;
  optimizer_set_steps(state->optimizer, steps);
  TRY(resume_state_read_end(file, &state->ended));
  return resume_state_read_line(file, state->step, &state->line);
}
