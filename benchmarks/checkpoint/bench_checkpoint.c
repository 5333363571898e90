/* bench_checkpoint [-g GIB] [-t TRIES] FOLDER, on any number of ranks: writes a checkpoint of so many GiB (2)
 * in fp32, as training does, then the same behind (what a step waits for), and beside them the same number of
 * bytes by one plain writer: through the page cache and past it, all synced. A line for each try in GB/s, and
 * medians of shares: of the plain writer's rate, and of its rate past the page cache. */
#define _GNU_SOURCE
#include "base/memory.h"
#include "io/descriptor.h"
#include "io/formats/checkpoint.h"
#include "perf/perf.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SIDE = 4096, NAME = 64, TRIES_MOST = 100 };
static const int64_t tensor_bytes = (int64_t)SIDE * SIDE * 4, piece_bytes = 16 << 20, page_bytes = 4096;
static const h5_format_t format = {"bench_checkpoint", 1, "make it again"};

typedef struct {
  comm_t *world;
  const char *folder;
  int64_t tensors;
  int64_t first, rows; /* of each tensor, this rank's */
  float *values;       /* (rows, SIDE) */
  weights_item_t *items;
  char (*names)[NAME];
} measured_t;

static status_t give(void *of, int64_t first, int64_t n, float *values) {
  const measured_t *measured = of;
  memcpy(values, measured->values + first, (size_t)n * sizeof *values);
  return STATUS_OK;
}

static status_t measured_fill(measured_t *measured, int64_t gib) {
  int size = comm_size(measured->world), rank = comm_rank(measured->world);
  measured->tensors = gib * (INT64_C(1) << 30) / tensor_bytes;
  measured->first = (int64_t)SIDE * rank / size;
  measured->rows = (int64_t)SIDE * (rank + 1) / size - measured->first;
  TRY(memory_alloc(&measured->values, ARENA_OTHER, (size_t)measured->rows * SIDE, sizeof *measured->values));
  TRY(memory_alloc(&measured->items, ARENA_OTHER, (size_t)measured->tensors, sizeof *measured->items));
  TRY(memory_alloc(&measured->names, ARENA_OTHER, (size_t)measured->tensors, sizeof *measured->names));
  uint32_t state = 1;
  for (int64_t i = 0; i < measured->rows * SIDE; i++) {
    state = state * 1664525u + 1013904223u;
    measured->values[i] = (float)(state >> 8) * 1e-7F;
  }
  for (int64_t t = 0; t < measured->tensors; t++) {
    snprintf(measured->names[t], NAME, "/optimizer/policy/layer.%lld.weight/m", (long long)t);
    measured->items[t] = (weights_item_t){.path = measured->names[t],
                                          .ndim = 2,
                                          .shape = {SIDE, SIDE},
                                          .dtype = DTYPE_F32,
                                          .rows = SIDE,
                                          .cols = SIDE,
                                          .row_begin = measured->first,
                                          .row_count = measured->rows,
                                          .col_count = SIDE,
                                          .mine = true,
                                          .give = give,
                                          .context = measured};
  }
  return STATUS_OK;
}

/* This process's, so far. */
static double processor_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* BYTES by one writer, with open's FLAGS besides. */
static status_t plain_write(const char *path, int flags, int64_t bytes, const void *piece) {
  int descriptor, problem = descriptor_open(path, O_WRONLY | O_CREAT | O_TRUNC | flags, &descriptor);
  if (problem) return error_set(STATUS_DATA, "%s: %s", path, strerror(problem));
  for (int64_t at = 0; at < bytes && problem == 0; at += piece_bytes)
    problem = descriptor_write(descriptor, piece, (size_t)piece_bytes);
  if (problem == 0) problem = descriptor_sync(descriptor);
  descriptor_close(descriptor);
  unlink(path);
  return problem ? error_set(STATUS_DATA, "%s: %s", path, strerror(problem)) : STATUS_OK;
}

/* Seconds, after what was written before has reached the disk. */
static status_t measure_plain(const measured_t *measured, int flags, const void *piece, double *seconds) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, measured->folder, "plain", NULL));
  sync();
  TRY(comm_barrier(measured->world));
  double begin = perf_now();
  bool lead = comm_rank(measured->world) == 0;
  TRY(comm_agree(measured->world,
                 lead ? plain_write(path, flags, measured->tensors * tensor_bytes, piece) : STATUS_OK));
  *seconds = perf_now() - begin;
  return STATUS_OK;
}

