# Runs tasks one after another, each in its run directory; what quickstart.sh and make_base.sh share. To be sourced, with
# `root` set to the folder that holds jobs/ and inputs/.
# shellcheck shell=bash
# shellcheck disable=SC2154  # root: set by who sources this

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$root/jobs/local/environment.sh"

pipeline_np=2
pipeline_build=$root/build/release
pipeline_summary=()
pipeline_seconds=0 # after so many the steps stop; 0: never
pipeline_least_seconds=10 # with less time left no step is begun

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 2
}

# Sets `program`: built here from the sources, or the installed one if this is an installed tree.
pipeline_program() {
  if [[ ! -f $root/CMakeLists.txt ]]; then
    program=$(cd "$root/../.." && pwd)/bin/llava_rlhf
    [[ -x $program ]] || fail "neither sources nor an installed program here: $root has no CMakeLists.txt and $program is not there"
    return
  fi
  "$root/jobs/setup.sh"
  local started=$SECONDS
  echo "build      $pipeline_build"
  (cd "$root" && cmake --preset release -B "$pipeline_build") >"$pipeline_log" 2>&1 || pipeline_build_failed
  cmake --build "$pipeline_build" --target llava_rlhf >>"$pipeline_log" 2>&1 || pipeline_build_failed
  program=$pipeline_build/llava_rlhf
  echo "build      $((SECONDS - started)) s" | tee -a "$pipeline_log"
}

pipeline_build_failed() {
  tail -n 40 "$pipeline_log" >&2
  fail "the build failed; all of its output is in $pipeline_log"
}

pipeline_stop() {
  echo "== $1; start again with the same command to continue"
  exit 10
}

# Whether the run in directory $1 came to its end: the last line of its log says so.
pipeline_finished() {
  [[ -s $1/log.txt ]] && tail -n 1 "$1/log.txt" | grep -q '^DONE'
}

# The task of NAME: input inputs/NAME.nml, run directory runs/NAME, more settings in the further arguments. Skipped where it
# is finished; otherwise run, which makes the results of the steps after it (pipeline_later) out of date: they are removed.
pipeline_step() {
  local name=$1 step settings=() started=$SECONDS status=0
  shift
  if pipeline_finished "runs/$name"; then
    echo "== $name: finished before (runs/$name); skipped"
    pipeline_summary+=("$(printf '%-12s %9s   %s' "$name" before "runs/$name")")
    return
  fi
  for step in "${pipeline_later[@]}"; do
    if [[ -e runs/$step ]]; then
      echo "== $step: starts from $name, which runs again: runs/$step is removed"
      rm -rf "runs/$step"
    fi
  done
  for step in "$@"; do settings+=(--set "$step"); done
  if ((pipeline_seconds > 0)); then
    if ((SECONDS + pipeline_least_seconds > pipeline_seconds)); then pipeline_stop "$name: not begun, for the time is up"; fi
    settings+=(--set "job.max_seconds=$((pipeline_seconds - SECONDS))")
  fi
  mpirun_options "$pipeline_np"
  echo
  echo "== $name: mpirun ${mpirun_options[*]} llava_rlhf${settings[*]:+ ${settings[*]}} $pipeline_inputs/$name.nml"
  mpirun "${mpirun_options[@]}" "$program" "${settings[@]}" "$pipeline_inputs/$name.nml" </dev/null || status=$?
  if ((status == 10)); then pipeline_stop "$name: stopped before its end"; fi
  if ((status != 0)); then
    echo "== $name: failed with exit status $status after $((SECONDS - started)) s; see $PWD/runs/$name/log.txt" >&2
    exit "$status"
  fi
  echo "== $name: $((SECONDS - started)) s"
  pipeline_summary+=("$(printf '%-12s %7d s   %s' "$name" "$((SECONDS - started))" "runs/$name")")
}

# All STEPS in order; the settings of a step are words in pipeline_settings[step].
pipeline_run() {
  local steps=("$@") i words
  for ((i = 0; i < ${#steps[@]}; i++)); do
    pipeline_later=("${steps[@]:i+1}")
    read -r -a words <<<"${pipeline_settings[${steps[i]}]:-}"
    pipeline_step "${steps[i]}" "${words[@]}"
  done
}
