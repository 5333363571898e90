#!/usr/bin/env bash
# Time of a PPO step at published shapes on 8 to 4096 ranks of a described machine, by dry runs: no weights, no GPU.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../jobs/local/environment.sh
# shellcheck disable=SC2154  # mpirun_options: set by the function of that name
source "$root/jobs/local/environment.sh"
# shellcheck source-path=SCRIPTDIR source=../memory/outlines.sh
source "$root/benchmarks/memory/outlines.sh"

usage() {
  cat <<'END'
usage: benchmarks/scaling/predict.sh [options]
  Goes through inputs/llava_7b/ppo.nml by --dry-run on two ranks with 64 responses each (an image of 256 places, a query of 128 tokens,
  896 of response), policy of 7B, reward and value of 7B and of 13B, bases in NF4, and lets the cost model of &machine tell the
  time where more ranks have as much work each. Prints a table in Markdown and figures (figure NAME VALUE UNIT).

  --machine FILE    a namelist with the group &machine (benchmarks/machines/h100.nml)
  --set GROUP.NAME=VALUE
                    one more setting, for example --set machine.sample_time=850
  --svg FILE        draws the table
  --program FILE    the program (build/release/llava_rlhf in the source tree)
  --help            this text
exit status: 0 done, 2 wrong usage, else that of the run that failed
END
}

program=$root/build/release/llava_rlhf machine=$root/benchmarks/machines/h100.nml svg=''
settings=()

fail() {
  echo "predict.sh: $1" >&2
  exit 2
}

read_options() {
  while (($#)); do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --machine | --set | --svg | --program)
      (($# > 1)) || fail "$1 needs a value (see --help)"
      case $1 in
      --machine) machine=$(realpath "$2") ;;
      --set) settings+=(--set "$2") ;;
      --svg) svg=$(realpath "$2") ;;
      --program) program=$(realpath "$2") ;;
      esac
      shift
      ;;
    *) fail "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
  [[ -x $program ]] || fail "$program cannot be executed; build it, or name it with --program"
  [[ -r $machine ]] || fail "$machine cannot be read"
}

predict() { # SIZE of the reward model
  mpirun_options 2
  mpirun "${mpirun_options[@]}" "$program" --dry-run ppo.nml --set parallel.gpu_memory=80 --set model.base=outline_7.h5 \
    --set model.adapter= --set data.dataset=prompts.h5 --set reward.model="outline_rm_$1.h5" --set model.base_format=nf4 \
    --set reward.base_format=nf4 --set rollout.batch=128 --set ppo.minibatch=64 --set machine.ranks=4096 "${settings[@]}" \
    >"$1.dry" 2>&1 || {
    tail -n 20 "$1.dry" >&2
    exit 1
  }
}

read_options "$@"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
make_outlines "$root" "$program"
cat "$root/inputs/llava_7b/ppo.nml" "$machine" >ppo.nml
for size in 7 13; do predict "$size"; done
python3 "$root/benchmarks/scaling/prediction.py" ${svg:+--svg "$svg"} "7B + 7B=7.dry" "7B + 13B=13.dry"
