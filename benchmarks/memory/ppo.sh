#!/usr/bin/env bash
# What PPO at published shapes takes of a GPU, by dry runs: no weights, no GPU.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../jobs/local/environment.sh
# shellcheck disable=SC2154  # mpirun_options: set by the function of that name
source "$root/jobs/local/environment.sh"
# shellcheck source-path=SCRIPTDIR source=outlines.sh
source "$root/benchmarks/memory/outlines.sh"

usage() {
  cat <<'END'
usage: benchmarks/memory/ppo.sh [options]
  Makes outlines of the 7B and 13B models (inputs/llava_*b/outline*.nml), 512 prompts of almost 128 tokens, and goes through
  inputs/llava_7b/ppo.nml by --dry-run: policy of 7B with reward and value of 7B and of 13B, bases in bf16 and in NF4,
  recomputing nothing, norms, all. Prints a table in Markdown, GB (1e9 bytes) at one time on the rank that takes most.

  --memory GB       of a GPU (80)
  --ranks "N ..."   for which it is done, each with a GPU (1 8)
  --recompute "..." what is done again in the backward pass (none selective full)
  --set GROUP.NAME=VALUE
                    one more setting for all of them, for example --set optim.micro_tokens=4096
  --program FILE    the program (build/release/llava_rlhf in the source tree)
  --help            this text
exit status: 0 done, 2 wrong usage, else that of the run that failed
END
}

program=$root/build/release/llava_rlhf memory=80 ranks='1 8' recomputed='none selective full'
settings=()

fail() {
  echo "ppo.sh: $1" >&2
  exit 2
}

read_options() {
  while (($#)); do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --memory | --ranks | --recompute | --set | --program)
      (($# > 1)) || fail "$1 needs a value (see --help)"
      case $1 in
      --memory) memory=$2 ;;
      --ranks) ranks=$2 ;;
      --recompute) recomputed=$2 ;;
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

# A row: RANKS, size of the reward model, format of both bases, what is recomputed.
row() { # RANKS SIZE FORMAT RECOMPUTE
  local report
  mpirun_options "$1"
  report=$(mpirun "${mpirun_options[@]}" "$program" --dry-run "$root/inputs/llava_7b/ppo.nml" --set parallel.gpu_memory="$memory" \
    --set model.base=outline_7.h5 --set model.adapter= --set data.dataset=prompts.h5 --set reward.model="outline_rm_$2.h5" \
    --set model.base_format="$3" --set reward.base_format="$3" --set model.recompute="$4" "${settings[@]}" 2>&1) || {
    awk '/^error/ { sub(/^error: /, ""); print; exit }' <<<"$report" >&2
    printf '| %d | 7B + %dB | %s | %s | does not fit |\n' "$1" "$2" "${3/dtype/bf16}" "'$4'"
    return
  }
  awk -v ranks="$1" -v pair="7B + $2B" -v format="${3/dtype/bf16}" -v recompute="'$4'" '
    function most(a, b) { return a > b ? a : b }
    /^ *rank .* host$/ { for (i = 2; i <= NF; i++) name[i] = $i; columns = NF; next }
    columns && /^ +[0-9]+ / && !seen++ {
      for (i = 2; i <= columns - 4; i++) of[name[i]] = $i # "at one time" is three words of the head
      total = $(NF - 1); host = $NF
    }
    /^ +(tower|prefill|decode) +[0-9.]+$/ { generate = most(generate, $NF) }
    /^ +(policy|reference|value|reward) +[0-9.]+$/ { score = most(score, $NF) }
    /^ +(forward|backward|reduce|optimiser) +[0-9.]+$/ { update = most(update, $NF) }
    /fits?$|it does not fit/ { fits = /does not/ ? "no" : "yes" }
    END {
      printf "| %d | %s | %s | %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %s |\n", ranks, pair, format, recompute,
        of["weights"] / 1e3, (of["gradients"] + of["optimizer"]) / 1e3, generate / 1e3, score / 1e3, update / 1e3, total / 1e3,
        host / 1e3, fits
    }' <<<"$report"
}

read_options "$@"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
make_outlines "$root" "$program"
echo "| ranks | policy + reward | bases | recompute | weights | gradients, optimiser | generating | scoring | updating | at one time | host | fits |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
for n in $ranks; do
  for size in 7 13; do
    for format in dtype nf4; do
      for recompute in $recomputed; do
        row "$n" "$size" "$format" "$recompute"
      done
    done
  done
done
