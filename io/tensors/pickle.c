/* The opcodes of protocol 2, as Python's pickletools.py documents them. */
#include "io/tensors/pickle.h"

#include "io/tensors/pickle_machine.h"
#include "io/tensors/tensor_list.h"

#include <stdio.h>
#include <string.h>

static uint32_t pickle_get32(const char *bytes) {
  const unsigned char *b = (const unsigned char *)bytes;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static status_t pickle_take_number(machine_t *machine, size_t n, uint32_t *number) {
  const char *bytes;
  char padded[4] = {0};
  TRY(machine_take(machine, n, &bytes));
  memcpy(padded, bytes, n);
  *number = pickle_get32(padded);
  return STATUS_OK;
}

/* ---- Numbers and text ---- */

static status_t pickle_push_int(machine_t *machine, int64_t number) {
  return machine_push(machine, (value_t){VALUE_INT, {.integer = number}});
}

static status_t op_proto(machine_t *machine) {
  uint32_t protocol;
  TRY(pickle_take_number(machine, 1, &protocol));
  if (protocol == 2) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: protocol %u found, expected 2; save it with torch.save(..., "
                   "pickle_protocol=2), the default",
                   machine->where, (unsigned)protocol);
}

static status_t op_none(machine_t *machine) {
  return machine_push(machine, (value_t){.kind = VALUE_NONE});
}

static status_t op_true(machine_t *machine) {
  return machine_push(machine, (value_t){VALUE_BOOL, {.integer = 1}});
}

static status_t op_false(machine_t *machine) {
  return machine_push(machine, (value_t){VALUE_BOOL, {.integer = 0}});
}

static status_t op_int8(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 1, &number));
  return pickle_push_int(machine, number);
}

static status_t op_int16(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 2, &number));
  return pickle_push_int(machine, number);
}

static status_t op_int32(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 4, &number));
  return pickle_push_int(machine, (int32_t)number);
}

/* Little-endian, in two's complement, of any length. */
static status_t op_long(machine_t *machine) {
  uint32_t n;
  const char *bytes;
  TRY(pickle_take_number(machine, 1, &n));
  TRY(machine_take(machine, n, &bytes));
  if (n > 8) return machine_refuse(machine, "a whole number of more than 64 bits");
  uint64_t number = n > 0 && (bytes[n - 1] & 0x80) ? UINT64_MAX : 0;
  for (uint32_t i = n; i > 0; i--)
    number = number << 8 | (unsigned char)bytes[i - 1];
  return pickle_push_int(machine, (int64_t)number);
}

/* Its value is of no interest here. */
static status_t op_real(machine_t *machine) {
  const char *bytes;
  TRY(machine_take(machine, 8, &bytes));
  return machine_push(machine, (value_t){.kind = VALUE_REAL});
}

static status_t op_text(machine_t *machine) {
  uint32_t n;
  const char *text;
  TRY(pickle_take_number(machine, 4, &n));
  TRY(machine_take(machine, n, &text));
  return machine_push_text(machine, text, n);
}

/* ---- Containers ---- */

static status_t op_mark(machine_t *machine) {
  TRY(tensor_array_grow(&machine->marks, machine->marks_count + 1, &machine->marks_capacity,
                        sizeof *machine->marks));
  machine->marks[machine->marks_count++] = machine->stack_count;
  return STATUS_OK;
}

static status_t pickle_push_chain(machine_t *machine, value_kind_t kind) {
  return machine_push(machine, (value_t){kind, {.chain = {LINK_NONE, LINK_NONE}}});
}

static status_t op_list(machine_t *machine) {
  return pickle_push_chain(machine, VALUE_LIST);
}

static status_t op_dict(machine_t *machine) {
  return pickle_push_chain(machine, VALUE_DICT);
}

static status_t op_empty_tuple(machine_t *machine) {
  return machine_push_tuple(machine, NULL, 0);
}

static status_t op_tuple(machine_t *machine) {
  const value_id_t *items;
  size_t count;
  TRY(machine_pop_mark(machine, &items, &count));
  return machine_push_tuple(machine, items, count);
}

/* A tuple of the COUNT topmost values. */
static status_t short_tuple(machine_t *machine, size_t count) {
  value_id_t items[3];
  for (size_t i = count; i > 0; i--)
    TRY(machine_pop(machine, &items[i - 1]));
  return machine_push_tuple(machine, items, count);
}

static status_t op_tuple1(machine_t *machine) {
  return short_tuple(machine, 1);
}

static status_t op_tuple2(machine_t *machine) {
  return short_tuple(machine, 2);
}

static status_t op_tuple3(machine_t *machine) {
  return short_tuple(machine, 3);
}

