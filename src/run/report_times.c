/* Where the time went: one bar, and a table of regions. */
#include "run/report_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REGIONS_MAX = 64, COLOURS = 10 };
static const double smallest_share = 0.002;     /* of a region that has a line of its own */
static const double largest_imbalance = 1000.0; /* that is told from others, as in the table of the log */

typedef struct {
  const char *name;
  double share, seconds, imbalance, tokens_per_second, flops_per_second, flops_of_peak, bytes_per_second,
      bytes_of_peak;
} region_line_t;

typedef struct {
  int count;
  region_line_t lines[REGIONS_MAX]; /* by falling share */
  double rest;                      /* share of regions too small to be listed */
} region_list_t;

static int by_share(const void *a, const void *b) {
  double x = ((const region_line_t *)a)->share, y = ((const region_line_t *)b)->share;
  return x < y ? 1 : x > y ? -1 : 0;
}

static region_list_t list_regions(const json_t *perf) {
  region_list_t list = {0};
  const json_t *regions = json_get(perf, "regions");
  if (!regions || regions->type != JSON_ARRAY) return list;
  for (const json_t *region = regions->u.first; region; region = region->next) {
    region_line_t line = {.name = report_text(region, "name"),
                          .share = report_number(region, "share", 0.0),
                          .seconds = report_number(region, "avg", NAN),
                          .imbalance = report_number(region, "imbalance", NAN),
                          .tokens_per_second = report_number(region, "tokens_per_second", 0.0),
                          .flops_per_second = report_number(region, "flops_per_second", 0.0),
                          .flops_of_peak = report_number(region, "flops_of_peak", 0.0),
                          .bytes_per_second = report_number(region, "bytes_per_second", 0.0),
                          .bytes_of_peak = report_number(region, "bytes_of_peak", 0.0)};
    if (line.share < smallest_share || list.count == REGIONS_MAX)
      list.rest += line.share;
    else
      list.lines[list.count++] = line;
  }
  qsort(list.lines, (size_t)list.count, sizeof *list.lines, by_share);
  return list;
}

static void write_bar(FILE *file, const region_list_t *list) {
  fputs("<div class=\"shares\">", file);
  for (int i = 0; i < list->count; i++) {
    const region_line_t *line = &list->lines[i];
    fprintf(file, "<span class=\"c%d\" style=\"flex:%.4f\" title=\"", i % COLOURS, line->share);
    html_text(file, line->name);
    fprintf(file, " %.1f %%\">", 100.0 * line->share);
    if (line->share > 0.055) html_text(file, line->name);
    fputs("</span>", file);
  }
  if (list->rest > 0.0) fprintf(file, "<span class=\"rest\" style=\"flex:%.4f\"></span>", list->rest);
  fputs("</div>\n", file);
}

static void write_rate(FILE *file, double value, double scale) {
  char text[NUMBER_TEXT_MAX];
  number_text(value / scale, text);
  fprintf(file, "<td>%s</td>", value > 0.0 ? text : "");
}

static void write_share(FILE *file, double share) {
  if (share > 0.0)
    fprintf(file, "<td>%.0f&#8239;%%</td>", 100.0 * share);
  else
    fputs("<td></td>", file);
}

static void write_line(FILE *file, const region_line_t *line, int colour) {
  char text[NUMBER_TEXT_MAX];
  fprintf(file, "<tr><th><i class=\"c%d\"></i>", colour % COLOURS);
  html_text(file, line->name);
  duration_text(line->seconds, text);
  fprintf(file, "</th><td>%s</td><td>%.1f&#8239;%%</td>", text, 100.0 * line->share);
  if (!isfinite(line->imbalance))
    fputs("<td></td>", file);
  else if (line->imbalance < largest_imbalance)
    fprintf(file, "<td>%.2f</td>", line->imbalance);
  else
    fprintf(file, "<td>&gt;%.0f</td>", largest_imbalance);
  write_rate(file, line->tokens_per_second, 1.0);
  write_rate(file, line->flops_per_second, 1e9);
  write_share(file, line->flops_of_peak);
  write_rate(file, line->bytes_per_second, 1e9);
  write_share(file, line->bytes_of_peak);
  fputs("</tr>\n", file);
}

void report_times(FILE *file, const report_data_t *data) {
  const json_t *perf = data->perf.root;
  region_list_t list = list_regions(perf);
  if (list.count == 0) return;
  fputs("<section><h2>Where the time went</h2><div class=\"card\">\n", file);
  write_bar(file, &list);
  fputs("<div class=\"wide\"><table class=\"times\"><thead><tr><th>region</th><td>time</td><td>share</td>"
        "<td>slowest&#8239;/&#8239;fastest rank</td><td>tokens/s</td><td>GFLOP/s</td><td>of "
        "peak</td><td>GB/s</td><td>of peak</td></tr></thead>"
        "<tbody>\n",
        file);
  for (int i = 0; i < list.count; i++)
    write_line(file, &list.lines[i], i);
  fputs(
      "</tbody></table></div>\n<p class=\"small\">Times, GFLOP/s and GB/s (what must move at the least) are "
      "one rank's; tokens/s are all ranks'. ",
      file);
  double flops = report_number(perf, "peak_flops", 0.0), bytes = report_number(perf, "peak_bytes", 0.0);
  if (flops > 0.0)
    fprintf(file, "Peaks measured in this run, per rank: %.0f GFLOP/s, %.1f GB/s.", 1e-9 * flops,
            1e-9 * bytes);
  fputs("</p></div></section>\n", file);
}
