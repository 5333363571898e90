#include "session/pulsed.h"

bool session_pulse_wish(void *context) {
  return session_wish(context, 0.0);
}

status_t session_run_pulsed(session_t *session, pulsed_task_t task) {
  pulse_t *pulse;
  TRY(pulse_start_ranks(session->world, session_pulse_wish, session, &pulse));
  status_code_t status = task(session, pulse);
  pulse_free(pulse);
  return status;
}
