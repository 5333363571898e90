#!/usr/bin/env bash
# What quickstart.sh runs, skips and removes, with a stand-in for the program that only writes the end of a log.
# usage: test_quickstart.sh ROOT
set -euo pipefail
root=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() {
  echo "FAILED: $1"
  failures=$((failures + 1))
}

# Notes its arguments; the step named in the file `stop` or `break` ends with status 10 or 3, every other one well.
cat >"$scratch/program" <<'END'
#!/usr/bin/env bash
input=${*: -1}
step=$(basename "$input" .nml)
[[ ${OMPI_COMM_WORLD_RANK:-0} == 0 ]] || exit 0
[[ -r $input ]] || exit 2
echo "$step: $*" >>ran.txt
mkdir -p "runs/$step"
if [[ $(cat stop 2>/dev/null) == "$step" ]]; then echo STOPPED >"runs/$step/log.txt"; exit 10; fi
if [[ $(cat break 2>/dev/null) == "$step" ]]; then echo FAILED >"runs/$step/log.txt"; exit 3; fi
echo "DONE       0.1 s" >>"runs/$step/log.txt"
END
chmod +x "$scratch/program"
work=$scratch/work
mkdir -p "$work"
touch "$scratch/base.h5"

quickstart() { # EXPECTED STATUS, OPTIONS...
  local expected=$1 status=0
  shift
  rm -f "$work/ran.txt"
  "$root/jobs/quickstart.sh" --program "$scratch/program" --work-dir "$work" --base "$scratch/base.h5" "$@" \
    >"$scratch/said" 2>&1 || status=$?
  if ((status != expected)); then
    fail "quickstart.sh $*: exit status $status, expected $expected"
    cat "$scratch/said"
  fi
}
ran() { # the steps that ran, in one line
  if [[ -e $work/ran.txt ]]; then sed 's/:.*//' "$work/ran.txt" | tr '\n' ' '; fi
}
expect_ran() { # WHAT STEPS
  [[ $(ran) == "${2:+$2 }" ]] || fail "$1: ran '$(ran)', expected '$2'"
}
expect_setting() { # STEP SETTING
  grep -q "^$1: .*--set $2 " "$work/ran.txt" || fail "step $1 ran without --set $2"
}
all='world sft sample annotate prepare rm policy_init ppo evaluate'

echo rm >"$work/stop"
quickstart 10
expect_ran "a run that is stopped" 'world sft sample annotate prepare rm'
expect_setting sft "model.base=$scratch/base.h5"
rm "$work/stop"
echo ppo >"$work/break"
quickstart 3
expect_ran "a run that goes on" 'rm policy_init ppo'
rm "$work/break"
quickstart 0 --set ppo:ppo.steps=7 --set ppo:ppo.clip=0.1
expect_ran "after a failure" 'ppo evaluate'
expect_setting ppo ppo.steps=7
expect_setting ppo ppo.clip=0.1
quickstart 0
expect_ran "a finished run" ''
rm -rf "$work/runs/sample"
quickstart 0
expect_ran "a result that is gone, and what depends on it" 'sample annotate prepare rm policy_init ppo evaluate'
quickstart 0 --fresh --np 3
expect_ran "--fresh" "$all"
quickstart 0 --from-scratch
expect_ran "--from-scratch" 'pretrain sft sample annotate prepare rm policy_init ppo evaluate'
if grep -q 'model.base=' "$work/ran.txt"; then fail "--from-scratch used a base"; fi
quickstart 0 --fresh --tiny
expect_setting ppo ppo.steps=2
quickstart 0 --fresh --device cuda --set all:parallel.dtype=f32 --set ppo:parallel.dtype=bf16 --max-seconds 900
for step in $all; do
  expect_setting "$step" parallel.device=cuda
  expect_setting "$step" parallel.dtype=f32
  grep -Eq "^$step: .*--set job.max_seconds=[0-9]{3} " "$work/ran.txt" || fail "step $step ran without the time that is left"
done
grep -q '^ppo: .*--set parallel.dtype=f32 .*--set parallel.dtype=bf16 ' "$work/ran.txt" || fail "a step's setting does not come last"
quickstart 10 --fresh --max-seconds 5
expect_ran "no time" ''
quickstart 2 --device abacus
quickstart 2 --max-seconds 0
quickstart 2 --set nosuchstep:ppo.steps=7
quickstart 2 --set ppo.steps=7
quickstart 2 --np 0

exit $((failures > 0))
