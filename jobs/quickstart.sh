#!/usr/bin/env bash
# To a policy aligned with preferences, on the shapes world: sets up, builds, runs all phases, compares.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=local/pipeline.sh
source "$root/jobs/local/pipeline.sh"

usage() {
  cat <<'END'
usage: jobs/quickstart.sh [options]
  Installs missing packages (jobs/setup.sh), builds the program, and runs the tasks of inputs/*.nml in order: world, sft,
  sample, annotate, prepare, rm, policy_init, ppo, evaluate. Steps that are finished are skipped; one that was interrupted
  continues from its newest checkpoint. Ends with the comparison of the fine-tuned models (sft, policy_init) and
  the aligned one (ppo).

  --np N            ranks (2)
  --base FILE       the small model that sft starts from (inputs/base/shapes_base.h5; jobs/make_base.sh makes it)
  --from-scratch    starts from random weights and captions instead (one more step, pretrain), and sees less well
  --fresh           removes the results of all steps first
  --tiny            a rehearsal in two minutes: every step does almost nothing, in runs/tiny; the numbers mean nothing
  --set STEP:GROUP.NAME=VALUE
                    one more setting for one step, for example --set ppo:ppo.steps=10; STEP all: for every step
  --device NAME     where models run: cpu, cuda or auto (a GPU if there is one)
  --max-seconds N   stops in time after N seconds, with exit status 10
  --work-dir DIR    where runs/ is made (the source tree)
  --build-dir DIR   where the program is built (build/release in the source tree)
  --program FILE    a program that is built already, instead of setting up and building
  --help            this text
exit status: 0 done, 2 wrong usage or missing packages, 10 stopped (start again to continue), else that of the step that failed
END
}

base=$root/inputs/base/shapes_base.h5
declare -A pipeline_settings=() own_settings=()
fresh=no from_scratch=no tiny=no work_dir='' program='' device=''

# Sizes of a rehearsal.
use_tiny_settings() {
  local training='optim.steps=4 optim.batch=8'
  pipeline_settings=(
    [world]='world.pretrain_images=64 world.sft_images=64 world.pair_images=200 world.policy_init_images=32 world.ppo_images=32 world.ppo_held_out=8 world.eval_images=16'
    [pretrain]=$training
    [sft]=$training
    [sample]='generate.max_tokens=24'
    [prepare]='prepare.held_out=8'
    [rm]="$training eval.every=2"
    [policy_init]=$training
    [ppo]='ppo.steps=2 rollout.batch=8 ppo.minibatch=4 rollout.response_len=24'
    [evaluate]='generate.max_tokens=24'
  )
}

add() { # STEP SETTINGS: settings given later win
  pipeline_settings[$1]="${pipeline_settings[$1]:-}${pipeline_settings[$1]:+ }$2"
}

absolute() {
  mkdir -p "$1"
  (cd "$1" && pwd)
}

read_options() {
  while (($#)); do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --fresh) fresh=yes ;;
    --from-scratch) from_scratch=yes ;;
    --tiny) tiny=yes ;;
    --np | --set | --device | --max-seconds | --base | --work-dir | --build-dir | --program)
      (($# > 1)) || fail "$1 needs a value (see --help)"
      read_value "$1" "$2"
      shift
      ;;
    *) fail "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
}

read_value() {
  case $1 in
  --np)
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "--np '$2': expected a whole number from 1"
    pipeline_np=$2
    ;;
  --set)
    [[ $2 =~ ^[a-z_]+:[a-z_]+\.[a-z_]+=[^[:space:]]*$ ]] || fail "--set '$2': expected STEP:GROUP.NAME=VALUE without blanks"
    own_settings[${2%%:*}]+=" ${2#*:}"
    ;;
  --device)
    [[ $2 =~ ^(auto|cpu|cuda|plain)$ ]] || fail "--device '$2': expected cpu, cuda or auto"
    device=$2
    ;;
  --max-seconds)
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "--max-seconds '$2': expected a whole number from 1"
    pipeline_seconds=$2
    ;;
  --base)
    [[ -r $2 ]] || fail "--base '$2': cannot be read"
    base=$(realpath "$2")
    ;;
  --program)
    [[ -x $2 ]] || fail "--program '$2': cannot be executed"
    program=$(realpath "$2")
    ;;
  --work-dir) work_dir=$(absolute "$2") ;;
  --build-dir) pipeline_build=$(absolute "$2") ;;
  esac
}

choose_steps() {
  steps=(world)
  if [[ $from_scratch == yes || ! -f $base ]]; then
    steps+=(pretrain)
    # After captions alone there is more to learn from the conversations.
    if [[ $tiny == no ]]; then
      add world world.sft_images=40000
      add sft optim.lr=1e-3
    fi
  else
    # The base has seen its own pictures; no need to draw others for it.
    add world world.pretrain_images=0
    add sft "model.base=$base"
  fi
  steps+=(sft sample annotate prepare rm policy_init ppo evaluate)
  local step
  if [[ $device ]]; then for step in "${steps[@]}"; do add "$step" "parallel.device=$device"; done; fi
  if [[ ${own_settings[all]:-} ]]; then
    for step in "${steps[@]}"; do add "$step" "${own_settings[all]# }"; done
    unset 'own_settings[all]'
  fi
  for step in "${!own_settings[@]}"; do
    [[ " ${steps[*]} " == *" $step "* ]] || fail "--set $step:...: there is no such step; the steps are ${steps[*]}"
    add "$step" "${own_settings[$step]# }"
  done
}

choose_work_dir() {
  if [[ -z $work_dir && $tiny == yes ]]; then work_dir=$(absolute "$root/runs/tiny"); fi
  if [[ -z $work_dir && -f $root/CMakeLists.txt ]]; then work_dir=$root; fi
  work_dir=${work_dir:-$PWD} # of an installed tree
  cd "$work_dir"
  mkdir -p runs || fail "cannot make $work_dir/runs; choose another place with --work-dir"
  pipeline_log=$work_dir/runs/build.txt
  pipeline_inputs=$root/inputs
  if [[ $work_dir == "$root" ]]; then pipeline_inputs=inputs; fi
}

remove_results() {
  local step
  for step in "${steps[@]}"; do rm -rf "runs/$step"; done
}

# The last performance table of a log.
print_performance() {
  awk '/^region / { text = ""; inside = 1 } inside { text = text $0 "\n" } inside && /^$/ { inside = 0 } END { printf "%s", text }' "$1"
}

# The last comparison of a log, with its heading and without the clock at the beginning of lines.
print_comparison() {
  awk '{ sub(/^\[ *[0-9:.]+( s)?\] /, "") }
       /^Rating, of / { text = last "\n"; inside = 1 }
       inside && /^(memory |result |report |writing |$)/ { inside = 0 }
       inside { text = text $0 "\n" }
       { last = $0 }
       END { printf "%s", text }' "$1"
}

print_results() {
  local line reports=(runs/*/report.html)
  echo
  echo "Performance of ppo (runs/ppo/log.txt)"
  print_performance runs/ppo/log.txt
  echo
  echo "Fine-tuned (sft), where PPO starts (policy_init) and aligned (ppo), on new pictures (runs/evaluate/log.txt)"
  print_comparison runs/evaluate/log.txt
  echo
  echo "step              time   results"
  for line in "${pipeline_summary[@]}"; do echo "$line"; done
  printf '%-12s %7d s\n' all "$SECONDS"
  if [[ -e ${reports[0]} ]]; then
    echo
    echo "Curves, timings and sample answers, to be opened in a browser:"
    for line in "${reports[@]}"; do echo "  $work_dir/$line"; done
  fi
  if [[ $tiny == yes ]]; then
    echo
    echo "This was the rehearsal: every step did almost nothing, so the numbers above mean nothing."
  fi
}

read_options "$@"
if [[ $tiny == yes ]]; then use_tiny_settings; fi
choose_steps
choose_work_dir
if [[ $fresh == yes ]]; then remove_results; fi
if [[ -z $program ]]; then pipeline_program; fi
pipeline_run "${steps[@]}"
print_results
