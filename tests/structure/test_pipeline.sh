#!/usr/bin/env bash
# All phases in miniature, with the real program: quickstart.sh --tiny runs from its first task to its last.
# usage: test_pipeline.sh ROOT PROGRAM
set -euo pipefail
root=$1
program=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rehearse() { # OPTIONS...
  "$root/jobs/quickstart.sh" --tiny "$@" --program "$program" --work-dir "$work" >"$work/said" 2>&1 || {
    status=$?
    tail -n 60 "$work/said"
    echo "quickstart.sh --tiny $*: exit status $status"
    exit 1
  }
}

rehearse --fresh # from the carried base
rehearse --fresh --from-scratch
for step in world pretrain sft sample annotate prepare rm policy_init ppo evaluate; do
  if ! tail -n 1 "$work/runs/$step/log.txt" | grep -q '^DONE'; then
    echo "runs/$step/log.txt does not end in DONE"
    exit 1
  fi
done
for file in pretrain/model.h5 sft/model.h5 sample/pairs.json annotate/preferences.json world/preferences.h5 rm/model.h5 \
  policy_init/model.h5 ppo/model.h5 ppo/perf.json ppo/metrics.jsonl ppo/input.nml ppo/rollouts/step_00000002.h5; do
  if [[ ! -s $work/runs/$file ]]; then
    echo "runs/$file is not there, or empty"
    exit 1
  fi
done
# Every model was asked the same questions.
for model in sft policy_init ppo; do
  if ! grep "\"model\":\"runs/$model/model.h5\"" "$work/runs/evaluate/evaluation.json" | grep -q '"hallucination_answers":[1-9]'; then
    echo "no answers of $model in runs/evaluate/evaluation.json"
    exit 1
  fi
done
# Both tables are found in the logs and shown at the end.
sed -n '/^Performance of ppo/,$p' "$work/said" >"$work/end"
for row in '^decode ' '^total ' '^Rating, of ' '^Answers that hallucinate ' '^Words in an answer '; do
  if ! grep -q "$row" "$work/end"; then
    cat "$work/end"
    echo "no row '$row' in the final tables"
    exit 1
  fi
done
