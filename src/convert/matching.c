#include "convert/matching.h"

#include "base/log.h"
#include "base/memory.h"
#include "input/mistakes.h"
#include "text/buffer.h"

#include <stdio.h>
#include <string.h>

/* So many names are listed in a message, so many kinds of names in a report. */
enum { LISTED_MOST = 6, KINDS_MOST = 24 };

/* ---- Wanted ---- */

static status_t matching_add(matching_t *matching, const char *prefix, const char *name, const param_t *param,
                             wanted_t **out) {
  size_t n = strlen(prefix) + strlen(name) + 1;
  TRY(memory_resize(&matching->items, ARENA_IO, (size_t)matching->count + 1, sizeof *matching->items));
  *out = &matching->items[matching->count];
  **out = (wanted_t){.param = param};
  TRY(memory_alloc(&(*out)->path, ARENA_IO, n, 1));
  snprintf((*out)->path, n, "%s%s", prefix, name);
  matching->count++;
  return STATUS_OK;
}

status_t matching_want(matching_t *matching, const char *prefix, const params_t *params, unsigned fresh) {
  for (int32_t i = 0; i < params->count; i++) {
    wanted_t *wanted;
    TRY(matching_add(matching, prefix, params->items[i].name, &params->items[i], &wanted));
    wanted->fresh = (fresh >> name_part(params->items[i].name) & 1) != 0;
  }
  return STATUS_OK;
}

void matching_free(matching_t *matching) {
  for (int64_t i = 0; i < matching->count; i++)
    memory_free(matching->items[i].path);
  memory_free(matching->items);
  *matching = (matching_t){0};
}

static bool is_path(const char *path, const char *prefix, const char *name) {
  size_t n = strlen(prefix);
  return strncmp(path, prefix, n) == 0 && strcmp(path + n, name) == 0;
}

/* Files and model list the same order, mostly: the search goes on where the last one ended. */
static wanted_t *matching_find(const matching_t *matching, const char *prefix, const char *name,
                               int64_t *from) {
  for (int64_t k = 0; k < matching->count; k++) {
    int64_t i = (*from + k) % matching->count;
    if (!is_path(matching->items[i].path, prefix, name)) continue;
    *from = i + 1;
    return &matching->items[i];
  }
  return NULL;
}

wanted_t *matching_embedding(const matching_t *matching) {
  int64_t from = 0;
  return matching_find(matching, "/weights/", "model.embed_tokens.weight", &from);
}

/* ---- Names in reports ---- */

static status_t name_list_add(name_list_t *list, const char *name) {
  TRY(memory_resize(&list->items, ARENA_IO, (size_t)list->count + 1, sizeof *list->items));
  return memory_copy_text(&list->items[list->count++], ARENA_IO, name, strlen(name));
}

static void name_list_free(name_list_t *list) {
  for (int64_t i = 0; i < list->count; i++)
    memory_free(list->items[i]);
  memory_free(list->items);
  *list = (name_list_t){0};
}

/* What the layers of a tower or of CLIP's text half hold is one kind, "text_model.encoder.layers.*", and so
 * are a module's weight and bias. */
static void kind_of(const char *name, char kind[PARAM_NAME_MAX]) {
  static const char layers[] = "encoder.layers.";
  const char *layer = strstr(name, layers), *dot = strrchr(name, '.');
  bool parameter = dot && (strcmp(dot, ".weight") == 0 || strcmp(dot, ".bias") == 0);
  int n = (int)(layer ? layer + strlen(layers) - name : parameter ? dot - name : (ptrdiff_t)strlen(name));
  snprintf(kind, PARAM_NAME_MAX, "%.*s%s", n, name, layer ? "*" : "");
}

/* "  reason: kind, kind and N more", each kind once. */
static status_t matching_log_kinds(const char *reason, const name_list_t *names) {
  name_list_t kinds = {0};
  text_buffer_t line = {0};
  status_code_t status = STATUS_OK;
  for (int64_t i = 0; i < names->count && status == STATUS_OK; i++) {
    char kind[PARAM_NAME_MAX];
    int64_t k = 0;
    kind_of(names->items[i], kind);
    while (k < kinds.count && strcmp(kinds.items[k], kind) != 0)
      k++;
    if (k < kinds.count) continue;
    status = name_list_add(&kinds, kind);
    if (status == STATUS_OK && k < KINDS_MOST) {
      status = text_buffer_append_string(&line, k > 0 ? ", " : "");
      if (status == STATUS_OK) status = text_buffer_append_string(&line, kind);
    }
  }
  if (status == STATUS_OK && names->count > 0)
    log_info("           %lld %s: %s%s", (long long)names->count, reason, line.bytes,
             kinds.count > KINDS_MOST ? ", ..." : "");
  text_buffer_free(&line);
  name_list_free(&kinds);
  return status;
}

/* ---- Taking ---- */

