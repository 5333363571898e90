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
  tail -n 60 ./*_*.txt runs/*/log.txt || true
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
  cluster_wait 300 "job $1 is done" job_is "$1" COMPLETED
  tail -n 1 "runs/$2/log.txt" | grep -q '^DONE' || fail "runs/$2 is not finished"
  (($(steps_of "$2") == $3)) || fail "runs/$2 has $(steps_of "$2") steps, expected $3"
  if ! cmp <(head -n "$3" runs/undisturbed/metrics.jsonl | sed "$clock") <(sed "$clock" "runs/$2/metrics.jsonl"); then
    fail "the metrics of runs/$2 are not those of the undisturbed run"
  fi
}

expect_restarts() { # JOB NUMBER
  (($(job_field "$1" Restarts) >= $2)) || fail "job $1 was started again $(job_field "$1" Restarts) times, expected $2"
}

# A job runs on both nodes, one rank each.
case_submit() {
  sft_submit undisturbed "$1"
  cluster_wait 300 "job $job is done" job_is "$job" COMPLETED
  expect_restarts "$job" 0
  grep -q '2 ranks = dp 2 x tp 1 on 2 nodes' runs/undisturbed/log.txt || fail "not one rank on each of two nodes"
}

date
sft_arguments x 4
cluster_start "$work/cluster"
make_world
date
case_submit "${1:-20}"
date
cat sft*.txt | tail -40
cut -c 1-600 runs/undisturbed/metrics.jsonl | tail -2
