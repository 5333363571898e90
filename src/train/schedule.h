/* Learning-rate schedules. */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include "input/settings.h"

typedef enum { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE } schedule_kind_t;

typedef struct {
  schedule_kind_t kind;
  double base;
  int64_t warmup; /* steps */
  int64_t total;  /* steps */
  bool from_zero; /* as published: the first step has learning rate 0 */
} schedule_t;

/* The settings' schedule (optim.*) for TOTAL steps. */
schedule_t schedule_from_settings(const settings_t *settings, int64_t total);

/* Learning rate of step S = 1 .. total. Warm-up: base * S / warmup (FROM_ZERO: (S - 1) / warmup, as in
 * transformers); after it constant, or falling linearly or as a half cosine over the remaining steps, at its
 * full value in the first of them and at zero one step after the last. */
double schedule_lr(const schedule_t *schedule, int64_t step);

#endif
