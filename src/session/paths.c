#include "session/paths.h"

#include "io/file.h"

/* Room for the longest name below a run directory: a file of TensorBoard with the host's name (64 bytes at
 * most). */
enum { BELOW_RUN_DIR = 128, BESIDE = 8 /* .partial */ };

status_t paths_check(const settings_t *settings) {
  const struct {
    const char *name, *path;
  } outputs[] = {{"prepare.output", settings->prepare.output},
                 {"prepare.held_out_output", settings->prepare.held_out_output},
                 {"import.output", settings->import.output},
                 {"export.output", settings->export.output},
                 {"generate.output", settings->generate.output},
                 {"annotate.output", settings->annotate.output}};
  TRY(file_check_path("job.run_dir", settings->job.run_dir, BELOW_RUN_DIR));
  for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
    TRY(file_check_path(outputs[i].name, outputs[i].path, BESIDE));
  return STATUS_OK;
}
