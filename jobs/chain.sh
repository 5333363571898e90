#!/usr/bin/env bash
# Submits the phases to a batch scheduler, each to start when those that it needs are done.
set -euo pipefail
LLAVA_RLHF_JOBS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LLAVA_RLHF_JOBS LLAVA_RLHF_CHAIN
# shellcheck source-path=SCRIPTDIR source=batch/chain.sh
source "$LLAVA_RLHF_JOBS/batch/chain.sh"

usage() {
  cat <<'END'
usage: jobs/chain.sh SCHEDULER [options] [-- OPTIONS OF THE SUBMIT COMMAND]
  SCHEDULER is slurm, pbs, lsf or flux. Submits the job of each phase, jobs/SCHEDULER/PHASE.*: sft; after it policy_init and rm;
  after both ppo; after it evaluate. A job that is stopped before its end (time limit, preemption) queues itself again, and those
  after it wait. To be called from the folder that the paths in the inputs start from; there and on the nodes llava_rlhf is in
  PATH, or LLAVA_RLHF_PROGRAM names it.

  --phases LIST     only these; and pairs, which stands between sft and rm in the shapes world: two answers of sft to each
                    question, compared. All of them: sft,pairs,policy_init,rm,ppo,evaluate
  --inputs DIR      the folder with sft.nml, policy_init.nml and so on (inputs)
  --set STEP:GROUP.NAME=VALUE
                    one more setting for the input STEP.nml, for example --set ppo:parallel.tp=8
  --stage STEP:GROUP.NAME=FILE
                    copies FILE to each node's own disk first, for example --stage ppo:data.dataset=data/ppo.h5
  --help            this text
  For example: jobs/chain.sh slurm --inputs inputs/llava_7b -- --account=PROJECT --partition=PARTITION --nodes=8
Prints a line per job, and leaves the numbers of the jobs in runs/chain/.
exit status: 0 all were submitted, 2 wrong usage, 1 the scheduler refused one
END
}

fail() {
  echo "chain.sh: $1" >&2
  exit 2
}

# STEP:GROUP.NAME=VALUE as words of the step's arguments, with OPTION before the setting.
add() {
  local step=${2%%:*}
  [[ $2 =~ ^[a-z_]+:[a-z_]+\.[a-z_]+=[^[:space:]]*$ ]] || fail "$1 '$2': expected STEP:GROUP.NAME=VALUE without blanks (see --help)"
  settings[$step]+="$1 ${2#*:} "
}

declare -A settings=()
phases='sft policy_init rm ppo evaluate'
inputs=inputs
case ${1:-} in
-h | --help)
  usage
  exit 0
  ;;
slurm | pbs | lsf | flux) scheduler=$1 ;;
*) fail "'${1:-}': expected slurm, pbs, lsf or flux (see --help)" ;;
esac
shift
while (($#)); do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --)
    shift
    break
    ;;
  --phases | --inputs | --set | --stage) (($# > 1)) || fail "$1 needs a value (see --help)" ;;&
  --phases) phases=${2//,/ } ;;
  --inputs) inputs=$2 ;;
  --set | --stage) add "$1" "$2" ;;
  *) fail "unknown option '$1' (see --help)" ;;
  esac
  shift 2
done

# The steps of the chosen phases, in the order in which they may be submitted.
chosen=() steps=' '
for phase in $phases; do
  [[ -n ${chain_inputs[$phase]:-} ]] || fail "--phases: there is no '$phase'; the phases are sft, pairs, policy_init, rm, ppo and evaluate"
done
for phase in sft pairs policy_init rm ppo evaluate; do
  if [[ " $phases " == *" $phase "* ]]; then
    chosen+=("$phase")
    steps+="${chain_inputs[$phase]} "
  fi
done
for step in "${!settings[@]}"; do
  [[ $steps == *" $step "* ]] || fail "'$step:...': there is no such step; the steps are$steps"
done
for step in $steps; do
  [[ -r $inputs/$step.nml ]] || fail "$inputs/$step.nml cannot be read (--inputs)"
done

# shellcheck source-path=SCRIPTDIR source=slurm/scheduler.sh
source "$LLAVA_RLHF_JOBS/$scheduler/scheduler.sh"
mkdir -p runs/chain
LLAVA_RLHF_CHAIN=$(realpath "$(mktemp -d "runs/chain/$(date +%Y%m%d_%H%M%S)_XXXX")")
echo "${chosen[*]}" >"$LLAVA_RLHF_CHAIN/phases"
if (($#)); then printf '%s\n' "$@"; fi >"$LLAVA_RLHF_CHAIN/options"
for phase in "${chosen[@]}"; do
  for step in ${chain_inputs[$phase]}; do
    # shellcheck disable=SC2086 # words
    printf '%s\n' ${settings[$step]:-} "$inputs/$step.nml"
  done >"$LLAVA_RLHF_CHAIN/$phase.arguments"
  chain_submit "$phase" || {
    echo "chain.sh: $phase was refused; those before it are queued: $LLAVA_RLHF_CHAIN/*.job" >&2
    exit 1
  }
  printf '%-12s job %s%s\n' "$phase" "$(<"$LLAVA_RLHF_CHAIN/$phase.job")" "${chain_after[*]:+, after ${chain_after[*]}}"
done
