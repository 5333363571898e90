#!/usr/bin/env bash
# jobs/slurm in a real Slurm on two nodes that this test starts for itself (cluster.sh). Skipped (status 77) where that cannot be.
# usage: test_slurm.sh ROOT PROGRAM CASE...
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source-path=SCRIPTDIR source=../hosts/small_run.sh
source "$(dirname "${BASH_SOURCE[0]}")/../hosts/small_run.sh"
cluster_enter "${BASH_SOURCE[0]}" "$@"
root=$1
program=$2
export LLAVA_RLHF_PROGRAM=$program
shift 2
work=$(mktemp -d)
trap 'cluster_stop; rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $1"
  grep -h -A 12 'Segmentation' ./*.txt | head -n 30 || true
  grep -h -E '^job|^slurm|^srun|error|restart|ranks =|DONE|stopped' ./*.txt | tail -n 40 || true
  exit 1
}

# Every rank has a node's two cores. Ranks compute with one thread: they share two cores in truth.
shape=(--nodes=2 --ntasks-per-node=1 --cpus-per-task=2 --time=30)
sizes=(pretrain_images=0 sft_images=64 pair_images=40 policy_init_images=32 ppo_images=32 ppo_held_out=8 eval_images=16)

# Submits fine-tuning with more OPTIONS of sbatch; sets `job`.
sft_submit() { # NAME STEPS OPTIONS...
  local name=$1
  sft_arguments "$1" "$2"
  shift 2
  job=$(LLAVA_RLHF_JOBS=$root/jobs sbatch --parsable "${shape[@]}" "$@" "$root/jobs/slurm/sft.sbatch" "${arguments[@]}")
}

# The same, where the program of tests/cli/stopping.c waits, two steps before its LOOK-th one, for a signal or until it is let go.
sft_submit_waiting() { # LOOK NAME STEPS OPTIONS...
  rm -f "$work/go"
  LLAVA_RLHF_PROGRAM=$STOPPING STOP_LOOK=$1 STOP_RANK=0 STOP_WAITS=$work/go sft_submit "${@:2}"
}
let_go() { touch "$work/go"; }

# Waits for JOB, of runs/NAME, and expects STEPS to be those of the undisturbed run, to the bit.
expect_same() { # JOB NAME STEPS
  job_wait "$1"
  expect_same_steps "$2" "$3"
}

expect_restarts() { # JOB NUMBER
  (($(job_field "$1" Restarts) >= $2)) || fail "job $1 was started again $(job_field "$1" Restarts) times, expected $2"
}

has_begun_again() { # JOB
  (($(job_field "$1" Restarts) >= 1)) && job_is "$1" RUNNING
}

# The run that the others are compared with.
undisturbed() { # STEPS
  if has_steps undisturbed "$1"; then return; fi
  sft_submit undisturbed "$1"
  job_wait "$job"
  expect_restarts "$job" 0
  grep -q '2 ranks = dp 2 x tp 1 on 2 nodes' runs/undisturbed/log.txt || fail "not one rank on each of two nodes"
}

# SIGUSR1 comes within half a minute of the start, with one minute's limit: the job stops, queues itself, and goes on.
case_time_limit() {
  undisturbed 30
  sft_submit_waiting 16 limited 30 --time=1 --signal=B:USR1@59
  cluster_wait 300 "the job has begun again" has_begun_again "$job"
  let_go
  expect_same "$job" limited 30
  expect_restarts "$job" 1
  grep -q '^job: exit status 10$' "sft_$job.txt" || fail "the job did not stop by itself"
  ! grep -q 'DUE TO TIME LIMIT' "sft_$job.txt" || fail "the job reached its limit"
}

# Whoever runs the cluster puts the job back into the queue: it is killed, and goes on from its newest checkpoint.
case_requeue() {
  undisturbed 30
  sft_submit_waiting 16 requeued 30
  cluster_wait 300 "the job has a checkpoint" has_steps requeued 12
  scontrol requeue "$job"
  cluster_wait 300 "the job has begun again" has_begun_again "$job"
  let_go
  expect_same "$job" requeued 30
  expect_restarts "$job" 1
}

# A job that matters more wants the nodes: this one is told so, leaves with a checkpoint of what it has done, and returns.
case_preemption() {
  undisturbed 30
  sft_submit_waiting 12 preempted 30
  local low=$job steps
  cluster_wait 300 "the job has begun" has_steps preempted 7
  high=$(sbatch --parsable --partition=high --nodes=2 --ntasks-per-node=2 --output=high.txt --wrap 'sleep 3')
  cluster_wait 300 "the job that matters more runs" job_is "$high" RUNNING
  job_is "$low" PENDING || fail "job $low is $(job_field "$low" JobState) beside the one that took its place"
  grep -q '^job: exit status 10$' "sft_$low.txt" || fail "the job was not told in time"
  steps=$(steps_of preempted)
  let_go
  expect_same "$low" preempted 30
  expect_restarts "$low" 1
  grep -q "restart .* after step $steps\$" runs/preempted/log.txt || fail "after a notice it did not go on where it was, after step $steps"
}

# A node disappears, its rank with it: Slurm puts the job back into the queue. Once the node is there again the job goes on with it.
# The first node is the one of the job's script and of the rank that holds the run's directory.
case_node_failure() {
  local node
  undisturbed 30
  for node in node2 node1; do
    sft_submit_waiting 16 "without_$node" 30
    cluster_wait 300 "the job has a checkpoint" has_steps "without_$node" 12
    hosts_kill "$node"
    cluster_wait 300 "the job waits for a node" job_is "$job" PENDING
    (($(steps_of "without_$node") < 30)) || fail "the job went on without its other rank"
    let_go
    node_start "$node"
    expect_same "$job" "without_$node" 30
    expect_restarts "$job" 1
  done
}

# --stage: each node has its own copy, which is gone after the job; with mpirun, too.
case_stage() {
  local launcher
  cat >witness.sh <<'END'
#!/bin/bash
# The program, and a line about the node.
copy=$(sed -n 's/.*--set data\.dataset=\([^ ]*\).*/\1/p' <<<"$*")
echo "$(hostname) $copy $(sha256sum <"$copy" | cut -c 1-8) $(df --output=target "$copy" | tail -n 1)" >>witness.txt
exec "$WITNESSED" "$@"
END
  chmod +x witness.sh
  for launcher in srun mpirun; do
    rm -f witness.txt
    sft_arguments "staged_$launcher" 4
    job=$(LLAVA_RLHF_LAUNCHER=$launcher LLAVA_RLHF_JOBS=$root/jobs WITNESSED=$program LLAVA_RLHF_PROGRAM=$work/witness.sh \
      OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
      sbatch --parsable "${shape[@]}" "$root/jobs/slurm/sft.sbatch" --stage data.dataset=runs/world/sft.h5 "${arguments[@]}")
    job_wait "$job"
    sort -u witness.txt >nodes.txt
    diff - nodes.txt <<END || fail "not a copy on each node's own disk ($launcher)"
