/* Run directories as real runs leave them, made up. */
#ifndef TESTS_RECORD_FAKE_RUN_H
#define TESTS_RECORD_FAKE_RUN_H

#include "base/status.h"

#include <stdint.h>

/* A PPO run of STEPS steps in FOLDER: run.json, metrics.jsonl, perf.json, samples.jsonl with answers of every
 * tenth step, input.nml. The answers' texts hold "answer-<step>-<number>"; one question holds HTML. */
enum { FAKE_SAMPLES = 4 };
status_t fake_ppo_run(const char *folder, int64_t steps);

/* An evaluation of three models: run.json, evaluation.json, perf.json, samples.jsonl. */
status_t fake_evaluate_run(const char *folder);

/* A reward model's run, short: every step is a point. */
status_t fake_rm_run(const char *folder);

#endif
