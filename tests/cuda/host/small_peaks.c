/* The program with the cuda device that the host carries out, whose peaks are measured at sizes that the host
 * can do. Linked with --wrap=cuda_create, which sends the making of the device through here. */
#include "cuda/cuda.h"

enum { MATRIX = 32, ELEMENTS = 4096 };

status_code_t __real_cuda_create(const cuda_options_t *options, device_t **out);
status_code_t __wrap_cuda_create(const cuda_options_t *options, device_t **out);

status_code_t __wrap_cuda_create(const cuda_options_t *options, device_t **out) {
  TRY(__real_cuda_create(options, out));
  (*out)->peak_matrix = MATRIX;
  (*out)->peak_elements = ELEMENTS;
  return STATUS_OK;
}
