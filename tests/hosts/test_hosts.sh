#!/usr/bin/env bash
# The program on two hosts that run.sh makes, which starts this on the first of them.
# usage: run.sh test_hosts.sh ROOT PROGRAM PING CASE...
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=hosts.sh
source "$here/hosts.sh"
# shellcheck source-path=SCRIPTDIR source=small_run.sh
source "$here/small_run.sh"
root=$1
program=$2
ping=$3
shift 3
mkdir /tmp/work
cd /tmp/work

fail() {
  echo "FAILED: $1"
  tail -n 12 ./*.txt || true
  exit 1
}

# Starts fine-tuning in runs/NAME with STEPS and more SETTINGS, one rank on each host; sets `job`.
start() { # NAME STEPS SETTING...
  local name=$1 setting settings=()
  sft_arguments "$1" "$2"
  shift 2
  for setting in "$@"; do settings+=(--set "$setting"); done
  mpirun --bind-to none -np 2 "$program" "${settings[@]}" "${arguments[@]}" >"$name.txt" 2>&1 &
  job=$!
}

# Expects it to end with STATUS within SECONDS.
expect_end() { # STATUS SECONDS
  local status=0
  hosts_wait "$2" is_over "$job" || fail "the run has not ended after $2 s"
  wait "$job" || status=$?
  ((status == $1)) || fail "exit status $status, expected $1"
}
is_over() { ! kill -0 "$1" 2>/dev/null; }

# Whether no rank of the run in runs/NAME is left on any host.
no_rank_of() { ! pgrep --full "^$program .*job.run_dir=runs/$1 " >/dev/null; }

expect_text() { # TEXT FILE
  grep -q -- "$1" "$2" || fail "$2 does not say '$1'"
}

# Steps, checkpoint and log are those of ranks of one host; a file EXIT that the other host makes stops the run, which goes on on
# one host.
case_layout() {
  HOSTS_PLACES=pairs start undisturbed 12
  expect_end 0 120
  expect_text '2 ranks = dp 2 x tp 1 on 1 node' runs/undisturbed/log.txt
  start apart 12
  hosts_wait 60 has_steps apart 3 || fail "the run makes no steps"
  (hosts_become node2 touch runs/apart/EXIT)
  expect_end 10 60
  (($(steps_of apart) < 12)) || fail "the run was over before it was stopped"
  expect_text '2 ranks = dp 2 x tp 1 on 2 nodes' runs/apart/log.txt
  expect_text ' 0 *0 *0 .* node1 ' runs/apart/log.txt
  expect_text ' 1 *1 *0 .* node2 ' runs/apart/log.txt
  HOSTS_PLACES=pairs start apart 12
  expect_end 0 60
  expect_same_steps apart 12
  start both 12
  expect_end 0 60
  expect_same_steps both 12
}

# Two jobs in one run directory, where the second one's host does not see the first one's lock.
case_lock() {
  local status=0 refused
  start held 100000
  hosts_wait 60 has_steps held 2 || fail "the run makes no steps"
  sft_arguments held 3
  (hosts_become node2 "$program" "${arguments[@]}") >refused.txt 2>&1 || status=$?
  ((status == 2)) || fail "the second job in a run directory ended with $status, expected 2"
  expect_text 'held/lock: another job writes this run directory (host node1 process' refused.txt
  refused=$(grep -c 'host node1' refused.txt)
  ((refused >= 1)) || fail "the message does not name the host"
  touch runs/held/EXIT
  expect_end 10 60
}

# The processes of a host end at once, as when it is switched off and its connections break.
case_killed() {
  start killed 100000 parallel.timeout=8
  hosts_wait 60 has_steps killed 3 || fail "the run makes no steps"
  hosts_kill node2
  local status=0
  hosts_wait 18 is_over "$job" || fail "the run goes on without its other host"
  wait "$job" || status=$?
  echo "status $status"
  hosts_wait 10 no_rank_of killed || fail "ranks are left"
}

# Nothing comes from the other host any more, and nothing says so.
case_unplugged() {
  start unplugged 100000 parallel.timeout=8
  hosts_wait 60 has_steps unplugged 3 || fail "the run makes no steps"
  ip link set tonode2 down
  SECONDS=0
  hosts_wait 60 no_rank_of unplugged || echo "ranks are left: $(pgrep -af "$program")"
  echo "no ranks after $SECONDS"
  hosts_wait 60 is_over "$job" || echo "mpirun is left"
  echo "over after $SECONDS"
  cat unplugged.txt
}

# A slow network is as slow as it was asked to be.
case_slow() { # DELAY RATE
  local measured
  mpirun --bind-to none -np 2 "$ping" >measured.txt
  echo "latency (us) and bandwidth (Mbit/s) measured: $(<measured.txt)"
}

world_make pretrain_images=0 sft_images=64 pair_images=4 policy_init_images=4 ppo_images=4 ppo_held_out=2 eval_images=4
for name in "$@"; do
  "case_$name"
  echo "passed: $name"
done
