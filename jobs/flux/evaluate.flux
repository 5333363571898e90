#!/bin/bash
# flux: --job-name=evaluate
# flux: --nodes=1
# flux: --nslots=8
# flux: --cores-per-slot=8
# flux: --exclusive
# flux: --time-limit=2h
# flux: --output=evaluate_{{id}}.txt

# The comparison of the models.
#   flux batch jobs/flux/evaluate.flux [--set GROUP.NAME=VALUE]... [INPUT]
# from the folder that the input's paths start from. jobs/chain.sh flux submits it so that it goes on after it was stopped.
# shellcheck source-path=SCRIPTDIR source=scheduler.sh
source "${LLAVA_RLHF_JOBS:-jobs}/flux/scheduler.sh"
job_inputs=(inputs/evaluate.nml)
job_run "$@"
