#include "cli/ppo_world.h"

#include <string.h>

static const char preferences_input[] =
    "&job task = 'prepare' run_dir = 'pairs' /\n"
    "&prepare preferences = 'preferences.json' facts = 'world/facts.json'\n"
    "  image_folder = 'world/images' output = 'pairs.h5' /\n";
static const char sample_input[] =
    "&job task = 'generate' run_dir = 'sample' /\n&model base = 'model.h5' /\n"
    "&generate dataset = 'world/prompts.h5' output = 'sampled.json' samples = 2\n"
    "  temperature = 1.0 max_tokens = 12 /\n";
static const char annotate_input[] = "&job task = 'annotate' run_dir = 'annotate' /\n"
                                     "&annotate pairs = 'sampled.json' scenes = 'world/scenes.jsonl'\n"
                                     "  output = 'preferences.json' /\n";
static const char sft_input[] =
    "&job task = 'sft' run_dir = 'start' /\n&model base = 'model.h5' train = 'lora' /\n"
    "&data dataset = 'world/policy_init.h5' /\n"
    "&optim lr = 1e-2 batch = 8 steps = 4 warmup_ratio = 0 /\n";
static const char rm_input[] = "&job task = 'rm' run_dir = 'rm' /\n&model base = 'model.h5' /\n"
                               "&data dataset = 'pairs.h5' /\n"
                               "&optim lr = 1e-2 batch = 4 steps = 4 warmup_ratio = 0 /\n";
static const char ppo_input[] =
    "&job task = 'ppo' /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n"
    "&data dataset = 'world/pretrain.h5' query_len = 256 /\n&reward model = 'rm/model.h5' /\n"
    "&rollout batch = 6 response_len = 10 /\n"
    "&ppo steps = 1 minibatch = 3 inner_epochs = 1 /\n"
    "&optim lr = 1e-3 warmup_steps = 0 micro_tokens = 256 /\n";

static void run_one(const char *input) {
  cli_result_t result;
  CLI_RUN(1, &result, LORA, input);
  cli_expect(&result, 0);
}

int ppo_world_enter(void **state) {
  static const struct {
    const char *name, *text;
  } inputs[] = {{"sample.nml", sample_input},
                {"annotate.nml", annotate_input},
                {"prepare.nml", preferences_input},
                {"rm.nml", rm_input},
                {"start.nml", sft_input}};
  if (cli_enter_world(state) != 0) return -1;
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
    cli_write(inputs[i].name, inputs[i].text, strlen(inputs[i].text));
    run_one(inputs[i].name);
  }
  cli_write("ppo.nml", ppo_input, sizeof ppo_input - 1);
  return 0;
}
