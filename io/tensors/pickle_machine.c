#include "io/tensors/pickle_machine.h"

#include "base/memory.h"
#include "io/tensors/tensor_list.h"
#include "text/view.h"

#include <string.h>

/* Makes room for MORE in an array of the machine. */
#define ROOM(machine, array, more)                                                                           \
  tensor_array_grow(&(machine)->array, (machine)->array##_count + (more), &(machine)->array##_capacity,      \
                    sizeof *(machine)->array)

status_t machine_refuse(const machine_t *machine, const char *problem) {
  return error_set(STATUS_DATA, "%s: byte %zu: %s", machine->where, machine->at, problem);
}

status_t machine_take(machine_t *machine, size_t n, const char **bytes) {
  if (n > machine->n - machine->at)
    return machine_refuse(machine, "the pickle ends in the midst of an opcode");
  *bytes = machine->bytes + machine->at;
  machine->at += n;
  return STATUS_OK;
}

status_t machine_push_id(machine_t *machine, value_id_t id) {
  TRY(ROOM(machine, stack, 1));
  machine->stack[machine->stack_count++] = id;
  return STATUS_OK;
}

status_t machine_push(machine_t *machine, value_t value) {
  TRY(ROOM(machine, values, 1));
  machine->values[machine->values_count++] = value;
  return machine_push_id(machine, (value_id_t)(machine->values_count - 1));
}

status_t machine_push_text(machine_t *machine, const char *text, size_t n) {
  if (memchr(text, '\0', n) != NULL || !text_is_utf8((text_view_t){text, n}, NULL))
    return machine_refuse(machine, "a text that is not UTF-8, or has a NUL in it");
  TRY(ROOM(machine, texts, n + 1));
  size_t place = machine->texts_count;
  memcpy(machine->texts + place, text, n);
  machine->texts[place + n] = '\0';
  machine->texts_count += n + 1;
  return machine_push(machine, (value_t){VALUE_TEXT, {.text = place}});
}

status_t machine_top(machine_t *machine, value_id_t *id) {
  size_t floor = machine->marks_count == 0 ? 0 : machine->marks[machine->marks_count - 1];
  if (machine->stack_count <= floor) return machine_refuse(machine, "an opcode lacks a value on the stack");
  *id = machine->stack[machine->stack_count - 1];
  return STATUS_OK;
}

status_t machine_pop(machine_t *machine, value_id_t *id) {
  TRY(machine_top(machine, id));
  machine->stack_count--;
  return STATUS_OK;
}

status_t machine_pop_mark(machine_t *machine, const value_id_t **items, size_t *count) {
  if (machine->marks_count == 0) return machine_refuse(machine, "an opcode lacks a mark on the stack");
  size_t floor = machine->marks[--machine->marks_count];
  *count = machine->stack_count - floor;
  *items = *count > 0 ? machine->stack + floor : NULL;
  machine->stack_count = floor;
  return STATUS_OK;
}

status_t machine_push_tuple(machine_t *machine, const value_id_t *items, size_t count) {
  TRY(ROOM(machine, items, count));
  value_t tuple = {VALUE_TUPLE, {.tuple = {(uint32_t)machine->items_count, (uint32_t)count}}};
  if (count > 0) memcpy(machine->items + machine->items_count, items, count * sizeof *items);
  machine->items_count += count;
  return machine_push(machine, tuple);
}

const value_t *machine_item(const machine_t *machine, const value_t *tuple, uint32_t i) {
  return &machine->values[machine->items[tuple->u.tuple.first + i]];
}

status_t machine_append(machine_t *machine, value_id_t id, value_id_t key, value_id_t value) {
  TRY(ROOM(machine, links, 1));
  value_t *container = &machine->values[id];
  uint32_t link = (uint32_t)machine->links_count++;
  machine->links[link] = (link_t){key, value, LINK_NONE};
  if (container->u.chain.first == LINK_NONE)
    container->u.chain.first = link;
  else
    machine->links[container->u.chain.last].next = link;
  container->u.chain.last = link;
  return STATUS_OK;
}

void machine_free(machine_t *machine) {
  memory_free(machine->values);
  memory_free(machine->stack);
  memory_free(machine->marks);
  memory_free(machine->memo);
  memory_free(machine->items);
  memory_free(machine->links);
  memory_free(machine->texts);
  memory_free(machine->storages);
  memory_free(machine->tensors);
}

/* ---- What a pickle may name ---- */

static const struct {
  const char *module, *name;
  global_t global;
  tensor_type_t type;
} globals[] = {
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT, TENSOR_F32},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR, TENSOR_F32},
    {"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER, TENSOR_F32},
    {"torch", "DoubleStorage", GLOBAL_STORAGE, TENSOR_F64},
    {"torch", "FloatStorage", GLOBAL_STORAGE, TENSOR_F32},
    {"torch", "HalfStorage", GLOBAL_STORAGE, TENSOR_F16},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE, TENSOR_BF16},
    {"torch", "LongStorage", GLOBAL_STORAGE, TENSOR_I64},
    {"torch", "IntStorage", GLOBAL_STORAGE, TENSOR_I32},
    {"torch", "ShortStorage", GLOBAL_STORAGE, TENSOR_I16},
    {"torch", "CharStorage", GLOBAL_STORAGE, TENSOR_I8},
    {"torch", "ByteStorage", GLOBAL_STORAGE, TENSOR_U8},
    {"torch", "BoolStorage", GLOBAL_STORAGE, TENSOR_BOOL},
    {"torch", "ComplexFloatStorage", GLOBAL_STORAGE, TENSOR_C64},
};

