/* Ranges that nobody looks at. */
#ifndef HOST_NVTX_H
#define HOST_NVTX_H

static inline int nvtxRangePushA(const char *) {
  return 0;
}
static inline int nvtxRangePop(void) {
  return 0;
}

#endif
