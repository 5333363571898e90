/* Checks that concern several settings at once. */
#include "base/memory.h"
#include "input/settings_read.h"
#include "input/settings_value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

static setting_state_t *settings_check_state_of(const settings_reader_t *reader, const void *field) {
  size_t offset = (size_t)((const char *)field - (const char *)reader->settings);
  for (int i = 0; i < reader->count; i++)
    if (reader->rows[i].offset == offset) return &reader->states[i];
  return NULL;
}

/* A mistake in how FIRST and SECOND go together, placed at the first of the two that was given. Silent where
 * either is wrong by itself. */
__attribute__((format(printf, 4, 5))) static void complain(settings_reader_t *reader, const void *first,
                                                           const void *second, const char *format, ...) {
  const setting_state_t *a = settings_check_state_of(reader, first),
                        *b = settings_check_state_of(reader, second);
  if (a->bad || b->bad) return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  place_t nowhere = {0};
  mistakes_add(&reader->mistakes, a->given ? a->place : b->given ? b->place : nowhere, "%s", text);
}

/* ---- one setting, one task ---- */

static void settings_check_required(settings_reader_t *reader) {
  for (int i = 0; i < reader->count; i++) {
    const setting_t *row = &reader->rows[i];
    const setting_state_t *state = &reader->states[i];
    bool needed =
        reader->task < TASK_COUNT ? (row->required >> reader->task & 1) != 0 : row->standard == NULL;
    if (!needed || state->bad || **(char **)setting_field(reader->settings, row)) continue;
    mistakes_add(&reader->mistakes, state->place, "%s.%s is missing: %s", row->group, row->name, row->doc);
  }
}

/* Whether the field holds the default: then it does no harm where the task does not use it. */
static bool is_default(const settings_reader_t *reader, const setting_t *row) {
  const char *text = setting_default(row, reader->task);
  SCOPED(mistakes_free) mistakes_t none = {0};
  SCOPED(namelist_free) namelist_t list = {0};
  SCOPED(settings_free) settings_t standard = {0};
  bool stored = false;
  if (namelist_parse_values(text, (place_t){0}, &none, &list) != STATUS_OK) return false;
  status_code_t status =
      setting_store(row, &standard, list.values, list.value_count, (place_t){0}, &none, &stored);
  return status == STATUS_OK && stored && setting_equal(row, reader->settings, &standard);
}

static void settings_check_warn_unused(settings_reader_t *reader) {
  for (int i = 0; i < reader->count; i++) {
    const setting_t *row = &reader->rows[i];
    const setting_state_t *state = &reader->states[i];
    bool used = (row->used >> reader->task & 1) != 0;
    if (used || !state->given || state->bad || is_default(reader, row)) continue;
    mistakes_add(&reader->warnings, state->place, "%s.%s is not used by task '%s'", row->group, row->name,
                 task_name(reader->task));
  }
}

/* ---- groups ---- */

static bool task_in(const settings_reader_t *reader, unsigned tasks) {
  return (tasks >> reader->task & 1) != 0;
}

#define TASK_BIT(task) (1u << (task))

static void settings_check_model_source(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  bool files = s->eval.models.count > 0 || s->eval.answers.count > 0 || s->eval.replies.count > 0;
  bool optional = task_in(reader, TASK_BIT(TASK_EVALUATE)) && files;
  if (s->model.from_scratch && *s->model.base)
    complain(reader, &s->model.from_scratch, &s->model.base,
             "model.from_scratch and model.base exclude each other");
  if (!s->model.from_scratch && !*s->model.base && !optional)
    complain(
        reader, &s->model.base, &s->model.from_scratch,
        "model.base is missing: the model.h5 to start from (or model.from_scratch = .true. for a new model)");
  if (s->model.from_scratch && !*s->model.tokenizer)
    complain(reader, &s->model.tokenizer, &s->model.from_scratch,
             "model.tokenizer is missing: a new model needs one");
}

/* Devices differ in what they compute with. 'auto' is settled when the run starts. */
static void settings_check_device(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  bool plain = strcmp(s->parallel.device, "plain") == 0, cuda = strcmp(s->parallel.device, "cuda") == 0;
  if (!plain && strcmp(s->parallel.dtype, "f64") == 0)
    complain(reader, &s->parallel.dtype, &s->parallel.device,
             "parallel.dtype = 'f64' needs parallel.device = 'plain'; found '%s'", s->parallel.device);
  if (!plain && !cuda && s->parallel.check)
    complain(reader, &s->parallel.check, &s->parallel.device,
             "parallel.check needs parallel.device = 'plain' or 'cuda'; found '%s'", s->parallel.device);
}

