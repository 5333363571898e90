#include "session/store.h"

#include "base/memory.h"
#include "model/param_writer.h"
#include "session/config_json.h"
#include "session/store_base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const h5_format_t store_format = {"llava_rlhf_model", 2,
                                  "import the model, or train it, again; a run that has begun continues with "
                                  "the version that began it"};

static const char weights_prefix[] = "/weights/";
static const char *const adapters_group = "/adapters";
static const char *const heads_group = "/heads";
static const char reward_role[] = "reward", reward_group[] = "/heads/reward";

void store_info_free(store_info_t *info) {
  memory_free(info->path);
  memory_free(info->base_path);
  memory_free(info->tokenizer_bytes);
  memory_free(info->published);
  memory_free((void *)info->judging.prompt);
  memory_free((void *)info->judging.source);
  *info = (store_info_t){0};
}

int32_t store_find(const char names[][STORE_ROLE_NAME_MAX], int32_t count, const char *role) {
  for (int32_t i = 0; i < count; i++)
    if (strcmp(names[i], role) == 0) return i;
  return -1;
}

/* ---- Reading ---- */

/* The role in "/adapters/ROLE/..." or "/heads/ROLE/..."; false for other paths. */
static bool store_role_of(const char *path, const char *group, char role[STORE_ROLE_NAME_MAX]) {
  size_t n = strlen(group);
  if (strncmp(path, group, n) != 0 || path[n] != '/') return false;
  const char *begin = path + n + 1, *end = strchr(begin, '/');
  if (!end || end - begin >= STORE_ROLE_NAME_MAX) return false;
  memcpy(role, begin, (size_t)(end - begin));
  role[end - begin] = '\0';
  return true;
}

static status_t store_add_role(const char *path, const char *role, char names[][STORE_ROLE_NAME_MAX],
                               int32_t *count) {
  if (store_find((const char(*)[STORE_ROLE_NAME_MAX])names, *count, role) >= 0) return STATUS_OK;
  if (*count == STORE_ROLES_MAX)
    return error_set(STATUS_DATA, "%s: more than %d adapters or heads", path, STORE_ROLES_MAX);
  snprintf(names[(*count)++], STORE_ROLE_NAME_MAX, "%s", role);
  return STATUS_OK;
}

/* Rank, scale and targets of one adapter: attributes of its group, and the names of its weights. */
static status_t store_read_adapter_config(weights_file_t *file, const char *role, adapter_config_t *config) {
  char group[128];
  int64_t r;
  snprintf(group, sizeof group, "%s/%s", adapters_group, role);
  TRY(h5_attr_read_i64(weights_h5(file), group, "r", &r, 1));
  TRY(h5_attr_read_f64(weights_h5(file), group, "alpha", &config->alpha, 1));
  if (r < 1 || r > INT32_MAX)
    return error_set(STATUS_DATA, "%s: attribute 'r' of %s is %lld, expected at least 1",
                     h5_path(weights_h5(file)), group, (long long)r);
  if (!isfinite(config->alpha))
    return error_set(STATUS_DATA, "%s: attribute 'alpha' of %s is %g, expected a finite number",
                     h5_path(weights_h5(file)), group, config->alpha);
  config->r = (int32_t)r;
  for (int64_t i = 0; i < weights_count(file); i++) {
    const char *path = weights_at(file, i)->path;
    if (strncmp(path, group, strlen(group)) != 0 || path[strlen(group)] != '/') continue;
    for (int p = 0; p < PROJ_COUNT; p++)
      if (strstr(path, proj_name((proj_t)p))) config->targets[p] = true;
    if (strstr(path, ".lora_A.") && weights_at(file, i)->shape[0] != r)
      return error_set(STATUS_DATA, "%s: %s has %lld rows, but attribute 'r' of %s is %lld",
                       h5_path(weights_h5(file)), path, (long long)weights_at(file, i)->shape[0], group,
                       (long long)r);
  }
  return STATUS_OK;
}

static status_t store_read_judging(h5_file_t *file, store_judging_t *judging) {
  int64_t facts;
  char *text;
  TRY(h5_attr_read_i64(file, reward_group, "facts", &facts, 1));
  judging->facts = facts != 0;
  TRY(h5_attr_read_text(file, reward_group, "prompt", &text));
  judging->prompt = text;
  TRY(h5_attr_read_text(file, reward_group, "prompt_source", &text));
  judging->source = text;
  return STATUS_OK;
}

