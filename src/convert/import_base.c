#include "convert/import_base.h"

#include "base/log.h"
#include "base/memory.h"
#include "convert/config_published.h"
#include "convert/tokens_beside.h"
#include "io/file.h"
#include "io/formats/tokenizer_file.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { TOKENIZER_BYTES_MOST = 256 << 20 };
SCOPED_POINTER(tokenizer_free, tokenizer_t)

static const unsigned all_parts = 1u << PART_DECODER | 1u << PART_PROJECTOR | 1u << PART_TOWER;

status_t origin_open(const char *setting, const char *path, const char *prefix, unsigned parts,
                     origin_t *out) {
  *out = (origin_t){.setting = setting, .prefix = prefix, .parts = parts};
  status_code_t status = tensor_files_open(path, &out->files);
  return status == STATUS_OK ? status : error_context(status, "while opening %s = '%s'", setting, path);
}

static status_t import_base_add_origin(import_base_t *base, const char *setting, const char *path,
                                       unsigned parts) {
  TRY(origin_open(setting, path, "/weights/", parts, &base->origins[base->count]));
  base->count++;
  return STATUS_OK;
}

/* The first tensor of PART in the files taken for it whose name here is NAME (NULL: any). */
static bool import_base_holds(const import_base_t *base, part_t part, const char *name) {
  for (int o = 0; o < base->count; o++) {
    const origin_t *origin = &base->origins[o];
    if (!(origin->parts >> part & 1)) continue;
    for (int64_t i = 0; i < tensor_files_count(origin->files); i++) {
      char ours[PARAM_NAME_MAX];
      if (name_from_outside(tensor_files_at(origin->files, i)->name, ours) && name_part(ours) == part &&
          (!name || strcmp(ours, name) == 0))
        return true;
    }
  }
  return false;
}

/* ---- Tower ---- */

static bool is_model(const char *folder) {
  char path[FILE_MAX_PATH];
  return file_join(path, folder, "config.json", NULL) == STATUS_OK && file_exists(path);
}

/* The folder that the configuration's mm_vision_tower names, there or inside the weights' folder; "" where it
 * is none. */
static status_t named_tower(const settings_t *settings, const char *name, char folder[FILE_MAX_PATH]) {
  const char *slash = strrchr(name, '/');
  *folder = '\0';
  if (!*name) return STATUS_OK;
  TRY(file_join(folder, name, NULL, NULL));
  if (is_model(folder)) return STATUS_OK;
  TRY(file_join(folder, settings->import.weights, slash ? slash + 1 : name, NULL));
  if (!is_model(folder)) *folder = '\0';
  return STATUS_OK;
}

static status_t import_base_take_tower(const char *folder, published_config_t *published,
                                       import_base_t *base) {
  TRY(config_read_tower(folder, published));
  base->origins[0].parts &= ~(1u << PART_TOWER);
  return import_base_add_origin(base, "import.vision_tower", folder, 1u << PART_TOWER);
}

static bool no_new_projector(const settings_t *settings) {
  return strcmp(settings->import.new_projector, "none") == 0;
}

static status_t import_base_open_tower(const settings_t *settings, published_config_t *published,
                                       import_base_t *base) {
  char folder[FILE_MAX_PATH];
  const char *name = published->tower_name;
  bool held = import_base_holds(base, PART_TOWER, NULL);
  if (*settings->import.vision_tower)
    return import_base_take_tower(settings->import.vision_tower, published, base);
  TRY(named_tower(settings, name, folder));
  if (!held && *folder) return import_base_take_tower(folder, published, base);
  if (!held && !published->has_projector && !*settings->import.projector && no_new_projector(settings)) {
    log_info(
        "no tower   the model reads text alone; import.vision_tower and import.new_projector make it see");
    return STATUS_OK;
  }
  if (!held)
    return error_set(
        STATUS_INPUT,
        "import.weights = '%s' holds no vision tower%s%s; name its folder as import.vision_tower",
        settings->import.weights, *name ? ", and names " : "", name);
  if (*folder) return config_read_tower(folder, published);
  if (published->has_tower) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "import.weights = '%s' holds a vision tower, but its config.json does not say which%s%s; "
                   "name the folder of that tower as import.vision_tower",
                   settings->import.weights, *name ? ": " : "", name);
}