/* Own kernels of device 'cuda' compute all; cuDNN does not. */
static void settings_check_attention(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  const char *device = s->parallel.device;
  if (strcmp(s->parallel.attention, "cudnn") != 0) return;
  if (strcmp(device, "cuda") != 0 && strcmp(device, "auto") != 0)
    complain(reader, &s->parallel.attention, &s->parallel.device,
             "parallel.attention = 'cudnn' needs parallel.device = 'cuda'; found '%s'", device);
  if (strcmp(s->parallel.dtype, "f32") == 0)
    complain(reader, &s->parallel.attention, &s->parallel.dtype,
             "parallel.attention = 'cudnn' computes in bf16; found parallel.dtype = 'f32'");
  if (s->parallel.batch_invariant)
    complain(
        reader, &s->parallel.attention, &s->parallel.batch_invariant,
        "parallel.attention = 'cudnn' and parallel.batch_invariant exclude each other: its bits depend on "
        "the batch");
}

static void settings_check_checkpoint(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  int64_t alignment = s->checkpoint.alignment;
  if ((alignment & (alignment - 1)) != 0)
    complain(reader, &s->checkpoint.alignment, &s->checkpoint.alignment,
             "checkpoint.alignment = %" PRId64 " is not a power of two", alignment);
}

static void settings_check_decoder_sizes(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  int64_t kv_heads = s->model.kv_heads ? s->model.kv_heads : s->model.heads;
  int64_t head_size = s->model.head_size ? s->model.head_size : s->model.hidden / s->model.heads;
  if (s->model.head_size == 0 && s->model.hidden % s->model.heads != 0)
    complain(reader, &s->model.hidden, &s->model.heads,
             "model.hidden = %" PRId64 " is not a multiple of model.heads = %" PRId64, s->model.hidden,
             s->model.heads);
  else if (head_size % 2 != 0)
    complain(reader, &s->model.head_size, &s->model.hidden,
             "a head of %" PRId64 " numbers cannot be rotated; expected an even model.head_size", head_size);
  if (s->model.heads % kv_heads != 0)
    complain(reader, &s->model.kv_heads, &s->model.heads,
             "model.kv_heads = %" PRId64 " does not divide model.heads = %" PRId64, kv_heads, s->model.heads);
  if (s->model.heads % s->parallel.tp != 0)
    complain(reader, &s->parallel.tp, &s->model.heads,
             "parallel.tp = %" PRId64 " does not divide model.heads = %" PRId64, s->parallel.tp,
             s->model.heads);
  if (s->model.mlp % s->parallel.tp != 0)
    complain(reader, &s->parallel.tp, &s->model.mlp,
             "parallel.tp = %" PRId64 " does not divide model.mlp = %" PRId64, s->parallel.tp, s->model.mlp);
  if (s->model.heads % s->parallel.tp == 0 && kv_heads % s->parallel.tp != 0 &&
      s->parallel.tp % kv_heads != 0)
    complain(reader, &s->parallel.tp, &s->model.kv_heads,
             "parallel.tp = %" PRId64 " neither divides model.kv_heads = %" PRId64 " nor is a multiple of it",
             s->parallel.tp, kv_heads);
}

static void settings_check_tower_sizes(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (s->model.vision_hidden % s->model.vision_heads != 0)
    complain(reader, &s->model.vision_hidden, &s->model.vision_heads,
             "model.vision_hidden = %" PRId64 " is not a multiple of model.vision_heads = %" PRId64,
             s->model.vision_hidden, s->model.vision_heads);
  if (s->model.vision_image_size % s->model.vision_patch != 0)
    complain(reader, &s->model.vision_image_size, &s->model.vision_patch,
             "model.vision_image_size = %" PRId64 " is not a multiple of model.vision_patch = %" PRId64,
             s->model.vision_image_size, s->model.vision_patch);
  if (s->model.vision_feature_layer < -s->model.vision_layers - 1 ||
      s->model.vision_feature_layer > s->model.vision_layers)
    complain(reader, &s->model.vision_feature_layer, &s->model.vision_layers,
             "model.vision_feature_layer = %" PRId64 " lies outside the tower's %" PRId64
             " layers; expected %" PRId64 " .. %" PRId64,
             s->model.vision_feature_layer, s->model.vision_layers, -s->model.vision_layers - 1,
             s->model.vision_layers);
}