static status_t store_read_roles(weights_file_t *file, store_info_t *info) {
  for (int64_t i = 0; i < weights_count(file); i++) {
    const char *path = weights_at(file, i)->path;
    char role[STORE_ROLE_NAME_MAX];
    if (store_role_of(path, adapters_group, role))
      TRY(store_add_role(info->path, role, info->adapters, &info->adapter_count));
    if (store_role_of(path, heads_group, role))
      TRY(store_add_role(info->path, role, info->heads, &info->head_count));
  }
  for (int32_t i = 0; i < info->adapter_count; i++)
    TRY(store_read_adapter_config(file, info->adapters[i], &info->adapter_configs[i]));
  bool judges =
      store_find((const char(*)[STORE_ROLE_NAME_MAX])info->heads, info->head_count, reward_role) >= 0;
  return judges ? store_read_judging(weights_h5(file), &info->judging) : STATUS_OK;
}

status_t store_read_base(weights_file_t *file, store_info_t *info) {
  SCOPED_MEMORY char *text = NULL;
  uint64_t hash;
  info->outline = weights_is_outline(file);
  TRY(weights_read_text(weights_h5(file), "/weights", "config", &text, &hash));
  TRY(config_from_json(text, h5_path(weights_h5(file)), &info->config));
  TRY(weights_read_bytes(weights_h5(file), "/tokenizer", &info->tokenizer_bytes, &info->tokenizer_size));
  if (h5_attr_exists(weights_h5(file), "/weights", "published"))
    TRY(weights_read_text(weights_h5(file), "/weights", "published", &info->published, NULL));
  info->identity = weights_identity_add(weights_identity(file, weights_prefix, WEIGHTS_IDENTITY_START), hash);
  return STATUS_OK;
}

bool store_has_weights(const weights_file_t *file) {
  for (int64_t i = 0; i < weights_count(file); i++)
    if (strncmp(weights_at(file, i)->path, weights_prefix, strlen(weights_prefix)) == 0) return true;
  return false;
}

/* An adapter is more than its weights. */
static void store_add_adapter_configs(store_info_t *info) {
  for (int32_t i = 0; i < info->adapter_count; i++) {
    uint64_t alpha;
    memcpy(&alpha, &info->adapter_configs[i].alpha, sizeof alpha);
    info->added = weights_identity_add(info->added, (uint64_t)info->adapter_configs[i].r);
    info->added = weights_identity_add(info->added, alpha);
  }
}

/* What of a file can be read without its base; *REFERENCED: identity of the base it names, and base_path. */
static status_t store_read_file(weights_file_t *file, store_info_t *info, uint64_t *referenced) {
  info->has_weights = store_has_weights(file);
  info->added = weights_identity(file, "/adapters/", WEIGHTS_IDENTITY_START);
  info->added = weights_identity(file, "/heads/", info->added);
  TRY(store_read_roles(file, info));
  store_add_adapter_configs(info);
  if (info->has_weights) {
    TRY(memory_copy_text(&info->base_path, ARENA_OTHER, info->path, strlen(info->path)));
    return store_read_base(file, info);
  }
  if (info->adapter_count == 0 && info->head_count == 0)
    return error_set(STATUS_DATA, "%s holds neither weights nor adapters nor heads", info->path);
  TRY(h5_attr_read_u64(weights_h5(file), "/", "base_identity", referenced, 1));
  return h5_attr_read_text(weights_h5(file), "/", "base_path", &info->base_path);
}

status_t store_inspect(comm_t *comm, const char *path, const store_info_t *base, store_info_t *out) {
  SCOPED(store_info_free) store_info_t info = {0};
  SCOPED(weights_close_at) weights_file_t *file = NULL;
  uint64_t referenced = 0;
  *out = (store_info_t){0};
  TRY(memory_copy_text(&info.path, ARENA_OTHER, path, strlen(path)));
  TRY(weights_open(comm, path, &store_format, &file));
  TRY(comm_agree(comm, store_read_file(file, &info, &referenced)));
  if (!info.has_weights) TRY(store_find_base(comm, referenced, base, &info));
  *out = info;
  info = (store_info_t){0};
  return STATUS_OK;
}

/* A weight as a dataset: its true rows are the first ones of the shard, so elements have the same numbers in
 * both. */
