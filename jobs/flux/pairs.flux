#!/bin/bash
# flux: --job-name=pairs
# flux: --nodes=1
# flux: --nslots=8
# flux: --cores-per-slot=8
# flux: --exclusive
# flux: --time-limit=1h
# flux: --output=pairs_{{id}}.txt

# Pairs for the reward model: two answers of the fine-tuned model to each question, which is better as the shapes world's annotator
# says, and the dataset made of that.
#   flux batch jobs/flux/pairs.flux [--set GROUP.NAME=VALUE]... [INPUT]
# from the folder that the input's paths start from. jobs/chain.sh flux submits it so that it goes on after it was stopped.
# shellcheck source-path=SCRIPTDIR source=scheduler.sh
source "${LLAVA_RLHF_JOBS:-jobs}/flux/scheduler.sh"
job_inputs=(inputs/sample.nml inputs/annotate.nml inputs/prepare.nml)
job_run "$@"
