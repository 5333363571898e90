/* What a run of task ppo needs, made by the program itself: a small world, base, preference pairs, reward
 * model and policy to start from. */
#ifndef TESTS_CLI_PPO_WORLD_H
#define TESTS_CLI_PPO_WORLD_H

#include "cli/cli.h"

#define LORA "--set", "adapter.r=4", "--set", "adapter.alpha=8"

/* cli_enter_world, and then in the test's folder: pairs.h5, rm/model.h5 (rm.nml), start/model.h5, and
 * ppo.nml, which needs a job.run_dir and LORA. */
int ppo_world_enter(void **state);

#endif
