#define _GNU_SOURCE
#include "io/write_behind.h"

#include "io/descriptor.h"
#include "parallel/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Less is not worth a thread, or a second way to the disk. */
static const int64_t large_bytes = 1 << 20;

/* Seconds between two looks of a rank that waits for its thread. */
enum { LOOK_SECONDS = 1 };

typedef struct job {
  struct job *next; /* put later, or free */
  char *memory;     /* (room), of which BUFFER is an aligned part */
  char *buffer;
  int64_t room;
  write_piece_t *pieces; /* (count) */
  int64_t count, pieces_room;
} job_t;

struct write_behind {
  const char *path;
  bool past_cache;        /* is wanted */
  int descriptor, direct; /* -1: not open, or not to be had */
  int64_t waiting;
  job_t *filled; /* by the caller now */
  int buffers;   /* there are, of ROOM bytes together */
  int64_t room;
  pthread_t thread;
  bool started;
  pthread_mutex_t lock; /* guards all that follows */
  pthread_cond_t moved;
  job_t *first, *last; /* to be written; the first is being written */
  job_t *spare;        /* written */
  int64_t written;     /* pieces so far */
  bool sealed, dropped, ended;
  int problem; /* errno of what went wrong first, and where */
  int64_t problem_place;
};

/* ---- one piece ---- */

/* Writes whole units of N bytes past the page cache; *DONE: how many it did. Where such writing is refused
 * the rest is for the page cache. */
static int write_direct(const write_behind_t *behind, const char *bytes, int64_t n, int64_t place,
                        int64_t *done) {
  int64_t whole = n / WRITE_BEHIND_ALIGNMENT * WRITE_BEHIND_ALIGNMENT;
  *done = 0;
  if (behind->direct < 0 || n < large_bytes || place % WRITE_BEHIND_ALIGNMENT != 0) return 0;
  while (*done < whole && *done % WRITE_BEHIND_ALIGNMENT == 0) {
    ssize_t put = pwrite(behind->direct, bytes + *done, (size_t)(whole - *done), place + *done);
    if (put < 0 && errno != EINTR) return errno == EINVAL ? 0 : errno;
    if (put == 0) return EIO;
    if (put > 0) *done += put;
  }
  return 0;
}

static void piece_write(write_behind_t *behind, const job_t *job, const write_piece_t *piece) {
  const char *bytes = job->buffer + piece->at;
  int64_t done;
  int problem = write_direct(behind, bytes, piece->bytes, piece->place, &done);
  size_t rest = (size_t)(piece->bytes - done);
  if (problem == 0 && rest > 0)
    problem = descriptor_write_at(behind->descriptor, bytes + done, rest, piece->place + done);
  if (problem == 0) descriptor_begin_sync(behind->descriptor, rest, piece->place + done);
  pthread_mutex_lock(&behind->lock);
  if (problem != 0 && behind->problem == 0) {
    behind->problem = problem;
    behind->problem_place = piece->place;
  }
  behind->written++;
  pthread_mutex_unlock(&behind->lock);
}

/* ---- the thread ---- */

/* Writes the first of the queue. The lock is held, but not while it writes. */
static void first_write(write_behind_t *behind) {
  job_t *job = behind->first;
  for (int64_t i = 0; i < job->count && behind->problem == 0 && !behind->dropped; i++) {
    pthread_mutex_unlock(&behind->lock);
    piece_write(behind, job, &job->pieces[i]);
    pthread_mutex_lock(&behind->lock);
  }
  behind->first = job->next;
  if (!behind->first) behind->last = NULL;
  job->next = behind->spare;
  behind->spare = job;
  pthread_cond_signal(&behind->moved);
}

static void *write_behind_run(void *context) {
  write_behind_t *behind = context;
  pthread_mutex_lock(&behind->lock);
  while (behind->first || !behind->sealed)
    if (behind->first)
      first_write(behind);
    else
      pthread_cond_wait(&behind->moved, &behind->lock);
  bool sync = behind->problem == 0 && !behind->dropped;
  pthread_mutex_unlock(&behind->lock);
  int problem = sync ? descriptor_sync(behind->descriptor) : 0;
  pthread_mutex_lock(&behind->lock);
  if (problem) behind->problem = problem;
  behind->ended = true;
  pthread_cond_signal(&behind->moved);
  pthread_mutex_unlock(&behind->lock);
  return NULL;
}

/* Some file systems know no way past the page cache. */
static status_t direct_open(write_behind_t *behind) {
  int problem = behind->past_cache ? descriptor_open(behind->path, O_WRONLY | O_DIRECT, &behind->direct) : 0;
  if (problem == 0 || problem == EINVAL || problem == EOPNOTSUPP) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be opened: %s", behind->path, strerror(problem));
}

/* Signals are for the main thread. Without a thread the caller writes. */
static void thread_start(write_behind_t *behind) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  behind->started = pthread_create(&behind->thread, NULL, write_behind_run, behind) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- the caller ---- */

status_t write_behind_create(const char *path, int descriptor, bool direct, int64_t waiting,
                             write_behind_t **out) {
  pthread_condattr_t attributes;
  TRY(memory_alloc(out, ARENA_IO, 1, sizeof **out));
  write_behind_t *behind = *out;
  *behind = (write_behind_t){
      .path = path, .past_cache = direct, .descriptor = descriptor, .direct = -1, .waiting = waiting};
  pthread_mutex_init(&behind->lock, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&behind->moved, &attributes);
  pthread_condattr_destroy(&attributes);
  return STATUS_OK;
}