/* The container of this KIND on top of the stack. */
static status_t top_container(machine_t *machine, value_kind_t kind, value_id_t *id) {
  TRY(machine_top(machine, id));
  if (machine->values[*id].kind == kind) return STATUS_OK;
  return machine_refuse(machine,
                        kind == VALUE_LIST ? "an item for what is no list" : "a pair for what is no dict");
}

static status_t op_append(machine_t *machine) {
  value_id_t item, list;
  TRY(machine_pop(machine, &item));
  TRY(top_container(machine, VALUE_LIST, &list));
  return machine_append(machine, list, item, item);
}

static status_t op_appends(machine_t *machine) {
  const value_id_t *items;
  size_t count;
  value_id_t list;
  TRY(machine_pop_mark(machine, &items, &count));
  TRY(top_container(machine, VALUE_LIST, &list));
  for (size_t i = 0; i < count; i++)
    TRY(machine_append(machine, list, items[i], items[i]));
  return STATUS_OK;
}

static status_t op_setitem(machine_t *machine) {
  value_id_t value, key, dict;
  TRY(machine_pop(machine, &value));
  TRY(machine_pop(machine, &key));
  TRY(top_container(machine, VALUE_DICT, &dict));
  return machine_append(machine, dict, key, value);
}

static status_t op_setitems(machine_t *machine) {
  const value_id_t *items;
  size_t count;
  value_id_t dict;
  TRY(machine_pop_mark(machine, &items, &count));
  TRY(top_container(machine, VALUE_DICT, &dict));
  if (count % 2 != 0) return machine_refuse(machine, "a key without a value");
  for (size_t i = 0; i < count; i += 2)
    TRY(machine_append(machine, dict, items[i], items[i + 1]));
  return STATUS_OK;
}

/* ---- Memo ---- */

/* Values get numbers as they come, so no number is larger than the count of bytes read. */
static status_t memo_put(machine_t *machine, uint32_t number) {
  value_id_t top;
  TRY(machine_top(machine, &top));
  if (number >= machine->at) return machine_refuse(machine, "a memo number that is too large");
  TRY(tensor_array_grow(&machine->memo, (size_t)number + 1, &machine->memo_capacity, sizeof *machine->memo));
  while (machine->memo_count <= number)
    machine->memo[machine->memo_count++] = UINT32_MAX; /* nothing yet */
  machine->memo[number] = top;
  return STATUS_OK;
}

static status_t memo_get(machine_t *machine, uint32_t number) {
  if (number >= machine->memo_count || machine->memo[number] == UINT32_MAX)
    return machine_refuse(machine, "a memo number under which there is nothing");
  return machine_push_id(machine, machine->memo[number]);
}

static status_t op_put(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 1, &number));
  return memo_put(machine, number);
}

static status_t op_long_put(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 4, &number));
  return memo_put(machine, number);
}

static status_t op_get(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 1, &number));
  return memo_get(machine, number);
}

static status_t op_long_get(machine_t *machine) {
  uint32_t number;
  TRY(pickle_take_number(machine, 4, &number));
  return memo_get(machine, number);
}

/* ---- Objects ---- */

/* The bytes up to the next line end, as text. */
static status_t pickle_take_line(machine_t *machine, char line[128]) {
  const char *begin = machine->bytes + machine->at, *end = memchr(begin, '\n', machine->n - machine->at);
  if (end == NULL) return machine_refuse(machine, "the pickle ends in the midst of an opcode");
  if (end - begin >= 128) return machine_refuse(machine, "a name of more than 127 bytes");
  snprintf(line, 128, "%.*s", (int)(end - begin), begin);
  machine->at += (size_t)(end - begin) + 1;
  return STATUS_OK;
}

static status_t op_global(machine_t *machine) {
  char module[128], name[128];
  TRY(pickle_take_line(machine, module));
  TRY(pickle_take_line(machine, name));
  return machine_push_global(machine, module, name);
}

static status_t op_reduce(machine_t *machine) {
  value_id_t arguments, function;
  TRY(machine_pop(machine, &arguments));
  TRY(machine_pop(machine, &function));
  return machine_call(machine, function, arguments);
}

/* An OrderedDict's attributes (_metadata, the versions of modules) hold no tensors. */
static status_t op_build(machine_t *machine) {
  value_id_t state, object;
  TRY(machine_pop(machine, &state));
  TRY(machine_top(machine, &object));
  if (machine->values[object].kind == VALUE_DICT && machine->values[state].kind == VALUE_DICT)
    return STATUS_OK;
  return machine_refuse(machine, "BUILD of what is no OrderedDict with a dict of attributes");
}