static void settings_check_training(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  bool lora_only = task_in(reader, TASK_BIT(TASK_RM) | TASK_BIT(TASK_PPO));
  if (lora_only && strcmp(s->model.train, "lora") != 0)
    complain(reader, &s->model.train, &s->job.task,
             "model.train = '%s': task '%s' trains adapters and heads on a frozen base; expected 'lora'",
             s->model.train, s->job.task);
  if (strcmp(s->model.base_format, "nf4") == 0 && strcmp(s->model.train, "lora") != 0)
    complain(reader, &s->model.base_format, &s->model.train,
             "model.base_format = 'nf4' is for frozen bases, and model.train = '%s' trains it; expected "
             "'dtype', or "
             "model.train = 'lora'",
             s->model.train);
  if ((s->eval.keep_best || s->eval.patience > 0) && s->eval.every == 0)
    complain(reader, s->eval.keep_best ? (const void *)&s->eval.keep_best : &s->eval.patience, &s->eval.every,
             "eval.%s needs eval.every > 0", s->eval.keep_best ? "keep_best" : "patience");
}

static void settings_check_rm(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (s->optim.batch % s->rm.center_group != 0)
    complain(reader, &s->rm.center_group, &s->optim.batch,
             "rm.center_group = %" PRId64 " does not divide optim.batch = %" PRId64, s->rm.center_group,
             s->optim.batch);
}

static void settings_check_ppo(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (s->rollout.batch % s->ppo.minibatch != 0)
    complain(reader, &s->ppo.minibatch, &s->rollout.batch,
             "ppo.minibatch = %" PRId64 " does not divide rollout.batch = %" PRId64, s->ppo.minibatch,
             s->rollout.batch);
}

static void settings_check_generate(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (!*s->generate.prompt && !*s->generate.dataset)
    complain(reader, &s->generate.dataset, &s->generate.prompt,
             "nothing to answer: give generate.dataset, or generate.prompt (with generate.image)");
  if (*s->generate.prompt && *s->generate.dataset)
    complain(reader, &s->generate.prompt, &s->generate.dataset,
             "generate.prompt and generate.dataset exclude each other");
  if (*s->generate.image && !*s->generate.prompt)
    complain(reader, &s->generate.image, &s->generate.prompt,
             "generate.image needs generate.prompt, the question about it");
  if (s->generate.greedy && s->generate.samples > 1)
    complain(reader, &s->generate.samples, &s->generate.greedy,
             "generate.samples = %" PRId64 ": generate.greedy gives the same answer each time",
             s->generate.samples);
}

static void settings_check_judge(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (strcmp(s->eval.judge, "shapes") == 0 && !*s->eval.scenes)
    complain(reader, &s->eval.judge, &s->eval.scenes,
             "eval.judge = 'shapes' needs eval.scenes (scenes.jsonl of the shapes world)");
}

static void settings_check_evaluate(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  bool files = s->eval.answers.count > 0 || s->eval.replies.count > 0;
  if (!*s->eval.dataset && !files)
    complain(
        reader, &s->eval.dataset, &s->eval.answers,
        "nothing to evaluate: give eval.dataset for models to answer (POPE's file alone goes there, with "
        "eval.judge = 'pope'; eval.pope is answered beside it), eval.answers, or eval.replies");
  if (s->eval.answers.count > 0 && s->eval.replies.count > 0)
    complain(reader, &s->eval.answers, &s->eval.replies, "eval.answers and eval.replies exclude each other");
  if (files && (*s->eval.dataset || *s->eval.pope))
    complain(reader, *s->eval.dataset ? &s->eval.dataset : &s->eval.pope,
             s->eval.answers.count > 0 ? &s->eval.answers : &s->eval.replies,
             "eval.%s is for models to answer; eval.%s are there already",
             *s->eval.dataset ? "dataset" : "pope", s->eval.answers.count > 0 ? "answers" : "replies");
}

static void settings_check_import(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  bool adds = *s->import.adapter || *s->import.head;
  bool scores = strcmp(s->import.role, "reward") == 0 || strcmp(s->import.role, "value") == 0;
  if (*s->import.weights && *s->model.base)
    complain(reader, &s->import.weights, &s->model.base, "import.weights and model.base exclude each other");
  if (!*s->import.weights && !(*s->model.base && adds))
    complain(
        reader, &s->import.weights, &s->import.adapter,
        "nothing to import: give import.weights, or import.adapter or import.head with their model.base");
  if (s->import.outline && (adds || *s->import.projector || !*s->import.weights))
    complain(
        reader, &s->import.outline, &s->import.weights,
        "import.outline needs import.weights, a folder with config.json, and reads no weights: leave out "
        "import.adapter, import.head and import.projector; import.role and &adapter say what it has");
  if (*s->import.head && !scores)
    complain(reader, &s->import.role, &s->import.head,
             "import.role = '%s': import.head needs 'reward' or 'value'", s->import.role);
}

/* Whether PRESENT, which needs NEEDED, is given without it. */
static void complain_alone(settings_reader_t *reader, char *const *present, char *const *needed,
                           const char *message) {
  if (**present && !**needed) complain(reader, present, needed, "%s", message);
}

