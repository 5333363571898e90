#!/usr/bin/env bash
# A PPO step at published size on one GPU, with random numbers for weights: memory beside what --dry-run said, seconds by region, speed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'END'
usage: benchmarks/gpu/ppo.sh [options] PROGRAM...
  Goes through inputs/llava_7b/ppo.nml with a policy of 7B in bf16 (LoRA r = 64 on all projections) and a reward and a value model of
  13B in NF4: 64 questions of almost 128 tokens with an image of 256 places, responses of up to 896 tokens, 2 updates of all 64.
  First by --dry-run, then for good. Nothing is downloaded: models are outlines (inputs/llava_*b/shapes) that model.random fills,
  images and words those of the shapes world, the vocabulary filled up to 32000 pieces, so that of 64 responses two or so
  end before their time.
  PROGRAM is the program with what comes before it: build/release/llava_rlhf, or `FOLDER/run llava_rlhf` of an unpacked bundle.
  Prints a line for each figure: NAME VALUE UNIT. Regions are means over the steps but for 'set-up'.

  --steps N         of PPO; the last is taken for the speed (2); with --set job.max_seconds=300 there may be fewer
  --batch N         questions of a step (64)
  --response N      tokens (896)
  --inner-epochs N  passes over a step's responses (2)
  --memory GB       of the GPU, for the dry run (80)
  --layers N        of both decoders, instead of 32 and 40
  --hidden N        of both, instead of 4096 and 5120, with heads of 64 and an MLP of 2 N
  --set GROUP.NAME=VALUE
                    one more setting, for example --set parallel.device=cpu
  --work-dir DIR    where files are made, 6 GB (a new folder below /tmp, removed at the end)
  --help            this text
exit status: 0 the peak is within 5 % of what the dry run said, 1 it is not, 2 wrong usage, else that of the run that failed
END
}

fail() {
  echo "ppo.sh: $1" >&2
  exit 2
}

steps=2 batch=64 response=896 inner_epochs=2 memory=80 layers='' hidden='' folder=''
settings=() program=()

read_options() {
  while (($#)); do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --steps | --batch | --response | --inner-epochs | --memory | --layers | --hidden | --set | --work-dir)
      (($# > 1)) || fail "$1 needs a value (see --help)"
      case $1 in
      --steps) steps=$2 ;;
      --batch) batch=$2 ;;
      --response) response=$2 ;;
      --inner-epochs) inner_epochs=$2 ;;
      --memory) memory=$2 ;;
      --layers) layers=$2 ;;
      --hidden) hidden=$2 ;;
      --set) settings+=(--set "$2") ;;
      --work-dir) folder=$2 ;;
      esac
      shift
      ;;
    -*) fail "unknown option '$1' (see --help)" ;;
    *) break ;;
    esac
    shift
  done
  (($# > 0)) || fail "no program (see --help)"
  program=("$(realpath "$1")" "${@:2}")
}

# A figure.
line() { # NAME VALUE UNIT
  printf '%-36s %12s %s\n' "$1" "$2" "$3"
}

# The memory in use on the GPU, with what CUDA itself takes, once a second.
watch_gpu() {
  while nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null; do sleep 1; done >gpu.txt
}

# Seconds by region of a step, from the table of the run.
print_regions() {
  awk -v steps="$steps" '
    /^region / { inside = 1; next }
    inside && /^$/ { exit }
    inside && !/^-/ {
      for (i = 2; i <= NF && $i !~ /^([0-9]+|-)$/; i++) $1 = $1 " " $i
      if (i + 2 > NF || $(i + 2) !~ /^[0-9.]+$/ || $(i + 2) + 0 == 0) next
      once = $1 ~ /^(set-up|checkpoint|other|total)$/
      printf "%-36s %12.3f s%s\n", $1, $(i + 2) / (once ? 1 : steps), once ? " in all" : " a step"
    }' run/log.txt
}

# Tokens of region NAME a step.
tokens_of() { # NAME
  sed -n "s/.*{\"name\": \"$1\",.* \"tokens\": \([0-9.e+]*\),.*/\1/p" run/perf.json | awk -v steps="$steps" '{ print $1 / steps }'
}
seconds_of() { # NAME
  sed -n "s/.*{\"name\": \"$1\",.* \"avg\": \([0-9.e+-]*\),.*/\1/p" run/perf.json | awk -v steps="$steps" '{ print $1 / steps }'
}
metric() { # NAME
  sed -n "\$s|.*\"$1\":\([-0-9.e+]*\).*|\1|p" run/metrics.jsonl
}

print_figures() {
  local predicted found positions
  print_regions
  predicted=$(awk '/ at one time +host$/ { getline; print $(NF - 1) / 1e3; exit }' dry.txt)
  found=$(sed -n 's/.*most that rank 0 had on the device: \([0-9.]*\) MB/\1/p' run/log.txt | awk '{ print $1 / 1e3 }')
  positions=$(tokens_of reference)
  line "peak, dry run" "$predicted" GB
  line "peak, run" "$found" GB
  line "peak, run / dry run" "$(awk -v a="$found" -v b="$predicted" 'BEGIN { printf "%.4f", a / b }')" ""
  if [[ -s gpu.txt ]]; then line "peak, nvidia-smi" "$(sort -n gpu.txt | tail -n 1 | awk '{ printf "%.3f", $1 * 1.048576e-3 }')" GB; fi
  line "mean response" "$(metric rollout/response_length)" tokens
  line "responses that ended" "$(metric rollout/stopped)" "of 1"
  line "positions of a step" "$positions" ""
  line "step, the last" "$(metric step_seconds)" s
  line "positions of policy / last step" "$(awk -v n="$positions" -v s="$(metric step_seconds)" 'BEGIN { printf "%.1f", n / s }')" 1/s
  line "tokens decoded" "$(awk -v n="$(tokens_of decode)" -v s="$(seconds_of decode)" 'BEGIN { printf "%.1f", n / s }')" 1/s
  awk -v a="$found" -v b="$predicted" 'BEGIN { exit !(a <= 1.05 * b && a >= 0.95 * b) }'
}

# Runs the program; what it says is shown only if it fails.
quietly() { # ARGUMENT...
  "${program[@]}" "$@" >quiet.log 2>&1 || {
    local status=$?
    cat quiet.log >&2
    exit $status
  }
}

# As many questions as there are in two steps, each almost as long as data.query_len allows.
write_prompts() {
  awk -v count=$((batch * steps)) -v images="$batch" 'BEGIN {
    print "["
    for (i = 0; i < count; i++) {
      text = "<image>\\n"
      for (k = 0; k < 14; k++) text = text "Where is the blue cross? "
      printf "%s{\"id\": \"%d\", \"image\": \"000/%06d.jpg\", \"caption_type\": 1, \"conversations\": [" \
        "{\"from\": \"human\", \"value\": \"%s\"}, {\"from\": \"gpt\", \"value\": \"In the south.\"}]}\n",
        i ? "," : "", i, i % images, text
    }
    print "]"
  }' >prompts.json
}

