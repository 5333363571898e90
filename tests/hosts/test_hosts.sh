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

# Starts fine-tuning in runs/NAME with STEPS and more SETTINGS; sets `job`.
start() { # RANKS NAME STEPS SETTING...
  local ranks=$1 name=$2 setting settings=()
  sft_arguments "$2" "$3"
  shift 3
  for setting in "$@"; do settings+=(--set "$setting"); done
  mpirun --bind-to none -np "$ranks" "$program" "${settings[@]}" "${arguments[@]}" >"$name.txt" 2>&1 &
  job=$!
}

# Expects it to end with STATUS within SECONDS.
expect_end() { # STATUS SECONDS
  local status=0
  hosts_wait "$2" is_over "$job" || fail "the run has not ended after $2 s"
  wait "$job" || status=$?
  ((status == $1)) || fail "exit status $status, expected $1"
}
# Expects it to fail in whatever way mpirun says so.
expect_failure() { # SECONDS
  hosts_wait "$1" is_over "$job" || fail "the run has not ended after $1 s"
  if wait "$job"; then fail "the run ended well"; fi
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
  local steps
  start 2 apart 100000
  hosts_wait 600 has_steps apart 3 || fail "the run makes no steps"
  (hosts_become node2 touch runs/apart/EXIT)
  expect_end 10 600
  steps=$(($(steps_of apart) + 6))
  expect_text '2 ranks = dp 2 x tp 1 on 2 nodes' runs/apart/log.txt
  expect_text ' 0 *0 *0 .* node1 ' runs/apart/log.txt
  expect_text ' 1 *1 *0 .* node2 ' runs/apart/log.txt
  HOSTS_PLACES=pairs start 2 undisturbed "$steps"
  expect_end 0 600
  expect_text '2 ranks = dp 2 x tp 1 on 1 node' runs/undisturbed/log.txt
  HOSTS_PLACES=pairs start 2 apart "$steps"
  expect_end 0 600
  expect_same_steps apart "$steps"
  start 2 both "$steps"
  expect_end 0 600
  expect_same_steps both "$steps"
}

# Two jobs in one run directory, where the second one's host does not see the first one's lock.
case_lock() {
  local status=0
  start 2 held 100000
  hosts_wait 600 has_steps held 2 || fail "the run makes no steps"
  sft_arguments held 3
  (hosts_become node2 "$program" "${arguments[@]}") >refused.txt 2>&1 || status=$?
  ((status == 2)) || fail "the second job in a run directory ended with $status, expected 2"
  expect_text 'held/lock: another job writes this run directory (host node1 process' refused.txt
  touch runs/held/EXIT
  expect_end 10 600
}

# The processes of a host end at once, as when it is switched off and its connections break: mpirun ends the others.
case_killed() {
  start 3 killed 100000 parallel.timeout=8
  hosts_wait 600 has_steps killed 3 || fail "the run makes no steps"
  hosts_kill node2
  expect_failure 120
  hosts_wait 120 no_rank_of killed || fail "ranks are left"
  hosts_start node2 "$HOSTS_START"
  hosts_wait 120 hosts_answers node2 || fail "node2 does not start again"
}

# Nothing comes from the other host any more, and nothing says so. On both sides the ranks end and name one that they miss. mpirun
# waits for its other half then, until TCP gives up (a quarter of an hour).
case_unplugged() {
  start 3 unplugged 100000 parallel.timeout=8
  hosts_wait 600 has_steps unplugged 3 || fail "the run makes no steps"
  ip link set tonode2 down
  hosts_wait 120 no_rank_of unplugged || fail "ranks are left long after the timeout"
  expect_text 'FAILED .*exit status 5' unplugged.txt
  expect_text 'rank 2 on node2$' unplugged.txt
  expect_text 'FAILED .*exit status 5' runs/unplugged/log.txt
  kill -KILL "$job"
  wait "$job" 2>/dev/null || true
  ip link set tonode2 up
}

# The same where mpirun looks whether its other half is there more often than the ranks are patient.
case_looked_after() {
  OMPI_MCA_oob_tcp_keepalive_time=4 OMPI_MCA_oob_tcp_keepalive_intvl=2 OMPI_MCA_oob_tcp_keepalive_probes=2 \
    start 3 looked_after 100000 parallel.timeout=600
  hosts_wait 600 has_steps looked_after 3 || fail "the run makes no steps"
  ip link set tonode2 down
  expect_failure 120
  expect_text 'Remote daemon: .* on node node2' looked_after.txt
  ip link set tonode2 up
}

# A slow network is as slow as it was asked to be (run.sh --delay --rate): never faster, and no slower in the best of some times.
case_slow() {
  local try
  for try in {1..20}; do
    mpirun --bind-to none -np 2 "$ping" >measured.txt
    echo "measured: $(<measured.txt) (us, Mbit/s); asked for: $HOSTS_DELAY, $HOSTS_RATE"
    awk -v delay="$HOSTS_DELAY" -v rate="$HOSTS_RATE" '{ exit !($1 > delay && $2 < rate) }' measured.txt ||
      fail "the network is faster than it was asked to be"
    if awk -v delay="$HOSTS_DELAY" -v rate="$HOSTS_RATE" '{ exit !($1 < delay + 500 && $2 > 0.8 * rate) }' measured.txt; then return; fi
  done
  fail "the network is slower than it was asked to be, $try times"
}

# A job that was killed on one host is taken over by one on another, two minutes after its last sign of life.
case_taken_over() {
  start 2 dead 100000
  hosts_wait 600 has_steps dead 7 || fail "the run makes no steps"
  pkill -KILL --full "^$program .*job.run_dir=runs/dead "
  wait "$job" || true
  sft_arguments dead 12
  SECONDS=0
  (hosts_become node2 "$program" "${arguments[@]}") >dead2.txt 2>&1 || fail "the second job has ended with $?"
  ((SECONDS >= 100)) || fail "it took over after $SECONDS s, when the first one might have lived"
  expect_text 'restart .* after step' runs/dead/log.txt
}

world_make pretrain_images=0 sft_images=64 pair_images=4 policy_init_images=4 ppo_images=4 ppo_held_out=2 eval_images=4
for name in "$@"; do
  "case_$name"
  echo "passed: $name"
done
