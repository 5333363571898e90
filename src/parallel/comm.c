#define _GNU_SOURCE
#include "parallel/comm.h"

#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reductions need scratch of this size in MPI, so it bounds memory; it is far beyond where latency counts. */
static const size_t piece_preset = (size_t)64 << 20;

int comm_rank(const comm_t *comm) {
  return comm->rank;
}

int comm_size(const comm_t *comm) {
  return comm->size;
}

bool comm_is_direct(const comm_t *comm) {
  return comm->size <= COMM_DIRECT_RANKS;
}

void comm_count_as(comm_t *comm, traffic_t traffic) {
  comm->traffic = traffic;
}

void comm_count(const comm_t *comm, collective_t collective, double bytes, double begin) {
  perf_comm_since(perf_collective_name(collective), bytes, begin);
  perf_collective(comm->traffic, collective, 1.0, bytes, perf_now() - begin);
}

MPI_Comm comm_mpi(const comm_t *comm) {
  return comm->mpi;
}

/* An extension of Open MPI, MPICH and those made from them; where the library has none it is NULL. */
extern int MPIX_Query_cuda_support(void) __attribute__((weak));

bool comm_takes_cuda_memory(void) {
  return MPIX_Query_cuda_support != NULL && MPIX_Query_cuda_support() == 1;
}

void comm_set_piece(comm_t *comm, size_t bytes) {
  comm->piece = bytes;
}

status_t comm_mpi_error(int code, const char *call) {
  char text[MPI_MAX_ERROR_STRING] = "unknown error";
  int length = 0;
  MPI_Error_string(code, text, &length);
  int name_length = (int)strcspn(call, "( ");
  return error_set(STATUS_COMM, "%.*s failed: %s", name_length, call, text);
}

/* A wait gives its core away between two looks, and after each LOOKS of them it sleeps: ranks that share
 * cores would otherwise spend these on looking. On two busy cores an allreduce of 32 KB over 8 ranks took a
 * half to a twentieth of the time that it took with giving the core away alone. On crowded cores it sleeps
 * from the start; else only once the wait has lasted so long that a sleep adds little to it. Sleeps grow with
 * the wait, so that ranks that wait for long for a few that work (64 on two cores) leave those the cores, and
 * stay below the share sleep_share of it. */
enum { LOOKS = 50, SLEEP_LEAST = 100, SLEEP_MOST = 5000 }; /* microseconds */
static const double sleep_share = 1.0 / 64;

/* Per process, for waits know no communicator. */
static bool crowded_cores;

void comm_set_crowded(bool crowded) {
  crowded_cores = crowded;
}

static void sleep_a_while(double waited) {
  double sleep = waited * sleep_share * 1e6;
  if (sleep < SLEEP_LEAST && !crowded_cores) return;
  if (sleep < SLEEP_LEAST) sleep = SLEEP_LEAST;
  usleep(sleep > SLEEP_MOST ? SLEEP_MOST : (useconds_t)sleep);
}

status_t comm_mpi_wait(MPI_Request *requests, int count, const char *call) {
  int done = 0;
  watchdog_enter(call); /* even where nothing is left to wait for: the ranks' counts of waits are compared */
  double start = perf_now();
  int code = MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE);
  for (int looks = 1; code == MPI_SUCCESS && !done; looks = (looks + 1) % LOOKS) {
    if (looks == 0) {
      sleep_a_while(perf_now() - start);
    } else {
      sched_yield();
    }
    watchdog_poll();
    code = MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE);
  }
  watchdog_leave();
  return code == MPI_SUCCESS ? STATUS_OK : comm_mpi_error(code, call);
}

/* A comm_t around MPI (which it then owns), with the settings of PARENT (NULL for the world). */
static status_t comm_wrap(const comm_t *parent, MPI_Comm mpi, const char *name, comm_t **out) {
  SCOPED(comm_free_at) comm_t *comm = NULL;
  *out = NULL;
  TRY(memory_alloc(&comm, ARENA_COMM, 1, sizeof *comm));
  comm->mpi = MPI_COMM_NULL;
  comm->traffic = parent != NULL ? parent->traffic : TRAFFIC_WORLD;
  comm->piece = parent != NULL ? parent->piece : piece_preset;
  comm->maxloc_type = parent != NULL ? parent->maxloc_type : MPI_DATATYPE_NULL;
  comm->maxloc_op = parent != NULL ? parent->maxloc_op : MPI_OP_NULL;
  snprintf(comm->name, sizeof comm->name, "%s", name);
  TRY_MPI(MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN));
  TRY_MPI(MPI_Comm_set_name(mpi, name));
  TRY_MPI(MPI_Comm_rank(mpi, &comm->rank));
  TRY_MPI(MPI_Comm_size(mpi, &comm->size));
  TRY_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &comm->world_rank));
  TRY(memory_alloc(&comm->counts, ARENA_COMM, (size_t)comm->size, sizeof *comm->counts));
  TRY(memory_alloc(&comm->places, ARENA_COMM, (size_t)comm->size, sizeof *comm->places));
  TRY(memory_alloc(&comm->equal, ARENA_COMM, (size_t)comm->size, sizeof *comm->equal));
  comm->mpi = mpi;
  memory_hand_over(out, &comm);
  return STATUS_OK;
}

