/* A workspace: buffers that live from call to call, described by one table {name, elements, type} and laid
 * out in one block of device memory and one of host memory. What a buffer takes, where it lies and that it is
 * freed follow from the table, which a function of the owner writes down each time before the buffers are
 * used:
 *
 *   workspace_begin(w);
 *   workspace_real(w, ARENA_SCRATCH, "hidden", rows * c, &hidden);   // (rows, C)
 *   workspace_host(w, "seen", images, &seen);                        // (images)
 *   TRY(workspace_end(w, NULL));
 *
 * A table like one before, or a smaller one, costs nothing. A buffer keeps the largest size that it was given
 * since workspace_restart; where one must grow, all are laid out anew, in the same block if they fit, and
 * their contents are lost. The blocks only grow: phases that are never in memory together, each with tables
 * of its own behind a workspace_restart, share them. */
#ifndef TENSOR_WORKSPACE_H
#define TENSOR_WORKSPACE_H

#include "tensor/device.h"

/* One line of the table. */
typedef struct {
  const char *name;
  arena_t arena;
  bool host;
  size_t element;  /* bytes */
  size_t elements; /* that there is room for */
  size_t counted;  /* bytes of its arena; 0 where its memory is counted otherwise */
  void *pointer;
  void *owner; /* the address of the owner's pointer to it */
} buffer_t;

typedef struct {
  const char *name; /* in messages */
  device_t *device;
  buffer_t *buffers; /* (count): the table, in the order in which it is described, behind the held ones */
  int32_t count, capacity, held;
  int32_t described; /* lines since workspace_begin, and held ones */
  bool grows;        /* one of them is larger than its buffer */
  bool laid_out;
  status_code_t status; /* of describing */
  void *on_device, *on_host;
  size_t device_bytes, host_bytes; /* of the two blocks */
  size_t unused;                   /* of the device's block, counted in ARENA_ACTIVATIONS */
} workspace_t;

/* An empty workspace, without memory. Free with workspace_free. Local. */
workspace_t workspace_create(device_t *device, const char *name);
void workspace_free(workspace_t *workspace);

/* Another phase begins: all buffers are forgotten, those that are held too, and their owners' pointers NULL;
 * the blocks stay. Local. */
void workspace_restart(workspace_t *workspace);

/* In the place of workspace_end: the buffers described are held. Tables described from now on come behind
 * them, and their contents outlast all that happens to those. They get their memory with the next table's, by
 * workspace_end. Until workspace_restart; not while others are held. Errors: those of describing. Local. */
status_t workspace_hold(workspace_t *workspace);
/* Forgets the buffers that are not held, as workspace_restart does. Local. */
void workspace_forget(workspace_t *workspace);

/* Starts a description. The lines of a table have the same order each time; one with fewer lines leaves the
 * buffers behind them as they are. Local. */
void workspace_begin(workspace_t *workspace);

/* One line: N elements (0: maybe none) at *OWNER, in device memory of the three types, counted in ARENA; or
 * in host memory, zeroed, counted in ARENA_OTHER. Local. */
void workspace_real(workspace_t *workspace, arena_t arena, const char *name, int64_t n, real_t **owner);
void workspace_wide(workspace_t *workspace, arena_t arena, const char *name, int64_t n, wide_t **owner);
void workspace_index(workspace_t *workspace, arena_t arena, const char *name, int64_t n, index_t **owner);
/* The same of TYPE. */
void workspace_typed(workspace_t *workspace, arena_t arena, const char *name, int64_t n, dtype_t type,
                     void *owner);
void workspace_host_bytes(workspace_t *workspace, const char *name, int64_t n, size_t element, void *owner);
#define workspace_host(workspace, name, n, owner)                                                            \
  workspace_host_bytes((workspace), (name), (n), sizeof **(owner), (owner))

/* Ends it: all buffers are there, and the owners' pointers are set. *FRESH (may be NULL): the contents of all
 * buffers that are not held are undefined (host memory: zero), because they lie elsewhere. Errors:
 * STATUS_MEMORY; no buffer is there then, and what was held is lost. Local. */
status_t workspace_end(workspace_t *workspace, bool *fresh);

#endif
