/* Line charts as SVG: a card with a title, the newest value, and the curves. Curves of many steps are drawn
 * as means over stretches of steps, with the range within each stretch behind them. */
#include "run/report_page.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
  WIDTH = 400, /* of the drawing, in its own units */
  HEIGHT = 210,
  LEFT = 46,
  RIGHT = 14,
  TOP = 10,
  BOTTOM = 26,
  POINTS_MAX = 120,
  TICKS_MAX = 12,
  Y_TICKS = 5,
  X_TICKS = 5
};

static const double least_margin = 0.005; /* of the largest value: smaller changes are not blown up */

/* A curve as it is drawn. */
typedef struct {
  int32_t count;
  double x[POINTS_MAX], mean[POINTS_MAX], low[POINTS_MAX], high[POINTS_MAX];
} curve_t;

typedef struct {
  double x_min, x_max, y_min, y_max;
} extent_t;

typedef struct {
  int count;
  double at[TICKS_MAX];
} ticks_t;

/* ---- From series to curves ---- */

static void add_stretch(const series_t *series, int64_t begin, int64_t end, curve_t *curve) {
  int32_t i = curve->count++;
  double sum = 0.0, x = 0.0;
  curve->low[i] = DBL_MAX;
  curve->high[i] = -DBL_MAX;
  for (int64_t p = begin; p < end; p++) {
    sum += series->values[p];
    x += series->steps[p];
    curve->low[i] = fmin(curve->low[i], series->values[p]);
    curve->high[i] = fmax(curve->high[i], series->values[p]);
  }
  curve->mean[i] = sum / (double)(end - begin);
  curve->x[i] = x / (double)(end - begin);
}

static curve_t make_curve(const series_t *series) {
  curve_t curve = {0};
  int64_t stretches = series->count < POINTS_MAX ? series->count : POINTS_MAX;
  for (int64_t s = 0; s < stretches; s++)
    add_stretch(series, s * series->count / stretches, (s + 1) * series->count / stretches, &curve);
  return curve;
}

/* The range is drawn over a few extremes: it reaches only as far as 1.6 times the means do. */
static extent_t make_extent(const chart_t *chart, const curve_t *curves) {
  extent_t e = {DBL_MAX, -DBL_MAX, DBL_MAX, -DBL_MAX};
  int32_t count = chart->count;
  for (int32_t c = 0; c < count; c++) {
    e.x_min = fmin(e.x_min, chart->lines[c]->steps[0]);
    e.x_max = fmax(e.x_max, chart->lines[c]->steps[chart->lines[c]->count - 1]);
    for (int32_t i = 0; i < curves[c].count; i++) {
      e.y_min = fmin(e.y_min, curves[c].mean[i]);
      e.y_max = fmax(e.y_max, curves[c].mean[i]);
    }
  }
  double low = e.y_min, high = e.y_max, more = 0.3 * (high - low);
  for (int32_t c = 0; c < count; c++)
    for (int32_t i = 0; i < curves[c].count; i++) {
      low = fmin(low, fmax(curves[c].low[i], e.y_min - more));
      high = fmax(high, fmin(curves[c].high[i], e.y_max + more));
    }
  double margin = fmax(0.06 * (high - low), least_margin * fmax(fabs(low), fabs(high)));
  if (high - low <= 1e-9 * fmax(fabs(low), fabs(high))) margin = high != 0.0 ? fabs(high) : 1.0;
  bool positive = low >= 0.0, near_zero = positive && low < 0.4 * high;
  e.y_min = near_zero || (positive && low - margin <= 0.0) ? 0.0 : low - margin;
  e.y_max = chart->percent && high <= 1.0 && high + margin > 1.0 ? 1.0 : high + margin;
  if (e.x_max <= e.x_min) {
    e.x_min -= 1.0;
    e.x_max += 1.0;
  }
  return e;
}

/* Round numbers between LOW and HIGH, about WANTED of them. */
static ticks_t make_ticks(double low, double high, int wanted, bool whole) {
  static const double factors[] = {1.0, 2.0, 2.5, 5.0, 10.0};
  ticks_t ticks = {0};
  double rough = (high - low) / wanted, power = pow(10.0, floor(log10(rough))), step = 10.0 * power;
  for (size_t f = sizeof factors / sizeof *factors; f-- > 0;)
    if (factors[f] * power >= rough * 0.999) step = factors[f] * power;
  if (whole && step < 1.0) step = 1.0;
  if (whole) step = floor(step);
  for (double at = ceil(low / step - 1e-9) * step; at <= high + 1e-9 * step && ticks.count < TICKS_MAX;
       at += step)
    ticks.at[ticks.count++] = fabs(at) < 1e-9 * step ? 0.0 : at;
  return ticks;
}

