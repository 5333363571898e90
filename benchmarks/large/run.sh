#!/usr/bin/env bash
# A language model with Vicuna-7B's shapes and random weights through import, score, generate and export, beside the disk's own rates.
set -euo pipefail

usage() {
  cat <<'END'
usage: benchmarks/large/run.sh [-l LAYERS] [-n RANKS] [-c] [-k] WORK_DIR
  Makes a model of LAYERS layers (32: 13.5 GB in bf16) below WORK_DIR and prints, for making it, a plain copy of it, and the
  tasks import, score, generate and export (parallel.dtype = 'bf16'): seconds, GB of the model moved a second, and the largest
  resident set of a rank. Needs room for three copies of the model; files that no later step needs are removed. -k keeps the rest.

  The copy is dd's, synced, once through the page cache and once past it (O_DIRECT). A step finds in memory what the one before
  it has left there; -c drops the page cache before each, which takes root and slows whatever else runs on the machine.
  The limits: import and export at 70 % of the plain copy, and 20 GB resident. exit status: 0 kept, 1 not kept, 2 wrong usage.
END
}

layers=32 ranks=1 drop=no keep=no failures=0
while getopts l:n:ckh option; do
  case $option in
    l) layers=$OPTARG ;;
    n) ranks=$OPTARG ;;
    c) drop=yes ;;
    k) keep=yes ;;
    h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# = 1 ] || { usage >&2 && exit 2; }

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build=${LLAVA_RLHF_BUILD:-$source_dir/build/release}
mkdir -p "$1"
cd "$1"

# The seconds that a command takes.
timed() { # COMMAND...
  local began
  sync
  [ $drop = no ] || echo 3 > /proc/sys/vm/drop_caches
  began=$(date +%s.%N)
  "$@" >&2
  awk -v began="$began" -v now="$(date +%s.%N)" 'BEGIN { printf "%.2f", now - began }'
}

line() { # WHAT SECONDS RESIDENT_MB
  awk -v what="$1" -v seconds="$2" -v resident="$3" -v bytes="$bytes" 'BEGIN {
    printf "%-34s %9.2f s %7.2f GB/s", what, seconds, bytes / seconds / 1e9
    if (resident != "") printf " %9.2f GB", resident / 1000
    printf "\n"
  }'
}

# Runs a task, whose input is standard input; prints its line.
task() { # NAME
  local seconds resident
  cat > "$1.nml"
  rm -rf "runs/$1"
  seconds=$(timed mpirun -np "$ranks" --bind-to none "$build/llava_rlhf" "$1.nml" 2> "$1.log") || { cat "$1.log" >&2 && exit 1; }
  resident=$(sed -n 's/.*largest resident set of a rank: \([0-9.]*\) MB.*/\1/p' "$1.log")
  line "$1" "$seconds" "$resident"
  within "$1, resident GB" "$(awk -v mb="$resident" 'BEGIN { print mb / 1000 }')" 20
}

within() { # WHAT FOUND MOST
  awk -v found="$2" -v most="$3" 'BEGIN { exit !(found <= most) }' && return
  echo "FAIL $1: $2, at most $3"
  failures=1
}

# What the task itself says it took, without the start of MPI, against the plain copy.
keeps_up() { # NAME
  local moved
  moved=$(sed -n 's/.* MB in \([0-9.]*\) s.*/\1/p' "$1.log" | tail -n 1)
  within "$1, seconds for moving the bytes" "$moved" "$(awk -v copied="$copied" 'BEGIN { print copied / 0.7 }')"
}

# Called by timed.
# shellcheck disable=SC2317
copy() { # cached|direct FILE...
  local flags=() file
  [ "$1" = cached ] || flags=(iflag=direct oflag=direct)
  shift
  mkdir -p copy
  for file; do
    dd if="$file" of="copy/${file##*/}" bs=16M conv=fsync status=none "${flags[@]}" || return
  done
  rm -r copy
}

# The rate that import and export are held against, measured right before each: on a machine with other work it changes by the minute.
plain_copy() { # FILE...
  copied=$(timed copy cached "$@")
  line "plain copy" "$copied" ""
}

cat > talk.json <<'END'
[{"id": "1", "conversations": [{"from": "human", "value": "What is red?"}, {"from": "gpt", "value": "A square."}]},
 {"id": "2", "conversations": [{"from": "human", "value": "Is there a green star ?"}, {"from": "gpt", "value": "No, there is not."}]}]
END

seconds=$(timed "$build/benchmarks/large/make_model" -l "$layers" model)
bytes=$(cat model/*.safetensors | wc -c)
line "random weights written" "$seconds" ""
if direct=$(timed copy direct model/*.safetensors 2>/dev/null); then line "plain copy, O_DIRECT" "$direct" ""; fi

plain_copy model/*.safetensors
task import <<END
&job task = 'import' run_dir = 'runs/import' /
&import weights = 'model' tokenizer = '$source_dir/tests/text/golden/words.model' output = 'model.h5' /
END
keeps_up import
cat > prepare.nml <<'END'
&job task = 'prepare' run_dir = 'runs/prepare' restart = 'never' /
&prepare conversations = 'talk.json' output = 'talk.h5' /
END
rm -rf runs/prepare
mpirun -np 1 "$build/llava_rlhf" prepare.nml > prepare.log
[ $keep = yes ] || rm -r model

task score <<END
&job task = 'score' run_dir = 'runs/score' /
&parallel dtype = 'bf16' /
&model base = 'model.h5' /
&data dataset = 'talk.h5' /
END

task generate <<END
&job task = 'generate' run_dir = 'runs/generate' /
&parallel dtype = 'bf16' /
&model base = 'model.h5' /
&generate prompt = 'What is red?' greedy = .true. max_tokens = 16 /
END

plain_copy model.h5
task export <<END
&job task = 'export' run_dir = 'runs/export' /
&model base = 'model.h5' /
&export output = 'exported' /
END
keeps_up export
[ $keep = yes ] || rm -r model.h5 exported
exit $failures
