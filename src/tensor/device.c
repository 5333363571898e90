#include "tensor/device.h"

#include "base/log.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"
#include "tensor/op_cost.h"

#include <assert.h>

/* ---- Blocks: which pointer has how many bytes of which arena (device memory cannot hold a header of its
 * own) ---- */

enum { BLOCKS_FIRST_CAPACITY = 64 };

typedef struct {
  void *pointer;         /* NULL: free place */
  size_t bytes, counted; /* counted: of ARENA; 0 where the owner counts */
  arena_t arena;
} block_t;

/* Open addressing with linear probing; capacity is a power of two, at most half full. */
struct device_blocks {
  block_t *slots;
  size_t capacity, count;
};

static size_t blocks_home(const struct device_blocks *blocks, const void *pointer) {
  uint64_t mixed = (uint64_t)(uintptr_t)pointer * UINT64_C(0x9e3779b97f4a7c15);
  return (size_t)(mixed >> 32) & (blocks->capacity - 1);
}

/* The place of POINTER, or the free place where it would go. */
static size_t blocks_find(const struct device_blocks *blocks, const void *pointer) {
  size_t place = blocks_home(blocks, pointer);
  while (blocks->slots[place].pointer && blocks->slots[place].pointer != pointer)
    place = (place + 1) & (blocks->capacity - 1);
  return place;
}

static status_t blocks_grow(struct device_blocks *blocks) {
  struct device_blocks larger = {.capacity = blocks->capacity ? 2 * blocks->capacity : BLOCKS_FIRST_CAPACITY,
                                 .count = blocks->count};
  TRY(memory_alloc(&larger.slots, ARENA_OTHER, larger.capacity, sizeof *larger.slots));
  for (size_t i = 0; i < blocks->capacity; i++)
    if (blocks->slots[i].pointer)
      larger.slots[blocks_find(&larger, blocks->slots[i].pointer)] = blocks->slots[i];
  memory_free(blocks->slots);
  *blocks = larger;
  return STATUS_OK;
}

/* Makes room for one more block, so that blocks_add cannot fail. */
static status_t blocks_reserve(device_t *device) {
  if (!device->blocks) TRY(memory_alloc(&device->blocks, ARENA_OTHER, 1, sizeof *device->blocks));
  if (2 * (device->blocks->count + 1) > device->blocks->capacity) TRY(blocks_grow(device->blocks));
  return STATUS_OK;
}

static void blocks_add(struct device_blocks *blocks, block_t block) {
  size_t place = blocks_find(blocks, block.pointer);
  assert(!blocks->slots[place].pointer);
  blocks->slots[place] = block;
  blocks->count++;
}

/* Takes the block at PLACE out and moves those behind it up, so that no search stops too early. */
static void blocks_remove(struct device_blocks *blocks, size_t place) {
  size_t mask = blocks->capacity - 1;
  blocks->count--;
  for (size_t next = (place + 1) & mask; blocks->slots[next].pointer; next = (next + 1) & mask) {
    size_t home = blocks_home(blocks, blocks->slots[next].pointer);
    if (((next - home) & mask) < ((next - place) & mask)) continue;
    blocks->slots[place] = blocks->slots[next];
    place = next;
  }
  blocks->slots[place] = (block_t){0};
}

static void blocks_free(device_t *device) {
  struct device_blocks *blocks = device->blocks;
  if (!blocks) return;
  if (blocks->count > 0) log_debug("device %s: %zu blocks were never released", device->name, blocks->count);
  for (size_t i = 0; i < blocks->capacity; i++)
    if (blocks->slots[i].pointer)
      memory_account_device(blocks->slots[i].arena, -(int64_t)blocks->slots[i].counted);
  memory_free(blocks->slots);
  memory_free(blocks);
  device->blocks = NULL;
}

/* ---- Work that is replayed ---- */

enum { GRAPHS_MOST = 64, GRAPH_CALLS = 2 };

typedef struct {
  uint64_t key;
  int calls; /* since memory was last got or given back */
  double flops, bytes;
} device_graph_t;

struct device_graphs {
  device_graph_t graphs[GRAPHS_MOST];
  int count;
  double flops, bytes; /* that operations have counted so far */
};

/* Addresses may be others from now on. */
void device_memory_moved(device_t *device) {
  if (device->graphs) device->graphs->count = 0;
}

