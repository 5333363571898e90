#!/usr/bin/env bash
# jobs/{pbs,lsf,flux} with a stand-in for the commands of the scheduler: what is submitted, with which directives, waiting for what;
# and what becomes of a chain of jobs one of which is stopped before its end.
# usage: test_schedulers.sh ROOT SCHEDULER
set -euo pipefail
root=$1
scheduler=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STAND_IN=$(mktemp -d)
trap 'rm -rf "$STAND_IN"' EXIT
mkdir -p "$STAND_IN"/{bin,jobs,answers,work,local}
for name in qsub qdel qstat bsub flux mpirun llava_rlhf sleep; do ln -s "$here/stand_in.sh" "$STAND_IN/bin/$name"; done
export STAND_IN PATH=$STAND_IN/bin:$PATH LLAVA_RLHF_PROGRAM=$STAND_IN/bin/llava_rlhf LLAVA_RLHF_LOCAL=$STAND_IN/local
touch "$STAND_IN/ran"
cd "$STAND_IN/work"

fail() {
  echo "FAILED: $1"
  tail -n 20 "$STAND_IN/out" "$STAND_IN/ran"
  exit 1
}

# WHAT, with the expected text on stdin.
expect() {
  diff - <(echo "$2") || fail "$1 (< expected, > found)"
}

field() { cat "$STAND_IN/jobs/$1/$2"; }
numbers() { find "$STAND_IN/jobs" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n; }

# phase (jobs waited for) of the jobs in STATE.
queue() {
  local number
  for number in $(numbers); do
    if [[ $(field "$number" state) == "$1" ]]; then echo "$number $(field "$number" phase): $(field "$number" after | xargs)"; fi
  done
}

# As the scheduler starts a job's script.
start_job() (
  export STAND_IN_JOB=$1
  arguments=()
  echo "$BASHPID" >"$STAND_IN/job"
  # shellcheck disable=SC1090 # of this job
  source "$STAND_IN/jobs/$1/environment"
  case $scheduler in
  pbs)
    export PBS_JOBID=$1.head PBS_O_WORKDIR=$STAND_IN/work PBS_NODEFILE=$STAND_IN/nodes OMP_NUM_THREADS=8
    printf 'n1\nn1\nn2\nn2\n' >"$PBS_NODEFILE"
    cd /
    ;;
  lsf) export LSB_JOBID=$1 LSB_MCPU_HOSTS='n1 8 n2 8' LSB_DJOB_HOSTFILE=$STAND_IN/nodes ;;
  flux) read -r -a arguments < <(field "$1" arguments) ;;
  esac
  exec bash "$STAND_IN/jobs/$1/script" "${arguments[@]}"
)

# Runs JOB; its state is then what the scheduler makes of the exit status, which is in `status`.
run_job() {
  status=0
  echo running >"$STAND_IN/jobs/$1/state"
  start_job "$1" >"$STAND_IN/out" 2>&1 || status=$?
  if ((status == 10)) && grep -qx -- '-Q 10' "$STAND_IN/jobs/$1/directives"; then
    echo waiting >"$STAND_IN/jobs/$1/state"
  elif ((status)); then
    echo "failed $status" >"$STAND_IN/jobs/$1/state"
  else
    echo 'done' >"$STAND_IN/jobs/$1/state"
  fi
}

# Runs the jobs in the order in which they may start, each as often as the scheduler starts it.
run_queue() {
  local number before started=yes
  while [[ $started == yes ]]; do
    started=no
    for number in $(numbers); do
      [[ $(field "$number" state) == waiting ]] || continue
      for before in $(field "$number" after); do [[ $(field "$before" state) == 'done' ]] || continue 2; done
      started=yes
      run_job "$number"
    done
  done
}

# The words that a job was started with, its folder and what every job has left out.
ran() { sed "s#$STAND_IN/#/#g; s#$root/##g; s/--set parallel.threads=[0-9]* //" "$STAND_IN/ran"; }

# --- What is submitted ---
chain() {
  "$root/jobs/chain.sh" "$scheduler" --inputs "$root/inputs" "$@" >"$STAND_IN/out" 2>&1 || fail "chain.sh: exit status $?"
}
chain --phases sft,pairs,policy_init,rm,ppo,evaluate --set ppo:parallel.tp=8 --set sample:job.seed=3 --set annotate:job.seed=4 -- --account=project
expect "jobs and what they wait for" "$(queue waiting)" <<'END'
1 sft: 
2 pairs: 1
3 policy_init: 1
4 rm: 1 2
5 ppo: 3 4
6 evaluate: 5
END
[[ $(field 5 options) == *--account=project* ]] || fail "the options '$(field 5 options)' are not those that were given"
[[ $(field 5 arguments) == "--set parallel.tp=8 $root/inputs/ppo.nml" ]] || fail "the arguments of ppo are '$(field 5 arguments)'"
case $scheduler in
pbs) expected=('-l select=4:ncpus=64:mpiprocs=8:ompthreads=8' '-l walltime=12:00:00' '-r y' '-V') ;;
lsf) expected=('-n 32' '-R "span[ptile=8] affinity[core(8)]"' '-W 12:00' '-wa USR1' '-wt 5' '-Q 10' '-r') ;;
flux) expected=(--nodes=4 --nslots=32 --cores-per-slot=8 --exclusive --time-limit=12h) ;;
esac
for line in "${expected[@]}"; do
  grep -qxF -- "$line" "$STAND_IN/jobs/5/directives" || fail "ppo has no directive '$line'"
