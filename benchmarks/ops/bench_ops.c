/* bench_ops [-t THREADS] [-l LEVEL] [-s SECONDS] [CASE]: speed of the cpu device's operations, with the
 * shares of the sgemm peak and of the stream that were measured in the same run. CASE keeps the cases whose
 * name contains it. */
#include "measure.h"
#include "tensor/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
  bench_t bench = {.threads = omp_get_num_procs(), .seconds = 0.2};
  const char *level = NULL;
  for (int option; (option = getopt(argc, argv, "t:l:s:")) != -1;) {
    if (option == 't') bench.threads = atoi(optarg);
    if (option == 'l') level = optarg;
    if (option == 's') bench.seconds = atof(optarg);
    if (option == '?') return 2;
  }
  if (optind < argc) bench.filter = argv[optind];
  bench_check(cpu_create(bench.threads, level, &bench.device));
  bench_peaks(&bench);
  bench_gemm(&bench);
  bench_weights(&bench);
  bench_elementwise(&bench);
  bench_attention(&bench);
  bench_vocab(&bench);
  device_free(bench.device);
  return 0;
}
