#include "io/json.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"
#include "io/json_build.h"

#include <string.h>

static const size_t PARSE_MAX_MEMORY = (size_t)1 << 30;

/* ---- Parsing ---- */

static const yajl_callbacks callbacks = {
    .yajl_null = json_build_null,
    .yajl_boolean = json_build_bool,
    .yajl_number = json_build_number,
    .yajl_string = json_build_string,
    .yajl_map_key = json_build_key,
    .yajl_start_map = json_build_object,
    .yajl_start_array = json_build_array,
    .yajl_end_map = json_build_end,
    .yajl_end_array = json_build_end,
};

static status_t json_refuse(const char *text, size_t at, const char *name, const char *problem) {
  int64_t line = 1;
  for (size_t i = 0; i < at; i++)
    line += text[i] == '\n';
  return error_set(STATUS_DATA, "%s: line %lld, byte %zu: %s", name, (long long)line, at, problem);
}

static status_t json_parse_inner(json_builder_t *builder, yajl_handle yajl, const char *text, size_t n,
                                 const char *name) {
  char message[160];
  json_escapes_t escapes = {0};
  size_t bad;
  if (!json_escapes_whole(&escapes, (const unsigned char *)text, n, &bad))
    return json_refuse(text, bad, name, json_half_pair);
  if (!json_blanks_valid((const unsigned char *)text, n, &bad))
    return json_refuse(text, bad, name, json_odd_blank);
  yajl_status result = yajl_parse(yajl, (const unsigned char *)text, n);
  size_t at = result == yajl_status_ok ? n : yajl_get_bytes_consumed(yajl);
  if (result == yajl_status_ok) result = yajl_complete_parse(yajl);
  if (result == yajl_status_ok && builder->done) return STATUS_OK;
  if (builder->memory_out) return error_context(STATUS_MEMORY, "while reading %s", name);
  if (builder->problem[0] != '\0') return json_refuse(text, at, name, builder->problem);
  json_yajl_message(yajl, message, sizeof message);
  return json_refuse(text, at < n ? at : n, name, n == 0 ? "empty; a JSON value was expected" : message);
}

void json_warn_repeated(const char *name, int64_t count) {
  if (count > 0)
    log_warning("%s: %lld keys are repeated: the last value under a key counts", name, (long long)count);
}

static status_t json_parse_text(const char *text, size_t n, const char *name, bool unique,
                                json_document_t *out) {
  SCOPED(json_build_free) json_builder_t builder = {.max_bytes = PARSE_MAX_MEMORY, .unique = unique};
  *out = (json_document_t){0};
  yajl_handle yajl = yajl_alloc(&callbacks, NULL, &builder);
  if (yajl == NULL) return error_set(STATUS_MEMORY, "%s: no memory for a JSON parser", name);
  status_code_t status = json_parse_inner(&builder, yajl, text, n, name);
  yajl_free(yajl);
  TRY(status);
  json_warn_repeated(name, builder.repeated);
  *out = (json_document_t){.root = builder.root, .storage = builder.storage.blocks};
  json_build_reset(&builder);
  return STATUS_OK;
}

status_t json_parse(const char *text, size_t n, const char *name, json_document_t *out) {
  return json_parse_text(text, n, name, false, out);
}

status_t json_parse_unique(const char *text, size_t n, const char *name, json_document_t *out) {
  return json_parse_text(text, n, name, true, out);
}

status_t json_parse_file(const char *path, size_t max_bytes, json_document_t *out) {
  SCOPED_MEMORY char *text = NULL;
  size_t n = 0;
  *out = (json_document_t){0};
  TRY(file_read(path, max_bytes, &text, &n));
  return json_parse(text, n, path, out);
}

void json_free(json_document_t *document) {
  json_storage_free(document->storage);
  *document = (json_document_t){0};
}

/* ---- Access ---- */

const char *json_type_name(json_type_t type) {
  static const char *const names[] = {"null",     "true or false", "an integer", "a number",
                                      "a string", "an array",      "an object"};
  return names[type];
}

/* The member as it stands in the text, null included. */
static const json_t *json_member(const json_t *object, const char *key) {
  const json_t *found = NULL;
  if (object == NULL || object->type != JSON_OBJECT) return NULL;
  for (const json_t *at = object->u.first; at != NULL; at = at->next)
    if (strcmp(at->key, key) == 0) found = at;
  return found;
}

const json_t *json_get(const json_t *object, const char *key) {
  const json_t *found = json_member(object, key);
  return found != NULL && found->type == JSON_NULL ? NULL : found;
}

bool json_is_null(const json_t *object, const char *key) {
  const json_t *found = json_member(object, key);
  return found != NULL && found->type == JSON_NULL;
}

const json_t *json_at(const json_t *array, int64_t i) {
  if (array == NULL || (array->type != JSON_ARRAY && array->type != JSON_OBJECT)) return NULL;
  const json_t *at = array->u.first;
  while (at != NULL && i-- > 0)
    at = at->next;
  return at;
}

static status_t json_require(const json_t *object, const char *key, const char *where, json_type_t type,
                             const json_t **out) {
  if (object == NULL || object->type != JSON_OBJECT)
    return error_set(STATUS_DATA, "%s: found %s, expected an object with the field '%s'", where,
                     object == NULL ? "nothing" : json_type_name(object->type), key);
  const json_t *found = json_member(object, key);
  if (found == NULL)
    return error_set(STATUS_DATA, "%s: field '%s' is missing; expected %s", where, key, json_type_name(type));
  bool fits = found->type == type || (type == JSON_REAL && found->type == JSON_INT);
  if (!fits)
    return error_set(STATUS_DATA, "%s: field '%s': found %s, expected %s", where, key,
                     json_type_name(found->type), json_type_name(type));
  *out = found;
  return STATUS_OK;
}

status_t json_string(const json_t *object, const char *key, const char *where, const char **out) {
  const json_t *found = NULL;
  TRY(json_require(object, key, where, JSON_STRING, &found));
  *out = found->u.string;
  return STATUS_OK;
}

status_t json_int(const json_t *object, const char *key, const char *where, int64_t *out) {
  const json_t *found = NULL;
  TRY(json_require(object, key, where, JSON_INT, &found));
  *out = found->u.integer;
  return STATUS_OK;
}

status_t json_real(const json_t *object, const char *key, const char *where, double *out) {
  const json_t *found = NULL;
  TRY(json_require(object, key, where, JSON_REAL, &found));
  *out = found->type == JSON_INT ? (double)found->u.integer : found->u.real;
  return STATUS_OK;
}

status_t json_bool(const json_t *object, const char *key, const char *where, bool *out) {
  const json_t *found = NULL;
  TRY(json_require(object, key, where, JSON_BOOL, &found));
  *out = found->u.boolean;
  return STATUS_OK;
}

status_t json_array(const json_t *object, const char *key, const char *where, const json_t **out) {
  return json_require(object, key, where, JSON_ARRAY, out);
}

status_t json_object(const json_t *object, const char *key, const char *where, const json_t **out) {
  return json_require(object, key, where, JSON_OBJECT, out);
}
