#!/usr/bin/env bash
# What benchmarks/quickstart/check.sh says about made-up results: all well, each criterion missed, results missing.
# usage: test_check.sh ROOT
set -euo pipefail
root=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# Results that meet every criterion just so.
make_results() {
  local step
  rm -rf "$scratch/runs"
  for step in world sft sample annotate prepare rm policy_init ppo evaluate; do
    mkdir -p "$scratch/runs/$step"
    printf '{\n  "ranks": 2, "seconds": 88.5, "resident_bytes": 1.5e+09, "resident_rank": 1,\n  "regions": [\n' \
      >"$scratch/runs/$step/perf.json"
  done
  echo "build      103 s" >"$scratch/runs/build.txt"
  {
    echo '{"models":['
    echo '{"model":"runs/sft/model.h5","hallucination":0.41,"open_hallucination":0.3,"clean_claims_right":0.75}'
    echo ',{"model":"runs/policy_init/model.h5","hallucination":0.405,"hallucination_low":0.3,"open_hallucination":0.2}'
    echo ',{"model":"runs/ppo/model.h5","hallucination":0.4,"open_hallucination":0.1,"clean_claims_right":0.2}]}'
  } >"$scratch/runs/evaluate/evaluation.json"
}

expect() { # WHAT STATUS FAILED-CRITERION
  local status=0 said
  "$root/benchmarks/quickstart/check.sh" "$scratch" >"$scratch/said" 2>&1 || status=$?
  said=$(awk '$1 == "FAIL" { print $2 }' "$scratch/said" | tr '\n' ' ')
  if ((status != $2)) || [[ $said != "${3:+$3 }" ]]; then
    echo "FAILED: $1: exit status $status, expected $2; failed '$said', expected '$3'"
    cat "$scratch/said"
    failures=$((failures + 1))
  fi
}

change() { # FILE FROM TO
  sed -i "s/$2/$3/" "$scratch/runs/$1"
}

make_results
expect "results that are good enough" 0 ''
change rm/perf.json 88.5 89.6
expect "a second too long" 1 time
make_results
change ppo/perf.json 1.5e+09 2.1e+09
expect "a rank too large" 1 memory
make_results
change evaluate/evaluation.json 0.75 0.74
expect "a model that does not see" 1 seeing
make_results
change evaluate/evaluation.json 0.3, 0.29,
expect "a model that does not invent" 1 inventing
make_results
change evaluate/evaluation.json '0.41,' '0.4,'
expect "an alignment without effect" 1 aligned
make_results
change evaluate/evaluation.json 0.405 0.4
expect "an effect of fine-tuning alone" 1 taught
make_results
change evaluate/evaluation.json policy_init other
expect "an evaluation without the start of PPO" 2 ''
make_results
rm "$scratch/runs/ppo/perf.json"
expect "a step that has not run" 2 ''
make_results
change sft/perf.json resident_bytes other
expect "a performance table without memory" 2 ''

exit $((failures > 0))
