#!/usr/bin/env bash
# jobs/slurm in a real Slurm on two nodes that this test starts for itself (cluster.sh). Skipped (status 77) where that cannot be.
# usage: test_slurm.sh ROOT PROGRAM CASE...
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
cluster_enter "${BASH_SOURCE[0]}" "$@"
root=$1
export LLAVA_RLHF_PROGRAM=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $1"
  grep -h -E '^job|^slurm|^srun|error|restart|ranks =|DONE|stopped' ./*.txt | tail -n 40 || true
  exit 1
}

# Every rank has a node's two cores. Ranks compute with one thread: they share two cores in truth.
shape=(--nodes=2 --ntasks-per-node=1 --cpus-per-task=2 --time=30)
sizes=(pretrain_images=0 sft_images=64 pair_images=40 policy_init_images=32 ppo_images=32 ppo_held_out=8 eval_images=16)

make_world() {
  local size settings=()
  for size in "${sizes[@]}"; do settings+=(--set "world.$size"); done
  "$LLAVA_RLHF_PROGRAM" "${settings[@]}" "$root/inputs/world.nml" >world.txt || fail "the world was not made: $(tail -n 3 world.txt)"
}

# Fine-tuning in runs/NAME with STEPS; sets `arguments`. The first steps are the same whatever the number of all.
sft_arguments() {
  arguments=(--set "job.run_dir=runs/$1" --set "optim.steps=$2" --set job.deterministic=.true. --set "model.base=$root/inputs/base/shapes_base.h5"
    --set optim.schedule=constant --set optim.batch=8 --set checkpoint.every=5 --set log.every=1 --set parallel.threads=1
    "$root/inputs/sft.nml")
}

# Submits it with more OPTIONS of sbatch; sets `job`.
sft_submit() { # NAME STEPS OPTIONS...
  local name=$1
  sft_arguments "$1" "$2"
  shift 2
  job=$(LLAVA_RLHF_JOBS=$root/jobs sbatch --parsable "${shape[@]}" "$@" "$root/jobs/slurm/sft.sbatch" "${arguments[@]}")
}

# Lines of the metrics of runs/NAME.
steps_of() { cat "runs/$1/metrics.jsonl" 2>/dev/null | wc -l; }
has_steps() { (($(steps_of "$1") >= $2)); }

# Waits for JOB, of runs/NAME, and expects STEPS to be those of the undisturbed run, to the bit.
expect_same() { # JOB NAME STEPS
  local clock='s/"[a-z_/]*seconds[a-z_/]*":[^,}]*,\{0,1\}//g'
  job_wait "$1"
  tail -n 1 "runs/$2/log.txt" | grep -q '^DONE' || fail "runs/$2 is not finished"
  (($(steps_of "$2") == $3)) || fail "runs/$2 has $(steps_of "$2") steps, expected $3"
  if ! cmp <(head -n "$3" runs/undisturbed/metrics.jsonl | sed "$clock") <(sed "$clock" "runs/$2/metrics.jsonl"); then
    fail "the metrics of runs/$2 are not those of the undisturbed run"
  fi
}

expect_restarts() { # JOB NUMBER
  (($(job_field "$1" Restarts) >= $2)) || fail "job $1 was started again $(job_field "$1" Restarts) times, expected $2"
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
  undisturbed 80
  sft_submit limited 80 --time=1 --signal=B:USR1@59
  expect_same "$job" limited 80
  expect_restarts "$job" 1
  grep -q '^job: exit status 10$' "sft_$job.txt" || fail "the job did not stop by itself"
  ! grep -q 'DUE TO TIME LIMIT' "sft_$job.txt" || fail "the job reached its limit"
}

# Whoever runs the cluster puts the job back into the queue: it is killed, and goes on from its newest checkpoint.
case_requeue() {
  undisturbed 30
  sft_submit requeued 30
  cluster_wait 300 "the job has a checkpoint" has_steps requeued 12
  scontrol requeue "$job"
  expect_same "$job" requeued 30
  expect_restarts "$job" 1
}

# A job that matters more wants the nodes: this one is told so, leaves with a checkpoint of what it has done, and returns.
case_preemption() {
  undisturbed 30
  sft_submit preempted 30
  local low=$job steps
  cluster_wait 300 "the job has begun" has_steps preempted 7
  high=$(sbatch --parsable --partition=high --nodes=2 --ntasks-per-node=2 --output=high.txt --wrap 'sleep 3')
  cluster_wait 60 "the job that matters more runs" job_is "$high" RUNNING
  job_is "$low" PENDING || fail "job $low is $(job_field "$low" JobState) beside the one that took its place"
  grep -q '^job: exit status 10$' "sft_$low.txt" || fail "the job was not told in time"
  steps=$(steps_of preempted)
  expect_same "$low" preempted 30
  expect_restarts "$low" 1
  grep -q "restart .* after step $steps\$" runs/preempted/log.txt || fail "after a notice it did not go on where it was, after step $steps"
}

# A node disappears, its rank with it: Slurm puts the job back into the queue. Once the node is there again the job goes on with it.
case_node_failure() {
  undisturbed 30
  sft_submit bereaved 30
  cluster_wait 300 "the job has a checkpoint" has_steps bereaved 12
  node_kill node2
  cluster_wait 120 "the job waits for a node" job_is "$job" PENDING
  (($(steps_of bereaved) < 30)) || fail "the job went on without its other rank"
  node_start node2
  expect_same "$job" bereaved 30
  expect_restarts "$job" 1
}

cluster_start "$work/cluster"
make_world
for name in "$@"; do
  "case_$name"
  echo "passed: $name"
done
