#include "io/tensors/safetensors.h"

#include "base/memory.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

bool safetensors_begins(const unsigned char *bytes, size_t n) {
  return n > SAFETENSORS_LENGTH_BYTES && bytes[SAFETENSORS_LENGTH_BYTES] == '{';
}

typedef struct {
  const tensor_source_t *source;
  int64_t number;
  int64_t data; /* byte of the file where the elements begin */
  tensor_list_t *list;
  int64_t first; /* in LIST, of this file */
} safetensors_listing_t;

static status_t safetensors_refuse_entry(const safetensors_listing_t *listing, const char *name,
                                         const char *problem) {
  return error_set(STATUS_DATA, "%s: tensor '%.200s': %s", listing->source->path, name, problem);
}

/* ---- One tensor ---- */

static status_t safetensors_read_type(const json_t *member, const char *where, tensor_type_t *type) {
  const char *name;
  TRY(json_string(member, "dtype", where, &name));
  if (tensor_type_find(name, type)) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: field 'dtype': '%.40s' found, expected F64, F32, F16, BF16, I64, I32, I16, I8, U64, "
                   "U32, U16, U8, BOOL, F8_E4M3, F8_E5M2 or C64",
                   where, name);
}

/* The items of the array KEY of MEMBER, whole numbers that are not negative, at most MOST of them. */
static status_t safetensors_read_counts(const json_t *member, const char *key, const char *where, int most,
                                        int64_t *out, int *count) {
  const json_t *array;
  TRY(json_array(member, key, where, &array));
  if (array->count > most)
    return error_set(STATUS_DATA, "%s: field '%s': %lld items found, at most %d expected", where, key,
                     (long long)array->count, most);
  *count = (int)array->count;
  int i = 0;
  for (const json_t *item = array->u.first; item != NULL; item = item->next, i++) {
    if (item->type != JSON_INT || item->u.integer < 0)
      return error_set(STATUS_DATA, "%s: field '%s': item %d is not a whole number from 0 to 2^63 - 1", where,
                       key, i);
    out[i] = item->u.integer;
  }
  return STATUS_OK;
}

static status_t safetensors_check_range(const safetensors_listing_t *listing, const tensor_record_t *record,
                                        const char *where, const int64_t range[2]) {
  int64_t bytes = record->end - record->entry.place, data = listing->source->size - listing->data;
  if (range[0] > range[1] || range[1] > data)
    return error_set(
        STATUS_DATA,
        "%s: field 'data_offsets': [%lld, %lld] found, expected a range of the %lld bytes behind "
        "the header (is the file cut short?)",
        where, (long long)range[0], (long long)range[1], (long long)data);
  if (range[1] - range[0] != bytes)
    return error_set(STATUS_DATA,
                     "%s: field 'data_offsets': %lld bytes found, expected %lld for its dtype and shape",
                     where, (long long)(range[1] - range[0]), (long long)bytes);
  return STATUS_OK;
}

static status_t safetensors_add_tensor(safetensors_listing_t *listing, const json_t *member) {
  char where[4608];
  int64_t range[2] = {0, 0};
  int ends;
  tensor_record_t record = {.source = listing->number};
  snprintf(where, sizeof where, "%s: tensor '%.200s'", listing->source->path, member->key);
  if (member->type != JSON_OBJECT)
    return error_set(STATUS_DATA, "%s: %s found, expected an object", where, json_type_name(member->type));
  TRY(safetensors_read_type(member, where, &record.entry.type));
  TRY(safetensors_read_counts(member, "shape", where, TENSOR_MAX_DIMS, record.entry.shape,
                              &record.entry.dims));
  TRY(safetensors_read_counts(member, "data_offsets", where, 2, range, &ends));
  if (ends != 2)
    return safetensors_refuse_entry(listing, member->key, "field 'data_offsets': expected [begin, end]");
  if (range[0] > listing->source->size)
    return safetensors_refuse_entry(listing, member->key,
                                    "field 'data_offsets': it begins behind the end of the file");
  record.entry.place = listing->data + range[0];
  if (!tensor_record_plain(&record))
    return safetensors_refuse_entry(listing, member->key, "field 'shape': more than 2^63 bytes");
  TRY(safetensors_check_range(listing, &record, where, range));
  return tensor_list_add(listing->list, member->key, strlen(member->key), &record);
}

/* ---- All of them ---- */

static status_t safetensors_check_metadata(const safetensors_listing_t *listing, const json_t *metadata) {
  bool strings = metadata->type == JSON_OBJECT;
  for (const json_t *item = strings ? metadata->u.first : NULL; item != NULL && strings; item = item->next)
    strings = item->type == JSON_STRING;
  if (strings) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: field '" SAFETENSORS_METADATA "': expected an object of strings",
                   listing->source->path);
}