static void settings_check_prepare(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  const char *const sources[] = {s->prepare.conversations, s->prepare.preferences, s->prepare.vqa_questions,
                                 s->prepare.choices,       s->prepare.captions,    s->prepare.flickr,
                                 s->prepare.dataset};
  bool any = false;
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
    any = any || *sources[i];
  if (!any && !*s->prepare.vqa_annotations)
    complain(
        reader, &s->prepare.conversations, &s->prepare.preferences,
        "nothing to prepare: give prepare.conversations, prepare.preferences or another source of samples");
  complain_alone(reader, &s->prepare.vqa_questions, &s->prepare.vqa_annotations,
                 "prepare.vqa_questions needs prepare.vqa_annotations");
  complain_alone(reader, &s->prepare.vqa_annotations, &s->prepare.vqa_questions,
                 "prepare.vqa_annotations needs prepare.vqa_questions");
  complain_alone(reader, &s->prepare.scores, &s->prepare.dataset,
                 "prepare.scores needs prepare.dataset, whose samples were scored");
  if (s->prepare.keep < 1 && !*s->prepare.scores)
    complain(reader, &s->prepare.keep, &s->prepare.scores, "prepare.keep needs prepare.scores");
  if (*s->prepare.held_out_output && s->prepare.held_out == 0)
    complain(reader, &s->prepare.held_out_output, &s->prepare.held_out,
             "prepare.held_out_output needs prepare.held_out > 0");
}

static void settings_check_world(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (s->world.objects_min > s->world.objects_max)
    complain(reader, &s->world.objects_min, &s->world.objects_max,
             "world.objects_min = %" PRId64 " exceeds world.objects_max = %" PRId64, s->world.objects_min,
             s->world.objects_max);
  if (s->world.ppo_images > 0 && s->world.ppo_held_out >= s->world.ppo_images)
    complain(reader, &s->world.ppo_held_out, &s->world.ppo_images,
             "world.ppo_held_out = %" PRId64 " leaves none of world.ppo_images = %" PRId64 " to train on",
             s->world.ppo_held_out, s->world.ppo_images);
}

static void settings_check_bench(settings_reader_t *reader) {
  const settings_t *s = reader->settings;
  if (s->bench.hidden % (2 * s->bench.heads) != 0)
    complain(reader, &s->bench.hidden, &s->bench.heads,
             "bench.hidden = %" PRId64 " is not a multiple of twice bench.heads = %" PRId64, s->bench.hidden,
             s->bench.heads);
}

/* The checks of each task; those of a group run where the task uses it. */
static const struct {
  unsigned tasks;
  bool new_model_only;
  void (*check)(settings_reader_t *reader);
} checks[] = {
    {TASK_BIT(TASK_PRETRAIN) | TASK_BIT(TASK_SFT) | TASK_BIT(TASK_RM) | TASK_BIT(TASK_PPO) |
         TASK_BIT(TASK_GENERATE) | TASK_BIT(TASK_SCORE) | TASK_BIT(TASK_EVALUATE) | TASK_BIT(TASK_EXPORT),
     false, settings_check_model_source},
    {TASK_BIT(TASK_COUNT) - 1, false, settings_check_device},
    {TASK_BIT(TASK_COUNT) - 1, false, settings_check_attention},
    {TASK_BIT(TASK_COUNT) - 1, false, settings_check_checkpoint},
    {TASK_BIT(TASK_COUNT) - 1, true, settings_check_decoder_sizes},
    {TASK_BIT(TASK_COUNT) - 1, true, settings_check_tower_sizes},
    {TASK_BIT(TASK_PRETRAIN) | TASK_BIT(TASK_SFT) | TASK_BIT(TASK_RM) | TASK_BIT(TASK_PPO), false,
     settings_check_training},
    {TASK_BIT(TASK_RM), false, settings_check_rm},
    {TASK_BIT(TASK_PPO), false, settings_check_ppo},
    {TASK_BIT(TASK_GENERATE), false, settings_check_generate},
    {TASK_BIT(TASK_EVALUATE) | TASK_BIT(TASK_PPO), false, settings_check_judge},
    {TASK_BIT(TASK_EVALUATE), false, settings_check_evaluate},
    {TASK_BIT(TASK_PREPARE), false, settings_check_prepare},
    {TASK_BIT(TASK_IMPORT), false, settings_check_import},
    {TASK_BIT(TASK_WORLD), false, settings_check_world},
    {TASK_BIT(TASK_BENCH), false, settings_check_bench},
};

void settings_check(settings_reader_t *reader) {
  settings_check_required(reader);
  if (reader->task == TASK_COUNT) return;
  settings_check_warn_unused(reader);
  for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
    if (task_in(reader, checks[i].tasks) &&
        (!checks[i].new_model_only || reader->settings->model.from_scratch))
      checks[i].check(reader);
}
