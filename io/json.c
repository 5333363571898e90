#include "io/json.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"
#include "io/json_build.h"

#include <string.h>

static const size_t PARSE_MAX_MEMORY = (size_t)1 << 30;

/* ---- Parsing ---- */

static int on_null(void *context) {
  json_t *node;
  return json_build_value(context, JSON_NULL, &node);
}

static int on_bool(void *context, int value) {
  json_t *node;
  if (!json_build_value(context, JSON_BOOL, &node)) return 0;
  node->u.boolean = value != 0;
  return 1;
}

static int on_number(void *context, const char *text, size_t n) {
  return json_build_number(context, text, n);
}

static int on_string(void *context, const unsigned char *text, size_t n) {
  return json_build_string(context, text, n);
}

static int on_object(void *context) {
  return json_build_open(context, JSON_OBJECT);
}

static int on_key(void *context, const unsigned char *text, size_t n) {
  return json_build_key(context, text, n);
}

static int on_array(void *context) {
  return json_build_open(context, JSON_ARRAY);
}

static int on_end(void *context) {
  return json_build_close(context);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_map_key = on_key,
    .yajl_start_map = on_object,
    .yajl_start_array = on_array,
    .yajl_end_map = on_end,
    .yajl_end_array = on_end,
};

static status_t refuse(const char *text, size_t at, const char *name, const char *problem) {
  int64_t line = 1;
  for (size_t i = 0; i < at; i++)
    line += text[i] == '\n';
  return error_set(STATUS_DATA, "%s: line %lld, byte %zu: %s", name, (long long)line, at, problem);
}

static status_t parse(json_builder_t *builder, yajl_handle yajl, const char *text, size_t n,
                      const char *name) {
  char message[160];
  json_escapes_t escapes = {0};
  size_t bad;
  if (!json_escapes_whole(&escapes, (const unsigned char *)text, n, &bad))
    return refuse(text, bad, name, json_half_pair);
  if (!json_blanks_valid((const unsigned char *)text, n, &bad))
    return refuse(text, bad, name, json_odd_blank);
  yajl_status result = yajl_parse(yajl, (const unsigned char *)text, n);
  size_t at = result == yajl_status_ok ? n : yajl_get_bytes_consumed(yajl);
  if (result == yajl_status_ok) result = yajl_complete_parse(yajl);
  if (result == yajl_status_ok && builder->done) return STATUS_OK;
  if (builder->memory_out) return error_context(STATUS_MEMORY, "while reading %s", name);
  if (builder->problem[0] != '\0') return refuse(text, at, name, builder->problem);
  json_yajl_message(yajl, message, sizeof message);
  return refuse(text, at < n ? at : n, name, n == 0 ? "empty; a JSON value was expected" : message);
}

void json_warn_repeated(const char *name, int64_t count) {
  if (count > 0)
    log_warning("%s: %lld keys are repeated: the last value under a key counts", name, (long long)count);
}

status_t json_parse(const char *text, size_t n, const char *name, json_document_t *out) {
  *out = (json_document_t){0};
  json_builder_t builder = {.max_bytes = PARSE_MAX_MEMORY};
  yajl_handle yajl = yajl_alloc(&callbacks, NULL, &builder);
  if (yajl == NULL) return error_set(STATUS_MEMORY, "%s: no memory for a JSON parser", name);
  status_code_t status = parse(&builder, yajl, text, n, name);
  yajl_free(yajl);
  if (status == STATUS_OK) {
    json_warn_repeated(name, builder.repeated);
    out->root = builder.root;
    out->storage = builder.storage.blocks;
    json_build_reset(&builder);
  }
  json_build_free(&builder);
  return status;
}

status_t json_parse_file(const char *path, size_t max_bytes, json_document_t *out) {
  char *text = NULL;
  size_t n = 0;
  *out = (json_document_t){0};
  TRY(file_read(path, max_bytes, &text, &n));
  status_code_t status = json_parse(text, n, path, out);
  memory_free(text);
  return status;
}

void json_free(json_document_t *document) {
  json_storage_free(document->storage);
  *document = (json_document_t){0};
}

/* ---- Access ---- */

const char *json_type_name(json_type_t type) {
  switch (type) {
  case JSON_NULL:
    return "null";
  case JSON_BOOL:
    return "true or false";
  case JSON_INT:
    return "an integer";
  case JSON_REAL:
    return "a number";
  case JSON_STRING:
    return "a string";
  case JSON_ARRAY:
    return "an array";
  case JSON_OBJECT:
    return "an object";
  }
  return "something unknown";
}

/* The member as it stands in the text, null included. */
static const json_t *member(const json_t *object, const char *key) {
  const json_t *found = NULL;
  if (object == NULL || object->type != JSON_OBJECT) return NULL;
  for (const json_t *at = object->u.first; at != NULL; at = at->next)
    if (strcmp(at->key, key) == 0) found = at;
  return found;
}

const json_t *json_get(const json_t *object, const char *key) {
  const json_t *found = member(object, key);
  return found != NULL && found->type == JSON_NULL ? NULL : found;
}

const json_t *json_at(const json_t *array, int64_t i) {
  if (array == NULL || (array->type != JSON_ARRAY && array->type != JSON_OBJECT)) return NULL;
  const json_t *at = array->u.first;
  while (at != NULL && i-- > 0)
    at = at->next;
  return at;
}

static status_t require(const json_t *object, const char *key, const char *where, json_type_t type,
                        const json_t **out) {
  if (object == NULL || object->type != JSON_OBJECT)
    return error_set(STATUS_DATA, "%s: found %s, expected an object with the field '%s'", where,
                     object == NULL ? "nothing" : json_type_name(object->type), key);
  const json_t *found = member(object, key);
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
  TRY(require(object, key, where, JSON_STRING, &found));
  *out = found->u.string;
  return STATUS_OK;
}

status_t json_int(const json_t *object, const char *key, const char *where, int64_t *out) {
  const json_t *found = NULL;
  TRY(require(object, key, where, JSON_INT, &found));
  *out = found->u.integer;
  return STATUS_OK;
}

status_t json_real(const json_t *object, const char *key, const char *where, double *out) {
  const json_t *found = NULL;
  TRY(require(object, key, where, JSON_REAL, &found));
  *out = found->type == JSON_INT ? (double)found->u.integer : found->u.real;
  return STATUS_OK;
}

status_t json_bool(const json_t *object, const char *key, const char *where, bool *out) {
  const json_t *found = NULL;
  TRY(require(object, key, where, JSON_BOOL, &found));
  *out = found->u.boolean;
  return STATUS_OK;
}

status_t json_array(const json_t *object, const char *key, const char *where, const json_t **out) {
  return require(object, key, where, JSON_ARRAY, out);
}

status_t json_object(const json_t *object, const char *key, const char *where, const json_t **out) {
  return require(object, key, where, JSON_OBJECT, out);
}