node1 /run/node/llava_rlhf_$job/sft.h5 $(sha256sum <runs/world/sft.h5 | cut -c 1-8) /run/node
node2 /run/node/llava_rlhf_$job/sft.h5 $(sha256sum <runs/world/sft.h5 | cut -c 1-8) /run/node
END
    srun --nodes=2 --ntasks-per-node=1 ls /run/node >left.txt
    ! grep -q llava_rlhf left.txt || fail "copies were left behind"
    grep -q '2 ranks = dp 2 x tp 1 on 2 nodes' "runs/staged_$launcher/log.txt" || fail "not one rank on each of two nodes ($launcher)"
  done
}

# A rank that MPI leaves without a way to the others ends them, though nothing watches them yet. What it says may be lost with the step;
# what Open MPI says is not.
case_unreachable() {
  local status=0
  sft_arguments unreachable 4
  OMPI_MCA_btl=self timeout 600 srun --mpi=pmix --kill-on-bad-exit=0 "${shape[@]}" "$program" "${arguments[@]}" \
    >unreachable.txt 2>&1 || status=$?
  ((status != 0 && status != 124)) || fail "a job whose ranks cannot reach each other ended with $status"
  grep -Eq 'error: MPI_|unable to reach each other' unreachable.txt || fail "a job whose ranks cannot reach each other does not say what failed"
}

