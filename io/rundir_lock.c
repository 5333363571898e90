#define _GNU_SOURCE
#include "io/rundir_lock.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOST_MOST = 256 };

/* ------------------------------------------------------------------ owners -------------------------------
 */

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

static void owner_text(char *text, size_t size) {
  char host[HOST_MOST] = "";
  gethostname(host, sizeof host - 1);
  snprintf(text, size, "host %s process %ld started %llu\n", host, (long)getpid(),
           process_start((long)getpid()));
}

typedef struct {
  char host[HOST_MOST];
  long pid;
  unsigned long long start;
} owner_t;

static bool owner_parse(const char *text, owner_t *owner) {
  return sscanf(text, "host %255s process %ld started %llu", owner->host, &owner->pid, &owner->start) == 3;
}

static bool owner_is_here(const owner_t *owner) {
  char host[HOST_MOST] = "";
  gethostname(host, sizeof host - 1);
  return strcmp(host, owner->host) == 0;
}

static bool owner_is_alive(const owner_t *owner) {
  unsigned long long start = process_start(owner->pid);
  return start != 0 && start == owner->start;
}

/* ------------------------------------------------------------------ age ----------------------------------
 */

/* Seconds since the file was last touched, by the clock of the file system (hosts' clocks differ). */
static double file_age(int descriptor) {
  struct stat before, now;
  if (fstat(descriptor, &before) != 0 || futimens(descriptor, NULL) != 0 || fstat(descriptor, &now) != 0)
    return 0;
  struct timespec times[2] = {before.st_atim, before.st_mtim};
  if (futimens(descriptor, times) != 0) return 0;
  return (double)(now.st_mtim.tv_sec - before.st_mtim.tv_sec);
}

/* ------------------------------------------------------------------ taking -------------------------------
 */

static status_t refuse(const char *path, const char *owner) {
  return error_set(
      STATUS_INPUT,
      "%s: another job writes this run directory (%.*s); choose another job.run_dir, or wait for that job. "
      "If it is over for certain, remove the file",
      path, (int)strcspn(owner, "\n"), owner[0] ? owner : "it has just started");
}

/* Decides about a lock file that was there: is its owner gone? FLOCKED tells that the system gave us its
 * lock. */
static status_t examine(const char *path, int descriptor, bool flocked) {
  char text[512] = "";
  owner_t owner;
  ssize_t n = pread(descriptor, text, sizeof text - 1, 0);
  if (n < 0) return error_set(STATUS_DATA, "%s: cannot be read: %s", path, strerror(errno));
  bool known = owner_parse(text, &owner);
  bool gone;
  if (known && owner_is_here(&owner))
    gone = !owner_is_alive(&owner);
  else
    gone = (flocked && !known) || file_age(descriptor) >= RUNDIR_STALE_SECONDS;
  if (!gone) return refuse(path, text);
  if (known)
    log_warning("%s: taken over from a job that ended without giving it back (host %s process %ld)", path,
                owner.host, owner.pid);
  return STATUS_OK;
}

static status_t owner_write(int descriptor, rundir_lock_t *lock) {
  owner_text(lock->owner, sizeof lock->owner);
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

static status_t take_open(int descriptor, bool created, rundir_lock_t *lock, bool *again) {
  bool flocked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  if (!flocked && errno == EWOULDBLOCK) {
    char text[512] = "";
    ssize_t n = pread(descriptor, text, sizeof text - 1, 0);
    return refuse(lock->path, n > 0 ? text : "");
  }
  *again = !same_file(descriptor, lock->path);
  if (*again) return STATUS_OK;
  if (!created) TRY(examine(lock->path, descriptor, flocked));
  status_code_t status = owner_write(descriptor, lock);
  if (status != STATUS_OK) unlink(lock->path); /* without an owner's name it would only be in the way */
  return status;
}

status_t rundir_lock_take(const char *path, rundir_lock_t *lock) {
  bool again = true;
  lock->descriptor = -1;
  TRY(file_join(lock->path, path, NULL, NULL));
  while (again) {
    again = false;
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool created = descriptor >= 0;
    if (!created && errno == EEXIST) {
      descriptor = open(path, O_RDWR | O_CLOEXEC);
      again = descriptor < 0 && errno == ENOENT;
      if (again) continue;
    }
    if (descriptor < 0) return error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(errno));
    status_code_t status = take_open(descriptor, created, lock, &again);
    if (status == STATUS_OK && !again)
      lock->descriptor = descriptor;
    else
      close(descriptor);
    TRY(status);
  }
  return STATUS_OK;
}

status_t rundir_lock_renew(rundir_lock_t *lock) {
  char text[512] = "";
  futimens(lock->descriptor, NULL);
  ssize_t n = pread(lock->descriptor, text, sizeof text - 1, 0);
  if (n > 0 && same_file(lock->descriptor, lock->path) && strcmp(text, lock->owner) == 0) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "%s: the lock was removed or taken by another job (%.*s); this job stops writing here",
                   lock->path, (int)strcspn(text, "\n"), text);
}

void rundir_lock_release(rundir_lock_t *lock) {
  if (lock->descriptor < 0) return;
  char text[512] = "";
  ssize_t n = pread(lock->descriptor, text, sizeof text - 1, 0);
  if (n > 0 && same_file(lock->descriptor, lock->path) && strcmp(text, lock->owner) == 0) unlink(lock->path);
  close(lock->descriptor);
  lock->descriptor = -1;
}
