# What a job does on any batch scheduler; to be sourced by jobs/SCHEDULER/scheduler.sh, which says how jobs and ranks are started
# there (jobs/slurm/scheduler.sh has the list).
# shellcheck shell=bash
# Of the environment: LLAVA_RLHF_PROGRAM (llava_rlhf), LLAVA_RLHF_LOCAL (a folder on each node's own disk, for --stage), and
# where a job cannot be given arguments when it is submitted, LLAVA_RLHF_ARGUMENTS.
# shellcheck disable=SC2154 # job_id and launcher: set by scheduler.sh

# Debian's Open MPI is configured without any one-sided communication that works over TCP between nodes; it has one, pt2pt.
if grep -qs '^osc = ^ucx,pt2pt' /etc/openmpi/openmpi-mca-params.conf; then export OMPI_MCA_osc=${OMPI_MCA_osc-^ucx}; fi

job_program=${LLAVA_RLHF_PROGRAM:-llava_rlhf}
job_options=() # settings that follow from the job's shape
job_staged=    # the folder of staged files
job_process=   # what runs in the background
job_signals=0  # heard so far

job_fail() {
  echo "job: $1" >&2
  exit 2
}

# The scheduler says that time is nearly up, or that others need the nodes: the program is to write a checkpoint and stop. SIGTERM
# is not passed on as it is, because mpirun kills its ranks a second after one.
job_stop() {
  job_signals=$((job_signals + 1))
  echo "job: told to stop"
  if [[ -n $job_process ]]; then scheduler_signal "$job_process"; fi
}

# Passes SIGUSR1 on to the ranks; srun and mpirun do that themselves once they are told.
scheduler_signal() {
  kill -USR1 "$1" 2>/dev/null
}

# For schedulers that send no signal ahead of the limit: this shell gets one LLAVA_RLHF_AHEAD seconds (300) before LEFT are over.
job_warn() {
  local wait=$(($1 - ${LLAVA_RLHF_AHEAD:-300}))
  ((wait > 0)) || job_fail "$1 seconds are left, not more than the ${LLAVA_RLHF_AHEAD:-300} that stopping may take (LLAVA_RLHF_AHEAD)"
  (
    trap 'kill $!' TERM
    sleep "$wait" &
    wait $! && kill -USR1 $$
  ) &
  # shellcheck disable=SC2064 # that process
  trap "kill $! 2>/dev/null" EXIT
}

# Starts COMMAND..., in the background so that this shell hears signals meanwhile, and waits for its exit status.
job_launch() {
  local status before seen=$job_signals
  "$@" </dev/null &
  job_process=$!
  wait "$job_process"
  status=$?
  # A signal to this shell ends its wait, but not what it waits for.
  while ((job_signals != seen)); do
    seen=$job_signals
    before=$status
    wait "$job_process"
    status=$?
    if ((status == 127)); then status=$before; fi
  done
  job_process=
  return "$status"
}

# Copies FILE to the disk of each node; sets `copy` to its place there.
job_stage() {
  local file=$1 started=$SECONDS
  [[ -r $file ]] || job_fail "--stage: $file cannot be read"
  job_staged=${LLAVA_RLHF_LOCAL:-${TMPDIR:-/tmp}}/llava_rlhf_$job_id
  copy=$job_staged/$(basename "$file")
  scheduler_node_launcher
  # shellcheck disable=SC2016 # expanded on each node
  job_launch "${launcher[@]}" bash -c 'mkdir -p "$(dirname "$2")" && cp "$1" "$2"' stage "$(realpath "$file")" "$copy" ||
    job_fail "$file could not be copied to $job_staged on every node (LLAVA_RLHF_LOCAL)"
  echo "job: $file copied to $copy on each node in $((SECONDS - started)) s"
}

