#!/usr/bin/env bash
# Stands in for the commands of PBS, LSF and Flux, for what they start, and for the clock: called by each of their names. STAND_IN is
# its folder.
#   jobs/N/      script, directives (a line each), options (of the submit command), arguments, after (numbers), state, phase, and
#                the environment that it takes along
#   ran          a line for each start of the program: number of the job, arguments
#   waits        is there while a program waits: no `sleep` ends before
#   slept        the seconds of the newest one that has
#   answers/X    what the program answers to X.nml, a line per start: an exit status, or `wait` for SIGUSR1 and then 10
# A command line that the real one would refuse ends with a message and status 1.
set -euo pipefail
name=$(basename "$0")

refuse() {
  echo "$name: $1" >&2
  exit 1
}

# Reads a job's script from stdin; its number is then in `job`.
submit() { # MARK OF DIRECTIVES, AFTER, ARGUMENTS, OPTIONS...
  local number folder after
  number=$(($(find "$STAND_IN/jobs" -mindepth 1 -maxdepth 1 | wc -l) + 1))
  folder=$STAND_IN/jobs/$number
  for after in $2; do
    [[ $(<"$STAND_IN/jobs/$after/state") =~ ^(waiting|running)$ ]] || refuse "no job $after any more that could be waited for"
  done
  mkdir "$folder"
  cat >"$folder/script"
  sed -n "s/^$1 //p" "$folder/script" >"$folder/directives"
  [[ -s $folder/directives ]] || refuse "no directives in the script"
  echo "$2" >"$folder/after"
  echo "$3" >"$folder/arguments"
  echo "${*:4}" >"$folder/options"
  echo "${LLAVA_RLHF_PHASE:-}" >"$folder/phase"
  declare -px | grep ' LLAVA_RLHF_' >"$folder/environment"
  echo waiting >"$folder/state"
  job=$number
}

remove() {
  [[ $(<"$STAND_IN/jobs/$1/state") == waiting ]] || refuse "job $1 is not waiting"
  echo removed >"$STAND_IN/jobs/$1/state"
}

# A launcher: the options of it, then the program or another command.
launch() {
  while [[ $1 == -* || $1 == ppr:* || $1 == core || $1 == none || $1 == "$STAND_IN"/* && $1 != "$LLAVA_RLHF_PROGRAM" ]]; do shift; done
  echo $$ >"$STAND_IN/process"
  exec "$@"
}

program() {
  local answer input
  input=$(basename "${*: -1}" .nml)
  answer=$(head -n 1 "$STAND_IN/answers/$input" 2>/dev/null || echo 0)
  sed -i 1d "$STAND_IN/answers/$input" 2>/dev/null || true
  if [[ $answer == wait ]]; then trap 'rm "$STAND_IN/waits"; exit 10' USR1; fi
  echo "$STAND_IN_JOB $*" >>"$STAND_IN/ran"
  if [[ $answer == wait ]]; then
    touch "$STAND_IN/waits"
    for ((i = 0; i < 3000; i++)); do /bin/sleep 0.1; done
    answer=1
  fi
  exit "${answer:-0}"
}

case $name in
qsub)
  after='' options=()
  while [[ $1 == -* ]]; do
    if [[ $1 == -W ]]; then
      [[ $2 =~ ^depend=afterok(:[0-9]+\.head)+$ ]] || refuse "-W '$2'"
      after=$(sed 's/depend=afterok:\|\.head//g; s/:/ /g' <<<"$2")
      shift
    else
      options+=("$1")
    fi
    shift
  done
  (($# == 1)) || refuse "arguments of the script: $*"
  submit '#PBS' "$after" "$LLAVA_RLHF_ARGUMENTS" "${options[@]}" <"$1"
  echo "$job.head"
  ;;
qdel) remove "${1%.head}" ;;
qstat)
  [[ $1 == -f ]] || refuse "$1"
  printf 'Job Id: %s\n    Resource_List.select = 4\n' "$2"
  sed -n 's/^-l walltime=/    Resource_List.walltime = /p' "$STAND_IN/jobs/${2%.head}/directives"
  ;;
bsub)
  after='' options=()
  while (($#)); do
    case $1 in
    -w)
      [[ $2 =~ ^done\([0-9]+\)(\ &&\ done\([0-9]+\))*$ ]] || refuse "-w '$2'"
      after=$(tr -dc '0-9 ' <<<"$2")
      shift 2
      ;;
    *)
      options+=("$1")
      shift
      ;;
    esac
  done
  submit '#BSUB' "$after" "$LLAVA_RLHF_ARGUMENTS" "${options[@]}"
  echo "Job <$job> is submitted to queue <normal>."
  ;;
flux)
  if [[ $1 == --parent ]]; then shift; fi
  case "$1 ${2:-}" in
  batch*)
    shift
    after='' options=()
    while [[ $1 == --* ]]; do
      if [[ $1 == --dependency=* ]]; then
        [[ $1 =~ ^--dependency=afterok:f[0-9]+$ ]] || refuse "$1"
        after+="${1#*:f} "
      else
        options+=("$1")
      fi
      shift
    done
    submit '# flux:' "$after" "${*:2}" "${options[@]}" <"$1"
    echo "f$job"
    ;;
  cancel*) remove "${2#f}" ;;
  'getattr jobid') echo "f$STAND_IN_JOB" ;;
  'getattr size') echo 4 ;;
  'job timeleft') echo 43200 ;;
  'job last') echo last ;;
  'job kill') [[ $3 == --signal=SIGUSR1 && $4 == last ]] && kill -USR1 "$(<"$STAND_IN/process")" ;;
  run*) launch "${@:2}" ;;
  *) refuse "$*" ;;
  esac
  ;;
sleep)
  while [[ -d $STAND_IN && ! -e $STAND_IN/waits ]]; do /bin/sleep 0.1; done
  echo "$1" >"$STAND_IN/slept"
  ;;
mpirun)
  echo "${OMPI_MCA_oob_tcp_keepalive_time:-}" >"$STAND_IN/looks_after"
  launch "$@"
  ;;
llava_rlhf) program "$@" ;;
*) refuse "nothing stands in for it" ;;
esac
