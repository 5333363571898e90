#define _GNU_SOURCE
#include "session/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested;

static void stop_request(int signal_number) {
  requested = signal_number;
}

/* Whoever asks twice at the keyboard does not want to wait. The second time the signal does what it would
 * have done without us. */
static void request_once(int signal_number) {
  if (requested == signal_number) {
    signal(signal_number, SIG_DFL);
    raise(signal_number); /* comes once this handler returns */
  }
  requested = signal_number;
}

static void stop_handle(int signal_number, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, NULL);
}

/* nohup and the shell's & have signals ignored that are not for jobs in the background: that stays. */
static void handle_unless_ignored(int signal_number, void (*handler)(int)) {
  struct sigaction before;
  if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return;
  stop_handle(signal_number, handler);
}

static const int requests[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGINT};
enum { REQUESTS = sizeof requests / sizeof *requests };

void stop_install(void) {
  sigset_t set;
  stop_handle(SIGUSR1, stop_request);
  stop_handle(SIGUSR2, stop_request);
  stop_handle(SIGTERM, stop_request);
  handle_unless_ignored(SIGHUP, stop_request);
  handle_unless_ignored(SIGINT, request_once);
  stop_handle(SIGPIPE, SIG_IGN);
  stop_handle(SIGXFSZ, SIG_IGN);
  /* A launcher may leave them blocked; one that came early has waited for this. */
  sigemptyset(&set);
  for (size_t i = 0; i < REQUESTS; i++)
    sigaddset(&set, requests[i]);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void stop_release(void) {
  for (size_t i = 0; i < REQUESTS; i++)
    handle_unless_ignored(requests[i], SIG_DFL);
  stop_handle(SIGPIPE, SIG_DFL);
  stop_handle(SIGXFSZ, SIG_DFL);
  if (requested) raise(requested);
}

int stop_signal(void) {
  return requested;
}
