#include "convert/import.h"

#include "base/log.h"
#include "base/memory.h"
#include "convert/import_base.h"
#include "convert/peft.h"
#include "convert/tied_head.h"
#include "io/formats/weights_blocks.h"
#include "perf/perf.h"
#include "session/estimate.h"
#include "session/models.h"
#include "session/reward_prompt.h"
#include "session/store.h"
#include "session/voting.h"

#include <stdio.h>
#include <string.h>

enum { ORIGINS_MAX = BASE_ORIGINS_MAX + 2, PREFIX_MAX = 64 };
static const double mega = 1e-6, giga = 1e-9;
static const double outline_bytes = 1300.0; /* of a tensor in an outline: its header and its meaning */

typedef struct {
  session_t *session;
  const settings_t *settings;
  stop_vote_t *vote;
  import_base_t source; /* of a base that is imported; all zero otherwise */
  store_info_t info;    /* of model.base, where the base is there already */
  base_t base;          /* outlines: names and shapes */
  adapter_t adapter;
  head_t head;
  reward_prompt_t reward_prompt; /* of a reward head */
  origin_t origins[ORIGINS_MAX];
  int origin_count;
  char adapter_prefix[PREFIX_MAX], head_prefix[PREFIX_MAX];
  matching_t matching;
  weights_given_item_t *items; /* (matching.count) */
  int64_t mine, done;          /* stored bytes of this rank's blocks: guessed, and given */
  double bytes;                /* read by all ranks */
  int64_t block;               /* elements of the largest block that is written */
  char output[FILE_MAX_PATH];
} import_t;

/* ---- What there is ---- */

/* An outline has what its role needs, of the sizes that the settings give. */
static bool has_adapter(const import_t *import) {
  const settings_t *settings = import->settings;
  return settings->import.outline ? strcmp(settings->import.role, "default") != 0
                                  : *settings->import.adapter != '\0';
}

static bool has_head(const import_t *import) {
  const settings_t *settings = import->settings;
  bool scores = strcmp(settings->import.role, "reward") == 0 || strcmp(settings->import.role, "value") == 0;
  return settings->import.outline ? scores : *settings->import.head != '\0';
}

static status_t import_open_base(import_t *import) {
  status_code_t status = import_base_open(import->settings, &import->source);
  if (status == STATUS_OK)
    status = base_outline(import->session->device, &import->session->grid, &import->source.config, NULL,
                          &import->base);
  for (int o = 0; o < import->source.count; o++)
    import->origins[import->origin_count++] = import->source.origins[o];
  if (status == STATUS_OK) return status;
  return error_context(status, "while importing import.weights = '%s'", import->settings->import.weights);
}

static status_t import_refuse_outline(const import_t *import) {
  return import->info.outline ? weights_refuse_outline(import->info.base_path) : STATUS_OK;
}

/* The base that adapter and head are for: imported with them, or a file. */
static status_t import_find_base(import_t *import) {
  session_t *session = import->session;
  if (*import->settings->import.weights) return comm_agree(session->world, import_open_base(import));
  TRY(store_inspect(session->world, import->settings->model.base, NULL, &import->info));
  TRY(import_refuse_outline(import));
  log_info("base       %s", import->info.base_path);
  return comm_agree(session->world,
                    base_outline(session->device, &session->grid, &import->info.config, NULL, &import->base));
}

static status_t import_read_adapter(import_t *import, adapter_config_t *config) {
  const settings_t *settings = import->settings;
  char base[PEFT_BASE_MAX];
  origin_t *origin = &import->origins[import->origin_count];
  TRY(origin_open("import.adapter", settings->import.adapter, import->adapter_prefix, ~0u, origin));
  import->origin_count++;
  TRY(peft_read(settings->import.adapter, origin->files, import->base.config.layers, config, base));
  log_info("adapter    %s, r %d, alpha %g%s%s", settings->import.role, config->r, config->alpha,
           *base ? ", made with " : "", base);
  return STATUS_OK;
}

static status_t import_open_adapter(import_t *import) {
  const settings_t *settings = import->settings;
  adapter_config_t config = settings_adapter(settings);
  snprintf(import->adapter_prefix, PREFIX_MAX, "/adapters/%s/", settings->import.role);
  if (!settings->import.outline) TRY(import_read_adapter(import, &config));
  return adapter_outline(&import->base, &config, settings->import.role, &import->adapter);
}

