#define _GNU_SOURCE

#include "rollout/task_fixture.h"

#include "base/log.h"
#include "base/memory.h"
#include "data/prepare.h"
#include "session/models.h"
#include "shapes/shapes_judge.h"
#include "shapes/world_task.h"
#include "tensor/plain/plain.h"
#include "text/judging.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>

static status_t create_plain(const grid_t *grid, const settings_t *settings, device_t **out) {
  (void)grid;
  (void)settings;
  return plain_create(PLAIN_DOUBLE, true, out);
}

const char *fixture_path(const fixture_t *fixture, const char *name, char path[FILE_MAX_PATH]) {
  status_code_t status = file_join(path, fixture->folder, name, NULL);
  return status == STATUS_OK ? path : "";
}

/* TEXT with the folder for every '@'. */
static status_t fill_in(const fixture_t *fixture, const char *text, char **out) {
  size_t length = strlen(fixture->folder), n = 0;
  for (const char *at = text; *at; at++)
    n += *at == '@' ? length : 1;
  TRY(memory_alloc(out, ARENA_OTHER, n + 1, 1));
  for (char *to = *out; *text; text++) {
    if (*text != '@') {
      *to++ = *text;
      continue;
    }
    memcpy(to, fixture->folder, length);
    to += length;
  }
  return STATUS_OK;
}

static status_t run(comm_t *world, const settings_t *settings, status_t (*task)(session_t *session)) {
  const device_entry_t device = {"plain", create_plain};
  const judge_entry_t judge = {"shapes", shapes_judge_open};
  session_t session;
  log_set_level(LOG_ERROR);
  status_code_t status = session_prepare(world, settings, &device, 1, &session);
  session.judges = &judge;
  session.judge_count = 1;
  if (status == STATUS_OK) status = session_open(&session, "test");
  if (status == STATUS_OK) status = task(&session);
  session_close(&session, status);
  log_set_level(LOG_INFO);
  return status;
}

status_t fixture_run(const fixture_t *fixture, comm_t *world, int tp, const char *text,
                     status_t (*task)(session_t *session)) {
  char *filled, split[64];
  settings_t settings;
  snprintf(split, sizeof split, "parallel.tp=%d", tp);
  const char *const overrides[] = {split, "log.level=error", "parallel.timeout=120"};
  TRY(fill_in(fixture, text, &filled));
  status_code_t status = settings_read_text("test", filled, 3, overrides, &settings, NULL);
  memory_free(filled);
  TRY(status);
  status = run(world, &settings, task);
  settings_free(&settings);
  return status;
}

/* ---- Making it ---- */

static status_t prepare(const fixture_t *fixture, comm_t *world, const char *name) {
  char json[FILE_MAX_PATH], facts[FILE_MAX_PATH], images[FILE_MAX_PATH], output[FILE_MAX_PATH], file[64];
  snprintf(file, sizeof file, "world/%s.json", name);
  fixture_path(fixture, file, json);
  snprintf(file, sizeof file, "world/%s.h5", name);
  const prepare_options_t options = {.conversations = json,
                                     .facts = fixture_path(fixture, "world/facts.json", facts),
                                     .image_folder = fixture_path(fixture, "world/images", images),
                                     .output = fixture_path(fixture, file, output),
                                     .workers = 1};
  return prepare_run(world, &options, NULL);
}

static status_t make_world(const fixture_t *fixture, comm_t *world) {
  world_options_t options = world_options_default();
  char folder[FILE_MAX_PATH];
  options.dir = fixture_path(fixture, "world", folder);
  options.pretrain_images = options.sft_images = 30;
  options.pair_images = options.eval_images = FIXTURE_QUESTIONS;
  options.policy_init_images = options.rl_images = 4;
  TRY(comm_agree(world, comm_rank(world) == 0 ? file_make_folder(folder) : STATUS_OK));
  TRY(world_write(world, &options));
  TRY(prepare(fixture, world, "eval"));
  return prepare(fixture, world, "prompts");
}

static status_t write_model(session_t *session, model_t *model) {
  char path[FILE_MAX_PATH];
  store_contents_t contents = {0};
  model_contents(model, true, &contents);
  TRY(session_path(session, "../model.h5", path));
  return store_write(session->world, path, &contents);
}

/* Task: a new model. */
static status_t make_model(session_t *session) {
  model_t model;
  TRY(model_new(session, &model));
  status_code_t status = write_model(session, &model);
  model_free(&model);
  return status;
}

static status_t write_reward(session_t *session, model_t *model, adapter_t *adapter, head_t *head) {
  char path[FILE_MAX_PATH];
  store_contents_t contents = {0};
  TRY(model_new_adapter(session, model, "reward", adapter));
  /* As if trained: B is not zero. */
  for (int32_t i = 0; i < adapter->params.count; i++) {
    adapter->params.items[i].init = INIT_NORMAL;
    adapter->params.items[i].init_scale = 0.1;
  }
  TRY(params_initialise(&adapter->params, 5));
  TRY(head_create(&model->base, "reward", false, head));
  TRY(params_initialise(&head->params, 6));
  model_contents(model, false, &contents);
  contents.adapter_names[0] = contents.head_names[0] = "reward";
  contents.adapters[0] = adapter;
  contents.heads[0] = head;
  contents.adapter_count = contents.head_count = 1;
  contents.judging = (store_judging_t){true, judging_prompt_builtin(), "built-in"};
  TRY(session_path(session, "../reward.h5", path));
  TRY(store_write(session->world, path, &contents));
  contents.adapter_names[0] = "default";
  contents.head_count = 0;
  TRY(session_path(session, "../adapted.h5", path));
  return store_write(session->world, path, &contents);
}

/* Task: a reward model on the base of the settings, and its adapter as one that answers. */
static status_t make_reward(session_t *session) {
  model_t model;
  adapter_t adapter = {0};
  head_t head = {0};
  TRY(model_from_settings(session, &model));
  status_code_t status = write_reward(session, &model, &adapter, &head);
  head_free(&head);
  adapter_free(&adapter);
  model_free(&model);
  return status;
}

static const char model_input[] =
    "&job task='pretrain' run_dir='@/make' /\n"
    "&model from_scratch=.true. tokenizer='@/world/tokenizer.model' template='v1' train='all' hidden=32 "
    "layers=2 heads=4 mlp=48 vision_image_size=48 vision_patch=16 vision_hidden=32 vision_layers=2 "
    "vision_heads=2 vision_mlp=48 vision_feature_layer=-1 projector='linear' /\n"
    "&data dataset='none' /\n";

static const char reward_input[] = "&job task='rm' run_dir='@/make' /\n&model base='@/model.h5' /\n"
                                   "&adapter r=4 alpha=4 /\n&data dataset='none' /\n";

status_t fixture_create(comm_t *world, fixture_t *out) {
  status_code_t status = STATUS_OK;
  *out = (fixture_t){.folder = "/tmp/llava_tasks_XXXXXX"};
  if (comm_rank(world) == 0 && !mkdtemp(out->folder))
    status = error_set(STATUS_DATA, "no folder for the test");
  TRY(comm_agree(world, status));
  TRY(comm_broadcast(world, out->folder, sizeof out->folder, COMM_BYTE, 0));
  log_set_level(LOG_ERROR);
  TRY(make_world(out, world));
  TRY(fixture_run(out, world, 1, model_input, make_model));
  return fixture_run(out, world, 1, reward_input, make_reward);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

void fixture_free(comm_t *world, fixture_t *fixture) {
  if (comm_rank(world) == 0) nftw(fixture->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
