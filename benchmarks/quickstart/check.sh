#!/usr/bin/env bash
# Whether a run of jobs/quickstart.sh kept to its limits of time and memory and shows what the method is for.
set -euo pipefail

usage() {
  cat <<'END'
usage: benchmarks/quickstart/check.sh [WORK_DIR]
  Reads runs/*/perf.json, runs/build.txt and runs/evaluate/evaluation.json below WORK_DIR (the current directory), where
  jobs/quickstart.sh has run to its end, and prints a line for each criterion with what was found:

  time            at most 15 minutes for building and all steps together
  memory          at most 2 GB resident in any rank of any step
  seeing          sft: at least 75 % of the claims about clean scenes are right
  inventing       sft: at least 30 % of the descriptions hallucinate
  aligned         ppo: hallucinates less than sft, over all questions
  taught          ppo: hallucinates less than policy_init, from which it starts: what PPO itself has changed

exit status: 0 every line says PASS, 1 one says FAIL, 2 wrong usage or results that are not there
END
}

steps=(world pretrain sft sample annotate prepare rm policy_init ppo evaluate)
failures=0

fail() {
  echo "check.sh: $1" >&2
  exit 2
}

# The number called KEY in FILE, first in the lines that hold TEXT; nothing if there is none.
number() { # FILE TEXT KEY
  awk -v text="$2" -v key="\"$3\": *" '
    (text == "" || index($0, text)) && match($0, key "-?[0-9][-+.eE0-9]*") {
      found = substr($0, RSTART, RLENGTH)
      sub(key, "", found)
      print found
      exit
    }' "$1"
}

# A line of the result: whether VALUE stands in RELATION (<=, >=, <) to LIMIT, both shown as FORMAT says after SCALE.
judge() { # NAME VALUE RELATION LIMIT SCALE FORMAT WHAT
  awk -v name="$1" -v value="$2" -v relation="$3" -v limit="$4" -v scale="$5" -v format="$6" -v what="$7" 'BEGIN {
    value += 0; limit += 0
    good = relation == "<=" ? value <= limit : relation == ">=" ? value >= limit : value < limit
    printf "%s  %-10s " format "  (%s " format ")  %s\n", good ? "PASS" : "FAIL", name, value * scale, relation,
      limit * scale, what
    exit !good
  }' || failures=$((failures + 1))
}

# Sets `seconds`, `bytes` and `largest` (the step that took them) from the steps' performance tables.
read_steps() {
  local step file found
  seconds=0 bytes=0 largest=none
  for step in "${steps[@]}"; do
    file=runs/$step/perf.json
    [[ -e $file || $step != pretrain ]] || continue # only of --from-scratch
    [[ -r $file ]] || fail "$PWD/$file is not there; jobs/quickstart.sh has not run to its end in $PWD"
    found=$(number "$file" '' seconds)
    [[ -n $found ]] || fail "$PWD/$file is no performance table"
    seconds=$(awk -v a="$seconds" -v b="$found" 'BEGIN { print a + b }')
    found=$(number "$file" '' resident_bytes)
    [[ -n $found ]] || fail "$PWD/$file says nothing about memory (resident_bytes); run that step again with this version"
    if awk -v a="$found" -v b="$bytes" 'BEGIN { exit !(a + 0 > b + 0) }'; then bytes=$found largest=$step; fi
  done
}

# Seconds that the program's build took, as the end of its log says; 0 where the run found a program.
build_seconds() {
  if [[ -r runs/build.txt ]]; then awk '$1 == "build" && $3 == "s" { found = $2 } END { print found + 0 }' runs/build.txt; else echo 0; fi
}

# The evaluation's number KEY of the model that STEP made.
evaluated() { # STEP KEY
  local file=runs/evaluate/evaluation.json found
  [[ -r $file ]] || fail "$PWD/$file is not there; jobs/quickstart.sh has not run to its end in $PWD"
  found=$(number "$file" "\"model\":\"runs/$1/model.h5\"" "$2")
  [[ -n $found ]] || fail "$PWD/$file has no '$2' of runs/$1/model.h5"
  echo "$found"
}

case ${1:-} in
-h | --help)
  usage
  exit 0
  ;;
-*) fail "unknown option '$1' (see --help)" ;;
esac
(($# <= 1)) || fail "one directory at most (see --help)"
cd "${1:-.}" || exit 2

read_steps
build=$(build_seconds)
clean=$(evaluated sft clean_claims_right)
open=$(evaluated sft open_hallucination)
before=$(evaluated sft hallucination)
start=$(evaluated policy_init hallucination)
after=$(evaluated ppo hallucination)

total=$(awk -v a="$seconds" -v b="$build" 'BEGIN { print a + b }')
judge time "$total" '<=' 900 1 '%.0f s' "building ($build s) and all steps"
judge memory "$bytes" '<=' 2e9 1e-9 '%.2f GB' "largest resident set of a rank, in $largest"
judge seeing "$clean" '>=' 0.75 100 '%.1f %%' 'sft: claims about clean scenes that are right'
judge inventing "$open" '>=' 0.3 100 '%.1f %%' 'sft: descriptions that hallucinate'
judge aligned "$after" '<' "$before" 100 '%.1f %%' 'ppo: answers that hallucinate, beside those of sft'
judge taught "$after" '<' "$start" 100 '%.1f %%' 'ppo: answers that hallucinate, beside those of policy_init'
exit $((failures > 0))