status_t machine_push_global(machine_t *machine, const char *module, const char *name) {
  for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
    if (strcmp(globals[i].module, module) == 0 && strcmp(globals[i].name, name) == 0)
      return machine_push(machine, (value_t){VALUE_GLOBAL, {.global = {globals[i].global, globals[i].type}}});
  return error_set(
      STATUS_DATA,
      "%s: byte %zu: the pickle names %s.%s, which a state dict does not need and which is not run; "
      "save the state dict alone: torch.save({name: tensor.detach().clone(), ...}, file)",
      machine->where, machine->at, module, name);
}

/* ---- Calls ---- */

/* Does TUPLE begin with items of these kinds? */
static bool items_are(const machine_t *machine, const value_t *tuple, const value_kind_t *kinds,
                      uint32_t count) {
  if (tuple->kind != VALUE_TUPLE || tuple->u.tuple.count < count) return false;
  for (uint32_t i = 0; i < count; i++)
    if (machine_item(machine, tuple, i)->kind != kinds[i]) return false;
  return true;
}

status_t machine_push_storage(machine_t *machine, value_id_t id) {
  static const value_kind_t kinds[] = {VALUE_TEXT, VALUE_GLOBAL, VALUE_TEXT, VALUE_TEXT, VALUE_INT};
  const value_t *tuple = &machine->values[id];
  if (!items_are(machine, tuple, kinds, 5) || tuple->u.tuple.count != 5 ||
      strcmp(machine->texts + machine_item(machine, tuple, 0)->u.text, "storage") != 0 ||
      machine_item(machine, tuple, 1)->u.global.name != GLOBAL_STORAGE)
    return machine_refuse(machine, "a persistent id other than ('storage', type, key, device, elements)");
  machine_storage_t storage = {.type = machine_item(machine, tuple, 1)->u.global.type,
                               .key = machine->items[tuple->u.tuple.first + 2],
                               .elements = machine_item(machine, tuple, 4)->u.integer};
  TRY(ROOM(machine, storages, 1));
  machine->storages[machine->storages_count++] = storage;
  return machine_push(machine, (value_t){VALUE_STORAGE, {.number = (uint32_t)machine->storages_count - 1}});
}

/* The whole numbers of TUPLE. */
static status_t pickle_machine_take_numbers(const machine_t *machine, const value_t *tuple,
                                            int64_t numbers[TENSOR_MAX_DIMS]) {
  if (tuple->u.tuple.count > TENSOR_MAX_DIMS)
    return machine_refuse(machine, "a tensor of more than 8 dimensions");
  for (uint32_t i = 0; i < tuple->u.tuple.count; i++) {
    const value_t *item = machine_item(machine, tuple, i);
    if (item->kind != VALUE_INT) return machine_refuse(machine, "a tensor whose sizes are no whole numbers");
    numbers[i] = item->u.integer;
  }
  return STATUS_OK;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static status_t rebuild_tensor(machine_t *machine, const value_t *arguments) {
  static const value_kind_t kinds[] = {VALUE_STORAGE, VALUE_INT, VALUE_TUPLE, VALUE_TUPLE};
  if (!items_are(machine, arguments, kinds, 4) || arguments->u.tuple.count < 6 ||
      arguments->u.tuple.count > 7)
    return machine_refuse(machine, "_rebuild_tensor_v2 with other arguments than torch.save writes");
  const value_t *size = machine_item(machine, arguments, 2), *stride = machine_item(machine, arguments, 3);
  machine_tensor_t tensor = {.storage = machine_item(machine, arguments, 0)->u.number,
                             .offset = machine_item(machine, arguments, 1)->u.integer,
                             .dims = (int)size->u.tuple.count};
  if (size->u.tuple.count != stride->u.tuple.count)
    return machine_refuse(machine, "a tensor with as many strides as it has dimensions was expected");
  TRY(pickle_machine_take_numbers(machine, size, tensor.shape));
  TRY(pickle_machine_take_numbers(machine, stride, tensor.stride));
  TRY(ROOM(machine, tensors, 1));
  machine->tensors[machine->tensors_count++] = tensor;
  return machine_push(machine, (value_t){VALUE_TENSOR, {.number = (uint32_t)machine->tensors_count - 1}});
}

/* _rebuild_parameter(tensor, requires_grad, hooks): the tensor. */
static status_t rebuild_parameter(machine_t *machine, const value_t *arguments) {
  static const value_kind_t kinds[] = {VALUE_TENSOR};
  if (!items_are(machine, arguments, kinds, 1) || arguments->u.tuple.count != 3)
    return machine_refuse(machine, "_rebuild_parameter with other arguments than torch.save writes");
  return machine_push_id(machine, machine->items[arguments->u.tuple.first]);
}

status_t machine_call(machine_t *machine, value_id_t function, value_id_t arguments) {
  const value_t *called = &machine->values[function], *tuple = &machine->values[arguments];
  if (called->kind != VALUE_GLOBAL || tuple->kind != VALUE_TUPLE)
    return machine_refuse(machine, "a call of what is no function, or without a tuple of arguments");
  switch (called->u.global.name) {
  case GLOBAL_ORDERED_DICT:
    if (tuple->u.tuple.count != 0) return machine_refuse(machine, "OrderedDict with arguments");
    return machine_push(machine, (value_t){VALUE_DICT, {.chain = {LINK_NONE, LINK_NONE}}});
  case GLOBAL_REBUILD_TENSOR:
    return rebuild_tensor(machine, tuple);
  case GLOBAL_REBUILD_PARAMETER:
    return rebuild_parameter(machine, tuple);
  default:
    return machine_refuse(machine, "a storage is made by a call, not by its persistent id");
  }
}