typedef struct {
  const params_t *params;
  int32_t id;
  char *path;
} dataset_t;

/* Those of a set. */
typedef struct {
  dataset_t *items; /* (count) */
  int32_t count;
} datasets_t;

static void datasets_free(datasets_t *datasets) {
  for (int32_t i = 0; i < datasets->count; i++)
    memory_free(datasets->items[i].path);
  memory_free(datasets->items);
  *datasets = (datasets_t){0};
}

static status_t datasets_name(const params_t *params, const char *prefix, datasets_t *datasets) {
  TRY(memory_alloc(&datasets->items, ARENA_IO, (size_t)params->count, sizeof *datasets->items));
  for (; datasets->count < params->count; datasets->count++) {
    dataset_t *dataset = &datasets->items[datasets->count];
    const char *name = params->items[datasets->count].name; /* the outside one */
    size_t n = strlen(prefix) + strlen(name) + 1;
    *dataset = (dataset_t){.params = params, .id = datasets->count};
    TRY(memory_alloc(&dataset->path, ARENA_IO, n, 1));
    snprintf(dataset->path, n, "%s%s", prefix, name);
  }
  return STATUS_OK;
}

/* What of a dataset WRITER takes. */
static weights_request_t request_for(const dataset_t *dataset, param_writer_t *writer) {
  const partition_t *part = &dataset->params->items[dataset->id].partition;
  return (weights_request_t){.path = dataset->path,
                             .rows = part->rows,
                             .cols = part->cols,
                             .row_begin = part->row_begin,
                             .row_count = part->row_count,
                             .col_begin = writer->col_begin,
                             .col_count = writer->col_count,
                             .take = param_writer_take,
                             .context = writer};
}

/* Fills those of PARAMS' weights that are not in NF4. */
static status_t load_together(comm_t *comm, weights_file_t *file, const datasets_t *datasets,
                              params_t *params) {
  SCOPED_MEMORY weights_request_t *requests = NULL;
  SCOPED_MEMORY param_writer_t *writers = NULL;
  int64_t count = 0;
  size_t most = (size_t)params->count;
  status_code_t status = memory_alloc(&requests, ARENA_IO, most, sizeof *requests);
  if (status == STATUS_OK) status = memory_alloc(&writers, ARENA_IO, most, sizeof *writers);
  for (int32_t i = 0; i < params->count && status == STATUS_OK; i++) {
    if (params->items[i].format == WEIGHT_NF4) continue;
    status = param_writer_begin(params, i, &writers[i]);
    requests[count++] = request_for(&datasets->items[i], &writers[i]);
  }
  TRY(comm_agree(comm, status));
  return weights_read(file, requests, count);
}

/* Fills one weight in NF4. */
static status_t load_alone(comm_t *comm, weights_file_t *file, const dataset_t *dataset, params_t *params) {
  SCOPED(param_writer_free) param_writer_t writer = {0};
  TRY(comm_agree(comm, param_writer_begin(params, dataset->id, &writer)));
  const weights_request_t request = request_for(dataset, &writer);
  TRY(weights_read(file, &request, 1));
  return comm_agree(comm, param_writer_end(&writer));
}

static status_t store_load(comm_t *comm, weights_file_t *file, const char *prefix, params_t *params) {
  SCOPED(datasets_free) datasets_t datasets = {0};
  status_code_t status = datasets_name(params, prefix, &datasets);
  if (status == STATUS_OK) status = params_clear_padding(params);
  TRY(comm_agree(comm, status));
  TRY(load_together(comm, file, &datasets, params));
  for (int32_t i = 0; i < params->count; i++)
    if (params->items[i].format == WEIGHT_NF4) TRY(load_alone(comm, file, &datasets.items[i], params));
  return STATUS_OK;
}

/* All that lies below PREFIX has its place in PARAMS, but for what UNUSED takes. */
static status_t store_load_all(comm_t *comm, const char *path, const char *prefix, weights_unused_t unused,
                               const void *context, params_t *params) {
  SCOPED(weights_close_at) weights_file_t *file = NULL;
  TRY(weights_open(comm, path, &store_format, &file));
  TRY(store_load(comm, file, prefix, params));
  return weights_check_all_read(file, prefix, unused, context);
}

status_t store_load_params(comm_t *comm, const char *path, const char *prefix, params_t *params) {
  return store_load_all(comm, path, prefix, NULL, NULL, params);
}

