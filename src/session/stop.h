/* Requests to stop: signals. The only state of the process outside structs besides log and counters, because
 * a signal handler can reach nothing else. */
#ifndef RUN_STOP_H
#define RUN_STOP_H

/* From now on SIGUSR1, SIGUSR2, SIGTERM, SIGHUP and SIGINT are requests to stop cleanly (SIGHUP and SIGINT
 * only where they were not ignored; a second SIGINT ends this process at once), also where a launcher has
 * them blocked, and what SIGPIPE and SIGXFSZ would kill for becomes an error of the call that writes. Needs
 * nothing but the system: it may be called before the libraries are set up. */
void stop_install(void);

/* Gives the signals back: for commands that answer and end. One that has come meanwhile does what it always
 * does. */
void stop_release(void);

/* The signal that asked this rank to stop, 0 if none has. */
int stop_signal(void);

#endif