static status_t import_open_head(import_t *import) {
  const settings_t *settings = import->settings;
  snprintf(import->head_prefix, PREFIX_MAX, "/heads/%s/", settings->import.role);
  if (!settings->import.outline) {
    TRY(origin_open("import.head", settings->import.head, import->head_prefix, ~0u,
                    &import->origins[import->origin_count]));
    import->origin_count++;
  }
  return head_outline(&import->base, settings->import.role, false, &import->head);
}

static bool is_reward(const import_t *import) {
  return has_head(import) && strcmp(import->settings->import.role, "reward") == 0;
}

static status_t import_open_all(import_t *import) {
  session_t *session = import->session;
  const settings_t *settings = import->settings;
  TRY(import_find_base(import));
  if (has_adapter(import)) TRY(comm_agree(session->world, import_open_adapter(import)));
  if (has_head(import)) TRY(comm_agree(session->world, import_open_head(import)));
  if (is_reward(import))
    TRY(reward_prompt_open(session, settings->rm.prompt_file, settings->rm.facts, &import->reward_prompt));
  return STATUS_OK;
}

/* ---- What is taken ---- */

static status_t import_match(import_t *import) {
  matching_t *matching = &import->matching;
  unsigned fresh = import->settings->import.outline ? ~0u : 0;
  if (*import->settings->import.weights)
    TRY(matching_want(matching, "/weights/", &import->base.params, import->source.fresh));
  if (has_adapter(import))
    TRY(matching_want(matching, import->adapter_prefix, &import->adapter.params, fresh));
  if (has_head(import)) TRY(matching_want(matching, import->head_prefix, &import->head.params, fresh));
  for (int o = 0; o < import->origin_count; o++)
    TRY(matching_take(matching, &import->origins[o], o < import->source.count ? &import->base.config : NULL));
  matching_settle_head(matching);
  return matching_complete(matching, import->origins, import->origin_count);
}