static double x_of(const extent_t *e, double x) {
  return LEFT + (x - e->x_min) / (e->x_max - e->x_min) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const extent_t *e, double y) {
  double clipped = fmin(fmax(y, e->y_min), e->y_max);
  return TOP + (e->y_max - clipped) / (e->y_max - e->y_min) * (HEIGHT - TOP - BOTTOM);
}

/* ---- Drawing ---- */

static void value_text(const chart_t *chart, double value, char text[NUMBER_TEXT_MAX]) {
  if (chart->percent)
    percent_text(value, text);
  else
    number_text(value, text);
}

/* As few digits as tell neighbours apart. */
static void tick_text(const chart_t *chart, double at, double step, char text[NUMBER_TEXT_MAX]) {
  double scaled = chart->percent ? 100.0 * at : at, apart = chart->percent ? 100.0 * step : step;
  double magnitude = fmax(fabs(scaled), apart);
  const char *suffix = chart->percent ? "%" : "";
  if (!chart->percent && magnitude >= 1e4) {
    scaled *= 1e-3;
    apart *= 1e-3;
    suffix = "k";
  }
  if (scaled == 0.0) {
    snprintf(text, NUMBER_TEXT_MAX, "0%s", chart->percent ? "%" : "");
    return;
  }
  if (apart < 5e-4 && magnitude <= 20.0 * apart) {
    tiny_text(scaled, text);
    return;
  }
  if (magnitude < 0.01) {
    snprintf(text, NUMBER_TEXT_MAX, "%.*g", (int)ceil(log10(magnitude / apart)) + 1, scaled);
    return;
  }
  int digits = apart >= 1.0 ? 0 : (int)ceil(-log10(apart) - 1e-9);
  if (fabs(apart * pow(10.0, digits) - round(apart * pow(10.0, digits))) > 1e-6) digits++;
  snprintf(text, NUMBER_TEXT_MAX, "%.*f%s", digits, scaled, suffix);
}

static void draw_axes(FILE *file, const chart_t *chart, const extent_t *e) {
  ticks_t x = make_ticks(e->x_min, e->x_max, X_TICKS, true),
          y = make_ticks(e->y_min, e->y_max, Y_TICKS, false);
  char text[NUMBER_TEXT_MAX];
  for (int i = 0; i < y.count; i++) {
    tick_text(chart, y.at[i], y.count > 1 ? y.at[1] - y.at[0] : 1.0, text);
    fprintf(file, "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>",
            y.at[i] == 0.0 && e->y_min < 0.0 ? "zero" : "grid", LEFT, WIDTH - RIGHT, y_of(e, y.at[i]),
            y_of(e, y.at[i]));
    fprintf(file, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", LEFT - 6,
            y_of(e, y.at[i]) + 4.0, text);
  }
  for (int i = 0; i < x.count; i++)
    fprintf(file, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>",
            x_of(e, x.at[i]), HEIGHT - 8, x.at[i]);
}

static void draw_range(FILE *file, const extent_t *e, const curve_t *curve, int32_t index) {
  fprintf(file, "<path class=\"range s%d\" d=\"", index);
  for (int32_t i = 0; i < curve->count; i++)
    fprintf(file, "%c%.1f %.1f", i == 0 ? 'M' : 'L', x_of(e, curve->x[i]), y_of(e, curve->high[i]));
  for (int32_t i = curve->count; i-- > 0;)
    fprintf(file, "L%.1f %.1f", x_of(e, curve->x[i]), y_of(e, curve->low[i]));
  fputs("Z\"/>", file);
}

/* Mean over the neighbours of point I, for a line that shows where things go. */
static double smoothed(const curve_t *curve, int32_t i) {
  int32_t reach = curve->count / 20, begin = i - reach, end = i + reach;
  if (begin < 0) begin = 0;
  if (end > curve->count - 1) end = curve->count - 1;
  double sum = 0.0;
  for (int32_t p = begin; p <= end; p++)
    sum += curve->mean[p];
  return sum / (end - begin + 1);
}

static void draw_path(FILE *file, const extent_t *e, const curve_t *curve, int32_t index, const char *kind,
                      bool smooth) {
  fprintf(file, "<path class=\"%s s%d\" d=\"", kind, index);
  for (int32_t i = 0; i < curve->count; i++)
    fprintf(file, "%c%.1f %.1f", i == 0 ? 'M' : 'L', x_of(e, curve->x[i]),
            y_of(e, smooth ? smoothed(curve, i) : curve->mean[i]));
  fputs("\"/>", file);
}

