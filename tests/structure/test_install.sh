#!/usr/bin/env bash
# `cmake --install` gives a tree that works from where it lies: the program answers and tests itself, its inputs pass --check, and
# two tasks run with nothing but what was installed.
# usage: test_install.sh BUILD
set -euo pipefail
build=$1
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
DESTDIR='' cmake --install "$build" --prefix "$prefix" >"$prefix/install.txt"

for file in bin/llava_rlhf share/llava_rlhf/inputs/ppo.nml share/llava_rlhf/jobs/quickstart.sh \
  share/llava_rlhf/inputs/base/shapes_base.h5 share/man/man1/llava_rlhf.1 \
  share/doc/llava_rlhf/README.md share/doc/llava_rlhf/LICENSE share/doc/llava_rlhf/docs/running.md; do
  if [[ ! -s $prefix/$file ]]; then
    echo "$file was not installed, or is empty"
    exit 1
  fi
done
if [[ ! -x $prefix/share/llava_rlhf/jobs/quickstart.sh ]]; then
  echo "share/llava_rlhf/jobs/quickstart.sh cannot be executed"
  exit 1
fi

version=$("$prefix/bin/llava_rlhf" --version | awk 'NR == 1 { print $2 }')
if [[ ! -s $prefix/share/llava_rlhf/modulefiles/llava_rlhf/$version || ! -s $prefix/share/llava_rlhf/modulefiles/llava_rlhf/$version.lua ]]; then
  echo "no module files of version $version were installed"
  exit 1
fi
mkdir "$prefix/elsewhere"
cd "$prefix/elsewhere"
"$prefix/bin/llava_rlhf" --version
"$prefix/bin/llava_rlhf" --print-defaults ppo >"$prefix/defaults.txt"
checked=0
while IFS= read -r input; do
  precision=auto
  [[ $input == */llava_* ]] && precision=f32 # the published settings ask for bf16, which no device of this version computes
  "$prefix/bin/llava_rlhf" --check --set parallel.dtype="$precision" "$input" >/dev/null
  checked=$((checked + 1))
done < <(find "$prefix/share/llava_rlhf/inputs" -name '*.nml')
"$prefix/share/llava_rlhf/jobs/quickstart.sh" --help >/dev/null
echo "$checked inputs checked"
((checked > 0))

# On ranks: the self-test, then the first steps of a fine-tuning on a small world.
share=$prefix/share/llava_rlhf
# shellcheck disable=SC1091  # installed a moment ago
source "$share/jobs/local/environment.sh"
mpirun_options 2
run() {
  mpirun "${mpirun_options[@]}" "$prefix/bin/llava_rlhf" "$@" >said.txt 2>&1 || {
    cat said.txt
    echo "llava_rlhf $*: failed"
    exit 1
  }
}
run --self-test
small=()
for set in pretrain=8 sft=16 pair=8 policy_init=8 ppo=8 eval=8; do small+=(--set "world.${set/=/_images=}"); done
run "${small[@]}" --set world.ppo_held_out=4 "$share/inputs/world.nml"
run --set optim.steps=2 --set optim.batch=4 --set model.base="$share/inputs/base/shapes_base.h5" "$share/inputs/sft.nml"
if [[ ! -s runs/sft/model.h5 || $(tail -n 1 runs/sft/log.txt) != DONE* ]]; then
  echo "the installed program has not fine-tuned a model"
  exit 1
fi
