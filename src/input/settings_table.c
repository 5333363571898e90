#include "input/settings_table.h"

#include <math.h>
#include <string.h>

/* Names the setting and takes type, place and size from its field, so that table and struct cannot disagree.
 */
#define FIELD(group_, name_)                                                                                 \
  .group = #group_, .name = #name_, .offset = offsetof(settings_t, group_.name_),                                      \
  .bytes = sizeof(((settings_t *)0)->group_.name_),                                                                    \
  .type = _Generic(((settings_t *)0)->group_.name_,                                                                    \
      int64_t: SETTING_INT,                                                                                            \
      double: SETTING_REAL,                                                                                            \
      bool: SETTING_BOOL,                                                                                              \
      char *: SETTING_TEXT,                                                                                            \
      double *: SETTING_REALS,                                                                                         \
      text_list_t: SETTING_TEXTS)

#define AT_LEAST(x) .limited = true, .min = (x), .max = INFINITY
#define ABOVE(x) .limited = true, .min = (x), .min_open = true, .max = INFINITY
#define BETWEEN(a, b) .limited = true, .min = (a), .max = (b)
#define COUNT_FROM(a) .limited = true, .min = (a), .max = INT32_MAX
#define ANY_NUMBER .limited = true, .min = -INFINITY, .max = INFINITY

/* Sets of tasks. */
enum {
  WORLD = 1 << TASK_WORLD,
  PREPARE = 1 << TASK_PREPARE,
  IMPORT = 1 << TASK_IMPORT,
  EXPORT = 1 << TASK_EXPORT,
  PRETRAIN = 1 << TASK_PRETRAIN,
  SFT = 1 << TASK_SFT,
  RM = 1 << TASK_RM,
  PPO = 1 << TASK_PPO,
  GENERATE = 1 << TASK_GENERATE,
  ANNOTATE = 1 << TASK_ANNOTATE,
  SCORE = 1 << TASK_SCORE,
  EVALUATE = 1 << TASK_EVALUATE,
  BENCH = 1 << TASK_BENCH,
  ALL = (1 << TASK_COUNT) - 1,
  SUPERVISED = PRETRAIN | SFT | RM, /* training from fixed answers */
  TRAINING = SUPERVISED | PPO,
  SAMPLING = PPO | GENERATE | EVALUATE,
  RUNNING = TRAINING | GENERATE | SCORE | EVALUATE, /* whatever runs a model on data */
  CREATING = RUNNING | BENCH,
};

static const setting_group_t groups[] = {
    {"job", "What to do, where its files go, and when to stop."},
    {"parallel", "How the ranks share the work."},
    {"model", "The model to start from, or the sizes of a new one."},
    {"adapter", "LoRA adapters."},
    {"data", "The dataset to train on or to read, and how it is loaded."},
    {"image", "How images become the vision tower's input."},
    {"prepare", "Task prepare: from JSON and image files to one HDF5 dataset."},
    {"import", "Task import: from outside weights files to a model file."},
    {"export", "Task export: from a model file to outside weights files."},
    {"sft", "Task sft has no settings of its own beside model, data and optim."},
    {"rm", "Task rm: the reward model."},
    {"reward", "What a response earns in task ppo."},
    {"rollout", "Sampling of responses in task ppo, and the cache of all generation."},
    {"ppo", "Task ppo: the policy update."},
    {"optim", "The optimiser and the learning rate (AdamW)."},
    {"eval", "Task evaluate, and the periodic evaluation of training tasks."},
    {"checkpoint", "Checkpoints."},
    {"log", "What is reported while running."},
    {"generate", "Task generate: answers to questions; lengths and sampling also hold in task evaluate."},
    {"annotate", "Task annotate: the shapes world's annotator."},
    {"world", "Task world: the shapes world."},
    {"bench", "Task bench: speed of training and decoding on this machine."},
};

