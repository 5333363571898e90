# LSF; jobs/slurm/scheduler.sh says what the functions are for.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with job.sh and chain.sh
# Of the environment: LLAVA_RLHF_CORES, the cores of a rank, those of affinity[core(N)] (8).
# shellcheck source-path=SCRIPTDIR source=../batch/job.sh
source "${LLAVA_RLHF_JOBS:-jobs}/batch/job.sh"

# bsub reads the script, so the arguments go with the environment. A job whose predecessor failed would wait for ever: -ti
# removes it.
scheduler_submit() {
  local phase=$1 after=() condition
  shift
  if ((${#chain_after[@]})); then
    condition=$(printf ' && done(%s)' "${chain_after[@]}")
    after=(-w "${condition# && }" -ti)
  fi
  LLAVA_RLHF_ARGUMENTS="$*" bsub "${after[@]}" "${chain_options[@]}" <"$LLAVA_RLHF_JOBS/lsf/$phase.lsf" |
    sed -n 's/^Job <\([0-9]*\)>.*/\1/p'
}

scheduler_begin() {
  job_id=$LSB_JOBID
}

# LSF does it because of the status (#BSUB -Q 10). The job keeps its number.
scheduler_again() {
  return 0
}

# LSB_MCPU_HOSTS: a host, its ranks, a host, its ranks, ...
scheduler_launcher() {
  local hosts cores=${LLAVA_RLHF_CORES:-8}
  read -r -a hosts <<<"$LSB_MCPU_HOSTS"
  job_options=(--set "parallel.threads=$cores")
  job_mpirun "${hosts[1]}" "$cores" --hostfile "$LSB_DJOB_HOSTFILE"
}

scheduler_node_launcher() {
  launcher=(mpirun --hostfile "$LSB_DJOB_HOSTFILE" --map-by ppr:1:node --bind-to none)
}