static bool leaves_unused(const char *name, const void *config) {
  return base_leaves_unused(config, name);
}

status_t store_load_base(comm_t *comm, const store_info_t *info, base_t *base) {
  return store_load_all(comm, info->base_path, weights_prefix, leaves_unused, &base->config, &base->params);
}

/* ---- Writing ---- */

enum { SETS_MAX = 1 + 2 * STORE_ROLES_MAX };

/* All sets of a file. */
typedef struct {
  const params_t *sets[SETS_MAX];
  char prefixes[SETS_MAX][96];
  datasets_t datasets[SETS_MAX];
  int32_t count;
} writing_t;

static void store_add_set(writing_t *writing, const params_t *params, const char *group, const char *role) {
  writing->sets[writing->count] = params;
  snprintf(writing->prefixes[writing->count], sizeof writing->prefixes[0], "%s/%s%s", group, role,
           *role ? "/" : "");
  writing->count++;
}

static void list_sets(const store_contents_t *contents, writing_t *writing) {
  if (contents->weights) store_add_set(writing, &contents->base->params, "/weights", "");
  for (int32_t i = 0; i < contents->adapter_count; i++)
    store_add_set(writing, &contents->adapters[i]->params, adapters_group, contents->adapter_names[i]);
  for (int32_t i = 0; i < contents->head_count; i++)
    store_add_set(writing, &contents->heads[i]->params, heads_group, contents->head_names[i]);
}

/* Weights are equal over dp: the first dp group writes. */
static bool store_writes(const params_t *params) {
  return params->grid->dp_rank == 0;
}

static status_t dataset_give(void *of, int64_t first, int64_t n, float *values) {
  const dataset_t *dataset = of;
  return param_read_elements(dataset->params, dataset->id, first, n, DTYPE_F32, values);
}

static bool store_ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

const char *store_meaning(const char *path) {
  if (store_ends_with(path, ".lora_A.weight"))
    return "LoRA's A (r, inputs): the module adds alpha / r * B A x";
  if (store_ends_with(path, ".lora_B.weight"))
    return "LoRA's B (outputs, r): the module adds alpha / r * B A x";
  if (strncmp(path, heads_group, strlen(heads_group)) == 0)
    return "head: weight x + bias, of a sequence's last hidden state x, is its score";
  return "weight of the model, under its published name and in its published shape";
}

static weights_item_t item_of(dataset_t *dataset) {
  const params_t *params = dataset->params;
  const param_t *param = &params->items[dataset->id];
  const partition_t *part = &param->partition;
  weights_item_t item = {.path = dataset->path,
                         .ndim = param->ndim,
                         .dtype = param_stored(params, dataset->id),
                         .rows = part->rows,
                         .cols = part->cols,
                         .row_begin = part->row_begin,
                         .row_count = part->row_count,
                         .col_begin = part->col_begin,
                         .col_count = part->col_count,
                         .mine = part->replica == 0 && store_writes(params),
                         .meaning = store_meaning(dataset->path),
                         .give = dataset_give,
                         .context = dataset};
  memcpy(item.shape, param->shape, sizeof item.shape);
  return item;
}

static status_t annotate_base(h5_file_t *file, const store_contents_t *contents) {
  if (!contents->weights) {
    TRY(h5_attr_write_text(file, "/", "base_path", contents->base_path));
    return h5_attr_write_u64(file, "/", "base_identity", &contents->base_identity, 1);
  }
  SCOPED_MEMORY char *text = NULL;
  TRY(h5_create_group(file, "/weights"));
  TRY(config_to_json(&contents->base->config, &text));
  TRY(weights_write_text(file, "/weights", "config", text));
  if (contents->published) TRY(weights_write_text(file, "/weights", "published", contents->published));
  return weights_write_bytes(file, "/tokenizer", "bytes of tokenizer.model or tokenizer.json",
                             contents->tokenizer_bytes, contents->tokenizer_size);
}

static status_t annotate_judging(h5_file_t *file, const store_judging_t *judging) {
  int64_t facts = judging->facts;
  if (!judging->prompt) return error_set(STATUS_INTERNAL, "a reward head without a judging prompt");
  TRY(h5_create_group(file, reward_group));
  TRY(h5_attr_write_i64(file, reward_group, "facts", &facts, 1));
  TRY(h5_attr_write_text(file, reward_group, "prompt", judging->prompt));
  return h5_attr_write_text(file, reward_group, "prompt_source", judging->source);
}

