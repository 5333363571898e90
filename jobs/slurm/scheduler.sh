# Slurm. Each jobs/SCHEDULER/scheduler.sh has
#   scheduler_submit PHASE ARGUMENTS...   called by jobs/chain.sh (batch/chain.sh says with what); prints the job's number
#   scheduler_begin                       called when a job begins: sets job_id
#   scheduler_launcher                    sets `launcher` to the command that starts all ranks, and `job_options`
#   scheduler_node_launcher               sets `launcher` to the one that starts a process on each node
#   scheduler_again                       puts this job back into the queue
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with job.sh and chain.sh
# Of the environment: LLAVA_RLHF_LAUNCHER, srun (the default) or mpirun; LLAVA_RLHF_MPI, srun's --mpi (pmix).
# shellcheck source-path=SCRIPTDIR source=../batch/job.sh
source "${LLAVA_RLHF_JOBS:-jobs}/batch/job.sh"

scheduler_begin() {
  job_id=$SLURM_JOB_ID
}

# A job whose predecessor failed would wait for ever: Slurm is asked to remove it.
scheduler_submit() {
  local phase=$1 after=()
  shift
  if ((${#chain_after[@]})); then after=("--dependency=afterok$(printf ':%s' "${chain_after[@]}")" --kill-on-invalid-dep=yes); fi
  sbatch --parsable "${after[@]}" "${chain_options[@]}" "$LLAVA_RLHF_JOBS/slurm/$phase.sbatch" "$@" | cut -d';' -f1
}

# It keeps its number, so that jobs that wait for it go on waiting.
scheduler_again() {
  scontrol requeue "$job_id"
}

# Ranks are placed in blocks, one node after another, because a group of parallel.tp ranks lies inside one node. All of them end
# with status 10 when they are stopped; none is to be killed because another did.
scheduler_launcher() {
  local cores=${SLURM_CPUS_PER_TASK:-1}
  job_options=(--set "parallel.threads=$cores")
  if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then job_gpus "$SLURM_GPUS_ON_NODE" "${SLURM_NTASKS_PER_NODE:-1}"; fi
  case ${LLAVA_RLHF_LAUNCHER:-srun} in
  srun)
    launcher=(srun "--mpi=${LLAVA_RLHF_MPI:-pmix}" "--cpus-per-task=$cores" --distribution=block:block --cpu-bind=cores
      --kill-on-bad-exit=0)
    # A rank sees all GPUs of its node, takes the one of its number, and reaches the others directly.
    if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then launcher+=(--gpu-bind=none); fi
    ;;
  mpirun) job_mpirun "${SLURM_NTASKS_PER_NODE:-1}" "$cores" ;;
  *) job_fail "LLAVA_RLHF_LAUNCHER='$LLAVA_RLHF_LAUNCHER': expected srun or mpirun" ;;
  esac
}

scheduler_node_launcher() {
  launcher=(srun --mpi=none "--nodes=$SLURM_JOB_NUM_NODES" "--ntasks=$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1)
}
