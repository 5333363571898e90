/* Products by cuBLASLt. */
#include "cuda/cuda_device.h"

struct products_t {
  cublasLtHandle_t handle;
};

status_t cuda_fill_products(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(memory_alloc(&state->products, ARENA_OTHER, 1, sizeof *state->products));
  TRY_CUBLAS(cublasLtCreate(&state->products->handle));
  return STATUS_OK;
}

void cuda_free_products(device_t *device) {
  products_t *products = cuda_state(device)->products;
  if (products && products->handle) (void)cublasLtDestroy(products->handle);
  memory_free(products);
}
