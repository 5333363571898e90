# Flux; jobs/slurm/scheduler.sh says what the functions are for. A job is a Flux of its own, in which `flux run` starts the ranks;
# the one that it was submitted to is its parent.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with job.sh and chain.sh
# Of the environment: LLAVA_RLHF_RANKS, the ranks of a node, and LLAVA_RLHF_CORES, the cores of a rank (8, 8): with the number of
# nodes those of the slots that were asked for.
# shellcheck source-path=SCRIPTDIR source=../batch/job.sh
source "${LLAVA_RLHF_JOBS:-jobs}/batch/job.sh"

flux_outside=(flux)

scheduler_submit() {
  local phase=$1 after=()
  shift
  if ((${#chain_after[@]})); then mapfile -t after < <(printf -- '--dependency=afterok:%s\n' "${chain_after[@]}"); fi
  "${flux_outside[@]}" batch "${after[@]}" "${chain_options[@]}" "$LLAVA_RLHF_JOBS/flux/$phase.flux" "$@"
}

scheduler_cancel() {
  "${flux_outside[@]}" cancel "$1"
}

# The signal that Flux sends ahead of the limit does not reach the script in every version.
scheduler_begin() {
  job_id=$(flux getattr jobid)
  flux_outside=(flux --parent)
  job_warn "$(flux job timeleft)"
}

scheduler_again() {
  job_submit_again
}

scheduler_launcher() {
  local nodes cores=${LLAVA_RLHF_CORES:-8}
  nodes=$(flux getattr size)
  job_options=(--set "parallel.threads=$cores")
  launcher=(flux run "--nodes=$nodes" "--ntasks=$((nodes * ${LLAVA_RLHF_RANKS:-8}))" "--cores-per-task=$cores"
    --setopt=cpu-affinity=per-task)
}

# `flux run` passes no SIGUSR1 on.
scheduler_signal() {
  flux job kill --signal=SIGUSR1 "$(flux job last)"
}

scheduler_node_launcher() {
  local nodes
  nodes=$(flux getattr size)
  launcher=(flux run "--nodes=$nodes" "--ntasks=$nodes")
}
