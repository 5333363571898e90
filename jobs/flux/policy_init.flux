#!/bin/bash
# flux: --job-name=policy_init
# flux: --nodes=4
# flux: --nslots=32
# flux: --cores-per-slot=8
# flux: --exclusive
# flux: --time-limit=4h
# flux: --output=policy_init_{{id}}.txt

# The adapter that PPO starts from.
#   flux batch jobs/flux/policy_init.flux [--set GROUP.NAME=VALUE]... [INPUT]
# from the folder that the input's paths start from. jobs/chain.sh flux submits it so that it goes on after it was stopped.
# shellcheck source-path=SCRIPTDIR source=scheduler.sh
source "${LLAVA_RLHF_JOBS:-jobs}/flux/scheduler.sh"
job_inputs=(inputs/policy_init.nml)
job_run "$@"