/* The graph of KEY; where there is no room all begin anew. */
static device_graph_t *graph_find(struct device_graphs *graphs, uint64_t key) {
  for (int i = 0; i < graphs->count; i++)
    if (graphs->graphs[i].key == key) return &graphs->graphs[i];
  if (graphs->count == GRAPHS_MOST) graphs->count = 0;
  device_graph_t *fresh = &graphs->graphs[graphs->count++];
  *fresh = (device_graph_t){.key = key};
  return fresh;
}

static status_t graph_capture(device_t *device, device_graph_t *graph, device_body_t body, void *context) {
  struct device_graphs *graphs = device->graphs;
  double flops = graphs->flops, bytes = graphs->bytes;
  TRY(device->graph(device, graph->key, true, body, context));
  graph->calls++;
  graph->flops = graphs->flops - flops;
  graph->bytes = graphs->bytes - bytes;
  return STATUS_OK;
}

status_t device_graph(device_t *device, uint64_t key, device_body_t body, void *context) {
  /* A watcher is to see operations. */
  if (!device->graph || device->watcher) return body(context);
  if (!device->graphs) TRY(memory_alloc(&device->graphs, ARENA_OTHER, 1, sizeof *device->graphs));
  device_graph_t *graph = graph_find(device->graphs, key);
  if (graph->calls == GRAPH_CALLS) return graph_capture(device, graph, body, context);
  if (graph->calls > GRAPH_CALLS) {
    perf_flops(graph->flops);
    perf_bytes(graph->bytes);
    return device->graph(device, key, false, body, context);
  }
  TRY(body(context));
  /* It may have got memory, and with that begun anew. */
  graph_find(device->graphs, key)->calls++;
  return STATUS_OK;
}

/* ---- Memory ---- */

size_t device_free_memory(device_t *device, int ranks) {
  if (device->free_memory) return device->free_memory(device);
  return memory_available() / (size_t)ranks;
}

size_t device_total_memory(device_t *device) {
  return device->total_memory ? device->total_memory(device) : memory_total();
}

double device_energy(device_t *device) {
  return device->energy ? device->energy(device) : 0.0;
}

double device_energy_since(device_t *device, double before) {
  double now = device_energy(device);
  return before > 0.0 && now > before ? now - before : 0.0;
}

void device_cores(device_t *device, core_set_t *cores) {
  core_set_of_process(cores);
  if (device->add_cores) device->add_cores(device, cores);
}

status_t device_require(const device_t *device, const char *name, bool function_is_null) {
  if (!function_is_null) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device '%s' has no operation '%s'; choose another parallel.device",
                   device->name, name);
}

static status_t device_run_now(device_t *device, int number, const void *arguments) {
  if (device->watcher) return device->watcher->run(device->watcher, device, number, arguments);
  return device->run(device, number, arguments);
}

status_t device_run(device_t *device, int number, const void *arguments) {
  if (!device->uncounted) {
    const op_cost_t cost = op_cost(device, (op_number_t)number, arguments);
    perf_flops(cost.flops);
    perf_bytes(cost.bytes);
    if (device->graphs) {
      device->graphs->flops += cost.flops;
      device->graphs->bytes += cost.bytes;
    }
  }
  if (!perf_observed()) return device_run_now(device, number, arguments);
  double begin = perf_now();
  status_code_t status = device_run_now(device, number, arguments);
  perf_operation(op_name((op_number_t)number), begin);
  return status;
}

static void region_begin(void *context, region_t region) {
  device_t *device = context;
  device->region_begin(device, (int)region);
}

static void region_seconds(void *context, double *seconds) {
  device_t *device = context;
  watchdog_enter("wait for the device's times");
  device->region_seconds(device, seconds);
  watchdog_leave();
}

void device_time_regions(device_t *device) {
  if (device->region_begin) perf_clock_use(&(perf_clock_t){region_begin, region_seconds, device});
}

void device_free(device_t *device) {
  if (!device) return;
  perf_clock_remove(device);
  while (device->comms)
    device_comm_free(device, device->comms->host);
  blocks_free(device);
  memory_free(device->graphs);
  device->destroy(device);
}