/* What became of an origin's tensors. */
typedef struct {
  matching_t *matching;
  const origin_t *origin;
  const model_config_t *config;
  int64_t from; /* where to look next */
  int64_t used;
  double bytes;
  name_list_t kept, ignored, elsewhere, unknown;
} taking_t;

enum { SHAPE_TEXT = 128 };
static const char *shape_text(int dims, const int64_t *shape, char text[SHAPE_TEXT]) {
  int n = snprintf(text, SHAPE_TEXT, "(");
  for (int d = 0; d < dims && n < SHAPE_TEXT - 24; d++)
    n += snprintf(text + n, SHAPE_TEXT - (size_t)n, "%s%lld", d > 0 ? ", " : "", (long long)shape[d]);
  snprintf(text + n, SHAPE_TEXT - (size_t)n, ")");
  return text;
}

static status_t matching_check_shape(const tensor_entry_t *entry, const param_t *param) {
  char found[SHAPE_TEXT], expected[SHAPE_TEXT];
  bool same = entry->dims == param->ndim;
  for (int d = 0; d < param->ndim && same; d++)
    same = entry->shape[d] == param->shape[d];
  if (same) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: tensor %s has shape %s, expected %s from the configuration", entry->file,
                   entry->name, shape_text(entry->dims, entry->shape, found),
                   shape_text(param->ndim, param->shape, expected));
}

static status_t matching_check_type(const tensor_entry_t *entry) {
  if (tensor_type_is_real(entry->type)) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: tensor %s is of type %s, expected F32, F16 or BF16", entry->file,
                   entry->name, tensor_type_name(entry->type));
}

static status_t matching_take_wanted(taking_t *taking, wanted_t *wanted, const tensor_entry_t *entry) {
  if (wanted->entry)
    return error_set(STATUS_DATA, "tensor %s of %s is %s of %s once more; expected one of them", entry->name,
                     entry->file, wanted->entry->name, wanted->entry->file);
  TRY(matching_check_type(entry));
  if (wanted->param) TRY(matching_check_shape(entry, wanted->param));
  wanted->entry = entry;
  wanted->origin = taking->origin;
  taking->used++;
  taking->bytes += (double)entry->elements * (double)tensor_type_size(entry->type);
  return STATUS_OK;
}

/* A tensor that the model does not run, for the file all the same. */
static status_t matching_keep(taking_t *taking, const char *ours, const tensor_entry_t *entry) {
  wanted_t *wanted;
  if (entry->dims > PARAM_DIMS_MAX)
    return error_set(STATUS_DATA, "%s: tensor %s has %d dimensions", entry->file, entry->name, entry->dims);
  TRY(matching_check_type(entry));
  TRY(matching_add(taking->matching, taking->origin->prefix, ours, NULL, &wanted));
  wanted->entry = entry;
  wanted->origin = taking->origin;
  return name_list_add(&taking->kept, entry->name);
}

/* Of a tied model the files may hold the output head beside the embedding, or instead of it. */
static status_t matching_take_tied(taking_t *taking, const tensor_entry_t *entry) {
  wanted_t *head = &taking->matching->head;
  head->param = matching_embedding(taking->matching)->param;
  return matching_take_wanted(taking, head, entry);
}

/* Heads are files of their own: the weights of one linear layer, maybe behind its name. */
static void head_name(const char *outside, char ours[PARAM_NAME_MAX]) {
  const char *dot = strrchr(outside, '.');
  snprintf(ours, PARAM_NAME_MAX, "%s", dot ? dot + 1 : outside);
}

static bool our_name(const origin_t *origin, const char *outside, char ours[PARAM_NAME_MAX]) {
  if (strncmp(origin->prefix, "/heads/", strlen("/heads/")) != 0) return name_from_outside(outside, ours);
  head_name(outside, ours);
  return true;
}

static status_t matching_take_inner(taking_t *taking, const tensor_entry_t *entry) {
  char ours[PARAM_NAME_MAX];
  const origin_t *origin = taking->origin;
  if (name_is_ignored(entry->name)) return name_list_add(&taking->ignored, entry->name);
  if (!our_name(origin, entry->name, ours)) return name_list_add(&taking->unknown, entry->name);
  if (!(origin->parts >> name_part(ours) & 1)) return name_list_add(&taking->elsewhere, entry->name);
  wanted_t *wanted = matching_find(taking->matching, origin->prefix, ours, &taking->from);
  if (wanted) return matching_take_wanted(taking, wanted, entry);
  if (!taking->config) return name_list_add(&taking->unknown, entry->name);
  if (base_leaves_unused(taking->config, ours)) return matching_keep(taking, ours, entry);
  if (taking->config->tied && strcmp(ours, "lm_head.weight") == 0) return matching_take_tied(taking, entry);
  return name_list_add(&taking->unknown, entry->name);
}

