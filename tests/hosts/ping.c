/* What MPI makes of a network: prints the microseconds of a message between the first and the last rank (half
 * of a short one's way there and back) and the megabits per second of long ones, each the best of some. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHORT = 8, LONG = 8 << 20, SHORT_TIMES = 200, LONG_TIMES = 20 };

/* Seconds of a message of N bytes, there and back, the least of TIMES. */
static double least(char *data, int n, int times, int rank, int other) {
  double least = 1e30;
  for (int i = 0; i < times; i++) {
    double begin = MPI_Wtime();
    if (rank == 0) MPI_Send(data, n, MPI_BYTE, other, 0, MPI_COMM_WORLD);
    MPI_Recv(data, n, MPI_BYTE, other, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank != 0) MPI_Send(data, n, MPI_BYTE, other, 0, MPI_COMM_WORLD);
    double seconds = MPI_Wtime() - begin;
    if (seconds < least) least = seconds;
  }
  return least;
}

int main(int argc, char **argv) {
  int rank, size;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  char *data = calloc(LONG, 1);
  if (size > 1 && data != NULL && (rank == 0 || rank == size - 1)) {
    int other = size - 1 - rank;
    double short_one = least(data, SHORT, SHORT_TIMES, rank, other),
           long_one = least(data, LONG, LONG_TIMES, rank, other);
    if (rank == 0) printf("%.1f %.1f\n", 0.5e6 * short_one, 2e-6 * 8.0 * LONG / (long_one - short_one));
  }
  free(data);
  MPI_Finalize();
  return 0;
}
