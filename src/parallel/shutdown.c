#include "parallel/shutdown.h"

#include "parallel/comm_internal.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <sched.h>

/* Waits for REQUEST until the clock shows DEADLINE (negative: without end). */
static status_t shutdown_wait_until(MPI_Request *request, double deadline, bool *done) {
  int flag = 0;
  for (;;) {
    TRY_MPI(MPI_Test(request, &flag, MPI_STATUS_IGNORE));
    *done = flag != 0;
    if (*done || (deadline >= 0 && perf_now() > deadline)) return STATUS_OK;
    watchdog_poll();
    sched_yield();
  }
}

static status_t shutdown_meet(comm_t *comm, double deadline, bool *together) {
  MPI_Request request;
  TRY_MPI(MPI_Ibarrier(comm->mpi, &request));
  watchdog_enter("end of the run");
  status_code_t status = shutdown_wait_until(&request, deadline, together);
  watchdog_leave();
  return status;
}

/* A clean stop is no failure: all ranks come to it. */
static bool shutdown_failed(status_code_t status) {
  return status != STATUS_OK && status != STATUS_STOPPED;
}

status_t shutdown_agree(comm_t *comm, status_code_t status, double patience, bool *together) {
  *together = true;
  if (comm->size == 1) return status;
  double deadline = shutdown_failed(status) ? perf_now() + patience : -1;
  status_code_t met = shutdown_meet(comm, deadline, together);
  if (met != STATUS_OK) *together = false;
  if (!*together) return shutdown_failed(status) ? status : met;
  return comm_agree(comm, status);
}