/* Up to LISTED_MOST of NAMES in TEXT. */
static status_t list_some(const name_list_t *names, text_buffer_t *text) {
  for (int64_t i = 0; i < names->count && i < LISTED_MOST; i++) {
    TRY(text_buffer_append_string(text, i > 0 ? ", " : ""));
    TRY(text_buffer_append_string(text, names->items[i]));
  }
  return text_buffer_append_string(text, names->count > LISTED_MOST ? ", ..." : "");
}

/* What the model wants and has not found, where a name there is may be a misspelling of it; NULL: none. */
static const char *nearest_wanted(const taking_t *taking, const char *outside) {
  char ours[PARAM_NAME_MAX];
  size_t n = strlen(taking->origin->prefix);
  nearest_t nearest = nearest_to(our_name(taking->origin, outside, ours) ? ours : outside);
  for (int64_t i = 0; i < taking->matching->count; i++) {
    const wanted_t *wanted = &taking->matching->items[i];
    if (!wanted->entry && strncmp(wanted->path, taking->origin->prefix, n) == 0)
      nearest_offer(&nearest, wanted->path + n);
  }
  return nearest.found;
}

static status_t matching_refuse_unknown(const taking_t *taking) {
  text_buffer_t text = {0};
  const char *nearest = nearest_wanted(taking, taking->unknown.items[0]);
  status_code_t status = list_some(&taking->unknown, &text);
  if (status == STATUS_OK)
    status =
        error_set(STATUS_DATA,
                  "%s: holds %lld tensors that a model of this configuration does not have, so it is not "
                  "computed here: %s%s%s%s",
                  tensor_files_path(taking->origin->files), (long long)taking->unknown.count, text.bytes,
                  nearest ? " (missing is " : "", nearest ? nearest : "", nearest ? ")" : "");
  text_buffer_free(&text);
  return status;
}

static status_t matching_report(const taking_t *taking) {
  log_info("%-10s %s: %lld tensors used, %.1f MB", taking->origin->setting + strlen("import."),
           tensor_files_path(taking->origin->files), (long long)taking->used, 1e-6 * taking->bytes);
  TRY(matching_log_kinds("kept that no pass uses", &taking->kept));
  TRY(matching_log_kinds("ignored", &taking->ignored));
  return matching_log_kinds("passed over, as they come from elsewhere", &taking->elsewhere);
}

static status_t matching_take_all(taking_t *taking) {
  const tensor_files_t *files = taking->origin->files;
  for (int64_t i = 0; i < tensor_files_count(files); i++)
    TRY(matching_take_inner(taking, tensor_files_at(files, i)));
  return STATUS_OK;
}

status_t matching_take(matching_t *matching, const origin_t *origin, const model_config_t *config) {
  taking_t taking = {.matching = matching, .origin = origin, .config = config};
  status_code_t status = matching_take_all(&taking);
  if (status == STATUS_OK) status = matching_report(&taking);
  if (status == STATUS_OK && taking.unknown.count > 0) status = matching_refuse_unknown(&taking);
  name_list_free(&taking.kept);
  name_list_free(&taking.ignored);
  name_list_free(&taking.elsewhere);
  name_list_free(&taking.unknown);
  return status;
}

/* ---- Tied heads ---- */

void matching_settle_head(matching_t *matching) {
  wanted_t *head = &matching->head, *embedding = matching_embedding(matching);
  if (!head->entry || embedding->entry) return;
  embedding->entry = head->entry;
  embedding->origin = head->origin;
  *head = (wanted_t){0};
  log_info("           %s is the embedding too, which the head is tied to", embedding->entry->name);
}

/* ---- Missing ---- */

/* The name in ORIGINS that comes nearest to what is missing at PATH; NULL where none is near. */
static const char *nearest_name(const char *path, const origin_t *origins, int count) {
  nearest_t best = {0};
  for (int o = 0; o < count; o++) {
    size_t n = strlen(origins[o].prefix);
    if (strncmp(path, origins[o].prefix, n) != 0) continue;
    nearest_t nearest = nearest_to(path + n);
    for (int64_t i = 0; i < tensor_files_count(origins[o].files); i++)
      nearest_offer(&nearest, tensor_files_at(origins[o].files, i)->name);
    if (nearest.found && (!best.found || nearest.distance < best.distance)) best = nearest;
  }
  return best.found;
}

status_t matching_complete(const matching_t *matching, const origin_t *origins, int count) {
  const char *first = NULL;
  int64_t missing = 0;
  for (int64_t i = 0; i < matching->count; i++) {
    if (matching->items[i].entry || matching->items[i].fresh) continue;
    if (!first) first = matching->items[i].path;
    missing++;
  }
  if (missing == 0) return STATUS_OK;
  const char *nearest = nearest_name(first, origins, count);
  return error_set(STATUS_DATA, "%lld tensors are in none of the files, the first is %s%s%s%s",
                   (long long)missing, strchr(first + 1, '/') + 1,
                   nearest ? " (the nearest name there: " : "", nearest ? nearest : "", nearest ? ")" : "");
}
