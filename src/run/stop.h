/* Requests to stop: signals. The only state of the process outside structs besides log and counters, because
 * a signal handler can reach nothing else. */
#ifndef RUN_STOP_H
#define RUN_STOP_H

/* From now on SIGUSR1, SIGUSR2 and SIGTERM are requests to stop cleanly. */
void stop_install(void);

/* The signal that asked this rank to stop, 0 if none has. */
int stop_signal(void);

#endif