# With GPUs: one rank for each, on the device cuda, bound to none by Slurm; another number of ranks is refused.
case_gpus() {
  cat >witness.sh <<'END'
#!/bin/bash
[[ "$*" == *"--set parallel.device=cuda"* ]] && echo "$(hostname) $SLURM_LOCALID $SLURM_GPUS_ON_NODE $SLURMD_TRES_BIND $NCCL_DEBUG $(taskset -cp $$ | sed 's/.*: //')" >>gpus.txt
END
  chmod +x witness.sh
  job=$(LLAVA_RLHF_JOBS=$root/jobs LLAVA_RLHF_PROGRAM=$work/witness.sh sbatch --parsable --nodes=2 --gpus-per-node=2 --ntasks-per-node=2 \
    --cpus-per-task=1 --time=30 "$root/jobs/slurm/ppo.sbatch" "$root/inputs/ppo.nml")
  job_wait "$job"
  diff - <(sort gpus.txt) <<'END' || fail "not one rank for each GPU, on a core of its own"
node1 0 2 gpu:none WARN 0
node1 1 2 gpu:none WARN 1
node2 0 2 gpu:none WARN 0
node2 1 2 gpu:none WARN 1
END
  job=$(LLAVA_RLHF_JOBS=$root/jobs LLAVA_RLHF_PROGRAM=$work/witness.sh sbatch --parsable --nodes=1 --gpus-per-node=2 --ntasks-per-node=1 \
    --cpus-per-task=1 --time=30 "$root/jobs/slurm/ppo.sbatch" "$root/inputs/ppo.nml")
  cluster_wait 300 "job $job is over" job_is_over "$job"
  [[ $(job_field "$job" ExitCode) == 2:0 ]] || fail "one rank for two GPUs: exit code $(job_field "$job" ExitCode), expected 2:0"
}

# All phases, each after those that it needs. The first is asked to stop and queues itself again; the others wait for it.
case_chain() {
  local setting options=() sft
  for setting in "sft:model.base=$root/inputs/base/shapes_base.h5" sft:optim.steps=30 sft:optim.batch=8 sft:checkpoint.every=5 sft:log.every=1 \
    sample:generate.max_tokens=24 prepare:prepare.held_out=8 {rm,policy_init}:optim.{steps=4,batch=8} rm:eval.every=2 \
    ppo:ppo.steps=2 ppo:rollout.batch=8 ppo:ppo.minibatch=4 ppo:rollout.response_len=24 evaluate:generate.max_tokens=24; do
    options+=(--set "$setting")
  done
  "$root/jobs/chain.sh" slurm --phases sft,pairs,policy_init,rm,ppo,evaluate --inputs "$root/inputs" "${options[@]}" -- "${shape[@]}" | tee chain.txt
  sft=$(awk '$1 == "sft" { print $3 }' chain.txt | tr -d ,)
  cluster_wait 300 "fine-tuning has begun" has_steps sft 3
  squeue | tee queue.txt
  (($(grep -c 'Dependency' queue.txt) == 5)) || fail "not five jobs wait for another"
  touch runs/sft/EXIT
  cluster_wait 300 "fine-tuning is back in the queue" job_is "$sft" PENDING
  (($(squeue --noheader | wc -l) == 6)) || fail "not all jobs are in the queue"
  squeue
  while read -r _ _ number _; do job_wait "${number%,}"; done <chain.txt
  expect_restarts "$sft" 1
  for step in sft sample annotate prepare rm policy_init ppo evaluate; do
    tail -n 1 "runs/$step/log.txt" | grep -q '^DONE' || fail "runs/$step is not finished"
  done
  starts_after pairs sft
  starts_after policy_init sft
  starts_after rm pairs
  starts_after ppo rm
  starts_after ppo policy_init
  starts_after evaluate ppo
  # What cannot start any more leaves the queue.
  "$root/jobs/chain.sh" slurm --phases policy_init,ppo --inputs "$root/inputs" --set policy_init:optim.batch=0 -- "${shape[@]}" >chain.txt
  cluster_wait 300 "the queue is empty" queue_is_empty
  job_is "$(chain_job policy_init)" FAILED || fail "policy_init is $(job_field "$(chain_job policy_init)" JobState), expected FAILED"
  job_is "$(chain_job ppo)" CANCELLED || fail "ppo is $(job_field "$(chain_job ppo)" JobState), expected CANCELLED"
}
chain_job() { awk -v phase="$1" '$1 == phase { sub(",", "", $3); print $3 }' chain.txt; }
queue_is_empty() { [[ -z $(squeue --noheader) ]]; }
starts_after() { # PHASE BEFORE
  [[ ! $(job_field "$(chain_job "$1")" StartTime) < $(job_field "$(chain_job "$2")" EndTime) ]] || fail "$1 began before $2 was done"
}

cluster_start "$work/cluster"
world_make "${sizes[@]}"
for name in "$@"; do
  "case_$name"
  echo "passed: $name"
done