/* How a weight is stored: half precision, of which a file here has no type, is kept in single. */
static dtype_t stored_type(const settings_t *settings, const tensor_entry_t *entry) {
  if (strcmp(settings->import.dtype, "bf16") == 0) return DTYPE_BF16;
  bool keep = strcmp(settings->import.dtype, "keep") == 0;
  return keep && entry && entry->type == TENSOR_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

static void import_describe(const import_t *import, const wanted_t *wanted, weights_given_item_t *item) {
  const tensor_entry_t *entry = wanted->entry;
  weights_tensor_t *tensor = &item->tensor;
  *tensor = (weights_tensor_t){.path = wanted->path,
                               .ndim = entry ? entry->dims : wanted->param->ndim,
                               .dtype = stored_type(import->settings, entry)};
  for (int d = 0; d < H5_MAX_DIMS; d++)
    tensor->shape[d] = d >= tensor->ndim ? 1 : entry ? entry->shape[d] : wanted->param->shape[d];
  item->meaning = store_meaning(wanted->path);
  item->stored = entry && entry->type == (tensor->dtype == DTYPE_BF16 ? TENSOR_BF16 : TENSOR_F32);
}

/* The list for the file, and its size. */
static status_t import_list_items(import_t *import, double *stored) {
  const matching_t *matching = &import->matching;
  TRY(memory_alloc(&import->items, ARENA_IO, (size_t)matching->count, sizeof *import->items));
  for (int64_t i = 0; i < matching->count; i++) {
    const tensor_entry_t *entry = matching->items[i].entry;
    import_describe(import, &matching->items[i], &import->items[i]);
    const weights_tensor_t *tensor = &import->items[i].tensor;
    int64_t elements = weights_elements(tensor),
            most = WEIGHTS_BLOCK_BYTES / weights_dtype_size(tensor->dtype);
    *stored += (double)elements * (double)weights_dtype_size(tensor->dtype);
    if (elements > most) elements = most;
    if (elements > import->block) import->block = elements;
    if (entry) import->bytes += (double)entry->elements * (double)tensor_type_size(entry->type);
  }
  return STATUS_OK;
}

/* ---- Writing ---- */

static status_t import_give(void *context, int64_t i, int64_t first, int64_t n, void *values) {
  import_t *import = context;
  const wanted_t *wanted = &import->matching.items[i];
  if (import->items[i].stored)
    TRY(tensor_files_read(wanted->origin->files, wanted->entry, first, n, values));
  else if (wanted->entry)
    TRY(tensor_files_read_f32(wanted->origin->files, wanted->entry, first, n, values));
  else
    param_initial(wanted->param, (uint64_t)import->settings->job.seed, first, n, values);
  import->done += n * weights_dtype_size(import->items[i].tensor.dtype);
  if (import->session->grid.rank == 0)
    log_progress("import", import->done >> 20, import->mine >> 20, "MiB", NULL);
  return STATUS_OK;
}

static void import_fill_contents(const import_t *import, store_contents_t *contents) {
  const char *role = import->settings->import.role;
  contents->base = &import->base;
  contents->weights = *import->settings->import.weights != '\0';
  contents->base_path = import->info.base_path;
  contents->base_identity = import->info.identity;
  contents->tokenizer_bytes = import->source.tokenizer;
  contents->tokenizer_size = import->source.tokenizer_size;
  contents->published = import->source.published;
  if (has_adapter(import)) {
    contents->adapter_names[0] = role;
    contents->adapters[0] = &import->adapter;
    contents->adapter_count = 1;
  }
  if (has_head(import)) {
    contents->head_names[0] = role;
    contents->heads[0] = &import->head;
    contents->head_count = 1;
  }
  if (is_reward(import)) contents->judging = reward_prompt_judging(&import->reward_prompt);
}

static status_t import_write(import_t *import, double stored) {
  comm_t *world = import->session->world;
  store_contents_t contents = {0};
  double began = perf_now();
  import_fill_contents(import, &contents);
  import->mine = (int64_t)(stored / comm_size(world)) + 1;
  const weights_spec_t spec = {.format = &store_format, .annotate = store_annotate, .context = &contents};
  if (import->settings->import.outline) {
    TRY(weights_write_outline(world, import->output, &spec, import->items, import->matching.count));
    log_info("written    %s: an outline of %.1f MB of weights", import->output, mega * stored);
    return STATUS_OK;
  }
  const weights_given_t given = {
      .items = import->items, .count = import->matching.count, .give = import_give, .context = import};
  TRY(weights_write_given(world, import->vote, import->output, &spec, &given));
  double seconds = perf_now() - began;
  log_info("written    %s: %.1f MB in %.2f s, %.2f GB/s read, %.2f GB/s written", import->output,
           mega * stored, seconds, giga * import->bytes / seconds, giga * stored / seconds);
  return STATUS_OK;
}

static status_t import_find_output(import_t *import) {
  const char *output = import->settings->import.output;
  if (!*output) return session_path(import->session, "model.h5", import->output);
  return file_join(import->output, output, NULL, NULL);
}

/* A block is in memory as floats and as it is stored; an outline has none. */
static void import_estimate(const import_t *import, double stored) {
  bool outline = import->settings->import.outline;
  double names = outline_bytes * (double)import->matching.count + (double)import->source.tokenizer_size;
  estimate_output(import->session->dry, "model", outline ? names : stored);
  if (!outline) estimate_staging(import->session->dry, 2 * import->block * (int64_t)sizeof(float));
}

static status_t import_all(import_t *import) {
  comm_t *world = import->session->world;
  double stored = 0.0;
  TRY(import_find_output(import));
  TRY(import_open_all(import));
  status_code_t status = import_match(import);
  if (status == STATUS_OK) status = import_list_items(import, &stored);
  TRY(comm_agree(world, status));
  if (import->session->dry) {
    import_estimate(import, stored);
    return STATUS_OK;
  }
  TRY(tied_head_check(import->session, &import->matching));
  TRY(comm_agree(world, comm_rank(world) == 0 ? file_make_parent(import->output) : STATUS_OK));
  return import_write(import, stored);
}

static void import_free(import_t *import) {
  for (int o = import->source.count; o < import->origin_count; o++)
    tensor_files_close(import->origins[o].files);
  import_base_free(&import->source);
  matching_free(&import->matching);
  memory_free(import->items);
  reward_prompt_free(&import->reward_prompt);
  head_free(&import->head);
  adapter_free(&import->adapter);
  base_free(&import->base);
  store_info_free(&import->info);
}

static status_t import_voting(session_t *session, stop_vote_t *vote) {
  import_t *import;
  TRY(comm_agree(session->world, memory_alloc(&import, ARENA_OTHER, 1, sizeof *import)));
  import->session = session;
  import->settings = session->settings;
  import->vote = vote;
  status_code_t status = import_all(import);
  import_free(import);
  memory_free(import);
  return status;
}

status_t import_run(session_t *session) {
  return session_run_voting(session, import_voting);
}