static const setting_t rows[] = {
    {FIELD(job, task), .required = ALL, .used = ALL,
     .choices = "world|prepare|import|export|pretrain|sft|rm|ppo|generate|annotate|score|evaluate|bench",
     .doc = "What the run does."},
    {FIELD(job, run_dir), .required = ALL, .used = ALL,
     .doc = "Folder of everything the run writes; made where missing."},
    {FIELD(job, seed), .standard = "1", .used = ALL, AT_LEAST(0),
     .doc = "Seed of all random numbers of the run."},
    {FIELD(job, restart), .standard = "'auto'", .used = ALL,
     .doc = "'auto' continues from the newest complete checkpoint if there is one, 'never' refuses a folder "
            "that is in use; "
            "otherwise the path of a checkpoint to begin at; the run's own, once it has any, come first."},
    {FIELD(job, max_seconds), .standard = "0", .used = ALL, AT_LEAST(0), .unit = "s",
     .doc = "Time after which the run writes a checkpoint and stops with exit status 10; 0 for no limit. "
            "Less than one step needs is an error."},
    {FIELD(job, deterministic), .standard = ".false.", .used = ALL,
     .doc = "Makes a run on one layout repeatable to the bit, at some cost in speed."},

    {FIELD(parallel, tp), .standard = "1", .used = ALL, BETWEEN(1, 4096), .unit = "ranks",
     .doc = "Ranks that share one copy of the model; it divides the number of ranks, heads and MLP size."},
    {FIELD(parallel, threads), .standard = "0", .used = ALL, BETWEEN(0, 4096),
     .doc = "Compute threads of a rank; 0 shares the node's cores among its ranks."},
    {FIELD(parallel, device), .standard = "'auto'", .used = ALL, .choices = "auto|cpu|cuda|plain",
     .doc = "Where the model runs: 'auto' takes a GPU if there is one; 'plain' is the slow reference for "
            "tests."},
    {FIELD(parallel, dtype), .standard = "'auto'", .used = ALL, .choices = "auto|f32|bf16|f64",
     .doc =
         "Number type of frozen weights and of compute; 'auto' is f32 on CPUs and bf16 on GPUs; f64 is for "
         "device 'plain' alone."},
    {FIELD(parallel, check), .standard = ".false.", .used = ALL,
     .doc =
         "Protects the memory of device 'plain' outside its own operations, so that a wrong access ends the "
         "run (for tests)."},
    {FIELD(parallel, timeout), .standard = "600", .used = ALL, AT_LEAST(0), .unit = "s",
     .doc = "Ends the run where a rank waits and no rank has shown a sign of life for so long; 0 waits for "
            "ever."},

    {FIELD(model, base), .standard = "''", .used = RUNNING | EXPORT,
     .doc = "Model file to start from (the model.h5 of an earlier run)."},
    {FIELD(model, adapter), .standard = "''", .used = RUNNING | EXPORT,
     .doc = "File whose policy or default adapter is put on the base; a model.h5 of LoRA training as base "
            "brings its own."},
    {FIELD(model, template), .standard = "'v1'",
     .by_task = {[TASK_PRETRAIN] = "'plain'", [TASK_EVALUATE] = "'llava_v1'"}, .used = RUNNING,
     .choices = "v1|llava_v1|plain",
     .doc = "Words around turns: 'v1' of training, 'llava_v1' of the published evaluation, 'plain' for "
            "captions alone. A human turn is stripped only where `<image>` stood in it."},
    {FIELD(model, train), .standard = "'lora'",
     .by_task = {[TASK_PRETRAIN] = "'projector'", [TASK_SFT] = "'decoder'"}, .used = TRAINING,
     .choices = "lora|projector|decoder|all",
     .doc = "What is trained: adapters, the projector, the decoder with the projector, or the vision tower "
            "too."},
    {FIELD(model, recompute), .standard = ".false.", .used = TRAINING | BENCH,
     .doc = "Keeps only the layers' inputs and computes the rest again in the backward pass: less memory, a "
            "third more work."},
    {FIELD(model, from_scratch), .standard = ".false.", .used = RUNNING,
     .doc = "Starts from a new model of the sizes below with random weights instead of model.base."},
    {FIELD(model, tied), .standard = ".false.", .used = RUNNING,
     .doc = "Uses the embedding as the output head."},
    {FIELD(model, tokenizer), .standard = "''", .used = RUNNING,
     .doc = "SentencePiece file (tokenizer.model) of a new model."},
    {FIELD(model, hidden), .standard = "4096", .used = RUNNING, COUNT_FROM(1),
     .doc = "Decoder: hidden size."},
    {FIELD(model, layers), .standard = "32", .used = RUNNING, COUNT_FROM(1), .doc = "Decoder: layers."},
    {FIELD(model, heads), .standard = "32", .used = RUNNING, COUNT_FROM(1),
     .doc = "Decoder: attention heads."},
    {FIELD(model, kv_heads), .standard = "0", .used = RUNNING, COUNT_FROM(0),
     .doc = "Decoder: key-value heads, a divisor of heads; 0 for as many as heads."},
    {FIELD(model, head_size), .standard = "0", .used = RUNNING, COUNT_FROM(0),
     .doc = "Decoder: numbers of one head, even; 0 for hidden / heads."},
    {FIELD(model, mlp), .standard = "11008", .used = RUNNING, COUNT_FROM(1),
     .doc = "Decoder: inner size of the MLP."},
    {FIELD(model, vocab), .standard = "0", .used = RUNNING, COUNT_FROM(0),
     .doc = "Rows of the embedding; 0 for the tokenizer's pieces."},
    {FIELD(model, rope_base), .standard = "10000", .used = RUNNING, ABOVE(1),
     .doc = "Base of the rotary embedding."},
    {FIELD(model, norm_eps), .standard = "1e-5", .used = RUNNING, ABOVE(0),
     .doc = "Epsilon of the decoder's norms."},
    {FIELD(model, vision_hidden), .standard = "1024", .used = RUNNING, COUNT_FROM(1),
     .doc = "Vision tower: hidden size."},
    {FIELD(model, vision_layers), .standard = "24", .used = RUNNING, COUNT_FROM(1),
     .doc = "Vision tower: layers."},
    {FIELD(model, vision_heads), .standard = "16", .used = RUNNING, COUNT_FROM(1),
     .doc = "Vision tower: attention heads."},
    {FIELD(model, vision_mlp), .standard = "4096", .used = RUNNING, COUNT_FROM(1),
     .doc = "Vision tower: inner size of the MLP."},
    {FIELD(model, vision_patch), .standard = "14", .used = RUNNING, COUNT_FROM(1), .unit = "pixels",
     .doc = "Vision tower: side of a patch."},
    {FIELD(model, vision_image_size), .standard = "224", .used = RUNNING, COUNT_FROM(1), .unit = "pixels",
     .doc = "Vision tower: side of its input, a multiple of the patch."},
    {FIELD(model, vision_feature_layer), .standard = "-2", .used = RUNNING, BETWEEN(-1000, 1000),
     .doc = "Hidden states that become features: 0 entering the first layer, 1 after it, and so on; or from "
            "the end: "
            "-1 after the last layer, -2 entering it."},
    {FIELD(model, vision_norm_eps), .standard = "1e-5", .used = RUNNING, ABOVE(0),
     .doc = "Epsilon of the tower's norms."},
    {FIELD(model, projector), .standard = "'linear'", .used = RUNNING, .choices = "linear|mlp2x_gelu",
     .doc = "From features to the decoder's hidden size: one layer, or two with GELU between."},

    {FIELD(adapter, r), .standard = "64", .used = TRAINING, COUNT_FROM(1), .doc = "Rank of the adapters."},
    {FIELD(adapter, alpha), .standard = "16", .used = TRAINING, ABOVE(0),
     .doc = "Adapters are scaled by alpha / r."},
    {FIELD(adapter, targets),
     .standard = "'q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'",
     .used = TRAINING, .choices = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj",
     .doc = "Projections of each layer that get an adapter."},

    {FIELD(data, dataset), .standard = "''", .used = TRAINING | SCORE, .required = TRAINING | SCORE,
     .doc = "HDF5 dataset made by task prepare."},
    {FIELD(data, max_len), .standard = "2048", .by_task = {[TASK_SFT] = "1280"}, .used = RUNNING & ~PPO,
     COUNT_FROM(1), .unit = "tokens",
     .doc = "Longest sequence, an image counting as one token; longer training sequences are cut, where a "
            "judging prompt follows in front of it."},
    {FIELD(data, query_len), .standard = "128", .used = PPO, COUNT_FROM(1), .unit = "tokens",
     .doc = "Longest query, an image counting as one token; longer ones are dropped and counted."},
    {FIELD(data, bad_sample), .standard = "'stop'", .used = RUNNING | PREPARE, .choices = "stop|skip",
     .doc = "What a broken image or sample does: end the run, or be left out (ppo: replaced) and counted."},
    {FIELD(data, limit), .standard = "0", .used = RUNNING & ~EVALUATE, COUNT_FROM(0), .unit = "samples",
     .doc = "Uses only the first samples of the dataset; 0 for all."},
    {FIELD(data, workers), .standard = "1", .used = RUNNING, BETWEEN(1, 256), .unit = "threads",
     .doc = "Threads of a rank that decode images ahead of need."},
    {FIELD(data, prefetch), .standard = "256", .used = RUNNING, BETWEEN(1, 1048576), .unit = "MiB",
     .doc = "Memory of a rank for images that are decoded ahead of need."},

    {FIELD(image, aspect), .standard = "'pad'", .by_task = {[TASK_PRETRAIN] = "'square'"}, .used = RUNNING,
     .choices = "pad|square",
     .doc = "'pad' fills the shorter side with the mean colour, 'square' crops the longer one."},

    {FIELD(prepare, conversations), .standard = "''", .used = PREPARE, .doc = "JSON file of conversations."},
    {FIELD(prepare, preferences), .standard = "''", .used = PREPARE, .doc = "JSON file of answer pairs."},
    {FIELD(prepare, facts), .standard = "''", .used = PREPARE, .doc = "JSON file of facts by image name."},
    {FIELD(prepare, image_folder), .standard = "''", .used = PREPARE,
     .doc = "Folder that the samples' image paths start from."},
    {FIELD(prepare, output), .standard = "''", .used = PREPARE, .required = PREPARE,
     .doc = "HDF5 dataset to write."},
    {FIELD(prepare, held_out), .standard = "0", .used = PREPARE, COUNT_FROM(0), .unit = "samples",
     .doc = "Samples, drawn by job.seed, that are kept from training for evaluation."},
    {FIELD(prepare, held_out_by), .standard = "'image'", .used = PREPARE, .choices = "image|sample",
     .doc = "'image': whole images, so a few samples more; 'sample': an image may be on both sides."},
    {FIELD(prepare, held_out_output), .standard = "''", .used = PREPARE,
     .doc = "HDF5 dataset for the samples held out; without, they stay in prepare.output, marked."},
    {FIELD(prepare, workers), .standard = "1", .used = PREPARE | WORLD, BETWEEN(1, 256), .unit = "threads",
     .doc = "Threads of a rank that read and check image files."},

    {FIELD(import, weights), .standard = "''", .used = IMPORT, .required = IMPORT,
     .doc = "Folder with config.json and safetensors or .bin shards."},
    {FIELD(import, vision_tower), .standard = "''", .used = IMPORT,
     .doc = "Folder of the CLIP tower where the weights hold none."},
    {FIELD(import, projector), .standard = "''", .used = IMPORT,
     .doc = "File of the projector where the weights hold none."},
    {FIELD(import, tokenizer), .standard = "''", .used = IMPORT,
     .doc = "tokenizer.model where it does not lie in the weights' folder."},
    {FIELD(import, adapter), .standard = "''", .used = IMPORT,
     .doc = "Folder of a PEFT adapter to bring along."},
    {FIELD(import, head), .standard = "''", .used = IMPORT,
     .doc = "File of a reward or value head to bring along."},
    {FIELD(import, output), .standard = "''", .used = IMPORT,
     .doc = "Model file to write; empty for model.h5 in the run directory."},

    {FIELD(export, output), .standard = "''", .used = EXPORT, .required = EXPORT, .doc = "Folder to write."},
    {FIELD(export, merge), .standard = ".false.", .used = EXPORT,
     .doc = "Adds the adapter into the weights instead of writing it apart."},
    {FIELD(export, shard_size), .standard = "5000", .used = EXPORT, COUNT_FROM(1), .unit = "MB",
     .doc = "Largest safetensors shard."},
    {FIELD(export, dtype), .standard = "'bf16'", .used = EXPORT, .choices = "f32|f16|bf16",
     .doc = "Number type of the weights written."},

    {FIELD(rm, center_group), .standard = "4", .used = RM, COUNT_FROM(1), .unit = "pairs",
     .doc = "Pairs whose mean score is drawn to zero together; it divides optim.batch."},
    {FIELD(rm, center_coef), .standard = "1e-3", .used = RM, AT_LEAST(0),
     .doc = "Weight of the term that draws mean scores to zero."},
    {FIELD(rm, facts), .standard = ".true.", .used = RM | SCORE,
     .doc = "Shows the facts about the image to the reward model."},
    {FIELD(rm, prompt_file), .standard = "''", .used = RM | SCORE,
     .doc = "Text of the judging prompt, with a slot {factual_prompt} for facts; the built-in one if empty."},

    {FIELD(reward, model), .standard = "''", .used = PPO, .required = PPO,
     .doc = "model.h5 of a run of task rm."},
    {FIELD(reward, facts), .standard = ".true.", .used = PPO,
     .doc = "Shows the facts about the image to the reward model (Fact-RLHF)."},
    {FIELD(reward, prompt_file), .standard = "''", .used = PPO,
     .doc = "Text of the judging prompt, as the reward model was trained with; empty for the built-in one."},
    {FIELD(reward, allow_mismatch), .standard = ".false.", .used = PPO | SCORE,
     .doc = "Goes on where facts or judging prompt are not those that the reward model was trained with."},
    {FIELD(reward, correct_bonus), .standard = "2", .used = PPO, ANY_NUMBER,
     .doc = "Added where the true answer is known and given."},
    {FIELD(reward, length_bonus), .standard = "-10", .used = PPO, ANY_NUMBER,
     .doc = "Times length / rollout.response_len, added; negative for a penalty."},
    {FIELD(reward, no_stop_penalty), .standard = "-8", .used = PPO, ANY_NUMBER,
     .doc = "For a response that does not end by itself."},
    {FIELD(reward, relative_penalty), .standard = ".true.", .used = PPO,
     .doc = "Adds that penalty to the reward instead of replacing it."},
    {FIELD(reward, bias), .standard = "0", .used = PPO, ANY_NUMBER, .doc = "Added to every reward."},

    {FIELD(rollout, batch), .standard = "512", .used = PPO, COUNT_FROM(1), .unit = "prompts",
     .doc = "Prompts answered in one step, over all ranks."},
    {FIELD(rollout, response_len), .standard = "896", .used = PPO, COUNT_FROM(1), .unit = "tokens",
     .doc = "Longest response."},
    {FIELD(rollout, temperature), .standard = "1.0", .used = PPO, ABOVE(0), .doc = "Sampling temperature."},
    {FIELD(rollout, top_p), .standard = "1.0", .used = PPO, .limited = true, .min_open = true, .min = 0,
     .max = 1, .doc = "Samples among the likeliest tokens that hold this share; 1 for all."},
    {FIELD(rollout, top_k), .standard = "0", .used = PPO, COUNT_FROM(0),
     .doc = "Samples among this many likeliest tokens; 0 for all."},
    {FIELD(rollout, stop_at_question), .standard = ".true.", .used = PPO,
     .doc = "Cuts a response after a question mark (it asks itself)."},
    {FIELD(rollout, slots), .standard = "0", .used = SAMPLING, COUNT_FROM(0),
     .doc = "Responses that a dp group generates at a time; 0 for all of its share, at most 64."},
    {FIELD(rollout, page), .standard = "16", .used = SAMPLING, BETWEEN(1, 65536), .unit = "tokens",
     .doc = "Page of the key-value cache."},

    {FIELD(ppo, epochs), .standard = "4", .used = PPO, COUNT_FROM(1), .doc = "Passes over the prompts."},
    {FIELD(ppo, steps), .standard = "0", .used = PPO, COUNT_FROM(0),
     .doc = "Steps; 0 for as many as the epochs need."},
    {FIELD(ppo, inner_epochs), .standard = "2", .used = PPO, COUNT_FROM(1),
     .doc = "Passes over the responses of a step."},
    {FIELD(ppo, minibatch), .standard = "256", .used = PPO, COUNT_FROM(1), .unit = "responses",
     .doc = "Responses of one update, over all ranks; it divides rollout.batch."},
    {FIELD(ppo, kl_coef), .standard = "0.1", .used = PPO, AT_LEAST(0),
     .doc = "Weight of the distance from the reference policy."},
    {FIELD(ppo, kl_estimator), .standard = "'k1'", .used = PPO, .choices = "k1|k3",
     .doc = "Distance per token: 'k1' max(d, 0), 'k3' exp(-d) - 1 + d, of d = logprob - reference logprob."},
    {FIELD(ppo, gamma), .standard = "1", .used = PPO, BETWEEN(0, 1), .doc = "Discount of later rewards."},
    {FIELD(ppo, lam), .standard = "1", .used = PPO, BETWEEN(0, 1),
     .doc = "Lambda of the generalised advantage estimate."},
    {FIELD(ppo, clip), .standard = "0.2", .used = PPO, ABOVE(0),
     .doc = "The ratio of policies is clipped to 1 - clip .. 1 + clip."},
    {FIELD(ppo, clip_value), .standard = "0.2", .used = PPO, ABOVE(0),
     .doc = "Largest step of a value that still earns."},
    {FIELD(ppo, vf_coef), .standard = "0.1", .used = PPO, AT_LEAST(0), .doc = "Weight of the value loss."},
    {FIELD(ppo, whiten_rewards), .standard = ".false.", .used = PPO,
     .doc = "Whitens shaped rewards (without shifting the mean) instead of scaling them."},
    {FIELD(ppo, reward_scale), .standard = "10", .used = PPO, ABOVE(0),
     .doc = "Factor on shaped rewards where they are not whitened."},
    {FIELD(ppo, loss_norm), .standard = "'token'", .used = PPO, .choices = "token|sequence|fixed",
     .doc = "Losses are means over tokens, over sequences' means, or sums over a fixed count (batch x "
            "response_len)."},
    {FIELD(ppo, old_logprob), .standard = "'recompute'", .used = PPO, .choices = "recompute|sampled",
     .doc = "Old log-probabilities come from the training forward, or from the sampler (which saves that "
            "forward)."},
    {FIELD(ppo, max_kl), .standard = "0", .used = PPO, AT_LEAST(0),
     .doc =
         "The run stops as diverged where the mean kl of a response exceeds it, and the next start goes on "
         "from the checkpoint before; 0 for no limit."},

    {FIELD(optim, lr), .standard = "2e-5", .by_task = {[TASK_PRETRAIN] = "2e-3", [TASK_PPO] = "3e-5"},
     .used = TRAINING, AT_LEAST(0), .doc = "Highest learning rate."},
    {FIELD(optim, schedule), .standard = "'cosine'", .by_task = {[TASK_RM] = "'constant'"}, .used = TRAINING,
     .choices = "constant|linear|cosine",
     .doc = "Learning rate after the warm-up: constant, or falling so that a step after the last would have "
            "zero."},
    {FIELD(optim, warmup_steps), .standard = "0", .by_task = {[TASK_PPO] = "5"}, .used = TRAINING,
     COUNT_FROM(0), .unit = "steps",
     .doc = "Steps in which the learning rate rises; 0 to go by warmup_ratio."},
    {FIELD(optim, warmup_ratio), .standard = "0.03", .by_task = {[TASK_PPO] = "0"}, .used = TRAINING,
     BETWEEN(0, 1), .doc = "Share of all steps in which the learning rate rises, where warmup_steps is 0."},
    {FIELD(optim, warmup_from_zero), .standard = ".false.", .used = TRAINING,
     .doc = "Gives the very first step a learning rate of zero, as the published code does."},
    {FIELD(optim, weight_decay), .standard = "0", .used = TRAINING, AT_LEAST(0),
     .doc = "AdamW's weight decay."},
    {FIELD(optim, betas), .standard = "0.9, 0.999", .used = TRAINING, .limited = true, .min = 0, .max = 1,
     .max_open = true, .doc = "AdamW's two decay rates."},
    {FIELD(optim, eps), .standard = "1e-8", .used = TRAINING, ABOVE(0), .doc = "AdamW's epsilon."},
    {FIELD(optim, grad_clip), .standard = "0", .by_task = {[TASK_RM] = "0.3", [TASK_PPO] = "1.0"},
     .used = TRAINING, AT_LEAST(0),
     .doc = "Gradients are scaled down to this global norm; 0 for no clipping."},
    {FIELD(optim, batch), .standard = "128", .by_task = {[TASK_RM] = "32"}, .used = SUPERVISED, COUNT_FROM(1),
     .unit = "samples", .doc = "Samples (pairs in task rm) of one update, over all ranks."},
    {FIELD(optim, micro_tokens), .standard = "8192", .used = RUNNING, COUNT_FROM(1), .unit = "tokens",
     .doc = "Tokens, image slots included, that one forward pass of a dp group takes at most; a longer "
            "sequence goes alone."},
    {FIELD(optim, epochs), .standard = "1", .by_task = {[TASK_SFT] = "3"}, .used = SUPERVISED, COUNT_FROM(1),
     .doc = "Passes over the dataset."},
    {FIELD(optim, steps), .standard = "0", .used = SUPERVISED, COUNT_FROM(0),
     .doc = "Updates; 0 for as many as the epochs need."},

    {FIELD(eval, dataset), .standard = "''", .used = TRAINING | EVALUATE, .required = EVALUATE,
     .doc =
         "HDF5 dataset of the evaluation; where training evaluates (eval.every), empty for the samples held "
         "out in data.dataset."},
    {FIELD(eval, every), .standard = "0", .used = TRAINING, COUNT_FROM(0), .unit = "steps",
     .doc = "Steps between two evaluations; 0 for none."},
    {FIELD(eval, keep_best), .standard = ".false.", .used = TRAINING,
     .doc =
         "The best evaluation's state, not the last, becomes the result. Best is: the smallest loss; in task "
         "rm the most pairs put in the right order; in task ppo the judge's mean rating, without a judge "
         "the mean reward."},
    {FIELD(eval, patience), .standard = "0", .used = TRAINING, COUNT_FROM(0), .unit = "evaluations",
     .doc = "Training stops after this many evaluations without a better one, and goes on only where this is "
            "raised; 0 for never."},
    {FIELD(eval, judge), .standard = "'none'", .used = EVALUATE | PPO, .choices = "none|shapes",
     .doc = "Who rates the answers: nobody (they are written for a judge elsewhere), or the shapes world's "
            "judge."},
    {FIELD(eval, scenes), .standard = "''", .used = EVALUATE | PPO,
     .doc = "The shapes world's scenes.jsonl, for its judge."},
    {FIELD(eval, models), .standard = "''", .used = EVALUATE,
     .doc =
         "Model files to compare, one column of the table each; empty for the model of group &model alone."},
    {FIELD(eval, pope), .standard = "''", .used = EVALUATE,
     .doc = "POPE questions: JSON lines of question_id, image, text, label (yes or no)."},
    {FIELD(eval, pope_suffix), .standard = "''", .used = EVALUATE,
     .doc = "Text behind each POPE question; published: '\\nAnswer the question using a single word or "
            "phrase.', backslash and n as they stand."},
    {FIELD(eval, image_folder), .standard = "''", .used = EVALUATE,
     .doc = "Folder that the image paths of eval.pope start from; empty for the folder images beside it."},
    {FIELD(eval, replies), .standard = "''", .used = EVALUATE,
     .doc = "Replies of a judge of MMHal-Bench to average: a JSON list of chat completions."},
    {FIELD(eval, limit), .standard = "0", .used = TRAINING | EVALUATE, COUNT_FROM(0), .unit = "samples",
     .doc = "Uses only the first samples; 0 for all."},

    {FIELD(checkpoint, every), .standard = "100", .by_task = {[TASK_PPO] = "10"}, .used = TRAINING,
     COUNT_FROM(0), .unit = "steps", .doc = "Steps between two checkpoints; 0 for none before the end."},
    {FIELD(checkpoint, keep), .standard = "2", .used = TRAINING, COUNT_FROM(0),
     .doc =
         "Newest checkpoints to keep, beside the best and, until a step has been made from the newest, one "
         "more; 0 for all."},

    {FIELD(log, every), .standard = "1", .used = TRAINING, COUNT_FROM(1), .unit = "steps",
     .doc = "Steps between two lines of metrics in the log; metrics.jsonl and TensorBoard have all steps."},
    {FIELD(log, rollouts), .standard = "1", .used = PPO, COUNT_FROM(0), .unit = "steps",
     .doc = "Steps between two rollout files (everything that made the step); 0 for none."},
    {FIELD(log, samples), .standard = "12", .used = ALL, COUNT_FROM(0),
     .doc = "Sample answers shown in report.html."},
    {FIELD(log, report_every), .standard = "60", .used = TRAINING, COUNT_FROM(0), .unit = "seconds",
     .doc = "Time between two versions of report.html, if steps are logged; 0 for one at the end only."},
    {FIELD(log, tensorboard), .standard = ".true.", .used = TRAINING, .doc = "Writes TensorBoard events."},
    {FIELD(log, trace), .standard = ".false.", .used = ALL,
     .doc = "Writes a timeline per rank in Chrome's trace format."},
    {FIELD(log, level), .standard = "'info'", .used = ALL, .choices = "error|warning|info|debug",
     .doc = "Least important messages that are shown."},

    {FIELD(generate, image), .standard = "''", .used = GENERATE,
     .doc = "JPEG file that generate.prompt is about."},
    {FIELD(generate, prompt), .standard = "''", .used = GENERATE,
     .doc = "One question, instead of a dataset."},
    {FIELD(generate, dataset), .standard = "''", .used = GENERATE,
     .doc = "Questions: an HDF5 dataset, or a JSON file (.json, .jsonl) of question_id, image, text or of "
            "conversations."},
    {FIELD(generate, image_folder), .standard = "''", .used = GENERATE,
     .doc = "Folder that the image paths of a JSON file start from; empty for the folder images beside it."},
    {FIELD(generate, output), .standard = "''", .used = GENERATE,
     .doc = "File of answers; empty for answers.jsonl (pairs.json with two samples) in the run directory."},
    {FIELD(generate, samples), .standard = "1", .used = GENERATE, BETWEEN(1, 1024), .unit = "answers",
     .doc = "Answers per question; 2 writes the published JSON of answer pairs, else JSON lines."},
    {FIELD(generate, max_tokens), .standard = "256", .used = GENERATE | EVALUATE, COUNT_FROM(1),
     .unit = "tokens", .doc = "Longest answer."},
    {FIELD(generate, temperature), .standard = "0.7", .used = GENERATE | EVALUATE, ABOVE(0),
     .doc = "Sampling temperature."},
    {FIELD(generate, top_p), .standard = "1.0", .used = GENERATE | EVALUATE, .limited = true,
     .min_open = true, .min = 0, .max = 1,
     .doc = "Samples among the likeliest tokens that hold this share; 1 for all."},
    {FIELD(generate, top_k), .standard = "0", .used = GENERATE | EVALUATE, COUNT_FROM(0),
     .doc = "Samples among this many likeliest tokens; 0 for all."},
    {FIELD(generate, greedy), .standard = ".false.", .by_task = {[TASK_EVALUATE] = ".true."},
     .used = GENERATE | EVALUATE, .doc = "Takes the likeliest token each time instead of sampling."},
    {FIELD(generate, stop_at_question), .standard = ".false.", .used = GENERATE | EVALUATE,
     .doc = "Cuts an answer after a question mark."},
    {FIELD(generate, logprobs), .standard = ".false.", .used = GENERATE,
     .doc = "Writes each answer's number of tokens and its log-probability as the sampler saw it."},

    {FIELD(annotate, pairs), .standard = "''", .used = ANNOTATE, .required = ANNOTATE,
     .doc = "JSON file of answer pairs (task generate with two samples)."},
    {FIELD(annotate, output), .standard = "''", .used = ANNOTATE,
     .doc = "JSON file with preferences; empty for preferences.json in the run directory."},
    {FIELD(annotate, scenes), .standard = "''", .used = ANNOTATE, .required = ANNOTATE,
     .doc = "The shapes world's scenes.jsonl: what the annotator sees."},
    {FIELD(annotate, label_noise), .standard = "0.1", .used = ANNOTATE, BETWEEN(0, 1),
     .doc = "Share of preferences that are turned round."},

    {FIELD(world, dir), .standard = "''", .used = WORLD,
     .doc = "Folder to write; empty for the run directory."},
    {FIELD(world, seed), .standard = "1", .used = WORLD, AT_LEAST(0), .doc = "Seed of scenes and texts."},
    {FIELD(world, image_size), .standard = "48", .used = WORLD, BETWEEN(16, 4096), .unit = "pixels",
     .doc = "Side of an image."},
    {FIELD(world, jpeg_quality), .standard = "90", .used = WORLD, BETWEEN(1, 100),
     .doc = "Quality of the JPEG files."},
    {FIELD(world, objects_min), .standard = "1", .used = WORLD, BETWEEN(1, 8),
     .doc = "Fewest objects of a scene."},
    {FIELD(world, objects_max), .standard = "4", .used = WORLD, BETWEEN(1, 8),
     .doc = "Most objects of a scene."},
    {FIELD(world, turns), .standard = "5", .used = WORLD, BETWEEN(1, 32),
     .doc = "Questions and answers of a conversation."},
    {FIELD(world, bias), .standard = "0.6", .used = WORLD, BETWEEN(0, 1),
     .doc =
         "Share of the conversations about scenes where an object that often goes with another is absent "
         "that "
         "claim it; above 0, some descriptions forget an object as well, and fewer are of the other scenes."},
    {FIELD(world, vocab), .standard = "768", .used = WORLD, BETWEEN(264, 65536),
     .doc = "Pieces of the tokenizer, at most."},
    {FIELD(world, pretrain_images), .standard = "20000", .used = WORLD, COUNT_FROM(0),
     .doc = "Images with captions for pretraining."},
    {FIELD(world, sft_images), .standard = "20000", .used = WORLD, COUNT_FROM(0),
     .doc = "Images with conversations for fine-tuning."},
    {FIELD(world, pair_images), .standard = "2000", .used = WORLD, COUNT_FROM(0),
     .doc = "Images whose questions are answered twice for preferences."},
    {FIELD(world, policy_init_images), .standard = "2000", .used = WORLD, COUNT_FROM(0),
     .doc = "Images for the policy's initialisation."},
    {FIELD(world, ppo_images), .standard = "4000", .used = WORLD, COUNT_FROM(0),
     .doc = "Images of the prompts of reinforcement learning."},
    {FIELD(world, ppo_held_out), .standard = "0", .used = WORLD, COUNT_FROM(0),
     .doc = "Of these, held out for the evaluations on the way."},
    {FIELD(world, eval_images), .standard = "400", .used = WORLD, COUNT_FROM(0),
     .doc = "Images of the final questions."},
    {FIELD(world, datasets), .standard = ".true.", .used = WORLD,
     .doc = "Also makes the HDF5 datasets, as task prepare would."},

    {FIELD(bench, hidden), .standard = "1024", .used = BENCH, COUNT_FROM(1),
     .doc = "Hidden size of the decoder measured."},
    {FIELD(bench, layers), .standard = "8", .used = BENCH, COUNT_FROM(1), .doc = "Its layers."},
    {FIELD(bench, heads), .standard = "16", .used = BENCH, COUNT_FROM(1), .doc = "Its attention heads."},
    {FIELD(bench, mlp), .standard = "2816", .used = BENCH, COUNT_FROM(1), .doc = "Inner size of its MLP."},
    {FIELD(bench, vocab), .standard = "32000", .used = BENCH, COUNT_FROM(1), .doc = "Its vocabulary."},
    {FIELD(bench, sequences), .standard = "8", .used = BENCH, COUNT_FROM(1),
     .doc = "Sequences of the training step measured."},
    {FIELD(bench, length), .standard = "512", .used = BENCH, COUNT_FROM(1), .unit = "tokens",
     .doc = "Their length."},
    {FIELD(bench, decode_tokens), .standard = "64", .used = BENCH, COUNT_FROM(1), .unit = "tokens",
     .doc = "Tokens decoded for one sequence."},
    {FIELD(bench, repetitions), .standard = "3", .used = BENCH, BETWEEN(1, 1000),
     .doc = "Measurements; the fastest counts."},
};

const setting_t *settings_table(int *count) {
  *count = (int)(sizeof rows / sizeof rows[0]);
  return rows;
}

const setting_group_t *settings_groups(int *count) {
  *count = (int)(sizeof groups / sizeof groups[0]);
  return groups;
}

const char *setting_default(const setting_t *setting, task_t task) {
  if (task < TASK_COUNT && setting->by_task[task]) return setting->by_task[task];
  return setting->standard;
}
