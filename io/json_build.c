#include "io/json_build.h"

#include "base/memory.h"
#include "text/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

char *json_storage_text(json_storage_t *storage, const unsigned char *text, size_t n) {
  char *copy = storage_take(storage, n + 1);
  if (copy == NULL) return NULL;
  if (n > 0) memcpy(copy, text, n);
  copy[n] = '\0';
  return copy;
}

static bool refuse(json_builder_t *builder, const char *problem) {
  snprintf(builder->problem, sizeof builder->problem, "%s", problem);
  return false;
}

static bool starve(json_builder_t *builder) {
  builder->memory_out = true;
  return false;
}

static bool room(json_builder_t *builder, size_t n) {
  if (builder->storage.bytes + n <= builder->max_bytes) return true;
  return refuse(builder, "one value takes too much memory");
}

/* Links NODE into the container that is open. */
static void attach(json_builder_t *builder, json_t *node) {
  if (builder->depth == 0) {
    builder->root = node;
    return;
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
}

bool json_build_value(json_builder_t *builder, json_type_t type, json_t **out) {
  if (!room(builder, sizeof(json_t))) return false;
  json_t *node = storage_take(&builder->storage, sizeof *node);
  if (node == NULL) return starve(builder);
  memset(node, 0, sizeof *node);
  node->type = type;
  attach(builder, node);
  if (builder->depth == 0 && type != JSON_ARRAY && type != JSON_OBJECT) builder->done = true;
  *out = node;
  return true;
}

/* A copy of a string of the file, once it is known to be clean. */
static char *text_take(json_builder_t *builder, const unsigned char *text, size_t n) {
  bool clean = text_is_utf8((text_view_t){(const char *)text, n}, NULL);
  if (!clean) refuse(builder, "invalid UTF-8 in a string");
  bool whole = n == 0 || memchr(text, '\0', n) == NULL;
  if (!whole) refuse(builder, "a NUL character (\\u0000) in a string");
  if (!clean || !whole || !room(builder, n)) return NULL;
  char *copy = json_storage_text(&builder->storage, text, n);
  if (copy == NULL) starve(builder);
  return copy;
}

bool json_build_string(json_builder_t *builder, const unsigned char *text, size_t n) {
  json_t *node;
  char *copy = text_take(builder, text, n);
  if (copy == NULL || !json_build_value(builder, JSON_STRING, &node)) return false;
  node->u.string = copy;
  node->count = (int64_t)n;
  return true;
}

bool json_build_number(json_builder_t *builder, const char *text, size_t n) {
  char copy[512];
  if (n >= sizeof copy) return refuse(builder, "a number of more than 500 digits");
  memcpy(copy, text, n);
  copy[n] = '\0';
  bool real = strpbrk(copy, ".eE") != NULL;
  errno = 0;
  int64_t integer = real ? 0 : strtoll(copy, NULL, 10);
  if (errno == ERANGE) real = true;
  json_t *node;
  if (!json_build_value(builder, real ? JSON_REAL : JSON_INT, &node)) return false;
  if (real)
    node->u.real = strtod(copy, NULL);
  else
    node->u.integer = integer;
  return true;
}

bool json_build_key(json_builder_t *builder, const unsigned char *text, size_t n) {
  builder->key = text_take(builder, text, n);
  return builder->key != NULL;
}

bool json_build_open(json_builder_t *builder, json_type_t type) {
  if (builder->depth == JSON_MAX_DEPTH) {
    snprintf(builder->problem, sizeof builder->problem, "nested deeper than %d levels", (int)JSON_MAX_DEPTH);
    return false;
  }
  json_t *node;
  if (!json_build_value(builder, type, &node)) return false;
  builder->open[builder->depth] = node;
  builder->last[builder->depth] = NULL;
  builder->depth++;
  return true;
}

void json_build_close(json_builder_t *builder) {
  builder->depth--;
  if (builder->depth == 0) builder->done = true;
}

void json_build_reset(json_builder_t *builder) {
  builder->storage = (json_storage_t){0};
  builder->root = NULL;
  builder->depth = 0;
  builder->key = NULL;
  builder->done = false;
}

void json_yajl_message(yajl_handle yajl, char *message, size_t capacity) {
  unsigned char *text = yajl_get_error(yajl, 0, NULL, 0);
  snprintf(message, capacity, "%s", text == NULL ? "broken JSON" : (const char *)text);
  if (text != NULL) yajl_free_error(yajl, text);
  for (size_t end = strlen(message); end > 0 && (message[end - 1] == '\n' || message[end - 1] == ' '); end--)
    message[end - 1] = '\0';
}