typedef struct {
  double stall, seconds,
      processor; /* until the caller may go on, and until all is on storage; of all ranks */
} times_t;

static status_t measure_checkpoint(const measured_t *measured, int64_t behind, times_t *times) {
  const weights_spec_t spec = {.format = &format, .disk.behind = behind};
  const checkpoint_place_t place = {.step = 1, .serial = 1};
  checkpoint_writing_t *writing;
  char path[FILE_MAX_PATH];
  TRY(checkpoint_path(path, measured->folder, place.step));
  sync();
  TRY(comm_barrier(measured->world));
  double begin = perf_now();
  times->processor = -processor_seconds();
  TRY(checkpoint_write_begin(measured->world, measured->folder, &place, &spec, measured->items,
                             measured->tensors, &writing));
  times->stall = perf_now() - begin;
  TRY(checkpoint_write_end(writing));
  times->seconds = perf_now() - begin;
  times->processor += processor_seconds();
  if (comm_rank(measured->world) == 0) unlink(path);
  return comm_allreduce(measured->world, &times->processor, 1, COMM_F64, COMM_SUM);
}

static int compare_numbers(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int n) {
  qsort(values, (size_t)n, sizeof *values, compare_numbers);
  return values[n / 2];
}

static status_t measure(measured_t *measured, int tries) {
  double shares[TRIES_MOST], direct_shares[TRIES_MOST], stalls[TRIES_MOST], before, after, direct;
  int64_t bytes = measured->tensors * tensor_bytes;
  double gigabytes = 1e-9 * (double)bytes;
  times_t once, behind;
  SCOPED_MEMORY char *memory = NULL;
  bool lead = comm_rank(measured->world) == 0;
  TRY(memory_alloc(&memory, ARENA_OTHER, (size_t)(piece_bytes + page_bytes), 1));
  char *piece = memory + page_bytes - (uintptr_t)memory % (uintptr_t)page_bytes;
  memset(piece, 1, (size_t)piece_bytes);
  if (lead) printf("%d ranks, %.2f GB\n", comm_size(measured->world), gigabytes);
  if (lead) printf("  plain  checkpoint  plain  direct   behind: s stalled  processor s/GB\n");
  TRY(measure_plain(measured, 0, piece, &after));
  for (int t = 0; t < tries; t++) {
    before = after;
    TRY(measure_checkpoint(measured, 0, &once));
    TRY(measure_plain(measured, 0, piece, &after));
    TRY(measure_plain(measured, O_DIRECT, piece, &direct));
    TRY(measure_checkpoint(measured, bytes, &behind));
    shares[t] = 0.5 * (before + after) / once.seconds;
    direct_shares[t] = direct / once.seconds;
    stalls[t] = behind.stall;
    if (lead)
      printf("%7.3f  %10.3f  %5.3f  %6.3f  %18.2f  %14.2f\n", gigabytes / before, gigabytes / once.seconds,
             gigabytes / after, gigabytes / direct, behind.stall, once.processor / gigabytes);
    if (lead) fflush(stdout);
  }
  if (lead)
    printf("medians: %.2f of plain, %.2f of direct, %.2f s stalled behind\n", median(shares, tries),
           median(direct_shares, tries), median(stalls, tries));
  return STATUS_OK;
}

int main(int argc, char **argv) {
  measured_t measured = {0};
  int64_t gib = 2;
  int tries = 5, option;
  status_code_t status = comm_init(&argc, &argv, &measured.world);
  while (status == STATUS_OK && (option = getopt(argc, argv, "g:t:")) != -1) {
    if (option == 'g') gib = atoll(optarg);
    if (option == 't') tries = atoi(optarg);
    if (option == '?') status = STATUS_INPUT;
  }
  if (status == STATUS_OK && (optind + 1 != argc || gib < 1 || tries < 1 || tries > TRIES_MOST))
    status = error_set(STATUS_INPUT, "usage: bench_checkpoint [-g GIB] [-t TRIES] FOLDER");
  if (status == STATUS_OK) measured.folder = argv[optind];
  if (status == STATUS_OK) status = comm_agree(measured.world, measured_fill(&measured, gib));
  if (status == STATUS_OK) status = measure(&measured, tries);
  if (status != STATUS_OK) fprintf(stderr, "%s\n", error_message());
  if (status != STATUS_OK) comm_abort(status_exit(status));
  memory_free(measured.values);
  memory_free(measured.items);
  memory_free(measured.names);
  comm_finish(measured.world);
  return 0;
}
