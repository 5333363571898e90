#!/usr/bin/env bash
# No script has anything that shellcheck would complain of. Skipped (status 77) without it.
# usage: check_scripts.sh ROOT
set -euo pipefail
cd "$1"
command -v shellcheck >/dev/null || { echo "skipped: shellcheck is not installed"; exit 77; }
mapfile -t scripts < <(find jobs tests benchmarks .ci -name '*.sh' -o -path .ci/run -o -name '*.sbatch' \
  -o -name '*.pbs' -o -name '*.lsf' -o -name '*.flux')
((${#scripts[@]} >= 20)) || { echo "${#scripts[@]} scripts below $1, expected more"; exit 1; }
shellcheck --external-sources "${scripts[@]}"
