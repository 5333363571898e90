#define _GNU_SOURCE
#include "io/formats/rundir_lock.h"

#include "base/log.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HOST_MOST = 256, OWNER_MOST = 512 };

/* ---- owners ---- */

/* When process PID started, in the kernel's ticks since boot; 0 if there is no such process, or it has ended
 * and is only still listed because nobody asked how (in a container that can take long). With it a process
 * number that has been given out again is told from the old one. */
static unsigned long long process_start(long pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[n] = '\0';
  /* The 22nd field; the second, the name, is in brackets and may hold spaces. */
  const char *place = strrchr(text, ')');
  if (place && (strncmp(place, ") Z", 3) == 0 || strncmp(place, ") X", 3) == 0)) return 0;
  for (int field = 2; place && field < 22; ++field)
    place = strchr(place + 1, ' ');
  unsigned long long start = 0;
  if (place && sscanf(place, " %llu", &start) != 1) start = 0;
  return start;
}

typedef struct {
  char host[HOST_MOST];
  long pid;
  unsigned long long start;
} owner_t;

static bool owner_parse(const char *text, owner_t *owner) {
  return sscanf(text, "host %255s process %ld started %llu", owner->host, &owner->pid, &owner->start) == 3;
}

/* ---- age ---- */

/* Seconds since the holder's last sign of life, TOUCHED, by the clock of the file system (hosts' clocks
 * differ); 0 where that cannot be had. */