status_t device_alloc(device_t *device, const arena_t *arena, size_t bytes, void **out) {
  *out = NULL;
  if (bytes == 0) return STATUS_OK;
  device_memory_moved(device);
  TRY(blocks_reserve(device));
  status_code_t status = device->alloc(device, bytes, out);
  if (status != STATUS_OK)
    return error_context(status, "while getting %zu bytes of '%s' on device '%s'", bytes,
                         arena ? memory_usage(*arena).name : "workspace", device->name);
  const block_t block = {
      .pointer = *out, .bytes = bytes, .counted = arena ? bytes : 0, .arena = arena ? *arena : ARENA_OTHER};
  memory_account_device(block.arena, (int64_t)block.counted);
  blocks_add(device->blocks, block);
  return STATUS_OK;
}

static status_t block_alloc(device_t *device, arena_t arena, size_t n, dtype_t type, void **out) {
  size_t bytes = 0;
  *out = NULL;
  if (__builtin_mul_overflow(n, dtype_size(type), &bytes))
    return error_set(STATUS_MEMORY, "device '%s': %zu elements of %zu bytes are more than memory can hold",
                     device->name, n, dtype_size(type));
  return device_alloc(device, &arena, bytes, out);
}

status_t real_alloc(device_t *device, arena_t arena, size_t n, real_t **out) {
  void *pointer = NULL;
  status_code_t status = block_alloc(device, arena, n, device->real_type, &pointer);
  *out = pointer;
  return status;
}

status_t wide_alloc(device_t *device, arena_t arena, size_t n, wide_t **out) {
  void *pointer = NULL;
  status_code_t status = block_alloc(device, arena, n, device->wide_type, &pointer);
  *out = pointer;
  return status;
}

status_t index_alloc(device_t *device, arena_t arena, size_t n, index_t **out) {
  void *pointer = NULL;
  status_code_t status = block_alloc(device, arena, n, DTYPE_I32, &pointer);
  *out = pointer;
  return status;
}

void device_release(device_t *device, void *pointer) {
  if (!pointer) return;
  assert(device->blocks);
  size_t place = device->blocks ? blocks_find(device->blocks, pointer) : 0;
  if (!device->blocks || !device->blocks->slots[place].pointer) {
    log_error("device %s: a pointer was released that is no live block of this device (released twice?)",
              device->name);
    assert(false && "device_release of a pointer that is no live block");
    return;
  }
  block_t block = device->blocks->slots[place];
  device_memory_moved(device);
  blocks_remove(device->blocks, place);
  memory_account_device(block.arena, -(int64_t)block.counted);
  device->release(device, pointer, block.bytes);
}

/* ---- Copies ---- */

static status_t pointers_check(const device_t *device, const char *what, const void *to, const void *from) {
  if (to && from) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device '%s': %s from or to NULL", device->name, what);
}

static status_t device_copy_check(const device_t *device, const char *what, const void *to, const void *from,
                                  dtype_t host_type) {
  TRY(pointers_check(device, what, to, from));
  if (host_type == DTYPE_F32 || host_type == DTYPE_F64) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device '%s': %s: host elements must be F32 or F64", device->name, what);
}

status_t real_upload(device_t *device, real_t *to, const void *from, dtype_t host_type, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(device_copy_check(device, "real_upload", to, from, host_type));
  return device->upload(device, to, device->real_type, from, host_type, n);
}

status_t wide_upload(device_t *device, wide_t *to, const void *from, dtype_t host_type, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(device_copy_check(device, "wide_upload", to, from, host_type));
  return device->upload(device, to, device->wide_type, from, host_type, n);
}

status_t half_upload(device_t *device, half_t *to, const void *from, dtype_t host_type, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(device_copy_check(device, "half_upload", to, from, host_type));
  return device->upload(device, to, DTYPE_BF16, from, host_type, n);
}

status_t index_upload(device_t *device, index_t *to, const int32_t *from, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(pointers_check(device, "index_upload", to, from));
  return device->upload(device, to, DTYPE_I32, from, DTYPE_I32, n);
}

status_t real_download(device_t *device, void *to, dtype_t host_type, const real_t *from, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(device_copy_check(device, "real_download", to, from, host_type));
  return device->download(device, to, host_type, from, device->real_type, n);
}

status_t wide_download(device_t *device, void *to, dtype_t host_type, const wide_t *from, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(device_copy_check(device, "wide_download", to, from, host_type));
  return device->download(device, to, host_type, from, device->wide_type, n);
}

