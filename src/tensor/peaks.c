#include "tensor/peaks.h"

#include "base/random.h"
#include "perf/perf.h"
#include "tensor/ops.h"

/* Tries of each: at least so many, and for so long. */
enum { TRIES = 3, FORMAT_TRIES = 2 };
static const double tries_seconds = 0.02;

/* Operations of a try: on a device that works behind the host several, so that the wait for them is no part
 * of what is measured. */
static int calls_of_try(const device_t *device) {
  enum { CALLS_BEHIND = 8 };
  return device_works_behind(device) ? CALLS_BEHIND : 1;
}

static status_t try_seconds(device_t *device, op_number_t number, const void *arguments, double *seconds) {
  const int calls = calls_of_try(device);
  TRY(device_synchronize(device));
  double begin = perf_now();
  for (int c = 0; c < calls; c++)
    TRY(device->run(device, number, arguments));
  TRY(device_synchronize(device));
  *seconds = (perf_now() - begin) / calls;
  return STATUS_OK;
}

/* Seconds of an operation, the least of at least TRIES. Past the counters: this is no work. */
static status_t least_seconds(device_t *device, op_number_t number, const void *arguments, int tries,
                              double *least) {
  double seconds;
  TRY(try_seconds(device, number, arguments, least)); /* warms up */
  const double end = perf_now() + tries_seconds;
  for (int t = 0; t < tries || perf_now() < end; t++) {
    TRY(try_seconds(device, number, arguments, &seconds));
    if (t == 0 || seconds < *least) *least = seconds;
  }
  return STATUS_OK;
}

/* The product of two square matrices of the BLOCK, which has three; the second one a weight in FORMAT. */
static status_t measure_gemm(device_t *device, real_t *block, weight_format_t format, int tries,
                             device_peaks_t *peaks) {
  const int64_t n = device->peak_matrix;
  const weight_t weight = {.format = format,
                           .rows = n,
                           .cols = n,
                           .data = real_at(device, block, n * n),
                           .whole_rows = n,
                           .whole_cols = n};
  double seconds = 0.0;
  TRY(least_seconds(device, op_gemm,
                    &(op_gemm_t){.trans_b = true,
                                 .m = n,
                                 .n = n,
                                 .k = n,
                                 .a = block,
                                 .lda = n,
                                 .weight = &weight,
                                 .ldb = n,
                                 .c = real_at(device, block, 2 * n * n),
                                 .ldc = n,
                                 .alpha = 1.0},
                    tries, &seconds));
  peaks->flops[format] = 2.0 * (double)n * (double)n * (double)n / seconds;
  return STATUS_OK;
}

static status_t measure_copy(device_t *device, int64_t n, real_t *block, device_peaks_t *peaks) {
  double seconds = 0.0;
  TRY(least_seconds(device, op_copy, &(op_copy_t){.n = n, .x = block, .y = real_at(device, block, n)}, TRIES,
                    &seconds));
  peaks->bytes = 2.0 * (double)n * (double)dtype_size(device->real_type) / seconds;
  return STATUS_OK;
}

/* A bf16 in -1 .. -1/4 or 1/4 .. 1: sign, two exponents and all of the mantissa are random. */
static uint32_t random_half(uint32_t word) {
  return 0x3e80u + (word & 0xffu) + (word << 7 & 0x8000u);
}

/* Each number is two in bf16, so that it is one in either type. */
static void pattern_fill(uint32_t *pattern, int64_t n) {
  for (int64_t i = 0; i < n; i += 4) {
    random_words_t words = random_words(0, RANDOM_TEST, 0, (uint64_t)i);
    for (int64_t w = 0; w < 4 && i + w < n; w++)
      pattern[i + w] = random_half(words.v[w]) << 16 | random_half(words.v[w] >> 16);
  }
}

/* Rows of matrices of a power of two begin at other places of the pattern. */
enum { PATTERN = (1 << 18) + 64 };

status_t device_fill_random(device_t *device, int64_t n, real_t *x) {
  SCOPED_MEMORY uint32_t *pattern = NULL;
  int64_t done = n < PATTERN ? n : PATTERN;
  TRY(memory_alloc(&pattern, ARENA_OTHER, (size_t)done, sizeof *pattern));
  pattern_fill(pattern, done);
  TRY(real_upload(device, x, pattern, DTYPE_F32, (size_t)done));
  while (done < n) {
    int64_t more = n - done < done ? n - done : done;
    TRY(device->run(device, op_copy, &(op_copy_t){.n = more, .x = x, .y = real_at(device, x, done)}));
    done += more;
  }
  return STATUS_OK;
}

static status_t peaks_block(device_t *device, int64_t n, real_t **block) {
  TRY(real_alloc(device, ARENA_SCRATCH, (size_t)n, block));
  return device_fill_random(device, n, *block);
}

/* Both arrays take a quarter of the device's free memory at most, and begin where wide accesses may. */
static int64_t copied_elements(device_t *device, int64_t wanted) {
  enum { UNIT = 1024 };
  int64_t n = wanted > device->peak_elements ? wanted : device->peak_elements;
  if (device->free_memory) {
    int64_t most = (int64_t)(device->free_memory(device) / (8 * dtype_size(device->real_type)));
    if (n > most) n = most;
  }
  return n - n % UNIT;
}

status_t device_measure_peaks(device_t *device, int64_t elements, device_peaks_t *peaks) {
  const int64_t matrices = 3 * device->peak_matrix * device->peak_matrix;
  const int64_t copied = copied_elements(device, elements);
  real_t *block = NULL;
  *peaks = (device_peaks_t){0};
  if (device->peak_matrix == 0) return STATUS_OK;
  status_code_t status = peaks_block(device, matrices > 2 * copied ? matrices : 2 * copied, &block);
  if (status == STATUS_OK) status = measure_gemm(device, block, WEIGHT_REAL, TRIES, peaks);
  if (status == STATUS_OK) status = measure_copy(device, copied, block, peaks);
  device_release(device, block);
  return status;
}

status_t device_measure_formats(device_t *device, device_peaks_t *peaks) {
  real_t *block = NULL;
  if (device->peak_matrix == 0) return STATUS_OK;
  status_code_t status = peaks_block(device, 3 * device->peak_matrix * device->peak_matrix, &block);
  for (int f = 0; f < WEIGHT_FORMATS && status == STATUS_OK; f++)
    if (f != WEIGHT_REAL) status = measure_gemm(device, block, (weight_format_t)f, FORMAT_TRIES, peaks);
  device_release(device, block);
  return status;
}