# Settings for GPUS_PER_NODE; one rank for each.
job_gpus() {
  (($1 == $2)) || job_fail "$2 ranks on a node with $1 GPUs for this job: expected one rank for each GPU"
  job_options+=(--set parallel.device=cuda)
  export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
  # Sockets, where NCCL uses them at all, are those of the network that the nodes share, not of containers.
  export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-^lo,docker,virbr}
}

# The command that starts RANKS_PER_NODE ranks with mpirun, each with CORES of its own; OPTIONS say on which nodes, where mpirun
# is not told by the scheduler. Open MPI's notices within 90 s that a node has vanished without a word, and ends the job: before the
# ranks lose their patience (parallel.timeout), after which it would wait for that node until TCP gives up.
job_mpirun() {
  export OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-60}
  export OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-10}
  export OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-3}
  launcher=(mpirun "${@:3}" --map-by "ppr:$1:node:pe=$2" --bind-to core)
}

# Submits the present job of a chain again, for schedulers that cannot put a job back into the queue.
job_submit_again() {
  [[ -n ${LLAVA_RLHF_CHAIN:-} ]] || return 1
  # shellcheck source-path=SCRIPTDIR source=chain.sh
  source "$LLAVA_RLHF_JOBS/batch/chain.sh"
  chain_submit_again "$LLAVA_RLHF_PHASE"
}

# One run of the program with ARGUMENTS.
job_task() {
  local status
  if ((job_signals)); then return 10; fi # told to stop before the ranks were there
  job_options=()
  scheduler_launcher
  set -- "${launcher[@]}" "$job_program" "${job_options[@]}" "$@"
  echo "job: $*"
  job_launch "$@"
  status=$?
  # SIGUSR1 came before there was anybody to hear it.
  if ((job_signals && status == 128 + 10)); then status=10; fi
  echo "job: exit status $status"
  return "$status"
}

# The end of a job whose last task had STATUS.
job_end() {
  if [[ -n $job_staged ]]; then
    scheduler_node_launcher
    job_launch "${launcher[@]}" rm -rf "$job_staged"
  fi
  if (($1 == 10)); then
    echo "job: stopped before its end; to be started again"
    scheduler_again || echo "job: it could not be queued again; submit it to continue" >&2
  fi
  if (($1 == 0)) && [[ -n ${LLAVA_RLHF_CHAIN:-} ]]; then touch "$LLAVA_RLHF_CHAIN/$LLAVA_RLHF_PHASE.done"; fi
  exit "$1"
}

# [--set GROUP.NAME=VALUE | --stage GROUP.NAME=FILE]... INPUT ...: runs the inputs one after another, each with the options before
# it; without an input, those of `job_inputs`. --stage copies FILE to the disk of each node and sets the setting to the copy. A
# job that was told to stop starts again with its first input: those that are finished stay finished.
job_run() {
  local options=() arguments=("$@") word copy given=no
  trap job_stop USR1 TERM
  scheduler_begin
  if [[ -n ${LLAVA_RLHF_ARGUMENTS:-} ]]; then read -r -a arguments <<<"$LLAVA_RLHF_ARGUMENTS"; fi
  for word in "${arguments[@]}"; do if [[ $word == *.nml ]]; then given=yes; fi; done
  if [[ $given == no ]]; then arguments+=("${job_inputs[@]}"); fi
  set -- "${arguments[@]}"
  while (($#)); do
    case $1 in
    --set | --stage)
      [[ ${2:-} == *.*=* ]] || job_fail "$1 '${2:-}': expected GROUP.NAME=VALUE"
      if [[ $1 == --stage ]]; then
        job_stage "${2#*=}"
        options+=(--set "${2%%=*}=$copy")
      else
        options+=(--set "$2")
      fi
      shift
      ;;
    *.nml)
      job_task "${options[@]}" "$1" || job_end $?
      options=()
      ;;
    *) job_fail "'$1': expected --set, --stage or an input, NAME.nml" ;;
    esac
    shift
  done
  job_end 0
}