/* ---- Projector ---- */

static status_t new_projector(const settings_t *settings, import_base_t *base) {
  const char *kind = settings->import.new_projector;
  if (no_new_projector(settings))
    return error_set(STATUS_INPUT,
                     "import.weights = '%s' holds no projector; name its file as import.projector, or let "
                     "import.new_projector make one for task pretrain to train",
                     settings->import.weights);
  base->config.projector = strcmp(kind, "linear") == 0 ? PROJECTOR_LINEAR : PROJECTOR_MLP2X_GELU;
  base->fresh = 1u << PART_PROJECTOR;
  log_info("projector  new (%s), of initial values by job.seed", kind);
  return STATUS_OK;
}

static const char *projector_name(projector_t projector) {
  return projector == PROJECTOR_LINEAR ? "linear" : "mlp2x_gelu";
}

/* A projector's tensors are named by its layers. */
static status_t import_base_check_projector(const settings_t *settings, const published_config_t *published,
                                            const import_base_t *base) {
  bool own = published->says_projector && !*settings->import.projector;
  if (!own || published->model.projector == base->config.projector) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "import.weights = '%s': its config.json says mm_projector_type = '%s', but the projector's "
      "tensors are those of '%s'; mend mm_projector_type, or name the projector's file as "
      "import.projector",
      settings->import.weights, projector_name(published->model.projector),
      projector_name(base->config.projector));
}

/* Which projector it is, the tensors say. */
static status_t import_base_open_projector(const settings_t *settings, const published_config_t *published,
                                           import_base_t *base) {
  if (!config_sees(&base->config)) return STATUS_OK;
  if (*settings->import.projector) {
    base->origins[0].parts &= ~(1u << PART_PROJECTOR);
    TRY(import_base_add_origin(base, "import.projector", settings->import.projector, 1u << PART_PROJECTOR));
  }
  if (!import_base_holds(base, PART_PROJECTOR, NULL)) return new_projector(settings, base);
  bool linear = import_base_holds(base, PART_PROJECTOR, "model.mm_projector.weight");
  base->config.projector = linear ? PROJECTOR_LINEAR : PROJECTOR_MLP2X_GELU;
  return import_base_check_projector(settings, published, base);
}

/* ---- Tokenizer ---- */

static status_t import_base_check_tokenizer(const import_base_t *base, const char *path) {
  SCOPED(tokenizer_free_at) tokenizer_t *tokenizer = NULL;
  TRY(tokenizer_create(base->tokenizer, (size_t)base->tokenizer_size, &tokenizer));
  int32_t pieces = tokenizer_size(tokenizer);
  if (pieces <= base->config.vocab) return tokens_beside_check(path, tokenizer, base->config.vocab);
  return error_set(
      STATUS_DATA,
      "%s: the tokenizer has %d pieces, the model's vocabulary %d rows; they do not belong together", path,
      pieces, base->config.vocab);
}

/* Of the file that import.tokenizer names, or of one that lies with the weights: with both kinds there it is
 * tokenizer.model, from which the other has been converted. */
static status_t import_base_find_tokenizer(const settings_t *settings, char path[FILE_MAX_PATH]) {
  static const char *const names[] = {"tokenizer.model", "tokenizer.json"};
  if (*settings->import.tokenizer) return file_join(path, settings->import.tokenizer, NULL, NULL);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    TRY(file_join(path, settings->import.weights, names[i], NULL));
    if (file_exists(path)) return STATUS_OK;
  }
  return error_set(STATUS_INPUT,
                   "import.weights = '%s' has neither %s nor %s; name the file as import.tokenizer",
                   settings->import.weights, names[0], names[1]);
}

static status_t import_base_read_tokenizer(const settings_t *settings, import_base_t *base) {
  char path[FILE_MAX_PATH], *bytes;
  size_t n;
  TRY(import_base_find_tokenizer(settings, path));
  TRY(file_read(path, TOKENIZER_BYTES_MOST, &bytes, &n));
  base->tokenizer = bytes;
  base->tokenizer_size = (int64_t)n;
  status_code_t status = import_base_check_tokenizer(base, path);
  return status == STATUS_OK ? status : error_context(status, "while reading the tokenizer %s", path);
}