status_t store_annotate(h5_file_t *file, void *of) {
  const store_contents_t *contents = of;
  TRY(annotate_base(file, contents));
  for (int32_t i = 0; i < contents->adapter_count; i++) {
    char group[96];
    int64_t r = contents->adapters[i]->config.r;
    snprintf(group, sizeof group, "%s/%s", adapters_group, contents->adapter_names[i]);
    TRY(h5_create_group(file, group));
    TRY(h5_attr_write_i64(file, group, "r", &r, 1));
    TRY(h5_attr_write_f64(file, group, "alpha", &contents->adapters[i]->config.alpha, 1));
  }
  for (int32_t i = 0; i < contents->head_count; i++)
    if (strcmp(contents->head_names[i], reward_role) == 0) TRY(annotate_judging(file, &contents->judging));
  return contents->annotate ? contents->annotate(file, contents->context) : STATUS_OK;
}

/* Where contents go: one file, or a checkpoint. */
typedef struct {
  const char *path; /* of the file; NULL: a checkpoint */
  const char *run_dir;
  const checkpoint_place_t *place;
  checkpoint_writing_t **writing;
} destination_t;

static void writing_free(writing_t **writing) {
  for (int32_t s = 0; *writing && s < (*writing)->count; s++)
    datasets_free(&(*writing)->datasets[s]);
  memory_free(*writing);
}

/* Lists the sets and their datasets, with room for the ITEMS of all of them and of CONTENTS besides. */
static status_t store_prepare_writing(const store_contents_t *contents, writing_t **out,
                                      weights_item_t **items) {
  size_t count = (size_t)contents->extra_count;
  TRY(memory_alloc(out, ARENA_IO, 1, sizeof **out));
  writing_t *writing = *out;
  list_sets(contents, writing);
  for (int32_t s = 0; s < writing->count; s++) {
    TRY(datasets_name(writing->sets[s], writing->prefixes[s], &writing->datasets[s]));
    count += (size_t)writing->sets[s]->count;
  }
  return memory_alloc(items, ARENA_IO, count, sizeof **items);
}

static status_t store_write_contents(comm_t *comm, const destination_t *to,
                                     const store_contents_t *contents) {
  SCOPED(writing_free) writing_t *writing = NULL;
  SCOPED_MEMORY weights_item_t *items = NULL;
  int64_t count = 0;
  TRY(comm_agree(comm, store_prepare_writing(contents, &writing, &items)));
  for (int32_t s = 0; s < writing->count; s++)
    for (int32_t i = 0; i < writing->sets[s]->count; i++)
      items[count++] = item_of(&writing->datasets[s].items[i]);
  for (int64_t i = 0; i < contents->extra_count; i++)
    items[count++] = contents->extra[i];
  store_contents_t copy = *contents;
  const weights_spec_t spec = {&store_format, store_annotate, &copy, contents->disk};
  return to->path ? weights_write(comm, to->path, &spec, items, count)
                  : checkpoint_write_begin(comm, to->run_dir, to->place, &spec, items, count, to->writing);
}

status_t store_write(comm_t *comm, const char *path, const store_contents_t *contents) {
  return store_write_contents(comm, &(destination_t){.path = path}, contents);
}

status_t store_checkpoint(comm_t *comm, const char *run_dir, const checkpoint_place_t *place,
                          const store_contents_t *contents, checkpoint_writing_t **writing) {
  const destination_t to = {.run_dir = run_dir, .place = place, .writing = writing};
  return store_write_contents(comm, &to, contents);
}

status_t store_params_identity(comm_t *comm, const char *prefix, const params_t *params, uint64_t *identity) {
  SCOPED(datasets_free) datasets_t datasets = {0};
  SCOPED_MEMORY weights_item_t *items = NULL;
  status_code_t status = datasets_name(params, prefix, &datasets);
  if (status == STATUS_OK) status = memory_alloc(&items, ARENA_IO, (size_t)params->count, sizeof *items);
  TRY(comm_agree(comm, status));
  for (int32_t i = 0; i < params->count; i++)
    items[i] = item_of(&datasets.items[i]);
  return weights_items_identity(comm, items, params->count, identity);
}
