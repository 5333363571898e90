/* The cpu device: float, OpenMP and SIMD loops; the SIMD level (generic, avx2, avx512, amx) is chosen at run
 * time.
 *
 * Beyond what every device promises: results do not depend on the number of threads; a row of a product, and
 * a position of attention, have the same bits whether they are computed alone (decoding) or with others
 * (training). */
#ifndef TENSOR_CPU_H
#define TENSOR_CPU_H

#include "tensor/device.h"

/* How many of the SIMD levels this processor has, at least 1; each has what those before it have. Local. */
int cpu_levels(void);
/* Level I of this build, the slowest first; static. Local. */
const char *cpu_level_name(int i);

/* Makes the device. THREADS of OpenMP, at least 1. LEVEL NULL takes the best the processor has, else that
 * level by name; STATUS_INPUT where it does not exist or the processor lacks it. Free with device_free.
 * Local. */
status_t cpu_create(int threads, const char *level, device_t **out);

/* What this process can reach: the yardsticks of performance reports. */
typedef struct {
  double sgemm;  /* FLOP/s of OpenBLAS's sgemm on CPU_PEAK_SIZE cubed */
  double stream; /* B/s of reading CPU_PEAK_BYTES once */
} cpu_peaks_t;
enum { CPU_PEAK_SIZE = 2048, CPU_PEAK_BYTES = 256 << 20 };

/* Measures the peaks with THREADS threads over about SECONDS (each measurement is made twice at least; the
 * best counts). Takes 300 MB while it runs. Local. */
status_t cpu_measure_peaks(int threads, double seconds, cpu_peaks_t *peaks);

/* The BLAS that the sgemm peak is measured with (the device has its own product), for --version. Local. */
const char *cpu_blas_version(void);

#endif
