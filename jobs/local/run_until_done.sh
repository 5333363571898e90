#!/usr/bin/env bash
# Starts a job again as long as it stops cleanly before its end (exit status 10).
set -uo pipefail

usage() {
  cat <<'END'
usage: jobs/local/run_until_done.sh COMMAND...
  for example: jobs/local/run_until_done.sh mpirun -np 2 llava_rlhf --set job.max_seconds=600 inputs/ppo.nml
  Runs COMMAND, and again after each exit status 10 (stopped cleanly: time was up, a signal, or a file EXIT).
  A job whose job.max_seconds is too short for one step ends with status 2 and says what to raise it to.
exit status: that of the last run. To stop for good, end this script first.
END
}

case ${1:-} in
-h | --help)
  usage
  exit 0
  ;;
'' | -*)
  usage >&2
  exit 2
  ;;
esac

starts=1
while true; do
  "$@"
  status=$?
  if ((status != 10)); then exit "$status"; fi
  starts=$((starts + 1))
  echo "run_until_done: stopped before the end; start $starts"
done
