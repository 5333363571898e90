#!/usr/bin/env bash
# What counters, timelines and hardware events cost: CPU time of one rank, in pairs of runs that follow each other, so that a machine
# that changes its speed changes that of both. Prints, for each, the ratio of the fastest runs, which others disturb least, then the
# median of the pairs' ratios and their quartiles.
# usage: overhead.sh BUILD PAIRS ARGUMENTS..., from the folder in which the program is to run with ARGUMENTS
set -euo pipefail
if (($# < 3)); then
  sed -n '2,5s/^# //p' "$0"
  exit 2
fi
build=$1 pairs=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --build "$build" --target llava_rlhf llava_uncounted >"$scratch/build" 2>&1 || { tail "$scratch/build"; exit 1; }
export OMP_NUM_THREADS=1

# CPU seconds of PROGRAM ARGUMENTS...
cpu() {
  local TIMEFORMAT='%U %S'
  rm -rf "$scratch/run"
  { time "$@" --set job.run_dir="$scratch/run" --set parallel.threads=1 >"$scratch/said" 2>&1; } 2>"$scratch/time" ||
    { cat "$scratch/said" >&2; exit 1; }
  awk '{ print $1 + $2 }' "$scratch/time"
}

# WHAT, then a program with its settings, compared with another, between which stands "--".
compare() {
  local what=$1 with=() i
  shift
  while [[ $1 != -- ]]; do with+=("$1"); shift; done
  shift
  for ((i = 0; i < pairs; i++)); do
    echo "$(cpu "${with[@]}") $(cpu "$@")"
  done | awk '{ print $1 / $2, $1, $2 }' | sort -n | awk -v what="$what" '
    { ratio[NR] = $1; if (NR == 1 || $2 < one) one = $2; if (NR == 1 || $3 < other) other = $3 }
    function at(share, i) { i = int(share * (NR - 1) + 1.5); return 100 * (ratio[i] - 1) }
    END { printf "%-42s %+6.2f %%  pairs %+.2f (%+.2f to %+.2f), %d of them, %.2f s\n", what, 100 * (one / other - 1),
            at(0.5), at(0.25), at(0.75), NR, other }'
}

counted=$build/llava_rlhf uncounted=$build/benchmarks/counters/llava_uncounted
compare "the same program twice (noise)" "$counted" "$@" -- "$counted" "$@"
compare "counters" "$counted" "$@" -- "$uncounted" "$@"
compare "timeline (log.trace) beside counters" "$counted" --set log.trace=.true. "$@" -- "$counted" "$@"
if "$counted" --version | grep '^PAPI' | grep -qv 'not built'; then
  compare "2 hardware events beside counters" "$counted" --set "log.hardware='perf::PAGE-FAULTS','perf::TASK-CLOCK'" "$@" -- "$counted" "$@"
fi
