/* The checks of the self-test, for selftest.c. Each is collective on the grid's world and gives the status of
 * what this rank saw, which need not be agreed. */
#ifndef SELFTEST_CHECKS_H
#define SELFTEST_CHECKS_H

#include "selftest/selftest.h"

status_t selftest_random(const selftest_t *test);
status_t selftest_collectives(const selftest_t *test);
status_t selftest_device_collectives(const selftest_t *test);
status_t selftest_images(const selftest_t *test);
status_t selftest_files(const selftest_t *test);
/* Log-probabilities and all gradients of a tiny model, by each rank alone, as the plain device computes them.
 */
status_t selftest_model(const selftest_t *test);
/* Steps of training by all ranks: the losses fall, and are those that one rank gets on the plain device. */
status_t selftest_training(const selftest_t *test);
/* The same with each copy of the model split over as many ranks as it can be. */
status_t selftest_training_split(const selftest_t *test);

/* STATUS_NUMERIC unless FOUND (n) is EXPECTED (n) to TOLERANCE of the largest number, or of FLOOR where that
 * is larger. WHAT is named in the message. Local. */
status_t selftest_compare(const char *what, const double *found, const double *expected, int64_t n,
                          double floor, double tolerance);

#endif
