#include "io/json_build.h"

#include "base/memory.h"
#include "text/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20, ALIGNMENT = 8 };

struct json_block {
  json_block_t *next;
  size_t used, size;
  _Alignas(ALIGNMENT) char bytes[];
};

void json_storage_free(json_block_t *blocks) {
  while (blocks != NULL) {
    json_block_t *next = blocks->next;
    memory_free(blocks);
    blocks = next;
  }
}

static json_block_t *block_add(json_storage_t *storage, size_t n) {
  size_t size = storage->blocks == NULL ? (size_t)FIRST_BLOCK : storage->blocks->size * 2;
  if (size > LARGEST_BLOCK) size = LARGEST_BLOCK;
  if (size < n) size = n;
  json_block_t *block = NULL;
  status_code_t status = memory_alloc(&block, ARENA_IO, sizeof *block + size, 1);
  if (status != STATUS_OK) return NULL;
  block->size = size;
  block->next = storage->blocks;
  storage->blocks = block;
  storage->bytes += size;
  return block;
}

static void *storage_take(json_storage_t *storage, size_t n) {
  n = (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  json_block_t *block = storage->blocks;
  if (block == NULL || block->size - block->used < n) block = block_add(storage, n);
  if (block == NULL) return NULL;
  void *place = block->bytes + block->used;
  block->used += n;
  return place;
}

static int json_build_refuse(json_builder_t *builder, const char *problem) {
  snprintf(builder->problem, sizeof builder->problem, "%s", problem);
  return 0;
}

static bool json_build_refuse_repeated(json_builder_t *builder, const char *key) {
  snprintf(builder->problem, sizeof builder->problem, "the key '%.100s' is there twice in one object", key);
  return false;
}

static bool json_build_room(json_builder_t *builder, size_t n) {
  if (builder->storage.bytes + n <= builder->max_bytes) return true;
  return json_build_refuse(builder, "one value takes too much memory");
}

/* ---- Members ---- */

static bool member_note(json_builder_t *builder, json_t *node) {
  json_members_t *members = &builder->members;
  if (memory_reserve(&members->nodes, ARENA_IO, members->count + 1, sizeof *members->nodes) != STATUS_OK)
    return json_build_refuse(builder, "no memory for it");
  members->nodes[members->count++] = node;
  return true;
}

/* Empty slots for N members, at most half of which will be taken. */
static bool slots_clear(json_builder_t *builder, size_t n) {
  json_members_t *members = &builder->members;
  size_t count = 4;
  while (count < 2 * n)
    count *= 2;
  if (memory_reserve(&members->slots, ARENA_IO, count, sizeof *members->slots) != STATUS_OK)
    return json_build_refuse(builder, "no memory for it");
  members->slot_count = count;
  for (size_t s = 0; s < count; s++)
    members->slots[s] = SIZE_MAX;
  return true;
}

/* The slot of the member of NODES that is called KEY, or the free one where it belongs. */
static size_t *json_build_slot_of(const json_members_t *members, json_t *const *nodes, const char *key) {
  size_t mask = members->slot_count - 1, slot = (size_t)XXH3_64bits(key, strlen(key)) & mask;
  while (members->slots[slot] != SIZE_MAX && strcmp(nodes[members->slots[slot]]->key, key) != 0)
    slot = (slot + 1) & mask;
  return &members->slots[slot];
}

static void json_build_relink(json_t *object, json_t **nodes, size_t n) {
  object->count = (int64_t)n;
  object->u.first = nodes[0];
  for (size_t i = 0; i < n; i++)
    nodes[i]->next = i + 1 < n ? nodes[i + 1] : NULL;
}

/* Leaves one member of each name in OBJECT, which is about to close. */
static bool members_unique(json_builder_t *builder, json_t *object) {
  json_members_t *members = &builder->members;
  size_t begin = members->begin[builder->depth - 1], n = members->count - begin, kept = 0;
  members->count = begin;
  if (n < 2) return true; /* there may be no array yet */
  json_t **nodes = members->nodes + begin;
  if (!slots_clear(builder, n)) return false;
  for (size_t i = 0; i < n; i++) {
    size_t *slot = json_build_slot_of(members, nodes, nodes[i]->key);
    bool found = *slot != SIZE_MAX;
    if (found && builder->unique) return json_build_refuse_repeated(builder, nodes[i]->key);
    if (!found) *slot = kept++;
    nodes[*slot] = nodes[i];
  }
  if (kept == n) return true;
  builder->repeated += (int64_t)(n - kept);
  json_build_relink(object, nodes, kept);
  return true;
}

/* ---- Values ---- */

/* Links NODE into the container that is open. */
static bool json_build_attach(json_builder_t *builder, json_t *node) {
  if (builder->depth == 0) {
    builder->root = node;
    return true;
  }
  int top = builder->depth - 1;
  json_t *parent = builder->open[top];
  node->key = builder->key;
  builder->key = NULL;
  if (builder->last[top] == NULL)
    parent->u.first = node;
  else
    builder->last[top]->next = node;
  builder->last[top] = node;
  parent->count++;
  return parent->type != JSON_OBJECT || member_note(builder, node);
}

static json_t *value_add(json_builder_t *builder, json_type_t type) {
  if (!json_build_room(builder, sizeof(json_t))) return NULL;
  json_t *node = storage_take(&builder->storage, sizeof *node);
  builder->memory_out |= node == NULL;
  if (node == NULL) return NULL;
  *node = (json_t){.type = type};
  if (!json_build_attach(builder, node)) return NULL;
  if (builder->depth == 0 && type != JSON_ARRAY && type != JSON_OBJECT) builder->done = true;
  return node;
}

int json_build_null(void *context) {
  return value_add(context, JSON_NULL) != NULL;
}

int json_build_bool(void *context, int value) {
  json_t *node = value_add(context, JSON_BOOL);
  if (node != NULL) node->u.boolean = value != 0;
  return node != NULL;
}

/* A copy of a string of the file, once it is known to be clean. */
static char *text_take(json_builder_t *builder, const unsigned char *text, size_t n) {
  bool clean = text_is_utf8((text_view_t){(const char *)text, n}, NULL);
  if (!clean) json_build_refuse(builder, "invalid UTF-8 in a string");
  bool whole = n == 0 || memchr(text, '\0', n) == NULL;
  if (!whole) json_build_refuse(builder, "a NUL character (\\u0000) in a string");
  if (!clean || !whole || !json_build_room(builder, n)) return NULL;
  char *copy = storage_take(&builder->storage, n + 1);
  builder->memory_out |= copy == NULL;
  if (copy == NULL) return NULL;
  if (n > 0) memcpy(copy, text, n);
  copy[n] = '\0';
  return copy;
}

int json_build_string(void *context, const unsigned char *text, size_t n) {
  char *copy = text_take(context, text, n);
  json_t *node = copy == NULL ? NULL : value_add(context, JSON_STRING);
  if (node == NULL) return 0;
  node->u.string = copy;
  node->count = (int64_t)n;
  return 1;
}

int json_build_number(void *context, const char *text, size_t n) {
  char copy[512];
  if (n >= sizeof copy) return json_build_refuse(context, "a number of more than 500 digits");
  memcpy(copy, text, n);
  copy[n] = '\0';
  bool real = strpbrk(copy, ".eE") != NULL;
  errno = 0;
  int64_t integer = real ? 0 : strtoll(copy, NULL, 10);
  if (errno == ERANGE) real = true;
  json_t *node = value_add(context, real ? JSON_REAL : JSON_INT);
  if (node == NULL) return 0;
  if (real)
    node->u.real = strtod(copy, NULL);
  else
    node->u.integer = integer;
  return 1;
}

int json_build_key(void *context, const unsigned char *text, size_t n) {
  json_builder_t *builder = context;
  builder->key = text_take(builder, text, n);
  return builder->key != NULL;
}

static int json_build_container_open(json_builder_t *builder, json_type_t type) {
  if (builder->depth == JSON_MAX_DEPTH) {
    snprintf(builder->problem, sizeof builder->problem, "nested deeper than %d levels", (int)JSON_MAX_DEPTH);
    return 0;
  }
  json_t *node = value_add(builder, type);
  if (node == NULL) return 0;
  builder->open[builder->depth] = node;
  builder->last[builder->depth] = NULL;
  builder->members.begin[builder->depth] = builder->members.count;
  builder->depth++;
  return 1;
}

int json_build_object(void *context) {
  return json_build_container_open(context, JSON_OBJECT);
}

int json_build_array(void *context) {
  return json_build_container_open(context, JSON_ARRAY);
}

int json_build_end(void *context) {
  json_builder_t *builder = context;
  json_t *closed = builder->open[builder->depth - 1];
  if (closed->type == JSON_OBJECT && !members_unique(builder, closed)) return 0;
  builder->depth--;
  if (builder->depth == 0) builder->done = true;
  return 1;
}

void json_build_reset(json_builder_t *builder) {
  builder->storage = (json_storage_t){0};
  builder->root = NULL;
  builder->depth = 0;
  builder->key = NULL;
  builder->done = false;
}

void json_build_free(json_builder_t *builder) {
  json_storage_free(builder->storage.blocks);
  memory_free(builder->members.nodes);
  memory_free(builder->members.slots);
  *builder = (json_builder_t){0};
}

/* ---- Escapes ---- */

const char json_half_pair[] =
    "half a surrogate pair (\\ud800 to \\udfff without its other half) in a string, "
    "which is no character";

/* The character of a \u has been read: does it go with the one before it? */
static bool pair_fits(json_escapes_t *escapes) {
  bool waiting = escapes->high, low = escapes->code >= 0xdc00 && escapes->code < 0xe000;
  escapes->high = !waiting && escapes->code >= 0xd800 && escapes->code < 0xdc00;
  return waiting == low;
}

static int digit_of(unsigned char c) {
  static const char digits[] = "0123456789abcdef";
  const char *found = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
  return found ? (int)(found - digits) : -1;
}

static bool escape_step(json_escapes_t *escapes, unsigned char c) {
  enum { OUTSIDE, BEHIND, FIRST_DIGIT, LAST_DIGIT = 5 };
  if (escapes->place == OUTSIDE || (escapes->place == BEHIND && c != 'u')) {
    escapes->place = escapes->place == OUTSIDE && c == '\\' ? BEHIND : OUTSIDE;
    return escapes->place == BEHIND || !escapes->high;
  }
  int digit = escapes->place == BEHIND ? 0 : digit_of(c);
  escapes->code = escapes->place == BEHIND ? 0 : 16 * escapes->code + (unsigned)digit;
  if (digit < 0) escapes->place = OUTSIDE; /* YAJL refuses it */
  if (digit < 0 || escapes->place++ < LAST_DIGIT) return true;
  escapes->place = OUTSIDE;
  return pair_fits(escapes);
}

bool json_escapes_whole(json_escapes_t *escapes, const unsigned char *text, size_t n, size_t *at) {
  for (size_t i = 0; i < n; i++) {
    if (escapes->place == 0 && !escapes->high) {
      const unsigned char *next = memchr(text + i, '\\', n - i);
      if (next == NULL) return true;
      i = (size_t)(next - text);
    }
    *at = i;
    if (!escape_step(escapes, text[i])) return false;
  }
  return true;
}

const char json_odd_blank[] = "a vertical tab or form feed, which JSON does not allow";

bool json_blanks_valid(const unsigned char *text, size_t n, size_t *at) {
  static const char odd[] = "\v\f";
  *at = n;
  for (int i = 0; i < 2 && *at > 0; i++) {
    const unsigned char *found = memchr(text, odd[i], *at);
    if (found != NULL) *at = (size_t)(found - text);
  }
  return *at == n;
}

void json_yajl_message(yajl_handle yajl, char *message, size_t capacity) {
  unsigned char *text = yajl_get_error(yajl, 0, NULL, 0);
  snprintf(message, capacity, "%s", text == NULL ? "broken JSON" : (const char *)text);
  if (text != NULL) yajl_free_error(yajl, text);
  for (size_t end = strlen(message); end > 0 && (message[end - 1] == '\n' || message[end - 1] == ' '); end--)
    message[end - 1] = '\0';
}
