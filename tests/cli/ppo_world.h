/* What a run of task ppo needs, made by the program itself: a small world, base, preference pairs, reward
 * model and policy to start from. */
#ifndef TESTS_CLI_PPO_WORLD_H
#define TESTS_CLI_PPO_WORLD_H

#include "cli/cli.h"

#define LORA "--set", "adapter.r=4", "--set", "adapter.alpha=8"

/* cli_enter_world, and then in the test's folder: pairs.h5, rm/model.h5 (rm.nml), start/model.h5, and
 * ppo.nml, which needs a job.run_dir and LORA. */
int ppo_world_enter(void **state);
/* The part of it that comes after cli_enter_world. */
void ppo_world_make(void);

/* Sums in another order, through one forward and backward pass and one AdamW step in fp32. */
static const double ppo_world_tolerance = 1e-4;

/* Fails unless NUMBER, called NAME in FOLDER, is EXPECTED to the tolerance times SCALE. */
void ppo_world_close(const char *folder, const char *name, double number, double expected, double scale);
/* FOLDER's metric NAME of its line LINE (from 0) of metrics.jsonl. */
double ppo_world_metric(const char *folder, int line, const char *name);
/* Fails unless the lines of metrics.jsonl in FOLDER are those of EXPECTED: as many, with the same names, and
 * the numbers close, but for times. Returns how many there are. */
int ppo_world_compare_metrics(const char *folder, const char *expected);
/* Fails unless the rollouts of STEP have the same samples to the token, with log-probabilities that are
 * close.
 */
void ppo_world_compare_rollouts(const char *folder, const char *expected, int step);

#endif
