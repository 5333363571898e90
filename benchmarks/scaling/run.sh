#!/usr/bin/env bash
# Weak and strong scaling of SFT, reward model, generation and PPO over a list of layouts, with what is sent beside theory.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../jobs/local/environment.sh
# shellcheck disable=SC2154  # mpirun_options: set by the function of that name
source "$root/jobs/local/environment.sh"

usage() {
  cat <<'END'
usage: benchmarks/scaling/run.sh [options] [FOLDER]
  Makes a world with models of random weights in FOLDER (scaling), unless it is there, and runs each task on each layout: with
  the same batch on all (strong), and with the same batch for each dp group (weak). Prints a table, a line for each figure
  (figure NAME VALUE UNIT) and, if all runs succeeded and sent what theory says, the line 'success scaling'; writes
  FOLDER/scaling.json and FOLDER/scaling.svg.

  --layouts "DPxTP ..."  data-parallel groups, and ranks that share a model ("1x1 2x1 1x2")
  --tasks "NAME ..."     sft rm generate ppo (all)
  --modes "NAME ..."     strong weak (both)
  --size tiny|small      of the model (tiny): 64 x 2 layers, or 256 x 6, which is bound by computing
  --batch N              samples of a step: of all groups (strong), of each (weak) (16)
  --steps N              of each run (4); the first is not counted
  --threads N            of a rank (1)
  --predict              lets the cost model of --dry-run, fitted to the first layout of each task and mode alone (the share of the
                         products' peak that is reached), predict the others, and tells its error (not of generate)
  --set GROUP.NAME=VALUE one more setting for all runs that are timed
  --launch "COMMAND"     in place of mpirun, with the number of ranks behind it, as in "srun --mpi=pmix -n"
  --program FILE         the program (build/release/llava_rlhf in the source tree)
  --help                 this text
exit status: 0 success, 1 what was sent is not what theory says, 2 wrong usage, else that of the run that failed
END
}

program=$root/build/release/llava_rlhf layouts='1x1 2x1 1x2' tasks='sft rm generate ppo' modes='strong weak' size=tiny
batch=16 steps=4 threads=1 launch='' folder='' predict=''
settings=()

fail() {
  echo "run.sh: $1" >&2
  exit 2
}

read_options() {
  while (($#)); do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --layouts | --tasks | --modes | --size | --batch | --steps | --threads | --set | --launch | --program)
      (($# > 1)) || fail "$1 needs a value (see --help)"
      case $1 in
      --layouts) layouts=$2 ;;
      --tasks) tasks=$2 ;;
      --modes) modes=$2 ;;
      --size) size=$2 ;;
      --batch) batch=$2 ;;
      --steps) steps=$2 ;;
      --threads) threads=$2 ;;
      --set) settings+=(--set "$2") ;;
      --launch) launch=$2 ;;
      --program) program=$(realpath "$2") ;;
      esac
      shift
      ;;
    --predict) predict=--predict ;;
    -*) fail "unknown option '$1' (see --help)" ;;
    *) folder=$1 ;;
    esac
    shift
  done
  [[ -x $program ]] || fail "$program cannot be executed; build it, or name it with --program"
  [[ $size == tiny || $size == small ]] || fail "--size $size: tiny or small"
  ((steps > 1)) || fail "--steps $steps: at least 2, since the first is not counted"
  local layout
  for layout in $layouts; do
    [[ $layout =~ ^[1-9][0-9]*x[1-9][0-9]*$ ]] || fail "layout '$layout' is not DPxTP"
  done
}

# RANKS ranks of the program with ARGUMENTS; what it says goes to LOG.
start() { # RANKS LOG ARGUMENTS...
  local ranks=$1 log=$2 status=0
  shift 2
  if [[ $launch ]]; then
    # shellcheck disable=SC2086 # several words
    $launch "$ranks" "$program" "$@" >"$log" 2>&1 || status=$?
  else
    mpirun_options "$ranks"
    mpirun --bind-to none "${mpirun_options[@]}" "$program" "$@" >"$log" 2>&1 || status=$?
  fi
  if ((status)); then
    tail -n 20 "$log" >&2
    exit "$status"
  fi
}

