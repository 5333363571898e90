#include "eval/interval.h"

#include <math.h>

static const double normal_quantile = 1.959963984540054; /* two-sided, 95 % */

/* Wilson's ends for the share P of N trials; N need not be whole. */
static void set_wilson(double p, double n, interval_t *out) {
  const double z2 = normal_quantile * normal_quantile;
  double centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
  double half = normal_quantile / (1.0 + z2 / n) * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
  out->low = fmax(centre - half, 0.0);
  out->high = fmin(centre + half, 1.0);
}

/* Student's two-sided 95 % quantile; its expansion in 1/df (Abramowitz and Stegun, 26.7.5) is right to 1e-3
 * from 5 degrees of freedom on. */
static double student_quantile(double df) {
  static const double few[] = {12.7062, 4.3027, 3.1824, 2.7764};
  const double x = normal_quantile, x2 = x * x;
  if (df < 5.0) return few[(int)df - 1];
  double g1 = x * (x2 + 1.0) / 4.0;
  double g2 = x * ((5.0 * x2 + 16.0) * x2 + 3.0) / 96.0;
  double g3 = x * (((3.0 * x2 + 19.0) * x2 + 17.0) * x2 - 15.0) / 384.0;
  double g4 = x * ((((79.0 * x2 + 776.0) * x2 + 1482.0) * x2 - 1920.0) * x2 - 945.0) / 92160.0;
  return x + (g1 + (g2 + (g3 + g4 / df) / df) / df) / df;
}

void ratio_sums_add(ratio_sums_t *sums, double parts, double wholes) {
  if (wholes <= 0.0) return;
  sums->answers += 1.0;
  sums->parts += parts;
  sums->wholes += wholes;
  sums->parts_squared += parts * parts;
  sums->products += parts * wholes;
  sums->wholes_squared += wholes * wholes;
}

interval_t interval_share(double part, double whole) {
  interval_t out = {.low = NAN, .high = NAN, .answers = whole};
  if (whole <= 0.0) return out;
  out.value = part / whole;
  set_wilson(out.value, whole, &out);
  return out;
}

static double f1_of(double j) {
  return 2.0 * j / (1.0 + j);
}

interval_t interval_f1(double true_positive, double wrong) {
  interval_t j = interval_share(true_positive, true_positive + wrong);
  return (interval_t){f1_of(j.value), f1_of(j.low), f1_of(j.high), j.answers};
}

interval_t interval_mean(double n, double sum, double squares) {
  interval_t out = {.low = NAN, .high = NAN, .answers = n};
  if (n <= 0.0) return out;
  out.value = sum / n;
  if (n < 2.0) return out;
  double variance = fmax(squares - sum * out.value, 0.0) / (n - 1.0);
  double half = student_quantile(n - 1.0) * sqrt(variance / n);
  out.low = out.value - half;
  out.high = out.value + half;
  return out;
}

/* The delta method's variance of the ratio R of SUMS, by the residuals parts - r wholes, whose mean is 0. */
static double ratio_variance(const ratio_sums_t *sums, double r) {
  double n = sums->answers;
  double squares = sums->parts_squared - 2.0 * r * sums->products + r * r * sums->wholes_squared;
  return n / (n - 1.0) * fmax(squares, 0.0) / (sums->wholes * sums->wholes);
}

interval_t interval_ratio(const ratio_sums_t *sums) {
  interval_t out = {.low = NAN, .high = NAN, .answers = sums->answers};
  double n = sums->answers, r;
  if (sums->wholes <= 0.0) return out;
  out.value = r = sums->parts / sums->wholes;
  if (n < 2.0) return out;
  double variance = ratio_variance(sums, r);
  double independent = r > 0.0 && r < 1.0 ? fmin(r * (1.0 - r) / variance, sums->wholes) : n;
  set_wilson(r, independent, &out);
  return out;
}

interval_t interval_quotient(const ratio_sums_t *sums) {
  interval_t out = {.low = NAN, .high = NAN, .answers = sums->answers};
  if (sums->wholes <= 0.0) return out;
  out.value = sums->parts / sums->wholes;
  if (sums->answers < 2.0) return out;
  double half = student_quantile(sums->answers - 1.0) * sqrt(ratio_variance(sums, out.value));
  out.low = out.value - half;
  out.high = out.value + half;
  return out;
}