done
if [[ $scheduler == lsf ]]; then [[ $(field 5 options) == *-ti* ]] || fail "jobs that can never start would stay"; fi

# --- What runs: fine-tuning is stopped twice, PPO once ---
printf '10\n10\n0\n' >"$STAND_IN/answers/sft"
printf '10\n0\n' >"$STAND_IN/answers/ppo"
run_queue
expect "starts of the program" "$(ran | cut -d' ' -f2-)" <<'END'
inputs/sft.nml
inputs/sft.nml
inputs/sft.nml
--set job.seed=3 inputs/sample.nml
--set job.seed=4 inputs/annotate.nml
inputs/prepare.nml
inputs/policy_init.nml
inputs/rm.nml
--set parallel.tp=8 inputs/ppo.nml
--set parallel.tp=8 inputs/ppo.nml
inputs/evaluate.nml
END
[[ -z $(queue waiting) ]] || fail "jobs are left: $(queue waiting)"
# The last job of each phase has ended well; those before it were stopped, or removed because they waited for a stopped one.
expect "phases that are done" "$(queue 'done' | sed 's/^[0-9]* //; s/:.*//' | sort)" <<'END'
evaluate
pairs
policy_init
ppo
rm
sft
END
case $scheduler in
pbs) options='mpirun --hostfile /nodes --map-by ppr:2:node:pe=8 --bind-to core' ;;
lsf) options='mpirun --hostfile /nodes --map-by ppr:8:node:pe=8 --bind-to core' ;;
flux) options='flux run --nodes=4 --ntasks=32 --cores-per-task=8 --setopt=cpu-affinity=per-task' ;;
esac
grep -qF "$options /bin/llava_rlhf --set parallel.threads=8 " <(sed "s#$STAND_IN/#/#g" "$STAND_IN/out") || fail "the ranks are not started by '$options'"
if [[ $scheduler != flux ]]; then [[ $(<"$STAND_IN/looks_after") == 60 ]] || fail "mpirun does not look after its nodes"; fi

# --- Time is nearly up: LSF says so itself, for the others the job looks at the clock ---
last=$(numbers | tail -n 1)
number=$((last + 1))
echo wait >"$STAND_IN/answers/rm"
chain --phases rm
if [[ $scheduler == lsf ]]; then
  (
    until [[ -e $STAND_IN/waits ]]; do /bin/sleep 0.1; done
    kill -USR1 "$(<"$STAND_IN/job")"
  ) &
fi
LLAVA_RLHF_AHEAD=43197 run_job "$number"
((status == 10)) || fail "when its time was up the job ended with $status, expected 10"
grep -q "^$number .*rm.nml" "$STAND_IN/ran" || fail "the program was not started"
if [[ $scheduler != lsf ]]; then [[ $(<"$STAND_IN/slept") == 3 ]] || fail "the job waited for $(<"$STAND_IN/slept") s, expected 3"; fi
again=$([[ $scheduler == lsf ]] && echo "$number" || echo $((number + 1)))
[[ $(queue waiting) == "$again rm: " ]] || fail "the job was not submitted again: '$(queue waiting)'"
run_queue
[[ -z $(queue waiting) ]] || fail "jobs are left: $(queue waiting)"

# --- A copy on each node's disk, gone after the job; a phase that fails keeps those after it from starting ---
number=$(($(numbers | tail -n 1) + 1))
echo data >data.h5
echo 3 >"$STAND_IN/answers/policy_init"
: >"$STAND_IN/ran"
chain --phases policy_init,ppo --stage policy_init:data.dataset=data.h5
run_queue
expect "what a job with a staged file does" "$(ran)" <<END
$number --set data.dataset=/local/llava_rlhf_$([[ $scheduler != flux ]] || echo f)$number/data.h5 inputs/policy_init.nml
END
[[ -z $(ls "$STAND_IN/local") ]] || fail "copies were left behind"
[[ $(field "$number" state) == 'failed 3' && $(field $((number + 1)) state) == waiting ]] || fail "what comes after a failed phase was started"
