# The phases as jobs that wait for one another; to be sourced by jobs/chain.sh, and by a job that submits itself again. The folder
# LLAVA_RLHF_CHAIN remembers a chain: `phases`, `options` (of the submit command), and of each phase PHASE.arguments, PHASE.job (its
# number) and, once it has ended well, PHASE.done.
# shellcheck shell=bash
# shellcheck disable=SC2034 # read by who sources this

# What must be done before a phase.
declare -gA chain_needs=([sft]='' [pairs]='sft' [policy_init]='sft' [rm]='sft pairs' [ppo]='policy_init rm' [evaluate]='ppo')
# The inputs of a phase.
declare -gA chain_inputs=([sft]=sft [pairs]='sample annotate prepare' [policy_init]=policy_init [rm]=rm [ppo]=ppo [evaluate]=evaluate)

# Submits PHASE to start after the jobs of this chain that it needs and that are not done.
chain_submit() {
  local phase=$1 need arguments
  mapfile -t chain_options <"$LLAVA_RLHF_CHAIN/options"
  mapfile -t arguments <"$LLAVA_RLHF_CHAIN/$phase.arguments"
  chain_after=()
  for need in ${chain_needs[$phase]}; do
    if [[ -e $LLAVA_RLHF_CHAIN/$need.job && ! -e $LLAVA_RLHF_CHAIN/$need.done ]]; then
      chain_after+=("$(<"$LLAVA_RLHF_CHAIN/$need.job")")
    fi
  done
  # The job's own name is told to it, so that it can say when it is done.
  LLAVA_RLHF_PHASE=$phase scheduler_submit "$phase" "${arguments[@]}" >"$LLAVA_RLHF_CHAIN/$phase.new" || return 1
  mv "$LLAVA_RLHF_CHAIN/$phase.new" "$LLAVA_RLHF_CHAIN/$phase.job"
}

# For schedulers that give a job that is submitted again another number: submits the job of PHASE, which is running, and in
# place of those that wait for its old number, directly or not, others that wait for the new one.
chain_submit_again() {
  local phase need late=" $1 "
  exec {chain_lock}>"$LLAVA_RLHF_CHAIN/lock"
  flock "$chain_lock"
  for phase in $(<"$LLAVA_RLHF_CHAIN/phases"); do
    for need in ${chain_needs[$phase]}; do
      if [[ $late == *" $need "* && $late != *" $phase "* ]]; then late+="$phase "; fi
    done
  done
  for phase in $late; do
    if [[ $phase != "$1" ]]; then scheduler_cancel "$(<"$LLAVA_RLHF_CHAIN/$phase.job")"; fi
    chain_submit "$phase" || return 1
  done
  exec {chain_lock}>&-
}
