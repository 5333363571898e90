#!/bin/bash
# flux: --job-name=sft
# flux: --nodes=4
# flux: --nslots=32
# flux: --cores-per-slot=8
# flux: --exclusive
# flux: --time-limit=12h
# flux: --output=sft_{{id}}.txt

# Supervised fine-tuning.
#   flux batch jobs/flux/sft.flux [--set GROUP.NAME=VALUE]... [INPUT]
# from the folder that the input's paths start from. jobs/chain.sh flux submits it so that it goes on after it was stopped.
# shellcheck source-path=SCRIPTDIR source=scheduler.sh
source "${LLAVA_RLHF_JOBS:-jobs}/flux/scheduler.sh"
job_inputs=(inputs/sft.nml)
job_run "$@"
