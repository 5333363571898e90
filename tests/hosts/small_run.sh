# A small world and fine-tuning in it, for scripts that watch a run from outside; to be sourced by one that has set `root`, the source
# tree, and `program`, and has a function `fail`.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # `arguments` is for whoever sources it; root, program are its own

# Makes runs/world, with these numbers of images, as kind=number.
world_make() {
  local size settings=()
  for size in "$@"; do settings+=(--set "world.$size"); done
  "$program" "${settings[@]}" "$root/inputs/world.nml" >world.txt || fail "the world was not made: $(tail -n 3 world.txt)"
}

# Fine-tuning in runs/NAME with STEPS; sets `arguments`. The first steps are the same whatever the number of all.
sft_arguments() {
  arguments=(--set "job.run_dir=runs/$1" --set "optim.steps=$2" --set job.deterministic=.true. --set "model.base=$root/inputs/base/shapes_base.h5"
    --set optim.schedule=constant --set optim.warmup_ratio=0 --set optim.batch=8 --set checkpoint.every=5 --set log.every=1 --set parallel.threads=1
    "$root/inputs/sft.nml")
}

# Lines of the metrics of runs/NAME.
steps_of() { if [[ -e runs/$1/metrics.jsonl ]]; then wc -l <"runs/$1/metrics.jsonl"; else echo 0; fi; }
has_steps() { (($(steps_of "$1") >= $2)); }

# Expects runs/NAME to have made STEPS, those of runs/undisturbed, to the bit.
expect_same_steps() { # NAME STEPS
  local clock='s/"[a-z_/]*seconds[a-z_/]*":[^,}]*,\{0,1\}//g'
  tail -n 1 "runs/$1/log.txt" | grep -q '^DONE' || fail "runs/$1 is not finished"
  (($(steps_of "$1") == $2)) || fail "runs/$1 has $(steps_of "$1") steps, expected $2"
  if ! cmp <(head -n "$2" runs/undisturbed/metrics.jsonl | sed "$clock") <(sed "$clock" "runs/$1/metrics.jsonl"); then
    fail "the metrics of runs/$1 are not those of the undisturbed run"
  fi
}
