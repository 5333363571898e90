/* The program on a machine whose time of day jumps: every other second it is an hour early, else an hour
 * late. The functions come before the C library's, also for the libraries. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { HOUR = 3600 };

static void real_time(clockid_t clock, struct timespec *out) {
  syscall(SYS_clock_gettime, clock, out);
}

static time_t jump(void) {
  struct timespec time;
  real_time(CLOCK_MONOTONIC, &time);
  return time.tv_sec % 2 ? HOUR : -HOUR;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
  real_time(clock, out);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) out->tv_sec += jump();
  return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  struct timespec time;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &time);
  out->tv_sec = time.tv_sec;
  out->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  if (out) *out = time.tv_sec;
  return time.tv_sec;
}
