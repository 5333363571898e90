#!/usr/bin/env bash
# What dry runs at published shapes need: outlines of the 7B and 13B models, and prompts. To be sourced.

# 512 questions about the pictures, each almost as long as data.query_len allows.
write_prompts() {
  awk 'BEGIN {
    print "["
    for (i = 0; i < 512; i++) {
      text = "<image>\\n"
      for (k = 0; k < 14; k++) text = text "Where is the blue cross? "
      printf "%s{\"id\": \"%d\", \"image\": \"000/%06d.jpg\", \"caption_type\": 1, \"conversations\": [" \
        "{\"from\": \"human\", \"value\": \"%s\"}, {\"from\": \"gpt\", \"value\": \"In the south.\"}]}\n",
        i ? "," : "", i, i % 64, text
    }
    print "]"
  }' >prompts.json
}

# Makes outline_7.h5, outline_rm_7.h5, the same of 13B, and prompts.h5 in the folder one is in.
make_outlines() { # ROOT PROGRAM
  local root=$1 program=$2
  cat >world.nml <<'END'
&job task = 'world' run_dir = 'world_run' /
&world dir = 'world' ppo_images = 64 pretrain_images = 0 sft_images = 0 pair_images = 0 policy_init_images = 0
  eval_images = 0 image_size = 48 /
END
  cat >prepare.nml <<'END'
&job task = 'prepare' run_dir = 'prepare_run' /
&prepare conversations = 'prompts.json' facts = 'world/facts.json' image_folder = 'world/images' output = 'prompts.h5' /
END
  "$program" world.nml >/dev/null
  write_prompts
  "$program" prepare.nml >/dev/null
  local size part
  for size in 7 13; do
    for part in outline outline_rm; do
      "$program" "$root/inputs/llava_${size}b/$part.nml" --set import.weights="$root/inputs/llava_${size}b/shapes" \
        --set import.tokenizer=world/tokenizer.model --set import.output="${part}_$size.h5" \
        --set job.run_dir="${part}_$size" >/dev/null
    done
  done
}
