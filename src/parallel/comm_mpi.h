/* MPI behind a comm_t, inside src/parallel. */
#ifndef PARALLEL_COMM_MPI_H
#define PARALLEL_COMM_MPI_H

#include "parallel/comm.h"

#include <mpi.h>

/* The MPI communicator of COMM; owned by COMM. It returns errors (MPI_ERRORS_RETURN). Local. */
MPI_Comm comm_mpi(const comm_t *comm);

/* Sets the error message for the MPI error CODE of CALL, with MPI's own text; returns STATUS_COMM. Local. */
status_t comm_mpi_error(int code, const char *call);

/* Returns early from a function of type status_t if the MPI call EXPR failed. */
#define TRY_MPI(expr)                                                                                        \
  do {                                                                                                       \
    int try_code_ = (expr);                                                                                  \
    if (try_code_ != MPI_SUCCESS) {                                                                          \
      status_code_t try_status_ = comm_mpi_error(try_code_, #expr);                                          \
      error_trace(__func__, __FILE__, __LINE__);                                                             \
      return try_status_;                                                                                    \
    }                                                                                                        \
  } while (0)

/* Waits for REQUESTS (count), watched under the name CALL (a string literal), giving the core away between
 * looks: many ranks may share it. MPI completes and frees the requests. Errors: STATUS_COMM. Local in itself.
 */
status_t comm_mpi_wait(MPI_Request *requests, int count, const char *call);

/* Says that this process shares its cores with other ranks: waits then sleep now and then, so that those who
 * have work get on. Set by grid_create. Local. */
void comm_set_crowded(bool crowded);

/* Longest piece, in bytes, that one MPI call on COMM and the communicators split from it later is given;
 * larger buffers go in several. The preset suits any machine: this is for tests of the splitting. Equal on
 * all ranks. Local. */
void comm_set_piece(comm_t *comm, size_t bytes);

#endif
