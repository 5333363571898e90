#include "convert/fields.h"

#include <stdio.h>
#include <string.h>

static status_t fields_whole(const fields_t *fields, const char *key, int64_t least, int32_t standard,
                             int32_t *out) {
  int64_t value;
  *out = standard;
  if (!json_get(fields->object, key)) return STATUS_OK;
  TRY(json_int(fields->object, key, fields->where, &value));
  if (value < least || value > INT32_MAX)
    return error_set(STATUS_DATA, "%s: field '%s': found %lld, which no model has", fields->where, key,
                     (long long)value);
  *out = (int32_t)value;
  return STATUS_OK;
}

status_t field_int(const fields_t *fields, const char *key, int32_t standard, int32_t *out) {
  return fields_whole(fields, key, 0, standard, out);
}

status_t field_int_unless_null(const fields_t *fields, const char *key, int32_t standard, int32_t null,
                               int32_t *out) {
  return field_int(fields, key, json_is_null(fields->object, key) ? null : standard, out);
}

status_t field_signed(const fields_t *fields, const char *key, int32_t standard, int32_t *out) {
  return fields_whole(fields, key, -INT32_MAX, standard, out);
}

status_t field_real(const fields_t *fields, const char *key, double standard, double *out) {
  *out = standard;
  return json_get(fields->object, key) ? json_real(fields->object, key, fields->where, out) : STATUS_OK;
}

status_t field_bool(const fields_t *fields, const char *key, bool standard, bool *out) {
  *out = standard;
  return json_get(fields->object, key) ? json_bool(fields->object, key, fields->where, out) : STATUS_OK;
}

status_t field_text(const fields_t *fields, const char *key, const char *standard, const char **out) {
  *out = standard;
  return json_get(fields->object, key) ? json_string(fields->object, key, fields->where, out) : STATUS_OK;
}

status_t field_object(const fields_t *fields, const char *key, fields_t *out) {
  *out = (fields_t){NULL, fields->where};
  if (!json_get(fields->object, key)) return STATUS_OK;
  return json_object(fields->object, key, fields->where, &out->object);
}

/* VALUE is among LIST, "a|b|c". */
static bool fields_listed(const char *value, const char *list) {
  size_t n = strlen(value);
  for (const char *at = list; at; at = strchr(at, '|'), at = at ? at + 1 : NULL)
    if (strncmp(at, value, n) == 0 && (at[n] == '\0' || at[n] == '|')) return true;
  return false;
}

/* The value of a field as a message shows it. */
static const char *fields_shown(const json_t *value, char *text, size_t size) {
  switch (value->type) {
  case JSON_BOOL:
    return value->u.boolean ? "true" : "false";
  case JSON_INT:
    snprintf(text, size, "%lld", (long long)value->u.integer);
    return text;
  case JSON_REAL:
    snprintf(text, size, "%g", value->u.real);
    return text;
  case JSON_STRING:
    snprintf(text, size, "'%s'", value->u.string);
    return text;
  default:
    return json_type_name(value->type);
  }
}

static bool fields_fits(const json_t *value, const only_t *only) {
  switch (only->kind) {
  case ONLY_TEXT:
    return value->type == JSON_STRING && fields_listed(value->u.string, only->text);
  case ONLY_FALSE:
  case ONLY_TRUE:
    return value->type == JSON_BOOL && value->u.boolean == (only->kind == ONLY_TRUE);
  case ONLY_NUMBER:
    return (value->type == JSON_INT && (double)value->u.integer == only->number) ||
           (value->type == JSON_REAL && value->u.real == only->number);
  case ONLY_ABSENT:
    return (value->type == JSON_ARRAY || value->type == JSON_OBJECT) && value->count == 0;
  }
  return false;
}

static const char *fields_expected(const only_t *only, char *text, size_t size) {
  switch (only->kind) {
  case ONLY_TEXT:
    return only->text;
  case ONLY_FALSE:
    return "false";
  case ONLY_TRUE:
    return "true";
  case ONLY_NUMBER:
    snprintf(text, size, "%g", only->number);
    return text;
  case ONLY_ABSENT:
    return "none";
  }
  return "";
}

status_t fields_only(const fields_t *fields, const only_t *only, int count) {
  char found[96], wanted[32];
  for (int i = 0; i < count; i++) {
    const json_t *value = json_get(fields->object, only[i].key);
    if (value ? fields_fits(value, &only[i]) : !only[i].needed) continue;
    return error_set(STATUS_DATA, "%s: field '%s': found %s; such a model is not computed here, only %s",
                     fields->where, only[i].key, value ? fields_shown(value, found, sizeof found) : "none",
                     fields_expected(&only[i], wanted, sizeof wanted));
  }
  return STATUS_OK;
}
