#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

schedule_t schedule_from_settings(const settings_t *settings, int64_t total) {
  schedule_t schedule = {.kind = SCHEDULE_CONSTANT,
                         .base = settings->optim.lr,
                         .warmup = settings->optim.warmup_steps,
                         .total = total,
                         .from_zero = settings->optim.warmup_from_zero};
  if (strcmp(settings->optim.schedule, "linear") == 0) schedule.kind = SCHEDULE_LINEAR;
  if (strcmp(settings->optim.schedule, "cosine") == 0) schedule.kind = SCHEDULE_COSINE;
  if (schedule.warmup == 0) schedule.warmup = (int64_t)ceil(settings->optim.warmup_ratio * (double)total);
  return schedule;
}

double schedule_lr(const schedule_t *schedule, int64_t step) {
  double warmup = (double)schedule->warmup, before = (double)(step - 1);
  double warm = schedule->from_zero ? before : (double)step;
  if (schedule->warmup > 0 && (schedule->from_zero ? before < warmup : (double)step <= warmup))
    return schedule->base * warm / warmup;
  double rest = (double)(schedule->total - schedule->warmup);
  double progress = rest > 0.0 ? fmin((before - warmup) / rest, 1.0) : 0.0;
  if (schedule->kind == SCHEDULE_LINEAR) return schedule->base * (1.0 - progress);
  if (schedule->kind == SCHEDULE_COSINE) return schedule->base * 0.5 * (1.0 + cos(pi * progress));
  return schedule->base;
}
