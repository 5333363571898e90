# PBS (OpenPBS, PBS Professional); jobs/slurm/scheduler.sh says what the functions are for.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with job.sh and chain.sh
# shellcheck source-path=SCRIPTDIR source=../batch/job.sh
source "${LLAVA_RLHF_JOBS:-jobs}/batch/job.sh"

# The arguments go with the environment (#PBS -V): qsub takes none.
scheduler_submit() {
  local phase=$1 after=()
  shift
  if ((${#chain_after[@]})); then after=(-W "depend=afterok$(printf ':%s' "${chain_after[@]}")"); fi
  LLAVA_RLHF_ARGUMENTS="$*" qsub "${after[@]}" "${chain_options[@]}" "$LLAVA_RLHF_JOBS/pbs/$phase.pbs"
}

scheduler_cancel() {
  qdel "$1"
}

# PBS sends no signal ahead of the limit.
scheduler_begin() {
  local hours minutes seconds
  job_id=${PBS_JOBID%%.*}
  IFS=: read -r hours minutes seconds < <(qstat -f "$PBS_JOBID" | sed -n 's/^ *Resource_List\.walltime = //p')
  if [[ -n $seconds ]]; then job_warn $((10#$hours * 3600 + 10#$minutes * 60 + 10#$seconds)); fi
}

# Only operators may put a job back into the queue.
scheduler_again() {
  job_submit_again
}

# The file of nodes has a line for each rank, mpiprocs of them per node; OMP_NUM_THREADS is ompthreads.
scheduler_launcher() {
  local nodes ranks
  nodes=$(sort -u "$PBS_NODEFILE" | wc -l)
  ranks=$(wc -l <"$PBS_NODEFILE")
  job_options=(--set "parallel.threads=${OMP_NUM_THREADS:-1}")
  job_mpirun $((ranks / nodes)) "${OMP_NUM_THREADS:-1}" --hostfile "$PBS_NODEFILE"
}

scheduler_node_launcher() {
  launcher=(mpirun --hostfile "$PBS_NODEFILE" --map-by ppr:1:node --bind-to none)
}