static status_t op_persistent(machine_t *machine) {
  value_id_t id;
  TRY(machine_pop(machine, &id));
  return machine_push_storage(machine, id);
}

/* ---- The machine ---- */

typedef struct {
  const char *name;
  status_t (*run)(machine_t *machine); /* NULL: known, and refused */
} opcode_t;

enum { STOP = '.', PROTO = 0x80 };

static const opcode_t opcodes[256] = {
    [PROTO] = {"PROTO", op_proto},
    ['N'] = {"NONE", op_none},
    [0x88] = {"NEWTRUE", op_true},
    [0x89] = {"NEWFALSE", op_false},
    ['K'] = {"BININT1", op_int8},
    ['M'] = {"BININT2", op_int16},
    ['J'] = {"BININT", op_int32},
    [0x8a] = {"LONG1", op_long},
    ['G'] = {"BINFLOAT", op_real},
    ['X'] = {"BINUNICODE", op_text},
    ['('] = {"MARK", op_mark},
    [']'] = {"EMPTY_LIST", op_list},
    ['}'] = {"EMPTY_DICT", op_dict},
    [')'] = {"EMPTY_TUPLE", op_empty_tuple},
    ['t'] = {"TUPLE", op_tuple},
    [0x85] = {"TUPLE1", op_tuple1},
    [0x86] = {"TUPLE2", op_tuple2},
    [0x87] = {"TUPLE3", op_tuple3},
    ['a'] = {"APPEND", op_append},
    ['e'] = {"APPENDS", op_appends},
    ['s'] = {"SETITEM", op_setitem},
    ['u'] = {"SETITEMS", op_setitems},
    ['q'] = {"BINPUT", op_put},
    ['r'] = {"LONG_BINPUT", op_long_put},
    ['h'] = {"BINGET", op_get},
    ['j'] = {"LONG_BINGET", op_long_get},
    ['c'] = {"GLOBAL", op_global},
    ['R'] = {"REDUCE", op_reduce},
    ['b'] = {"BUILD", op_build},
    ['Q'] = {"BINPERSID", op_persistent},
    ['0'] = {"POP", NULL},
    ['1'] = {"POP_MARK", NULL},
    ['2'] = {"DUP", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    ['F'] = {"FLOAT", NULL},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", NULL},
    ['U'] = {"SHORT_BINSTRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['B'] = {"BINBYTES", NULL},
    ['C'] = {"SHORT_BINBYTES", NULL},
    ['P'] = {"PERSID", NULL},
    ['d'] = {"DICT", NULL},
    ['l'] = {"LIST", NULL},
    ['g'] = {"GET", NULL},
    ['p'] = {"PUT", NULL},
    ['i'] = {"INST", NULL},
    ['o'] = {"OBJ", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x8b] = {"LONG4", NULL},
    [0x8c] = {"SHORT_BINUNICODE", NULL},
    [0x8d] = {"BINUNICODE8", NULL},
    [0x8e] = {"BINBYTES8", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x93] = {"STACK_GLOBAL", NULL},
    [0x94] = {"MEMOIZE", NULL},
    [0x95] = {"FRAME", NULL},
    [0x96] = {"BYTEARRAY8", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

static status_t pickle_refuse_opcode(const machine_t *machine, unsigned char code) {
  const char *name = opcodes[code].name;
  return error_set(
      STATUS_DATA,
      "%s: byte %zu: opcode 0x%02x (%s) found, expected those that a state dict saved by torch.save "
      "consists of",
      machine->where, machine->at - 1, code, name ? name : "unknown");
}

static status_t pickle_run(machine_t *machine, value_id_t *root) {
  for (bool first = true;; first = false) {
    const char *byte;
    TRY(machine_take(machine, 1, &byte));
    unsigned char code = (unsigned char)*byte;
    if (first && code != PROTO) return machine_refuse(machine, "a pickle of protocol 2 was expected");
    if (code == STOP) break;
    if (opcodes[code].run == NULL) return pickle_refuse_opcode(machine, code);
    TRY(opcodes[code].run(machine));
  }
  TRY(machine_pop(machine, root));
  return machine->at == machine->n ? STATUS_OK
                                   : machine_refuse(machine, "bytes behind the end of the pickle");
}

status_t pickle_tensors(const char *bytes, size_t n, const char *where, pickle_visit_t visit, void *context) {
  machine_t machine = {.bytes = bytes, .n = n, .where = where};
  value_id_t root = 0;
  status_code_t status = pickle_run(&machine, &root);
  if (status == STATUS_OK) status = machine_visit(&machine, root, visit, context);
  machine_free(&machine);
  return status;
}
