/* From nested dicts to tensors with dotted names. */
#include "io/tensors/pickle_machine.h"

#include <stdio.h>
#include <string.h>

enum { MOST_DEPTH = 16, MOST_NAME = 2048 };

/* A pickle of a few bytes can hold one dict in many places: what is walked is bounded, by the bytes that
 * names and what belongs to them take. */
static const size_t most_bytes = 128 * 1024 * 1024, bytes_per_value = 64;

typedef struct {
  machine_t *machine;
  pickle_visit_t visit;
  void *context;
  size_t bytes;
  char name[MOST_NAME];
} pickle_tree_walk_t;

static status_t pickle_tree_refuse(const pickle_tree_walk_t *walk, const char *problem) {
  return error_set(STATUS_DATA, "%s: '%.200s': %s", walk->machine->where, walk->name, problem);
}

static status_t pickle_tree_visit_tensor(pickle_tree_walk_t *walk, uint32_t number) {
  const machine_t *machine = walk->machine;
  const machine_tensor_t *from = &machine->tensors[number];
  const machine_storage_t *storage = &machine->storages[from->storage];
  pickle_tensor_t tensor = {
      .storage = {storage->type, machine->texts + machine->values[storage->key].u.text, storage->elements},
      .offset = from->offset,
      .dims = from->dims};
  memcpy(tensor.shape, from->shape, sizeof tensor.shape);
  memcpy(tensor.stride, from->stride, sizeof tensor.stride);
  return walk->visit(walk->name, &tensor, walk->context);
}

static status_t pickle_tree_walk_value(pickle_tree_walk_t *walk, value_id_t id, size_t n, int depth);

/* The value ID below the name (n bytes) that is there, under PART. */
static status_t pickle_tree_walk_part(pickle_tree_walk_t *walk, value_id_t id, const char *part, size_t n,
                                      int depth) {
  int added = snprintf(walk->name + n, MOST_NAME - n, "%s%s", n > 0 ? "." : "", part);
  if (added < 0 || (size_t)added >= MOST_NAME - n)
    return pickle_tree_refuse(walk, "a name of more than 2047 bytes");
  status_code_t status = pickle_tree_walk_value(walk, id, n + (size_t)added, depth + 1);
  walk->name[n] = '\0';
  return status;
}

static status_t pickle_tree_walk_number(pickle_tree_walk_t *walk, value_id_t id, int64_t number, size_t n,
                                        int depth) {
  char part[24];
  snprintf(part, sizeof part, "%lld", (long long)number);
  return pickle_tree_walk_part(walk, id, part, n, depth);
}

static status_t pickle_tree_walk_pair(pickle_tree_walk_t *walk, const link_t *pair, size_t n, int depth) {
  const value_t *key = &walk->machine->values[pair->key];
  if (key->kind == VALUE_TEXT)
    return pickle_tree_walk_part(walk, pair->value, walk->machine->texts + key->u.text, n, depth);
  if (key->kind == VALUE_INT) return pickle_tree_walk_number(walk, pair->value, key->u.integer, n, depth);
  return pickle_tree_refuse(walk, "a dict whose keys are neither text nor whole numbers");
}

static status_t pickle_tree_walk_chain(pickle_tree_walk_t *walk, const value_t *value, size_t n, int depth) {
  int64_t i = 0;
  for (uint32_t at = value->u.chain.first; at != LINK_NONE; at = walk->machine->links[at].next, i++) {
    const link_t *link = &walk->machine->links[at];
    if (value->kind == VALUE_DICT)
      TRY(pickle_tree_walk_pair(walk, link, n, depth));
    else
      TRY(pickle_tree_walk_number(walk, link->value, i, n, depth));
  }
  return STATUS_OK;
}

static status_t pickle_tree_walk_value(pickle_tree_walk_t *walk, value_id_t id, size_t n, int depth) {
  const value_t *value = &walk->machine->values[id];
  if (depth > MOST_DEPTH) return pickle_tree_refuse(walk, "nested deeper than 16 levels");
  walk->bytes += n + bytes_per_value;
  if (walk->bytes > most_bytes) return pickle_tree_refuse(walk, "more values and names than 128 MiB hold");
  if (value->kind == VALUE_TENSOR) return pickle_tree_visit_tensor(walk, value->u.number);
  if (value->kind == VALUE_DICT || value->kind == VALUE_LIST)
    return pickle_tree_walk_chain(walk, value, n, depth);
  for (uint32_t i = 0; value->kind == VALUE_TUPLE && i < value->u.tuple.count; i++)
    TRY(pickle_tree_walk_number(walk, walk->machine->items[value->u.tuple.first + i], i, n, depth));
  return STATUS_OK;
}

status_t machine_visit(machine_t *machine, value_id_t root, pickle_visit_t visit, void *context) {
  pickle_tree_walk_t walk = {.machine = machine, .visit = visit, .context = context};
  if (machine->values[root].kind != VALUE_DICT)
    return error_set(STATUS_DATA, "%s: expected a dict from names to tensors (a state dict)", machine->where);
  return pickle_tree_walk_value(&walk, root, 0, 0);
}
