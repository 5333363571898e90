/* 95 % confidence intervals of what an evaluation counts. The answers are a sample of the answers that the
 * model would give to questions of this kind; the claims within one are not independent of each other, so an
 * answer, not a claim, is the unit everywhere. */
#ifndef EVAL_INTERVAL_H
#define EVAL_INTERVAL_H

/* A number of the table. */
typedef struct {
  double value;     /* 0 where there is nothing to divide by */
  double low, high; /* NAN: too few answers to tell */
  double answers;   /* that it rests on */
} interval_t;

/* Sums over answers each of which counts PARTS of a number of WHOLES, as claims that are right of all claims;
 * answers without any are not among them. */
typedef struct {
  double answers, parts, wholes;
  double parts_squared, products, wholes_squared; /* products: of parts and wholes, answer by answer */
} ratio_sums_t;

/* Adds an answer: nothing where WHOLES is 0. */
void ratio_sums_add(ratio_sums_t *sums, double parts, double wholes);

/* The share PART / WHOLE of answers: Wilson's score interval (J. Am. Stat. Assoc. 22, 1927, 209). */
interval_t interval_share(double part, double whole);

/* F1 = 2 J / (1 + J) where J is the share TRUE_POSITIVE / (TRUE_POSITIVE + WRONG) of answers, so Wilson's
 * interval of J, carried over. WRONG: false positives and false negatives. */
interval_t interval_f1(double true_positive, double wrong);

/* The mean of N answers, of which the sum and the sum of squares are given: Student's. */
interval_t interval_mean(double n, double sum, double squares);

/* The share of parts in wholes, both summed over answers: a ratio of sums, whose variance is that of the
 * delta method over answers (Cochran, Sampling Techniques, 3rd ed. 1977, chapter 6). Wilson's interval for as
 * many independent claims as would vary that much, but no more than there are, so that it stays within 0..1
 * (Korn and Graubard, Survey Methodology 24, 1998, 193, with Wilson's in the place of Clopper's); for as many
 * as there are answers where none or all of the claims count, which tells nothing about their variance. */
interval_t interval_ratio(const ratio_sums_t *sums);

/* The same ratio where it may exceed 1, as that of two scores: Student's, with the delta method's variance.
 */
interval_t interval_quotient(const ratio_sums_t *sums);

#endif