status_t comm_split(comm_t *comm, int colour, int key, const char *name, comm_t **out) {
  MPI_Comm mpi = MPI_COMM_NULL;
  *out = NULL;
  TRY(comm_barrier(comm)); /* whoever waits for a rank that comes late takes part in the rounds meanwhile */
  watchdog_enter("split of a communicator");
  int code = MPI_Comm_split(comm->mpi, colour, key, &mpi);
  watchdog_leave();
  if (code != MPI_SUCCESS) return comm_mpi_error(code, "MPI_Comm_split");
  return comm_wrap(comm, mpi, name, out);
}

status_t comm_split_node(comm_t *comm, const char *name, comm_t **out) {
  MPI_Comm mpi = MPI_COMM_NULL;
  *out = NULL;
  TRY(comm_barrier(comm));
  watchdog_enter("split of a communicator by node");
  int code = MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &mpi);
  watchdog_leave();
  if (code != MPI_SUCCESS) return comm_mpi_error(code, "MPI_Comm_split_type");
  return comm_wrap(comm, mpi, name, out);
}

void comm_free(comm_t *comm) {
  if (comm == NULL || comm_is_busy(comm)) return;
  if (comm->mpi != MPI_COMM_NULL) MPI_Comm_free(&comm->mpi);
  memory_free(comm->scratch);
  memory_free(comm->counts);
  memory_free(comm->places);
  memory_free(comm->equal);
  memory_free(comm);
}

/* The leak sanitizer tells Open MPI's leaks from ours by the names of its libraries (tests/lsan.supp), which
 * are gone once MPI has unloaded them. So what MPI_Init takes is not looked at, and the look is taken before
 * MPI_Finalize. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
static void ignore_leaks(bool ignore) {
  if (ignore) {
    __lsan_disable();
  } else {
    __lsan_enable();
  }
}

static void comm_check_leaks(void) {
  __lsan_do_leak_check();
}
#else
static void ignore_leaks(bool ignore) {
  (void)ignore;
}

static void comm_check_leaks(void) {}
#endif

status_t comm_init(int *argc, char ***argv, comm_t **world) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Comm mpi = MPI_COMM_NULL;
  *world = NULL;
  ignore_leaks(true);
  int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
  ignore_leaks(false);
  if (code != MPI_SUCCESS) return comm_mpi_error(code, "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED)
    return error_set(STATUS_COMM,
                     "this MPI library offers thread level %d; MPI_THREAD_FUNNELED (%d) is needed: "
                     "use a build of it with thread support",
                     provided, MPI_THREAD_FUNNELED);
  TRY_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  TRY_MPI(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
  TRY_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &mpi));
  TRY(comm_wrap(NULL, mpi, "world", world));
  return comm_make_maxloc(*world);
}

void comm_finish(comm_t *world) {
  if (world != NULL) {
    if (world->maxloc_op != MPI_OP_NULL) MPI_Op_free(&world->maxloc_op);
    if (world->maxloc_type != MPI_DATATYPE_NULL) MPI_Type_free(&world->maxloc_type);
    comm_free(world);
  }
  comm_check_leaks();
  MPI_Finalize();
}

/* Seconds that last words and MPI_Abort get before this process ends by itself (which makes mpirun end the
 * others). */
enum { ABORT_GRACE = 20 };
static volatile sig_atomic_t abort_status = 1;

static void exit_now(int signal_number) {
  (void)signal_number;
  _exit(abort_status);
}

void comm_abort_soon(int exit_status) {
  static atomic_flag armed = ATOMIC_FLAG_INIT;
  if (atomic_flag_test_and_set(&armed)) return;
  abort_status = exit_status;
  signal(SIGALRM, exit_now);
  alarm(ABORT_GRACE);
}

_Noreturn void comm_abort(int exit_status) {
  int started = 0, ended = 0;
  comm_abort_soon(exit_status);
  fflush(NULL);
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  if (started && !ended) MPI_Abort(MPI_COMM_WORLD, exit_status);
  _exit(exit_status);
}