# SentencePiece's file is a list that may be longer: to the world's 768 pieces at most come those of names that no text has, and a score.
lengthen_vocabulary() { # FROM TO
  cp "$1" "$2"
  LC_ALL=C awk 'BEGIN { for (i = 768; i < 32000; i++) printf "\n\017\n\010~%07d\025\301\301\301\301", i }' >>"$2"
}

# The published shapes, with a tower of 256 places.
write_shape() { # SIZE
  mkdir -p "shape_$1"
  sed "s/-336//" "$root/inputs/llava_${1}b/shapes/config.json" >"shape_$1/config.json"
  local config=shape_$1/config.json
  if [[ $layers ]]; then sed -i "s/\(num_hidden_layers\": \)[0-9]*/\1$layers/" "$config"; fi
  if [[ $hidden ]]; then
    sed -i "s/\(hidden_size\": \)[0-9]*/\1$hidden/; s/\(intermediate_size\": \)[0-9]*/\1$((2 * hidden))/
      s/\(num_[a-z_]*_heads\": \)[0-9]*/\1$((hidden / 64))/" "$config"
  fi
}

make_files() {
  cat >world.nml <<END
&job task = 'world' run_dir = 'world_run' /
&world dir = 'world' ppo_images = $batch pretrain_images = 0 sft_images = 0 pair_images = 0 policy_init_images = 0
  eval_images = 0 image_size = 48 /
END
  cat >prepare.nml <<'END'
&job task = 'prepare' run_dir = 'prepare_run' /
&prepare conversations = 'prompts.json' facts = 'world/facts.json' image_folder = 'world/images' output = 'prompts.h5' /
END
  quietly world.nml
  write_prompts
  quietly prepare.nml
  lengthen_vocabulary world/tokenizer.model tokenizer.model
  write_shape 7
  write_shape 13
  quietly "$root/inputs/llava_7b/outline.nml" --set import.weights=shape_7 --set import.tokenizer=tokenizer.model \
    --set import.output=policy.h5 --set job.run_dir=policy
  quietly "$root/inputs/llava_13b/outline_rm.nml" --set import.weights=shape_13 --set import.tokenizer=tokenizer.model \
    --set import.output=reward.h5 --set job.run_dir=reward
}

read_options "$@"
if [[ $folder ]]; then
  mkdir -p "$folder"
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
cd "$folder"
began=$SECONDS
make_files
settings=(--set job.run_dir=run --set job.restart=never --set model.base=policy.h5 --set model.adapter= --set model.random=.true.
  --set model.recompute=selective --set data.dataset=prompts.h5 --set reward.model=reward.h5 --set reward.base_format=nf4
  --set rollout.batch="$batch" --set rollout.response_len="$response" --set rollout.stop_at_question=.false.
  --set rollout.cache_fraction=0.9 --set ppo.minibatch="$batch" --set ppo.inner_epochs="$inner_epochs" --set ppo.steps="$steps"
  --set optim.micro_tokens=8192 --set checkpoint.every=0 "${settings[@]}")
"${program[@]}" --dry-run "$root/inputs/llava_7b/ppo.nml" --set parallel.gpu_memory="$memory" "${settings[@]}" >dry.txt 2>&1 || {
  cat dry.txt >&2
  exit 1
}
line "files, dry run" $((SECONDS - began)) s
began=$SECONDS watcher=''
if command -v nvidia-smi >/dev/null; then
  watch_gpu &
  watcher=$!
fi
status=0
"${program[@]}" "$root/inputs/llava_7b/ppo.nml" "${settings[@]}" >&2 || status=$?
if [[ $watcher ]]; then kill "$watcher"; fi
((status == 0 || status == 10)) || exit "$status" # 10: job.max_seconds had it stop
steps=$(wc -l <run/metrics.jsonl)
line "run" $((SECONDS - began)) s
print_figures