static int safetensors_compare_places(const void *left, const void *right) {
  const tensor_record_t *a = left, *b = right;
  if (a->entry.place != b->entry.place) return a->entry.place < b->entry.place ? -1 : 1;
  if (a->end != b->end) return a->end < b->end ? -1 : 1;
  return a->name_at < b->name_at ? -1 : 1;
}

/* The records in order of their places must follow each other from the first byte of the data to the last. */
static status_t safetensors_check_cover(const safetensors_listing_t *listing) {
  const tensor_list_t *list = listing->list;
  int64_t at = listing->data;
  for (int64_t i = listing->first; i < list->count; i++) {
    const tensor_record_t *record = &list->records[i];
    if (record->entry.place != at)
      return error_set(STATUS_DATA,
                       "%s: tensor '%.200s': field 'data_offsets': begins at %lld, expected %lld, where the "
                       "tensor before it ends: there may be neither hole nor overlap",
                       listing->source->path, tensor_list_name(list, record),
                       (long long)(record->entry.place - listing->data), (long long)(at - listing->data));
    at = record->end;
  }
  if (at == listing->source->size) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: the tensors end at byte %lld, expected %lld, the end of the file: bytes that belong to "
      "no tensor",
      listing->source->path, (long long)at, (long long)listing->source->size);
}

static status_t list_members(safetensors_listing_t *listing, const json_t *root) {
  if (root->type != JSON_OBJECT)
    return error_set(STATUS_DATA, "%s: header: %s found, expected an object", listing->source->path,
                     json_type_name(root->type));
  for (const json_t *member = root->u.first; member != NULL; member = member->next)
    if (strcmp(member->key, SAFETENSORS_METADATA) == 0)
      TRY(safetensors_check_metadata(listing, member));
    else
      TRY(safetensors_add_tensor(listing, member));
  if (listing->list->count > listing->first)
    qsort(listing->list->records + listing->first, (size_t)(listing->list->count - listing->first),
          sizeof *listing->list->records, safetensors_compare_places);
  return safetensors_check_cover(listing);
}

/* Reads the length of the header and checks it. */
static status_t safetensors_read_length(const tensor_source_t *source, int64_t *length) {
  unsigned char bytes[SAFETENSORS_LENGTH_BYTES];
  uint64_t n = 0;
  if (source->size < SAFETENSORS_LENGTH_BYTES)
    return error_set(STATUS_DATA, "%s: %lld bytes found, expected a safetensors file of at least 8",
                     source->path, (long long)source->size);
  TRY(tensor_source_read(source, bytes, sizeof bytes, 0));
  for (int i = SAFETENSORS_LENGTH_BYTES - 1; i >= 0; i--)
    n = n << 8 | bytes[i];
  *length = n > INT64_MAX ? INT64_MAX : (int64_t)n;
  if (*length > SAFETENSORS_MAX_HEADER)
    return error_set(STATUS_DATA, "%s: header: %lld bytes found, at most %d expected", source->path,
                     (long long)*length, (int)SAFETENSORS_MAX_HEADER);
  if (*length > source->size - SAFETENSORS_LENGTH_BYTES)
    return error_set(STATUS_DATA, "%s: header: %lld bytes expected, but the file ends after %lld",
                     source->path, (long long)*length, (long long)source->size - SAFETENSORS_LENGTH_BYTES);
  return STATUS_OK;
}

static status_t list_header(safetensors_listing_t *listing, const char *text, size_t n) {
  char name[4608];
  json_document_t document;
  snprintf(name, sizeof name, "%s: header", listing->source->path);
  TRY(json_parse_unique(text, n, name, &document));
  status_code_t status = list_members(listing, document.root);
  json_free(&document);
  return status;
}

status_t safetensors_list(const tensor_source_t *source, int64_t number, tensor_list_t *list) {
  int64_t length;
  char *text;
  TRY(safetensors_read_length(source, &length));
  safetensors_listing_t listing = {source, number, SAFETENSORS_LENGTH_BYTES + length, list, list->count};
  TRY(memory_alloc(&text, ARENA_IO, (size_t)length + 1, 1));
  status_code_t status = tensor_source_read(source, text, (size_t)length, SAFETENSORS_LENGTH_BYTES);
  if (status == STATUS_OK && text[0] != '{')
    status = error_set(STATUS_DATA, "%s: header: expected JSON that begins with '{'", source->path);
  if (status == STATUS_OK) status = list_header(&listing, text, (size_t)length);
  memory_free(text);
  return status;
}
