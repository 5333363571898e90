#!/usr/bin/env bash
# The shell scripts parse, say what they are for, and refuse what they do not know; from any directory.
# usage: test_scripts.sh ROOT
set -euo pipefail
root=$1
cd /
failures=0
fail() {
  echo "FAILED: $1"
  failures=$((failures + 1))
}

parsed=0
while IFS= read -r script; do
  bash -n "$script" || fail "$script does not parse"
  parsed=$((parsed + 1))
done < <(find "$root/jobs" "$root/tests" "$root/benchmarks" "$root/.ci" -name '*.sh' -o -path "$root/.ci/run" -o -name '*.sbatch' \
  -o -name '*.pbs' -o -name '*.lsf' -o -name '*.flux')
((parsed >= 20)) || fail "$parsed scripts below $root, expected more"

for script in jobs/setup.sh jobs/quickstart.sh jobs/make_base.sh jobs/local/run_until_done.sh jobs/chain.sh tests/run.sh tests/photographs/fetch.sh \
  benchmarks/quickstart/check.sh benchmarks/memory/ppo.sh benchmarks/scaling/run.sh benchmarks/scaling/predict.sh benchmarks/gpu/ppo.sh; do
  [[ -x $root/$script ]] || fail "$script cannot be executed"
  "$root/$script" --help | grep -q "usage: $script" || fail "$script --help does not show its usage"
  status=0
  "$root/$script" --no-such-option >/dev/null 2>&1 || status=$?
  ((status == 2)) || fail "$script --no-such-option: exit status $status, expected 2"
done

# run_until_done.sh starts again on status 10, and only then.
counter=$(mktemp)
trap 'rm -f "$counter"' EXIT
# shellcheck disable=SC2016 # expanded by the bash that runs it
job='echo x >>"$0"; (( $(wc -l <"$0") < 3 )) && exit 10; exit 4'
status=0
"$root/jobs/local/run_until_done.sh" bash -c "$job" "$counter" >/dev/null 2>&1 || status=$?
((status == 4)) || fail "run_until_done.sh: exit status $status, expected the job's last, 4"
(($(wc -l <"$counter") == 3)) || fail "run_until_done.sh: $(wc -l <"$counter") starts, expected 3"

exit $((failures > 0))
