/* bench_ops [-d DEVICE] [-b] [-c] [-m] [-t THREADS] [-l LEVEL] [-s SECONDS] [CASE]: speed of the operations
 * of a device (cpu, plain; cuda in a build that has it), with the shares of the peaks that were measured in
 * the same run. -b: with the shapes of a model of 7B parameters, which cuda always has. -c: cuda with
 * attention by cuDNN. -m: cuda with the kernels that were measured where others have taken their place since
 * (cuda/README.md). CASE keeps the cases whose name contains it. */
#include "measure.h"

#ifdef LLAVA_RLHF_CUDA
#include "cuda/cuda.h"
#endif
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What cuda can be asked for. */
typedef struct {
  bool cudnn, measured;
} cuda_choice_t;

static status_t device_create(const char *name, const char *level, int threads, cuda_choice_t choice,
                              device_t **out) {
  (void)choice;
  if (strcmp(name, "cpu") == 0) return cpu_create(threads, level, out);
  if (strcmp(name, "plain") == 0) return plain_create(PLAIN_FLOAT, false, out);
#ifdef LLAVA_RLHF_CUDA
  if (strcmp(name, "cuda") == 0)
    return cuda_create(
        &(cuda_options_t){
            .real_type = DTYPE_BF16, .node_size = 1, .cudnn = choice.cudnn, .measured = choice.measured},
        out);
#endif
  return error_set(STATUS_INPUT, "no device '%s' in this build; expected cpu, plain%s", name,
#ifdef LLAVA_RLHF_CUDA
                   " or cuda");
#else
                   "; cuda is in builds of preset cuda");
#endif
}

int main(int argc, char **argv) {
  bench_t bench = {.threads = omp_get_num_procs(), .seconds = 0.2};
  const char *level = NULL, *name = "cpu";
  cuda_choice_t choice = {.cudnn = false};
  for (int option; (option = getopt(argc, argv, "d:bcmt:l:s:")) != -1;) {
    if (option == 'd') name = optarg;
    if (option == 'b') bench.large = true;
    if (option == 'c') choice.cudnn = true;
    if (option == 'm') choice.measured = true;
    if (option == 't') bench.threads = atoi(optarg);
    if (option == 'l') level = optarg;
    if (option == 's') bench.seconds = atof(optarg);
    if (option == '?') return 2;
  }
  if (optind < argc) bench.filter = argv[optind];
  if (strcmp(name, "cuda") == 0) bench.large = true;
  bench_check(device_create(name, level, bench.threads, choice, &bench.device));
  bench_peaks(&bench);
  if (strcmp(name, "cpu") == 0) bench_gemm(&bench);
  bench_linear(&bench);
  bench_elementwise(&bench);
  bench_attention(&bench);
  bench_vocab(&bench);
  device_release(bench.device, bench.pattern);
  device_free(bench.device);
  return 0;
}