status_t half_download(device_t *device, void *to, dtype_t host_type, const half_t *from, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(device_copy_check(device, "half_download", to, from, host_type));
  return device->download(device, to, host_type, from, DTYPE_BF16, n);
}

status_t index_download(device_t *device, int32_t *to, const index_t *from, size_t n) {
  if (n == 0) return STATUS_OK;
  TRY(pointers_check(device, "index_download", to, from));
  return device->download(device, to, DTYPE_I32, from, DTYPE_I32, n);
}

status_t device_synchronize(device_t *device) {
  watchdog_enter("wait for the device");
  status_code_t status = device->synchronize(device);
  watchdog_leave();
  return status;
}

/* ---- Collectives ---- */

status_t device_comm_create(device_t *device, comm_t *comm) {
  SCOPED_MEMORY device_comm_t *made = NULL;
  if (!device->comm_create) return STATUS_OK;
  TRY(memory_alloc(&made, ARENA_COMM, 1, sizeof *made));
  made->host = comm;
  TRY(device->comm_create(device, comm, &made->own));
  made->next = device->comms;
  memory_hand_over(&device->comms, &made);
  return STATUS_OK;
}

void device_comm_free(device_t *device, comm_t *comm) {
  device_comm_t **link = &device->comms;
  while (*link && (*link)->host != comm)
    link = &(*link)->next;
  device_comm_t *found = *link;
  if (!found) return;
  *link = found->next;
  if (device->comm_free) device->comm_free(device, found->own);
  memory_free(found);
}

/* COMM as DEVICE sees it. */
static status_t comm_of_device(const device_t *device, comm_t *comm, device_comm_t *out) {
  for (const device_comm_t *known = device->comms; known; known = known->next)
    if (known->host == comm) {
      *out = *known;
      return STATUS_OK;
    }
  *out = (device_comm_t){.host = comm};
  if (!device->comm_create) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "device '%s': a collective on a communicator that it was not told of",
                   device->name);
}

status_t real_allreduce(device_t *device, comm_t *comm, real_t *data, size_t n, comm_op_t op) {
  if (n == 0) return STATUS_OK;
  device_comm_t known;
  TRY(device_require(device, "allreduce", !device->allreduce));
  TRY(comm_of_device(device, comm, &known));
  return device->allreduce(device, &known, data, device->real_type, n, op);
}

status_t wide_allreduce(device_t *device, comm_t *comm, wide_t *data, size_t n, comm_op_t op) {
  if (n == 0) return STATUS_OK;
  device_comm_t known;
  TRY(device_require(device, "allreduce", !device->allreduce));
  TRY(comm_of_device(device, comm, &known));
  return device->allreduce(device, &known, data, device->wide_type, n, op);
}

status_t real_allgatherv(device_t *device, comm_t *comm, const real_t *mine, real_t *all,
                         const size_t *counts) {
  device_comm_t known;
  TRY(device_require(device, "allgatherv", !device->allgatherv));
  TRY(comm_of_device(device, comm, &known));
  return device->allgatherv(device, &known, mine, all, counts, device->real_type);
}

status_t wide_allgatherv(device_t *device, comm_t *comm, const wide_t *mine, wide_t *all,
                         const size_t *counts) {
  device_comm_t known;
  TRY(device_require(device, "allgatherv", !device->allgatherv));
  TRY(comm_of_device(device, comm, &known));
  return device->allgatherv(device, &known, mine, all, counts, device->wide_type);
}

status_t wide_reduce_scatter_begin(device_t *device, comm_t *comm, wide_t *data, size_t n,
                                   device_request_t **request) {
  *request = NULL;
  if (n == 0) return STATUS_OK;
  device_comm_t known;
  TRY(device_require(device, "reduce_scatter_begin", !device->reduce_scatter_begin));
  TRY(comm_of_device(device, comm, &known));
  return device->reduce_scatter_begin(device, &known, data, device->wide_type, n, request);
}

status_t wide_reduce_scatter_end(device_t *device, device_request_t *request) {
  if (!request) return STATUS_OK;
  TRY(device_require(device, "reduce_scatter_end", !device->reduce_scatter_end));
  watchdog_enter("end of the device's reduce-scatter");
  status_code_t status = device->reduce_scatter_end(device, request);
  watchdog_leave();
  return status;
}
