/* A cable between two network interfaces, which it makes, that takes its time: slow_link A B DELAY RATE.
 * Every frame arrives at the other end DELAY microseconds after it has been sent, and RATE megabits (0: any
 * number) pass in a second, each way; what waits for that is kept, up to QUEUE_BYTES. Says `ready` once the
 * interfaces are there, and lasts until it is killed.
 *
 * The kernel's netem does the same where it was built; this needs /dev/net/tun alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_MOST = 16384, QUEUE_BYTES = 32 << 20 };

typedef struct frame {
  struct frame *next;
  double due; /* seconds on now()'s clock */
  size_t bytes;
  char data[];
} frame_t;

/* One way through the cable. */
typedef struct {
  int from, to;
  double free_at; /* when the frame before has passed */
  size_t bytes;   /* that wait */
  frame_t *first, **end;
} way_t;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check(bool fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

static int interface_make(const char *name) {
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  int descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  check(descriptor >= 0, "/dev/net/tun");
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  check(ioctl(descriptor, TUNSETIFF, &request) == 0, name);
  return descriptor;
}

/* Takes what has been sent. */
static void way_take(way_t *way, double delay, double rate) {
  char data[FRAME_MOST];
  for (ssize_t n; (n = read(way->from, data, sizeof data)) > 0;) {
    double begin = now();
    if (way->bytes + (size_t)n > QUEUE_BYTES) continue;
    frame_t *frame = malloc(sizeof *frame + (size_t)n);
    check(frame != NULL, "malloc");
    if (begin < way->free_at) begin = way->free_at;
    way->free_at = begin + (rate > 0 ? (double)n * 8e-6 / rate : 0);
    *frame = (frame_t){.due = way->free_at + 1e-6 * delay, .bytes = (size_t)n};
    memcpy(frame->data, data, (size_t)n);
    *way->end = frame;
    way->end = &frame->next;
    way->bytes += frame->bytes;
  }
}

/* Delivers what is due; returns when the next frame is, or a second from now. One that is refused (its
 * interface is not up) is lost. */
static double way_deliver(way_t *way) {
  while (way->first != NULL && way->first->due <= now()) {
    frame_t *frame = way->first;
    ssize_t written = write(way->to, frame->data, frame->bytes);
    (void)written;
    way->bytes -= frame->bytes;
    way->first = frame->next;
    if (way->first == NULL) way->end = &way->first;
    free(frame);
  }
  return way->first != NULL ? way->first->due : now() + 1.0;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int a = interface_make(argv[1]), b = interface_make(argv[2]);
  double delay = atof(argv[3]), rate = atof(argv[4]);
  way_t ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
  struct pollfd ready[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
  prctl(PR_SET_TIMERSLACK, 1UL);
  sched_setscheduler(0, SCHED_FIFO,
                     &(struct sched_param){.sched_priority = 1}); /* it waits, but not for others */
  ways[0].end = &ways[0].first;
  ways[1].end = &ways[1].first;
  puts("ready");
  fflush(stdout);
  for (;;) {
    double next = way_deliver(&ways[0]), other = way_deliver(&ways[1]);
    double wait = (next < other ? next : other) - now();
    if (wait > 0) {
      struct timespec timeout = {(time_t)wait, (long)(1e9 * (wait - (double)(time_t)wait))};
      ppoll(ready, 2, &timeout, NULL);
    }
    way_take(&ways[0], delay, rate);
    way_take(&ways[1], delay, rate);
  }
}
