#!/usr/bin/env bash
# Every metric that a source logs or a judge finds has a row in the table of metrics, and every row is logged by a source or
# written to evaluation.json.
# usage: check_metrics.sh ROOT PROGRAM
set -euo pipefail
root=$1
program=$2
failures=0
fail() {
  echo "FAILED: $1"
  failures=$((failures + 1))
}

rows=$("$program" --print-metrics | sed -nE 's/^  ([a-z]+[a-z_0-9/]*).*/\1/p')
logged=$(find "$root/src" -name '*.c' -exec cat {} + | tr -s '\n ' ' ' |
  grep -oE -e 'metrics_add\([^",;]*, "[^"]+"' -e '\{(\.name = )?"[^"]+", (\.estimator = )?ESTIMATOR_(MEAN|SHARE|RATIO|QUOTIENT|F1)' |
  sed -E 's/[^"]*"([^"]*)".*/\1/' | sort -u)
[[ $(wc -w <<<"$rows") -gt 40 && $(wc -w <<<"$logged") -gt 40 ]] || fail "found too few names: the patterns here are out of date"

for name in $logged; do
  grep -qx "$name" <<<"$rows" || fail "$name is logged, but is not in src/record/metric_table.c"
done
for name in $rows; do
  grep -qx "$name" <<<"$logged" || grep -q "\"$name\"" "$root/src/eval/comparison.c" ||
    fail "$name is in src/record/metric_table.c, but nothing logs it"
done
exit $((failures > 0))
