#include "perf/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { CELL_BYTES = 32, CELLS_MAX = 16 };

static double perf_report_ratio(double a, double b) {
  return b > 0 ? a / b : 0;
}

perf_region_report_t perf_report_region(const perf_report_t *report, region_t region) {
  perf_region_report_t out = {.min = INFINITY};
  double total = 0;
  for (int rank = 0; rank < report->ranks; rank++) {
    const perf_counter_t *c = &report->all[(size_t)rank * REGION_COUNT + region];
    if (c->count > out.count) out.count = c->count;
    out.min = fmin(out.min, c->seconds);
    out.max = fmax(out.max, c->seconds);
    total += c->seconds;
    out.thread_seconds += c->thread_seconds;
    out.flops += c->flops;
    out.bytes += c->bytes;
    out.comm_bytes += c->comm_bytes;
    out.comm_seconds += c->comm_seconds;
    out.copied_bytes += c->copied_bytes;
    out.background_seconds += c->background_seconds;
    out.exposed_seconds += c->exposed_seconds;
    out.tokens += c->tokens;
    for (int e = 0; e < HARDWARE_MOST; e++)
      out.hardware[e] += c->hardware[e];
  }
  if (report->ranks == 0) out.min = 0;
  out.avg = perf_report_ratio(total, report->ranks);
  out.share = perf_report_ratio(out.avg, report->seconds);
  out.imbalance = out.min > 0 ? out.max / out.min : out.max > 0 ? INFINITY : 1;
  out.hidden = perf_report_ratio(out.background_seconds - out.exposed_seconds, out.background_seconds);
  out.flops_per_second = perf_report_ratio(out.flops, total);
  out.bytes_per_second = perf_report_ratio(out.bytes, total + out.thread_seconds);
  out.tokens_per_second = perf_report_ratio(out.tokens, out.max);
  out.flops_of_peak = perf_report_ratio(out.flops_per_second, report->peak_flops);
  out.bytes_of_peak = perf_report_ratio(out.bytes_per_second, report->peak_bytes);
  return out;
}

static bool was_entered(const perf_region_report_t *region) {
  return region->count > 0 || region->max > 0 || region->thread_seconds > 0;
}

/* The order of the table: what no region claims comes last. */
static region_t region_at(int index) {
  return index + 1 < REGION_COUNT ? (region_t)(index + 1) : REGION_OTHER;
}
_Static_assert(REGION_OTHER == 0, "region_at moves the first region to the end");

/* -------------------------------------------------------------------------------------------------------------
 * table */

/* A line of the table: a name and right-aligned cells, "-" where there is nothing to say. */
typedef struct {
  char cells[CELLS_MAX][CELL_BYTES];
  int count;
} line_t;

static const struct {
  const char *title, *unit;
  int width;
} columns[] = {
    {"count", "", 8},      {"min", "s", 8},     {"avg", "s", 8},           {"max", "s", 8},
    {"share", "%", 6},     {"max/min", "", 7},  {"compute", "GFLOP/s", 9}, {"of peak", "%", 8},
    {"memory", "GB/s", 8}, {"of peak", "%", 8}, {"sent", "MB", 10},        {"tokens", "1/s", 10},
};
enum { COLUMNS = sizeof columns / sizeof columns[0], NAME_WIDTH = 20, EVENT_WIDTH = 20 };

/* A number with about four digits that fits its column. */
static void perf_report_add_number(line_t *line, bool exists, double value) {
  char *cell = line->cells[line->count++];
  if (!exists || !isfinite(value))
    snprintf(cell, CELL_BYTES, "-");
  else if (fabs(value) >= 1e7)
    snprintf(cell, CELL_BYTES, "%.2e", value);
  else
    snprintf(cell, CELL_BYTES, "%.*f",
             fabs(value) >= 1000  ? 0
             : fabs(value) >= 100 ? 1
             : fabs(value) >= 10  ? 2
                                  : 3,
             value);
}

static void perf_report_add_percent(line_t *line, bool exists, double share) {
  char *cell = line->cells[line->count++];
  snprintf(cell, CELL_BYTES, !exists ? "-" : share < 1000 ? "%.1f" : "%.1e", 100 * share);
}

static void perf_report_add_imbalance(line_t *line, double imbalance) {
  char *cell = line->cells[line->count++];
  if (imbalance < 1000)
    snprintf(cell, CELL_BYTES, "%.2f", imbalance);
  else
    snprintf(cell, CELL_BYTES, isfinite(imbalance) ? ">1000" : "-");
}

static void perf_report_write_line(FILE *file, const char *name, const line_t *line) {
  fprintf(file, "%-*s", NAME_WIDTH, name);
  for (int i = 0; i < COLUMNS; i++)
    fprintf(file, " %*s", columns[i].width, i < line->count ? line->cells[i] : "");
  fputc('\n', file);
}

