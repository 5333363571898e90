/* Fields of config.json and its like, each with the value that it has where it is absent or null. */
#ifndef CONVERT_FIELDS_H
#define CONVERT_FIELDS_H

#include "io/json.h"

/* An object and what to call it in messages: its file, with the field it stands in. */
typedef struct {
  const json_t *object; /* NULL: all fields are absent */
  const char *where;
} fields_t;

/* The member KEY, or STANDARD. Whole numbers are 0 .. INT32_MAX or, signed, -INT32_MAX .. INT32_MAX. Local.
 * Errors: STATUS_DATA where it is of another type or out of range. */
status_t field_int(const fields_t *fields, const char *key, int32_t standard, int32_t *out);
/* Where null means something else than absence. */
status_t field_int_unless_null(const fields_t *fields, const char *key, int32_t standard, int32_t null,
                               int32_t *out);
status_t field_signed(const fields_t *fields, const char *key, int32_t standard, int32_t *out);
status_t field_real(const fields_t *fields, const char *key, double standard, double *out);
status_t field_bool(const fields_t *fields, const char *key, bool standard, bool *out);
/* *OUT lives as long as the tree. */
status_t field_text(const fields_t *fields, const char *key, const char *standard, const char **out);
/* The object KEY; without it out->object is NULL. */
status_t field_object(const fields_t *fields, const char *key, fields_t *out);

/* A setting of published configurations that changes what a model computes, with the one value that is
 * computed here: which a text is, or a truth value, or which a number is at most. */
typedef enum { ONLY_TEXT, ONLY_FALSE, ONLY_TRUE, ONLY_ABSENT, ONLY_NUMBER } only_kind_t;
typedef struct {
  const char *key;
  only_kind_t kind;
  const char *text; /* ONLY_TEXT: the values taken, "a|b" */
  double number;    /* ONLY_NUMBER */
  bool needed;      /* absent is something else */
} only_t;

/* Refuses FIELDS where one of ONLY (count) is there with another value. Errors: STATUS_DATA naming field,
 * what was found and what can be computed. Local. */
status_t fields_only(const fields_t *fields, const only_t *only, int count);

#endif
