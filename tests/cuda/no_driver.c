/* A driver (libcuda.so.1) that takes all and does nothing: with it cuDNN makes plans, and compiles kernels
 * for them, on machines that have no GPU. The functions are those that it looks for. */
#include <stddef.h>

/* Their own headers would ask for their own arguments. */
#define NOTHING(name)                                                                                        \
  int name(void);                                                                                            \
  int name(void) {                                                                                           \
    return 0;                                                                                                \
  }
#define HANDLE(name)                                                                                         \
  int name(void **handle);                                                                                   \
  int name(void **handle) {                                                                                  \
    static char one;                                                                                         \
    *handle = &one;                                                                                          \
    return 0;                                                                                                \
  }

/* There is no GPU, so that CUDA's run-time library does not come here. */
#define REFUSAL(name)                                                                                        \
  int name(void);                                                                                            \
  int name(void) {                                                                                           \
    return 100;                                                                                              \
  }

REFUSAL(cuInit)
REFUSAL(cuDriverGetVersion)
HANDLE(cuLibraryLoadData)
HANDLE(cuLibraryLoadFromFile)
HANDLE(cuLibraryGetKernel)
HANDLE(cuModuleLoadData)
HANDLE(cuModuleLoadDataEx)
HANDLE(cuModuleLoadFatBinary)
HANDLE(cuModuleGetFunction)
NOTHING(cuCtxGetCurrent)
NOTHING(cuCtxGetDevice)
NOTHING(cuCtxGetLimit)
NOTHING(cuCtxPopCurrent)
NOTHING(cuCtxPushCurrent)
NOTHING(cuDeviceGet)
NOTHING(cuDeviceGetAttribute)
NOTHING(cuDeviceGetCount)
NOTHING(cuDevicePrimaryCtxRelease)
NOTHING(cuDevicePrimaryCtxReset)
NOTHING(cuDevicePrimaryCtxRetain)
NOTHING(cuFuncGetAttribute)
NOTHING(cuFuncSetAttribute)
NOTHING(cuGetErrorName)
NOTHING(cuGetErrorString)
NOTHING(cuKernelGetAttribute)
NOTHING(cuKernelSetAttribute)
NOTHING(cuLaunchCooperativeKernel)
NOTHING(cuLaunchKernel)
NOTHING(cuLaunchKernelEx)
NOTHING(cuLibraryUnload)
NOTHING(cuLinkAddData)
NOTHING(cuLinkAddData_v2)
NOTHING(cuLinkAddFile_v2)
NOTHING(cuLinkComplete)
NOTHING(cuLinkCreate)
NOTHING(cuLinkCreate_v2)
NOTHING(cuLinkDestroy)
NOTHING(cuMemcpyDtoH_v2)
NOTHING(cuModuleGetGlobal_v2)
NOTHING(cuModuleUnload)
NOTHING(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOTHING(cuOccupancyMaxPotentialClusterSize)
NOTHING(cuStreamGetCtx)
NOTHING(cuStreamSynchronize)
NOTHING(cuTensorMapEncodeTiled)