static void perf_report_write_rule(FILE *file) {
  int width = NAME_WIDTH;
  for (int i = 0; i < COLUMNS; i++)
    width += columns[i].width + 1;
  while (width-- > 0)
    fputc('-', file);
  fputc('\n', file);
}

static void perf_report_write_head(FILE *file) {
  line_t titles = {.count = COLUMNS}, units = {.count = COLUMNS};
  for (int i = 0; i < COLUMNS; i++) {
    snprintf(titles.cells[i], CELL_BYTES, "%s", columns[i].title);
    snprintf(units.cells[i], CELL_BYTES, "%s", columns[i].unit);
  }
  perf_report_write_line(file, "region", &titles);
  perf_report_write_line(file, "", &units);
  perf_report_write_rule(file);
}

/* The cells from compute to tokens. */
static void perf_report_add_rates(line_t *line, const perf_report_t *report,
                                  const perf_region_report_t *region) {
  bool computes = region->flops > 0, moves = region->bytes > 0;
  perf_report_add_number(line, computes, region->flops_per_second / 1e9);
  perf_report_add_percent(line, computes && report->peak_flops > 0, region->flops_of_peak);
  perf_report_add_number(line, moves, region->bytes_per_second / 1e9);
  perf_report_add_percent(line, moves && report->peak_bytes > 0, region->bytes_of_peak);
  perf_report_add_number(line, region->comm_bytes > 0, region->comm_bytes / 1e6);
  perf_report_add_number(line, region->tokens > 0, region->tokens_per_second);
}

static void perf_report_write_region(FILE *file, const perf_report_t *report, region_t which,
                                     const perf_region_report_t *region) {
  line_t line = {0};
  bool threads_only = region->max == 0 && region->thread_seconds > 0;
  snprintf(line.cells[line.count++], CELL_BYTES, region->count > 0 ? "%" PRIu64 : "-", region->count);
  if (threads_only) {
    perf_report_add_number(&line, false, 0);
    perf_report_add_number(&line, true, region->thread_seconds / report->ranks);
    perf_report_add_number(&line, false, 0);
    perf_report_add_percent(&line, false, 0);
    perf_report_add_number(&line, false, 0);
  } else {
    perf_report_add_number(&line, true, region->min);
    perf_report_add_number(&line, true, region->avg);
    perf_report_add_number(&line, true, region->max);
    perf_report_add_percent(&line, true, region->share);
    perf_report_add_imbalance(&line, region->imbalance);
  }
  perf_report_add_rates(&line, report, region);
  char name[NAME_WIDTH + 1];
  snprintf(name, sizeof name, "%s%s", perf_region_name(which), threads_only ? " threads" : "");
  perf_report_write_line(file, name, &line);
}

/* All regions together, over the run's whole time. */
static void perf_report_write_total(FILE *file, const perf_report_t *report) {
  perf_region_report_t total = {0};
  double most_tokens = 0;
  for (int i = 0; i < REGION_COUNT; i++) {
    perf_region_report_t region = perf_report_region(report, region_at(i));
    total.avg += region.avg;
    total.flops += region.flops;
    total.bytes += region.bytes;
    total.comm_bytes += region.comm_bytes;
    most_tokens = fmax(most_tokens, region.tokens);
  }
  total.share = perf_report_ratio(total.avg, report->seconds);
  total.flops_per_second = perf_report_ratio(total.flops, report->seconds * report->ranks);
  total.flops_of_peak = perf_report_ratio(total.flops_per_second, report->peak_flops);
  total.bytes_per_second = perf_report_ratio(total.bytes, report->seconds * report->ranks);
  total.bytes_of_peak = perf_report_ratio(total.bytes_per_second, report->peak_bytes);
  line_t line = {0};
  snprintf(line.cells[line.count++], CELL_BYTES, "-");
  perf_report_add_number(&line, false, 0);
  perf_report_add_number(&line, true, total.avg);
  perf_report_add_number(&line, false, 0);
  perf_report_add_percent(&line, report->seconds > 0, total.share);
  perf_report_add_number(&line, false, 0);
  perf_report_add_rates(&line, report, &total);
  perf_report_write_line(file, "total", &line);
}

