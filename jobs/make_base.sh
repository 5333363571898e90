#!/usr/bin/env bash
# Makes inputs/base/shapes_base.h5 again: the small model, trained from random weights to see the shapes world, that
# quickstart.sh starts from.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=local/pipeline.sh
source "$root/jobs/local/pipeline.sh"

usage() {
  cat <<'END'
usage: jobs/make_base.sh [options]
  Draws pictures, trains a model from random weights, on captions first (inputs/pretrain.nml) and then on conversations in which
  all is true (inputs/sft.nml), and puts it at inputs/base/shapes_base.h5: half an hour on two cores. If it is interrupted, the
  same command continues. With as many ranks and threads on the same kind of processor it gives the same bytes.

  --np N            ranks (2)
  --set STEP:GROUP.NAME=VALUE
                    one more setting for step world, pretrain or sft, for example --set pretrain:optim.steps=10
  --output FILE     the file to write (inputs/base/shapes_base.h5)
  --work-dir DIR    where runs/ is made (runs/base in the source tree)
  --build-dir DIR   where the program is built (build/release in the source tree)
  --program FILE    a program that is built already, instead of setting up and building
  --help            this text
END
}

declare -A pipeline_settings=(
  # Other pictures than those of quickstart.sh, whose questions for the comparison must be about new ones.
  [world]='world.seed=1000 world.bias=0 world.turns=5 world.sft_images=320000 world.pair_images=0 world.policy_init_images=0 world.ppo_images=0 world.eval_images=0'
  [pretrain]='job.deterministic=.true.'
  [sft]='job.deterministic=.true. optim.lr=1e-3'
)
output=$root/inputs/base/shapes_base.h5
work_dir=$root/runs/base
program=''

while (($#)); do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --np | --set | --output | --work-dir | --build-dir | --program) (($# > 1)) || fail "$1 needs a value (see --help)" ;;&
  --np) pipeline_np=$2 ;;
  --set)
    [[ $2 =~ ^(world|pretrain|sft):[a-z_]+\.[a-z_]+=[^[:space:]]*$ ]] || fail "--set '$2': expected STEP:GROUP.NAME=VALUE (see --help)"
    pipeline_settings[${2%%:*}]="${pipeline_settings[${2%%:*}]:-} ${2#*:}"
    ;;
  --output) output=$(realpath -m "$2") ;;
  --work-dir) work_dir=$(realpath -m "$2") ;;
  --build-dir) pipeline_build=$(realpath -m "$2") ;;
  --program) program=$(realpath "$2") ;;
  *) fail "unknown option '$1' (see --help)" ;;
  esac
  shift 2
done

mkdir -p "$work_dir/runs" "$(dirname "$output")"
cd "$work_dir"
pipeline_log=$work_dir/runs/build.txt
pipeline_inputs=$root/inputs
if [[ -z $program ]]; then pipeline_program; fi
pipeline_run world pretrain sft
cp runs/sft/model.h5 "$output.partial"
mv "$output.partial" "$output"
echo
echo "$output: $(($(stat -c %s "$output") / 1000)) kB, sha256 $(sha256sum "$output" | cut -d' ' -f1)"
