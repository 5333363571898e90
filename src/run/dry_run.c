#include "run/dry_run.h"

status_t dry_run(session_t *session) {
  return grid_describe(&session->grid);
}