static void perf_report_write_notes(FILE *file, const perf_report_t *report) {
  fprintf(
      file,
      "%d rank%s, %.1f s. Times and the rates of compute and memory are one rank's within the region; sent "
      "and tokens are all ranks'.\n",
      report->ranks, report->ranks == 1 ? "" : "s", report->seconds);
  if (report->peak_flops > 0)
    fprintf(file, "Peaks measured in this run, per rank: products in %s %.1f GFLOP/s", report->product_type,
            report->peak_flops / 1e9);
  else
    fputs("Peaks were not measured in this run", file);
  if (report->peak_bytes > 0) fprintf(file, "; streaming %.1f GB/s", report->peak_bytes / 1e9);
  fputs(".\nMemory: the operands of operations; more than the peak is where they stay in the caches.\n",
        file);
}

/* What went between hosts and devices, of those with memory of their own. */
static void perf_report_write_copied(FILE *file, const perf_report_t *report) {
  for (int i = 0; i < REGION_COUNT; i++) {
    perf_region_report_t region = perf_report_region(report, region_at(i));
    if (region.copied_bytes <= 0) continue;
    fprintf(file, "Between hosts and devices (%s): %.1f MB.\n", perf_region_name(region_at(i)),
            region.copied_bytes / 1e6);
  }
}

/* How much of what went on in the background cost no time, region by region. */
static void perf_report_write_hidden(FILE *file, const perf_report_t *report) {
  for (int i = 0; i < REGION_COUNT; i++) {
    perf_region_report_t region = perf_report_region(report, region_at(i));
    if (region.background_seconds <= 0) continue;
    fprintf(
        file,
        "In the background (%s): under way for %.3f s per rank, %.1f %% of it hidden behind other work.\n",
        perf_region_name(region_at(i)), region.background_seconds / report->ranks, 100 * region.hidden);
  }
}

/* Hardware events of all ranks, region by region. */
static void perf_report_write_hardware(FILE *file, const perf_report_t *report) {
  if (hardware_count() == 0) return;
  fprintf(file, "\n%-*s", NAME_WIDTH, "events of all ranks");
  for (int e = 0; e < hardware_count(); e++)
    fprintf(file, " %*s", EVENT_WIDTH, hardware_name(e));
  fputc('\n', file);
  for (int i = 0; i < REGION_COUNT; i++) {
    perf_region_report_t region = perf_report_region(report, region_at(i));
    if (!was_entered(&region)) continue;
    fprintf(file, "%-*s", NAME_WIDTH, perf_region_name(region_at(i)));
    for (int e = 0; e < hardware_count(); e++)
      fprintf(file, " %*.4g", EVENT_WIDTH, region.hardware[e]);
    fputc('\n', file);
  }
}

/* The I-th kind of traffic that there was at all, of COLLECTIVE_COUNT kinds for each of TRAFFIC_COUNT; NULL
 * where there was none. */
static const perf_collective_t *collective_at(const perf_report_t *report, int i) {
  const perf_collective_t *counter = report->collectives ? &report->collectives[i] : NULL;
  return counter && counter->calls > 0 ? counter : NULL;
}

static const char *traffic_at(int i) {
  return perf_traffic_name((traffic_t)(i / COLLECTIVE_COUNT));
}

static const char *collective_name_at(int i) {
  return perf_collective_name((collective_t)(i % COLLECTIVE_COUNT));
}

/* Kinds of traffic that carry less than SHARE of all bytes are left to the JSON file. */
static void perf_report_write_collectives(FILE *file, const perf_report_t *report) {
  static const double share = 1e-3;
  double all = 0;
  for (int i = 0; i < TRAFFIC_COUNT * COLLECTIVE_COUNT; i++)
    if (collective_at(report, i)) all += collective_at(report, i)->bytes;
  for (int i = 0; i < TRAFFIC_COUNT * COLLECTIVE_COUNT; i++) {
    const perf_collective_t *counter = collective_at(report, i);
    if (!counter || counter->bytes <= share * all) continue;
    fprintf(file, "Sent over %s by %s: %.4g MB in %.0f calls a rank, %.3f s of it.\n", traffic_at(i),
            collective_name_at(i), counter->bytes / 1e6, counter->calls / report->ranks,
            counter->seconds / report->ranks);
  }
}

static status_t perf_report_finish(FILE *file, const char *what) {
  if (fflush(file) != 0 || ferror(file))
    return error_set(STATUS_DATA, "cannot write %s: the disk may be full", what);
  return STATUS_OK;
}

status_t perf_report_table(const perf_report_t *report, FILE *file) {
  perf_report_write_head(file);
  for (int i = 0; i < REGION_COUNT; i++) {
    perf_region_report_t region = perf_report_region(report, region_at(i));
    if (was_entered(&region)) perf_report_write_region(file, report, region_at(i), &region);
  }
  perf_report_write_rule(file);
  perf_report_write_total(file, report);
  perf_report_write_notes(file, report);
  if (report->joules > 0)
    fprintf(file, "Energy of the devices: %.4g kJ, %.1f W on average.\n", report->joules / 1e3,
            perf_report_ratio(report->joules, report->seconds));
  perf_report_write_copied(file, report);
  perf_report_write_hidden(file, report);
  perf_report_write_hardware(file, report);
  perf_report_write_collectives(file, report);
  return perf_report_finish(file, "the performance table");
}

