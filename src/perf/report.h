/* The performance table: counters of all ranks, put together. */
#ifndef PERF_REPORT_H
#define PERF_REPORT_H

#include "base/status.h"
#include "perf/perf.h"

#include <stdio.h>

typedef struct {
  const perf_counter_t *all; /* (ranks, REGION_COUNT): the ranks' snapshots; not owned */
  int ranks;
  const perf_collective_t *collectives; /* (TRAFFIC_COUNT, COLLECTIVE_COUNT): sums over ranks; not owned;
                                         * NULL: not known */
  double seconds;                       /* wall-clock time of the run */
  const char *product_type;             /* of the products that the peak is measured with ("bf16") */
  double peak_flops; /* FLOP/s of one rank in products, measured in the run; 0 = not measured */
  double peak_bytes; /* bytes/s of one rank in streaming; 0 = not measured */
  double resident;   /* bytes: the largest resident set that any rank's process has had; 0 = not known */
  int resident_rank; /* that rank */
  double joules;     /* that the devices of all ranks have taken; 0 = not known */
} perf_report_t;

/* One region over all ranks. */
typedef struct {
  uint64_t count;        /* the most entries of a rank */
  double min, avg, max;  /* seconds of a rank's main thread */
  double thread_seconds; /* of helper threads, all ranks */
  double share;          /* avg / the run's seconds */
  double imbalance;      /* max / min; INFINITY where a rank spent no time in it, 1 where none did */
  double flops, bytes;   /* all ranks */
  double comm_bytes, comm_seconds;            /* all ranks */
  double copied_bytes;                        /* between hosts and devices; all ranks */
  double background_seconds, exposed_seconds; /* of collectives in the background; all ranks */
  double hidden;                  /* share of background_seconds that is not exposed; 0 without any */
  double tokens;                  /* all ranks */
  double hardware[HARDWARE_MOST]; /* all ranks */
  double flops_per_second;        /* of one rank while in the region */
  double bytes_per_second;  /* of one rank while in the region (of one helper thread where those did it) */
  double tokens_per_second; /* of all ranks together while the slowest is in it */
  double flops_of_peak, bytes_of_peak; /* shares; 0 where not measured */
} perf_region_report_t;

/* Puts one region together. Local. */
perf_region_report_t perf_report_region(const perf_report_t *report, region_t region);

/* Writes the table: a line per region that was entered, a total, and what the columns mean. Local. Errors:
 * STATUS_DATA (write failed). */
status_t perf_report_table(const perf_report_t *report, FILE *file);

/* Writes the same as JSON: {"format", "format_version", "ranks", "seconds", "peak_flops", "peak_bytes",
 * "resident_bytes", "resident_rank", "joules", "regions": [{"name", ..., and hardware events under their
 * names}], "collectives": [{"name", "among", "calls", "bytes", "seconds"}]}, numbers in seconds, bytes and
 * FLOPs; null where a number does not exist. Local. Errors: STATUS_DATA (write failed). */
status_t perf_report_json(const perf_report_t *report, FILE *file);

#endif