static status_t write_behind_check(const write_behind_t *behind) {
  if (behind->problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be written from byte %lld on: %s", behind->path,
                   (long long)behind->problem_place, strerror(behind->problem));
}

/* Waits a little for the thread to get on; that it does is a sign of life. The lock is held. */
static void thread_await(write_behind_t *behind) {
  struct timespec until;
  int64_t before = behind->written;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += LOOK_SECONDS;
  pthread_cond_timedwait(&behind->moved, &behind->lock, &until);
  if (behind->written != before) watchdog_alive();
}

static void job_free(job_t *job) {
  if (!job) return;
  memory_free(job->memory);
  memory_free(job->pieces);
  memory_free(job);
}

/* A written buffer of BYTES or more, or NULL; smaller ones are freed. The lock is held. */
static job_t *spare_take(write_behind_t *behind, int64_t bytes) {
  for (job_t *job; (job = behind->spare);) {
    behind->spare = job->next;
    if (job->room >= bytes) return job;
    behind->buffers--;
    behind->room -= job->room;
    job_free(job);
  }
  return NULL;
}

static status_t job_create(write_behind_t *behind, int64_t bytes, job_t **out) {
  job_t *job;
  TRY(memory_alloc(&job, ARENA_IO, 1, sizeof *job));
  status_code_t status = memory_alloc(&job->memory, ARENA_IO, (size_t)bytes + WRITE_BEHIND_ALIGNMENT, 1);
  if (status != STATUS_OK) {
    job_free(job);
    return status;
  }
  uintptr_t past = (uintptr_t)job->memory % WRITE_BEHIND_ALIGNMENT;
  job->buffer = job->memory + (past ? WRITE_BEHIND_ALIGNMENT - past : 0);
  job->room = bytes;
  behind->buffers++;
  behind->room += bytes;
  *out = job;
  return STATUS_OK;
}

/* How many buffers there are does not depend on how fast the disk is, so that memory can be foretold. */
status_t write_behind_buffer(write_behind_t *behind, int64_t bytes, char **buffer) {
  bool more = behind->buffers < 2 || behind->room <= behind->waiting + bytes;
  pthread_mutex_lock(&behind->lock);
  while (!more && !behind->spare && behind->problem == 0)
    thread_await(behind);
  status_code_t status = write_behind_check(behind);
  if (status == STATUS_OK && !more) behind->filled = spare_take(behind, bytes);
  pthread_mutex_unlock(&behind->lock);
  TRY(status);
  if (!behind->filled) TRY(job_create(behind, bytes, &behind->filled));
  *buffer = behind->filled->buffer;
  return STATUS_OK;
}

static status_t job_describe(job_t *job, const write_piece_t *pieces, int64_t count) {
  TRY(memory_resize(&job->pieces, ARENA_IO, (size_t)count, sizeof *job->pieces));
  memcpy(job->pieces, pieces, (size_t)count * sizeof *pieces);
  job->count = count;
  job->next = NULL;
  return STATUS_OK;
}

static void job_queue(write_behind_t *behind, job_t *job) {
  pthread_mutex_lock(&behind->lock);
  if (behind->last)
    behind->last->next = job;
  else
    behind->first = job;
  behind->last = job;
  if (!behind->started) first_write(behind);
  pthread_cond_signal(&behind->moved);
  pthread_mutex_unlock(&behind->lock);
}

status_t write_behind_put(write_behind_t *behind, const write_piece_t *pieces, int64_t count) {
  job_t *job = behind->filled;
  int64_t bytes = 0;
  TRY(job_describe(job, pieces, count));
  for (int64_t i = 0; i < count; i++)
    bytes += pieces[i].bytes;
  if (bytes >= large_bytes && !behind->started) {
    TRY(direct_open(behind));
    thread_start(behind);
  }
  behind->filled = NULL;
  job_queue(behind, job);
  pthread_mutex_lock(&behind->lock);
  status_code_t status = write_behind_check(behind);
  pthread_mutex_unlock(&behind->lock);
  return status;
}

void write_behind_seal(write_behind_t *behind) {
  pthread_mutex_lock(&behind->lock);
  behind->sealed = true;
  pthread_cond_signal(&behind->moved);
  pthread_mutex_unlock(&behind->lock);
}

bool write_behind_is_done(write_behind_t *behind) {
  pthread_mutex_lock(&behind->lock);
  bool done = !behind->started || behind->ended;
  pthread_mutex_unlock(&behind->lock);
  return done;
}

status_t write_behind_wait(write_behind_t *behind) {
  pthread_mutex_lock(&behind->lock);
  while (behind->started && !behind->ended)
    thread_await(behind);
  status_code_t status = write_behind_check(behind);
  pthread_mutex_unlock(&behind->lock);
  return status;
}

void write_behind_free(write_behind_t *behind) {
  if (!behind) return;
  pthread_mutex_lock(&behind->lock);
  behind->dropped = behind->sealed = true;
  pthread_cond_signal(&behind->moved);
  pthread_mutex_unlock(&behind->lock);
  if (behind->started) pthread_join(behind->thread, NULL);
  (void)spare_take(behind, INT64_MAX);
  job_free(behind->filled);
  if (behind->direct >= 0) descriptor_close(behind->direct);
  pthread_cond_destroy(&behind->moved);
  pthread_mutex_destroy(&behind->lock);
  memory_free(behind);
}