/* --------------------------------------------------------------------------------------------------------------
 * JSON */

/* `, "NAME": value`; null for what JSON cannot say. */
static void perf_report_write_json_number(FILE *file, const char *name, double value) {
  if (isfinite(value))
    fprintf(file, ", \"%s\": %.9g", name, value);
  else
    fprintf(file, ", \"%s\": null", name);
}

/* To the byte. */
static void perf_report_write_json_bytes(FILE *file, const char *name, double bytes) {
  fprintf(file, ", \"%s\": %.0f", name, bytes);
}

static void perf_report_write_json_region(FILE *file, region_t which, const perf_region_report_t *region) {
  fprintf(file, "    {\"name\": \"%s\", \"count\": %" PRIu64, perf_region_name(which), region->count);
  perf_report_write_json_number(file, "min", region->min);
  perf_report_write_json_number(file, "avg", region->avg);
  perf_report_write_json_number(file, "max", region->max);
  perf_report_write_json_number(file, "thread_seconds", region->thread_seconds);
  perf_report_write_json_number(file, "share", region->share);
  perf_report_write_json_number(file, "imbalance", region->imbalance);
  perf_report_write_json_number(file, "flops", region->flops);
  perf_report_write_json_number(file, "bytes", region->bytes);
  perf_report_write_json_bytes(file, "comm_bytes", region->comm_bytes);
  perf_report_write_json_number(file, "comm_seconds", region->comm_seconds);
  perf_report_write_json_number(file, "copied_bytes", region->copied_bytes);
  perf_report_write_json_number(file, "background_seconds", region->background_seconds);
  perf_report_write_json_number(file, "exposed_seconds", region->exposed_seconds);
  perf_report_write_json_bytes(file, "tokens", region->tokens);
  perf_report_write_json_number(file, "flops_per_second", region->flops_per_second);
  perf_report_write_json_number(file, "bytes_per_second", region->bytes_per_second);
  perf_report_write_json_number(file, "tokens_per_second", region->tokens_per_second);
  perf_report_write_json_number(file, "flops_of_peak", region->flops_of_peak);
  perf_report_write_json_number(file, "bytes_of_peak", region->bytes_of_peak);
  for (int e = 0; e < hardware_count(); e++)
    perf_report_write_json_number(file, hardware_name(e), region->hardware[e]);
  fputc('}', file);
}

static void perf_report_write_json_collectives(FILE *file, const perf_report_t *report) {
  bool first = true;
  fputs(",\n  \"collectives\": [", file);
  for (int i = 0; i < TRAFFIC_COUNT * COLLECTIVE_COUNT; i++) {
    const perf_collective_t *counter = collective_at(report, i);
    if (!counter) continue;
    fprintf(file, "%s\n    {\"name\": \"%s\", \"among\": \"%s\"", first ? "" : ",", collective_name_at(i),
            traffic_at(i));
    perf_report_write_json_number(file, "calls", counter->calls);
    perf_report_write_json_bytes(file, "bytes", counter->bytes);
    perf_report_write_json_number(file, "seconds", counter->seconds);
    fputc('}', file);
    first = false;
  }
  fputs("\n  ]", file);
}

status_t perf_report_json(const perf_report_t *report, FILE *file) {
  fprintf(file, "{\n  \"format\": \"llava_rlhf performance\", \"format_version\": 1,\n  \"ranks\": %d",
          report->ranks);
  perf_report_write_json_number(file, "seconds", report->seconds);
  perf_report_write_json_number(file, "peak_flops", report->peak_flops);
  perf_report_write_json_number(file, "peak_bytes", report->peak_bytes);
  perf_report_write_json_number(file, "resident_bytes", report->resident);
  fprintf(file, ", \"resident_rank\": %d", report->resident_rank);
  perf_report_write_json_number(file, "joules", report->joules > 0 ? report->joules : NAN);
  fputs(",\n  \"regions\": [", file);
  bool first = true;
  for (int i = 0; i < REGION_COUNT; i++) {
    perf_region_report_t region = perf_report_region(report, region_at(i));
    if (!was_entered(&region)) continue;
    fputs(first ? "\n" : ",\n", file);
    perf_report_write_json_region(file, region_at(i), &region);
    first = false;
  }
  fputs("\n  ]", file);
  perf_report_write_json_collectives(file, report);
  fputs("\n}\n", file);
  return perf_report_finish(file, "perf.json");
}
