/* How the ranks of a job end together, or find out that they cannot. */
#ifndef PARALLEL_SHUTDOWN_H
#define PARALLEL_SHUTDOWN_H

#include "parallel/comm.h"

/* Called by each rank when it is done, with the STATUS that its work came to. *TOGETHER: all ranks have come
 * here; then the outcome is agreed as by comm_agree and returned. A rank that failed waits PATIENCE seconds
 * for the others, which may be waiting for it somewhere else: *TOGETHER is false then, STATUS is returned and
 * nothing collective may follow. Others wait as long as the watchdog lets them. COMM is a communicator of its
 * own, so that collectives which a failed rank has left unfinished do not meet these. Collective on COMM, as
 * far as the others come here. Errors: STATUS_COMM, besides the outcome. */
status_t shutdown_agree(comm_t *comm, status_code_t status, double patience, bool *together);

#endif