static double sign_age(const char *path, struct timespec touched) {
  char clock[FILE_MAX_PATH + 32];
  struct stat fresh;
  snprintf(clock, sizeof clock, "%s.%ld.now", path, (long)getpid());
  int descriptor = open(clock, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return 0;
  bool known = fstat(descriptor, &fresh) == 0;
  close(descriptor);
  unlink(clock);
  return known ? (double)(fresh.st_mtim.tv_sec - touched.tv_sec) : 0;
}

/* ---- taking ---- */

/* What is known of a lock that another job seems to hold. */
typedef struct {
  char owner[512];
  struct timespec touched; /* the newest sign of life */
  double since;            /* this clock, when it was first seen */
  int signs;               /* that have come since the first look */
  bool busy;               /* as of the newest look */
} holder_t;

static status_t rundir_lock_refuse(const char *path, const holder_t *holder) {
  return error_set(
      STATUS_INPUT,
      "%s: another job writes this run directory (%.*s; its last sign of life is %.0f s old); choose another "
      "job.run_dir, or wait for that job. If it is over for certain, remove the file",
      path, (int)strcspn(holder->owner, "\n"), holder->owner[0] ? holder->owner : "it has just started",
      sign_age(path, holder->touched));
}

/* Reads who holds the lock, and whether there is a new sign of life. */
static status_t holder_look(const char *path, int descriptor, holder_t *holder) {
  struct stat file;
  ssize_t n = pread(descriptor, holder->owner, sizeof holder->owner - 1, 0);
  if (n < 0 || fstat(descriptor, &file) != 0)
    return error_set(STATUS_DATA, "%s: cannot be read: %s", path, strerror(errno));
  holder->owner[n] = '\0';
  bool same =
      file.st_mtim.tv_sec == holder->touched.tv_sec && file.st_mtim.tv_nsec == holder->touched.tv_nsec;
  if (same) return STATUS_OK;
  if (holder->since > 0) holder->signs++;
  holder->touched = file.st_mtim;
  holder->since = perf_now();
  return STATUS_OK;
}

/* Signs that a job which lives would have given meanwhile. */
enum { WATCHED_RENEWALS = 3 };

/* Is the owner of a lock file that was there gone? FLOCKED: the system gave us its lock. */
static bool owner_is_gone(const char *path, const holder_t *holder, bool flocked) {
  owner_t owner;
  char host[HOST_MOST] = "";
  bool known = owner_parse(holder->owner, &owner);
  gethostname(host, sizeof host - 1);
  if (known && strcmp(host, owner.host) == 0) {
    unsigned long long start = process_start(owner.pid);
    return start == 0 || start != owner.start;
  }
  if (flocked && !known) return true;
  /* A clock that is set forward makes every sign old: then the next one comes soon. */
  double watched = perf_now() - holder->since;
  bool renewing = watched < WATCHED_RENEWALS * RUNDIR_RENEW_SECONDS;
  return (!renewing && sign_age(path, holder->touched) >= RUNDIR_STALE_SECONDS) ||
         watched >= RUNDIR_STALE_SECONDS;
}

/* Decides about a lock file that was there. */
static status_t rundir_lock_examine(const char *path, int descriptor, bool flocked, holder_t *holder) {
  owner_t owner;
  TRY(holder_look(path, descriptor, holder));
  holder->busy = !owner_is_gone(path, holder, flocked);
  if (!holder->busy && owner_parse(holder->owner, &owner))
    log_warning("%s: taken over from a job that ended without giving it back (host %s process %ld)", path,
                owner.host, owner.pid);
  return STATUS_OK;
}

static status_t owner_write(int descriptor, rundir_lock_t *lock) {
  char host[HOST_MOST] = "";
  long self = (long)getpid();
  gethostname(host, sizeof host - 1);
  snprintf(lock->owner, sizeof lock->owner, "host %s process %ld started %llu\n", host, self,
           process_start(self));
  size_t n = strlen(lock->owner);
  if (ftruncate(descriptor, 0) == 0 && pwrite(descriptor, lock->owner, n, 0) == (ssize_t)n) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be written: %s", lock->path, strerror(errno));
}

/* True if the open file is still the one of this name (its owner may have removed it meanwhile). */
static bool same_file(int descriptor, const char *path) {
  struct stat open_file, named;
  return fstat(descriptor, &open_file) == 0 && stat(path, &named) == 0 && open_file.st_ino == named.st_ino &&
         open_file.st_dev == named.st_dev;
}

/* *AGAIN: the file was removed meanwhile. HOLDER->busy: another job has it. */
static status_t rundir_lock_take_open(int descriptor, bool created, rundir_lock_t *lock, holder_t *holder,
                                      bool *again) {
  bool flocked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  holder->busy = !flocked && errno == EWOULDBLOCK;
  if (holder->busy) return holder_look(lock->path, descriptor, holder);
  *again = !same_file(descriptor, lock->path);
  if (*again) return STATUS_OK;
  if (!created) TRY(rundir_lock_examine(lock->path, descriptor, flocked, holder));
  if (holder->busy) return STATUS_OK;
  status_code_t status = owner_write(descriptor, lock);
  if (status != STATUS_OK) unlink(lock->path); /* without an owner's name it would only be in the way */
  return status;
}

static status_t try_once(rundir_lock_t *lock, holder_t *holder) {
  bool again = true;
  while (again) {
    again = false;
    int descriptor = open(lock->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool created = descriptor >= 0;
    if (!created && errno == EEXIST) {
      descriptor = open(lock->path, O_RDWR | O_CLOEXEC);
      again = descriptor < 0 && errno == ENOENT;
      if (again) continue;
    }
    if (descriptor < 0)
      return error_set(STATUS_DATA, "%s: cannot be opened: %s", lock->path, strerror(errno));
    status_code_t status = rundir_lock_take_open(descriptor, created, lock, holder, &again);
    if (status == STATUS_OK && !again && !holder->busy)
      lock->descriptor = descriptor;
    else
      close(descriptor);
    TRY(status);
  }
  return STATUS_OK;
}

/* How much is enough: one sign of life may be the last of a job that is dying. */
static status_t rundir_lock_wait_for_holder(rundir_lock_t *lock, holder_t *holder) {
  enum { SIGNS = 2, NAP = 100000 };
  for (bool said = false; lock->descriptor < 0; said = true) {
    if (holder->signs >= SIGNS || perf_now() - holder->since > RUNDIR_STALE_SECONDS)
      return rundir_lock_refuse(lock->path, holder);
    if (!said)
      log_info("waiting    for the job that holds %s (%.*s), unless it shows that it lives", lock->path,
               (int)strcspn(holder->owner, "\n"), holder->owner);
    usleep(NAP);
    watchdog_alive();
    TRY(try_once(lock, holder));
  }
  return STATUS_OK;
}

/* ---- signs of life ---- */

static void *rundir_lock_renew(void *context) {
  rundir_lock_t *lock = context;
  pthread_mutex_lock(&lock->mutex);
  while (!lock->stop) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RUNDIR_RENEW_SECONDS;
    pthread_cond_timedwait(&lock->wake, &lock->mutex, &until);
    if (!lock->stop) futimens(lock->descriptor, NULL);
  }
  pthread_mutex_unlock(&lock->mutex);
  return NULL;
}

/* Signals are for the main thread. */
static status_t rundir_lock_start_renewing(rundir_lock_t *lock) {
  sigset_t all, before;
  pthread_condattr_t attributes;
  pthread_mutex_init(&lock->mutex, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&lock->wake, &attributes);
  pthread_condattr_destroy(&attributes);
  lock->stop = false;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int code = pthread_create(&lock->thread, NULL, rundir_lock_renew, lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  lock->renewing = code == 0;
  if (code == 0) return STATUS_OK;
  return error_set(STATUS_MEMORY, "the thread that keeps %s does not start: %s", lock->path, strerror(code));
}

static void rundir_lock_stop_renewing(rundir_lock_t *lock) {
  if (lock->renewing) {
    pthread_mutex_lock(&lock->mutex);
    lock->stop = true;
    pthread_cond_signal(&lock->wake);
    pthread_mutex_unlock(&lock->mutex);
    pthread_join(lock->thread, NULL);
  }
  lock->renewing = false;
  pthread_cond_destroy(&lock->wake);
  pthread_mutex_destroy(&lock->mutex);
}

/* ---- the lock ---- */

status_t rundir_lock_take(const char *path, rundir_lock_t *lock) {
  holder_t holder = {0};
  lock->descriptor = -1;
  TRY(file_join(lock->path, path, NULL, NULL));
  TRY(try_once(lock, &holder));
  TRY(rundir_lock_wait_for_holder(lock, &holder));
  status_code_t status = rundir_lock_start_renewing(lock);
  if (status != STATUS_OK) rundir_lock_release(lock);
  return status;
}

/* Is the lock file still there and this job's? TEXT: what it holds. */
static bool rundir_lock_is_ours(const rundir_lock_t *lock, char text[OWNER_MOST]) {
  ssize_t n = pread(lock->descriptor, text, OWNER_MOST - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  return n > 0 && same_file(lock->descriptor, lock->path) && strcmp(text, lock->owner) == 0;
}

status_t rundir_lock_check(rundir_lock_t *lock) {
  char text[OWNER_MOST];
  if (rundir_lock_is_ours(lock, text)) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "%s: the lock was removed or taken by another job (%.*s); this job stops writing here",
                   lock->path, (int)strcspn(text, "\n"), text);
}

void rundir_lock_release(rundir_lock_t *lock) {
  if (lock->descriptor < 0) return;
  char text[OWNER_MOST];
  rundir_lock_stop_renewing(lock);
  if (rundir_lock_is_ours(lock, text)) unlink(lock->path);
  close(lock->descriptor);
  lock->descriptor = -1;
}
