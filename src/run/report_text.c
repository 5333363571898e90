#include "run/report_page.h"

#include <math.h>

void html_text(FILE *file, const char *text) {
  for (const char *c = text; *c; c++) {
    if (*c == '<')
      fputs("&lt;", file);
    else if (*c == '>')
      fputs("&gt;", file);
    else if (*c == '&')
      fputs("&amp;", file);
    else if (*c == '"')
      fputs("&quot;", file);
    else if ((unsigned char)*c >= ' ' || *c == '\n' || *c == '\t')
      fputc(*c, file);
  }
}

/* Digits behind the point for about three in all. */
static int digits_behind(double magnitude) {
  if (magnitude >= 100.0) return 0;
  if (magnitude >= 10.0) return 1;
  if (magnitude >= 1.0) return 2;
  return magnitude >= 0.1 ? 3 : 4;
}

void tiny_text(double value, char text[NUMBER_TEXT_MAX]) {
  int exponent = (int)floor(log10(fabs(value)));
  double factor = value / pow(10.0, exponent);
  if (fabs(factor) >= 9.95) {
    factor /= 10.0;
    exponent++;
  }
  bool whole = fabs(factor - round(factor)) < 0.05;
  snprintf(text, NUMBER_TEXT_MAX, "%.*fe%d", whole ? 0 : 1, factor, exponent);
}

void number_text(double value, char text[NUMBER_TEXT_MAX]) {
  double magnitude = fabs(value);
  if (!isfinite(value))
    snprintf(text, NUMBER_TEXT_MAX, "-");
  else if (magnitude > 0.0 && magnitude < 5e-4)
    tiny_text(value, text);
  else if (magnitude >= 1e7)
    snprintf(text, NUMBER_TEXT_MAX, "%.*fM", digits_behind(1e-6 * magnitude), 1e-6 * value);
  else if (magnitude >= 1e4)
    snprintf(text, NUMBER_TEXT_MAX, "%.*fk", digits_behind(1e-3 * magnitude), 1e-3 * value);
  else if (magnitude == 0.0)
    snprintf(text, NUMBER_TEXT_MAX, "0");
  else
    snprintf(text, NUMBER_TEXT_MAX, "%.*f", digits_behind(magnitude), value);
}

void percent_text(double value, char text[NUMBER_TEXT_MAX]) {
  if (!isfinite(value))
    snprintf(text, NUMBER_TEXT_MAX, "-");
  else
    snprintf(text, NUMBER_TEXT_MAX, "%.*f&#8239;%%", fabs(value) < 0.1 ? 1 : 0, 100.0 * value);
}

void duration_text(double seconds, char text[NUMBER_TEXT_MAX]) {
  if (!isfinite(seconds) || seconds < 0.0) seconds = 0.0;
  long long whole = (long long)(seconds + 0.5);
  if (seconds < 0.1)
    snprintf(text, NUMBER_TEXT_MAX, "%.1f ms", 1e3 * seconds);
  else if (seconds < 10.0)
    snprintf(text, NUMBER_TEXT_MAX, "%.1f s", seconds);
  else if (whole < 60)
    snprintf(text, NUMBER_TEXT_MAX, "%lld s", whole);
  else if (whole < 3600)
    snprintf(text, NUMBER_TEXT_MAX, "%lld min %lld s", whole / 60, whole % 60);
  else if (whole < 86400)
    snprintf(text, NUMBER_TEXT_MAX, "%lld h %lld min", whole / 3600, whole % 3600 / 60);
  else
    snprintf(text, NUMBER_TEXT_MAX, "%lld d %lld h", whole / 86400, whole % 86400 / 3600);
}