static void draw_curve(FILE *file, const extent_t *e, const curve_t *curve, int32_t index, bool ranged) {
  bool smooth = curve->count >= 32;
  if (ranged) draw_range(file, e, curve, index);
  if (smooth) draw_path(file, e, curve, index, "raw", false);
  if (curve->count > 1) draw_path(file, e, curve, index, "line", smooth);
  for (int32_t i = 0; i < curve->count; i++)
    if (curve->count <= 12 || i == curve->count - 1)
      fprintf(file, "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", index,
              x_of(e, curve->x[i]), y_of(e, smooth ? smoothed(curve, i) : curve->mean[i]));
}

/* Columns that tell their values when they are pointed at. */
static void draw_hints(FILE *file, const chart_t *chart, const extent_t *e, const curve_t *curves) {
  const curve_t *longest = &curves[0];
  for (int32_t c = 1; c < chart->count; c++)
    if (curves[c].count > longest->count) longest = &curves[c];
  int32_t every = longest->count > 60 ? 2 : 1;
  for (int32_t i = 0; i < longest->count; i += every) {
    double x = x_of(e, longest->x[i]);
    double before = i > 0 ? 0.5 * (x + x_of(e, longest->x[i - every])) : LEFT;
    double after = i + every < longest->count ? 0.5 * (x + x_of(e, longest->x[i + every])) : WIDTH - RIGHT;
    fprintf(file, "<rect class=\"hint\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>step %.0f",
            before, TOP, fmax(after - before, 0.5), HEIGHT - TOP - BOTTOM, longest->x[i]);
    for (int32_t c = 0; c < chart->count; c++) {
      char text[NUMBER_TEXT_MAX];
      if (curves[c].count != longest->count) continue;
      value_text(chart, curves[c].mean[i], text);
      fprintf(file, "\n%s%s%s", chart->count > 1 ? chart->labels[c] : "", chart->count > 1 ? " " : "", text);
    }
    fputs("</title></rect>", file);
  }
}

/* Mean over the last twentieth; what is next to nothing beside the rest is nothing. */
static double newest_value(const series_t *series) {
  int64_t stretch = series->count >= 20 ? series->count / 20 : 1;
  double sum = 0.0, largest = 0.0;
  for (int64_t i = 0; i < series->count; i++)
    largest = fmax(largest, fabs(series->values[i]));
  for (int64_t i = series->count - stretch; i < series->count; i++)
    sum += series->values[i];
  return fabs(sum) < 1e-9 * largest ? 0.0 : sum / (double)stretch;
}

static void write_heading(FILE *file, const chart_t *chart) {
  char text[NUMBER_TEXT_MAX];
  fputs("<figcaption><h3>", file);
  html_text(file, chart->title);
  value_text(chart, newest_value(chart->lines[0]), text);
  fprintf(file, "</h3><span class=\"newest\">%s</span>", text);
  if (chart->note) {
    fputs("<p>", file);
    html_text(file, chart->note);
    fputs("</p>", file);
  }
  fputs("</figcaption>", file);
}

static void write_legend(FILE *file, const chart_t *chart) {
  if (chart->count < 2) return;
  fputs("<ul class=\"legend\">", file);
  for (int32_t c = 0; c < chart->count; c++) {
    fprintf(file, "<li><i class=\"s%d\"></i>", c);
    html_text(file, chart->labels[c]);
    fputs("</li>", file);
  }
  fputs("</ul>", file);
}

void chart_write(FILE *file, const chart_t *chart) {
  curve_t curves[CHART_LINES_MAX];
  for (int32_t c = 0; c < chart->count; c++)
    curves[c] = make_curve(chart->lines[c]);
  extent_t e = make_extent(chart, curves);
  fputs("<figure class=\"card chart\">", file);
  write_heading(file, chart);
  fprintf(file, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
  html_text(file, chart->title);
  fputs(" over steps\">", file);
  draw_axes(file, chart, &e);
  for (int32_t c = chart->count; c-- > 0;)
    draw_curve(file, &e, &curves[c], c, chart->lines[c]->count > POINTS_MAX && chart->count == 1);
  draw_hints(file, chart, &e, curves);
  fputs("</svg>", file);
  write_legend(file, chart);
  fputs("</figure>\n", file);
}