write_inputs() {
  local model='hidden = 64 layers = 2 heads = 8 mlp = 128 vision_hidden = 64 vision_layers = 1 vision_heads = 4 vision_mlp = 128'
  [[ $size == tiny ]] ||
    model='hidden = 256 layers = 6 heads = 8 mlp = 704 vision_hidden = 192 vision_layers = 2 vision_heads = 4 vision_mlp = 768'
  cat >world.nml <<'END'
&job task = 'world' run_dir = 'world' /
&world pretrain_images = 64 sft_images = 64 pair_images = 64 policy_init_images = 32 ppo_images = 64 eval_images = 2
  turns = 3 vocab = 400 /
END
  cat >base.nml <<END
&job task = 'pretrain' run_dir = 'base' /
&model from_scratch = .true. tokenizer = 'world/tokenizer.model' train = 'all' template = 'v1' $model
  vision_image_size = 48 vision_patch = 16 vision_feature_layer = -1 /
&data dataset = 'world/pretrain.h5' max_len = 128 /
&optim lr = 1e-4 batch = 8 steps = 1 /
END
  cat >sample.nml <<'END'
&job task = 'generate' run_dir = 'sample' /
&model base = 'base/model.h5' /
&generate dataset = 'world/prompts.h5' output = 'sample/pairs.json' samples = 2 temperature = 1.0 max_tokens = 24 /
END
  cat >annotate.nml <<'END'
&job task = 'annotate' run_dir = 'annotate' /
&annotate pairs = 'sample/pairs.json' scenes = 'world/scenes.jsonl' output = 'preferences.json' /
END
  cat >prepare.nml <<'END'
&job task = 'prepare' run_dir = 'prepare' /
&prepare preferences = 'preferences.json' facts = 'world/facts.json' image_folder = 'world/images' output = 'pairs.h5' /
END
  cat >sft.nml <<'END'
&job task = 'sft' /
&model base = 'base/model.h5' train = 'lora' /
&data dataset = 'world/sft.h5' max_len = 256 /
END
  cat >rm.nml <<'END'
&job task = 'rm' /
&model base = 'base/model.h5' /
&data dataset = 'pairs.h5' /
END
  cat >generate.nml <<'END'
&job task = 'generate' /
&model base = 'base/model.h5' /
&generate dataset = 'world/prompts.h5' temperature = 1.0 max_tokens = 48 /
END
  cat >ppo.nml <<'END'
&job task = 'ppo' /
&model base = 'base/model.h5' adapter = 'policy/model.h5' /
&data dataset = 'world/rl.h5' query_len = 128 /
&reward model = 'reward/model.h5' allow_mismatch = .true. /
&rollout response_len = 48 /
&ppo inner_epochs = 2 /
&log rollouts = 0 /
END
}

adapter=(--set adapter.r=8 --set adapter.alpha=8)

make_world() {
  write_inputs
  [[ -e made ]] && return
  local name
  for name in world base sample annotate prepare; do start 1 "$name.log" "$name.nml"; done
  start 1 policy.log sft.nml --set job.run_dir=policy "${adapter[@]}" --set optim.steps=1 --set optim.batch=4
  start 1 reward.log rm.nml --set job.run_dir=reward "${adapter[@]}" --set optim.steps=1 --set optim.batch=4
  touch made
}

run_one() { # MODE TASK DP TP
  local dir=runs/$1/$2/$3x$4 all=$batch options=()
  [[ $1 == strong ]] || all=$((batch * $3))
  case $2 in
  sft | rm) options=("${adapter[@]}" --set optim.steps="$steps" --set optim.batch="$all") ;;
  generate) options=(--set data.limit="$all" --set generate.output="$dir/answers.json") ;;
  ppo) options=("${adapter[@]}" --set ppo.steps="$steps" --set rollout.batch="$all" --set ppo.minibatch="$((all / 2))") ;;
  *) fail "unknown task '$2' (see --help)" ;;
  esac
  rm -rf "$dir"
  mkdir -p "$dir"
  options+=(--set job.run_dir="$dir" --set parallel.tp="$4" --set parallel.threads="$threads" --set job.deterministic=.true.)
  start $(($3 * $4)) "$dir.log" "$2.nml" "${options[@]}" "${settings[@]}"
  # All of a peak of 0.1 TFLOP/s, whatever is measured beside other jobs; memory never takes longer.
  [[ -z $predict || $2 == generate ]] || start $(($3 * $4)) "$dir.dry" --dry-run "$2.nml" "${options[@]}" "${settings[@]}" \
    --set machine.peak=0.1 --set machine.reached=1 --set machine.memory=1e6
}

read_options "$@"
folder=${folder:-scaling}
mkdir -p "$folder"
cd "$folder"
make_world
for mode in $modes; do
  for task in $tasks; do
    for layout in $layouts; do run_one "$mode" "$task" "${layout%x*}" "${layout#*x}"; done
  done
done
exec python3 "$root/benchmarks/scaling/report.py" . --layouts "$layouts" --tasks "$tasks" --modes "$modes" ${predict:+"$predict"}
