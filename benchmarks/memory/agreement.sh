#!/usr/bin/env bash
# How near --dry-run comes to what a run then takes, task by task.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../jobs/local/environment.sh
# shellcheck disable=SC2154  # mpirun_options: set by the function of that name
source "$root/jobs/local/environment.sh"

usage() {
  cat <<'END'
usage: benchmarks/memory/agreement.sh [options]
  Goes through the shapes world with a small model: each task first by --dry-run, then for good. Prints in MB of rank 0, for
  all arenas at one time and then for each arena of 1 MB or more, what was predicted, what the run counted, and their
  difference in % of what the run counted at one time; and the largest resident set of any rank, which has the program and its
  libraries in it.

  --np N            ranks (1)
  --set GROUP.NAME=VALUE
                    one more setting for all tasks that train, for example --set optim.micro_tokens=1024
  --program FILE    the program (build/release/llava_rlhf in the source tree)
  --help            this text
exit status: 0 all agree to 5 %, 1 one does not, 2 wrong usage, else that of the task that failed
END
}

program=$root/build/release/llava_rlhf np=1 failures=0
settings=()

fail() {
  echo "agreement.sh: $1" >&2
  exit 2
}

read_options() {
  while (($#)); do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --np | --set | --program)
      (($# > 1)) || fail "$1 needs a value (see --help)"
      case $1 in
      --np) np=$2 ;;
      --set) settings+=(--set "$2") ;;
      --program) program=$(realpath "$2") ;;
      esac
      shift
      ;;
    *) fail "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
  [[ -x $program ]] || fail "$program cannot be executed; build it, or name it with --program"
}

# What DRY_REPORT predicts beside what RUN_LOG counted.
compare() { # NAME DRY_REPORT RUN_LOG
  awk -v task="$1" '
    FNR == NR && /^ *rank .* at one time$/ { for (i = 2; i <= NF; i++) name[i] = $i; columns = NF - 2; next }
    FNR == NR && columns && /^ +0 / { # of rank 0; "at one time" is three words of the head
      for (i = 2; i < columns - 1; i++) predicted[name[i]] = $i
      total = $NF
      columns = 0
    }
    FNR == NR { next }
    { sub(/^\[ *[0-9:.]+( s)?\] /, "") }
    /largest resident set/ { resident = $(NF - 3) }
    /at one time/ { counted = $0; sub(/.*at one time /, "", counted); sub(/\).*/, "", counted); inside = 1; next }
    inside && /^ +[a-z]+ +[0-9.]+$/ { found[$1] = $2; next }
    { inside = 0 }
    function share(a, b) { return sprintf("%+.1f", 100 * (a - b) / counted) }
    END {
      printf "%-12s %-14s %10.1f %10.1f %7s %10s\n", task, "at one time", total, counted, share(total, counted), resident
      for (a in predicted)
        if (predicted[a] >= 1 || found[a] >= 1)
          printf "%-12s   %-12s %10.1f %10.1f %7s\n", "", a, predicted[a], found[a], share(predicted[a], found[a])
      exit share(total, counted) > 5 || share(total, counted) < -5
    }' "$2" "$3" || failures=$((failures + 1))
}

both() { # NAME INPUT SETTING...
  local name=$1 input=$2
  shift 2
  local options=(--set job.run_dir="runs/$name" --set job.deterministic=.true.) one
  for one in "$@"; do options+=(--set "$one"); done
  mpirun "${mpirun_options[@]}" "$program" --dry-run "$input" "${options[@]}" >"$name.dry" 2>&1 || { cat "$name.dry" >&2; exit 1; }
  mpirun "${mpirun_options[@]}" "$program" "$input" "${options[@]}" >"$name.out" 2>&1 || { cat "$name.out" >&2; exit 1; }
  compare "$name" "$name.dry" "runs/$name/log.txt"
}

inputs() {
  local model=(model.hidden=256 model.layers=6 model.mlp=704 model.vision_hidden=192 model.vision_layers=4 model.vision_mlp=768)
  local training=(optim.steps=6 optim.batch=32)
  local one
  for one in "${settings[@]}"; do [[ $one == --set ]] || training+=("$one"); done
  both world "$root/inputs/world.nml" world.pretrain_images=256 world.sft_images=256 world.pair_images=400 \
    world.policy_init_images=128 world.ppo_images=192 world.ppo_held_out=32 world.eval_images=64
  both pretrain "$root/inputs/pretrain.nml" "${training[@]}" "${model[@]}"
  both sft "$root/inputs/sft.nml" "${training[@]}"
  both sample "$root/inputs/sample.nml" data.limit=0
  both annotate "$root/inputs/annotate.nml"
  both prepare "$root/inputs/prepare.nml" prepare.held_out=32
  both rm "$root/inputs/rm.nml" "${training[@]}" eval.every=3
  both policy_init "$root/inputs/policy_init.nml" "${training[@]}"
  both ppo "$root/inputs/ppo.nml" ppo.steps=2 rollout.batch=64 ppo.minibatch=32 eval.every=1 rollout.temperature=50 "${training[@]:2}"
  cat >score.nml <<'END'
&job task = 'score' /
&model base = 'runs/sft/model.h5' adapter = 'runs/rm/model.h5' /
&reward allow_mismatch = .true. /
&data dataset = 'runs/world/sft.h5' /
END
  both score score.nml
  both evaluate "$root/inputs/evaluate.nml"
  cat >export.nml <<'END'
&job task = 'export' /
&model base = 'runs/sft/model.h5' /
&export output = 'runs/published' naming = 'llava' /
END
  both export export.nml
  cat >import.nml <<'END'
&job task = 'import' /
&import weights = 'runs/published' /
END
  both import import.nml
}

read_options "$@"
mpirun_options "$np"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf '%-12s %-14s %10s %10s %7s %10s\n' task memory predicted run '%' resident
inputs
exit $((failures > 0))