/* ---- Special tokens ---- */

static void import_base_log_tokens(const published_t *published, const published_tokens_t *ends) {
  char line[16 * (TOKENIZER_ENDS_MAX + 2)] = "";
  for (int32_t i = 0; i < ends->eos_count; i++)
    snprintf(line + strlen(line), sizeof line - strlen(line), " %d", ends->eos[i]);
  log_info("tokens     answers end with%s, says the model's %s", ends->eos_count > 0 ? line : " nothing",
           published->generation ? "config.json or generation_config.json" : "config.json");
}

/* An answer never ends with a token that has no piece: only those that have one are drawn. */
static void import_base_check_ends(const published_tokens_t *ends, const tokenizer_t *tokenizer) {
  for (int32_t i = 0; i < ends->eos_count; i++)
    if (!tokenizer_piece(tokenizer, ends->eos[i]))
      log_warning(
          "the model ends answers with token %d, of which its tokenizer has no piece: it is never drawn",
          ends->eos[i]);
}

static status_t import_base_take_tokens(const published_t *published, import_base_t *base) {
  SCOPED(tokenizer_free_at) tokenizer_t *tokenizer = NULL;
  published_tokens_t ends;
  TRY(published_ends(published, "import.weights", &ends));
  TRY(tokenizer_create(base->tokenizer, (size_t)base->tokenizer_size, &tokenizer));
  import_base_check_ends(&ends, tokenizer);
  if (ends.eos_count > 0) import_base_log_tokens(published, &ends);
  return published_to_text(published, &base->published);
}

/* ---- Outlines ---- */

/* The tower that is named, or whose sizes are known by its name; without any the model reads text alone. */
static status_t outline_tower(const settings_t *settings, published_config_t *published) {
  char folder[FILE_MAX_PATH];
  if (*settings->import.vision_tower) return config_read_tower(settings->import.vision_tower, published);
  TRY(named_tower(settings, published->tower_name, folder));
  if (*folder) return config_read_tower(folder, published);
  if (published->has_tower || !published->has_projector) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "import.weights = '%s': its config.json names the vision tower '%s', whose sizes are not "
                   "known; name a folder with that tower's config.json as import.vision_tower",
                   settings->import.weights, published->tower_name);
}

static status_t import_base_outline(const settings_t *settings, published_config_t *published,
                                    import_base_t *out) {
  TRY(outline_tower(settings, published));
  out->config = published->model;
  if (config_sees(&out->config) && !published->has_projector) TRY(new_projector(settings, out));
  out->fresh = all_parts;
  return STATUS_OK;
}

/* ---- All of it ---- */

static status_t import_base_find(const settings_t *settings, published_config_t *published,
                                 import_base_t *out) {
  TRY(import_base_add_origin(out, "import.weights", settings->import.weights, all_parts));
  TRY(import_base_open_tower(settings, published, out));
  out->config = published->model;
  return import_base_open_projector(settings, published, out);
}

status_t import_base_open(const settings_t *settings, import_base_t *out) {
  SCOPED(published_free) published_t said = {0};
  published_config_t published;
  *out = (import_base_t){0};
  TRY(config_read(settings->import.weights, &published));
  TRY(config_read_published(settings->import.weights, published.model.vocab, &said));
  if (!published.has_projector)
    published.model.vision_feature_layer = (int32_t)settings->model.vision_feature_layer;
  if (settings->import.outline)
    TRY(import_base_outline(settings, &published, out));
  else
    TRY(import_base_find(settings, &published, out));
  TRY(import_base_read_tokenizer(settings, out));
  return import_base_take_tokens(&said, out);
}

void import_base_free(import_base_t *base) {
  for (int o = 0; o < base->count; o++)
    tensor_files_close(base->origins[o].files);
  memory_free(base->tokenizer);
  memory_free(base->published);
  *base = (import_base_t){0};
}
