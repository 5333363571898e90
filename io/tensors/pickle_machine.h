/* Inside pickle.c and its siblings: the machine's values and its stack. */
#ifndef IO_PICKLE_MACHINE_H
#define IO_PICKLE_MACHINE_H

#include "io/tensors/pickle.h"

/* What a pickle may name. */
typedef enum {
  GLOBAL_ORDERED_DICT,
  GLOBAL_REBUILD_TENSOR,
  GLOBAL_REBUILD_PARAMETER,
  GLOBAL_STORAGE /* of the elements' type in value_t.u.global.type */
} global_t;

typedef enum {
  VALUE_NONE,
  VALUE_BOOL,
  VALUE_INT,
  VALUE_REAL,
  VALUE_TEXT,
  VALUE_TUPLE,
  VALUE_LIST,
  VALUE_DICT,
  VALUE_GLOBAL,
  VALUE_STORAGE,
  VALUE_TENSOR
} value_kind_t;

/* Values are named by their number, since they can hold each other. */
typedef uint32_t value_id_t;

typedef struct {
  value_kind_t kind;
  union {
    int64_t integer; /* VALUE_BOOL too */
    size_t text;     /* place in machine_t.texts, ended by '\0' */
    struct {
      uint32_t first, count; /* in machine_t.items */
    } tuple;
    struct {
      uint32_t first, last; /* links of a list or dict; LINK_NONE */
    } chain;
    struct {
      global_t name;
      tensor_type_t type;
    } global;
    uint32_t number; /* in machine_t.storages or .tensors */
  } u;
} value_t;

/* An item of a list, or a pair of a dict. */
typedef struct {
  value_id_t key, value; /* a list's key is not used */
  uint32_t next;
} link_t;

#define LINK_NONE UINT32_MAX

typedef struct {
  tensor_type_t type;
  value_id_t key; /* a text */
  int64_t elements;
} machine_storage_t;

typedef struct {
  uint32_t storage; /* in machine_t.storages */
  int dims;
  int64_t offset, shape[TENSOR_MAX_DIMS], stride[TENSOR_MAX_DIMS];
} machine_tensor_t;

/* An array that grows. */
#define MACHINE_ARRAY(type, name)                                                                            \
  type *name;                                                                                                \
  size_t name##_count, name##_capacity

typedef struct {
  const char *bytes; /* (n) */
  size_t n, at;
  const char *where;
  MACHINE_ARRAY(value_t, values);
  MACHINE_ARRAY(value_id_t, stack);
  MACHINE_ARRAY(size_t, marks); /* heights of the stack */
  MACHINE_ARRAY(value_id_t, memo);
  MACHINE_ARRAY(value_id_t, items);
  MACHINE_ARRAY(link_t, links);
  MACHINE_ARRAY(char, texts);
  MACHINE_ARRAY(machine_storage_t, storages);
  MACHINE_ARRAY(machine_tensor_t, tensors);
} machine_t;

/* "WHERE: byte N: PROBLEM". */
status_t machine_refuse(const machine_t *machine, const char *problem);

/* The next N bytes of the pickle. */
status_t machine_take(machine_t *machine, size_t n, const char **bytes);

/* Puts a new value on the stack. */
status_t machine_push(machine_t *machine, value_t value);
status_t machine_push_id(machine_t *machine, value_id_t id);
/* TEXT (n bytes) must be UTF-8 without NUL. */
status_t machine_push_text(machine_t *machine, const char *text, size_t n);

/* Takes the top of the stack, or looks at it; never what is below the last mark. */
status_t machine_pop(machine_t *machine, value_id_t *id);
status_t machine_top(machine_t *machine, value_id_t *id);
/* Takes the last mark and all above it: COUNT values from ITEMS on (NULL for none), valid until the next
 * push. */
status_t machine_pop_mark(machine_t *machine, const value_id_t **items, size_t *count);

/* A tuple of COUNT values, put on the stack. */
status_t machine_push_tuple(machine_t *machine, const value_id_t *items, size_t count);

/* Appends to the list or dict ID. */
status_t machine_append(machine_t *machine, value_id_t id, value_id_t key, value_id_t value);

/* Item I of TUPLE, a value of kind VALUE_TUPLE with more than I items. */
const value_t *machine_item(const machine_t *machine, const value_t *tuple, uint32_t i);

/* What REDUCE and BINPERSID do: the call of FUNCTION with ARGUMENTS, and the storage that the tuple ID names,
 * put on the stack. */
status_t machine_call(machine_t *machine, value_id_t function, value_id_t arguments);
status_t machine_push_storage(machine_t *machine, value_id_t id);
/* The global MODULE.NAME, put on the stack, or refused. */
status_t machine_push_global(machine_t *machine, const char *module, const char *name);

/* Calls VISIT with the tensors of ROOT. */
status_t machine_visit(machine_t *machine, value_id_t root, pickle_visit_t visit, void *context);

void machine_free(machine_t *machine);

#endif
