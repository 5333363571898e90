#include "tensor/workspace.h"

#include "tensor/ops.h"

#include <string.h>

enum { FIRST_CAPACITY = 32 };

workspace_t workspace_create(device_t *device, const char *name) {
  return (workspace_t){.name = name, .device = device, .status = STATUS_OK};
}

/* Through memcpy: the owner's pointer may be of any object type. */
static void buffer_place(buffer_t *buffer, void *pointer) {
  buffer->pointer = pointer;
  memcpy(buffer->owner, &pointer, sizeof pointer);
}

static size_t buffer_bytes(const buffer_t *buffer) {
  return buffer->elements * buffer->element;
}

static size_t buffer_span(const buffer_t *buffer, size_t alignment) {
  return (buffer_bytes(buffer) + alignment - 1) / alignment * alignment;
}

static bool lies_apart(const workspace_t *workspace) {
  return workspace->device->alignment == 0;
}

/* The device's block is counted by the arenas of its buffers, and what they leave of it too. First what there
 * was is taken away, so that no moment counts more than there is. */
static void workspace_count(workspace_t *workspace, bool there) {
  size_t used = 0;
  if (lies_apart(workspace)) return;
  memory_account_device(ARENA_ACTIVATIONS, -(int64_t)workspace->unused);
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    memory_account_device(buffer->arena, -(int64_t)buffer->counted);
    buffer->counted = 0;
  }
  for (int32_t i = 0; i < workspace->count && there; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    if (buffer->host) continue;
    buffer->counted = buffer_bytes(buffer);
    memory_account_device(buffer->arena, (int64_t)buffer->counted);
    used += buffer_span(buffer, workspace->device->alignment);
  }
  workspace->unused = workspace->device_bytes - used;
  memory_account_device(ARENA_ACTIVATIONS, (int64_t)workspace->unused);
}

/* Buffers FIRST and those behind it are nowhere. */
static void workspace_clear_places(workspace_t *workspace, int32_t first) {
  for (int32_t i = first; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    if (lies_apart(workspace) && buffer->host) memory_free(buffer->pointer);
    if (lies_apart(workspace) && !buffer->host) device_release(workspace->device, buffer->pointer);
    buffer_place(buffer, NULL);
  }
  workspace->laid_out = false;
}

static void workspace_release_blocks(workspace_t *workspace) {
  workspace_count(workspace, false);
  device_release(workspace->device, workspace->on_device);
  memory_free(workspace->on_host);
  memory_account_device(ARENA_ACTIVATIONS, -(int64_t)workspace->unused);
  workspace->on_device = workspace->on_host = NULL;
  workspace->device_bytes = workspace->host_bytes = workspace->unused = 0;
}

void workspace_free(workspace_t *workspace) {
  if (workspace->device) {
    workspace_clear_places(workspace, 0);
    workspace_release_blocks(workspace);
  }
  memory_free(workspace->buffers);
  *workspace = (workspace_t){0};
}

static void workspace_forget_from(workspace_t *workspace, int32_t first) {
  workspace_clear_places(workspace, first);
  workspace_count(workspace, false);
  workspace->count = first;
}

void workspace_restart(workspace_t *workspace) {
  workspace_forget_from(workspace, 0);
  workspace->held = 0;
}

void workspace_forget(workspace_t *workspace) {
  workspace_forget_from(workspace, workspace->held);
}

void workspace_begin(workspace_t *workspace) {
  workspace->described = workspace->held;
  workspace->grows = !workspace->laid_out;
  workspace->status = STATUS_OK;
}

static status_t workspace_reserve_line(workspace_t *workspace) {
  if (workspace->count < workspace->capacity) return STATUS_OK;
  int32_t capacity = workspace->capacity ? 2 * workspace->capacity : FIRST_CAPACITY;
  TRY(memory_resize(&workspace->buffers, ARENA_OTHER, (size_t)capacity, sizeof *workspace->buffers));
  workspace->capacity = capacity;
  return STATUS_OK;
}

/* Notes one line. A line that is new or larger than its buffer makes the workspace grow. */
static void workspace_describe(workspace_t *workspace, const buffer_t *line) {
  int32_t i = workspace->described++;
  if (workspace->status != STATUS_OK) return;
  if (i == workspace->count) {
    workspace->status = workspace_reserve_line(workspace);
    if (workspace->status != STATUS_OK) return;
    workspace->buffers[workspace->count++] = (buffer_t){0};
  }
  buffer_t *buffer = &workspace->buffers[i];
  const buffer_t before = *buffer;
  if (line->elements > before.elements) workspace->grows = true;
  *buffer = *line;
  if (buffer->elements < before.elements) buffer->elements = before.elements;
  buffer->counted = before.counted;
  buffer_place(buffer, before.pointer);
}

void workspace_typed(workspace_t *workspace, arena_t arena, const char *name, int64_t n, dtype_t type,
                     void *owner) {
  workspace_describe(
      workspace,
      &(buffer_t){
          .name = name, .arena = arena, .element = dtype_size(type), .elements = (size_t)n, .owner = owner});
}

void workspace_real(workspace_t *workspace, arena_t arena, const char *name, int64_t n, real_t **owner) {
  workspace_typed(workspace, arena, name, n, workspace->device->real_type, owner);
}

void workspace_wide(workspace_t *workspace, arena_t arena, const char *name, int64_t n, wide_t **owner) {
  workspace_typed(workspace, arena, name, n, workspace->device->wide_type, owner);
}

void workspace_index(workspace_t *workspace, arena_t arena, const char *name, int64_t n, index_t **owner) {
  workspace_typed(workspace, arena, name, n, DTYPE_I32, owner);
}

void workspace_host_bytes(workspace_t *workspace, const char *name, int64_t n, size_t element, void *owner) {
  workspace_describe(workspace, &(buffer_t){.name = name,
                                            .arena = ARENA_OTHER,
                                            .host = true,
                                            .element = element,
                                            .elements = (size_t)n,
                                            .owner = owner});
}

status_t workspace_hold(workspace_t *workspace) {
  workspace->held = workspace->described;
  workspace->laid_out = false;
  return workspace->status;
}

/* Lays the buffers of one memory side by side from BASE (NULL: their places are only counted). Returns the
 * bytes of all. */
static size_t workspace_lay_out(workspace_t *workspace, bool host, unsigned char *base) {
  size_t bytes = 0;
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    if (buffer->host != host) continue;
    if (base) buffer_place(buffer, buffer->elements > 0 ? base + bytes : NULL);
    bytes += buffer_span(buffer, workspace->device->alignment);
  }
  return bytes;
}

/* Every buffer a block of its own: a device that checks, or a sanitizer, sees where one is overrun. Held ones
 * stay where they are. */
static status_t workspace_allocate_apart(workspace_t *workspace) {
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    void *pointer = NULL;
    if (i < workspace->held && buffer->pointer) continue;
    if (buffer->host)
      TRY(memory_alloc(&pointer, buffer->arena, buffer->elements, buffer->element));
    else
      TRY(device_alloc(workspace->device, &buffer->arena, buffer_bytes(buffer), &pointer));
    buffer_place(buffer, pointer);
  }
  return STATUS_OK;
}

/* A block of BYTES in the place of the one that is too small; what is held moves over. */
static status_t workspace_grow_block(workspace_t *workspace, size_t bytes) {
  device_t *device = workspace->device;
  size_t held = 0;
  void *before = NULL;
  for (int32_t i = 0; i < workspace->held; i++)
    if (workspace->buffers[i].pointer) held += buffer_span(&workspace->buffers[i], device->alignment);
  if (held > 0) {
    before = workspace->on_device;
    workspace->on_device = NULL;
  }
  workspace_release_blocks(workspace);
  status_code_t status = device_alloc(device, NULL, bytes, &workspace->on_device);
  if (status == STATUS_OK) workspace->device_bytes = bytes;
  if (status == STATUS_OK && held > 0)
    status =
        OP(device, copy,
           &(op_copy_t){
               .n = (int64_t)(held / dtype_size(device->real_type)), .x = before, .y = workspace->on_device});
  device_release(device, before);
  return status;
}

static status_t workspace_allocate_blocks(workspace_t *workspace) {
  size_t bytes = workspace_lay_out(workspace, false, NULL);
  workspace_count(workspace, false);
  if (bytes > workspace->device_bytes) TRY(workspace_grow_block(workspace, bytes));
  device_memory_moved(workspace->device);
  workspace_lay_out(workspace, false, workspace->on_device);
  workspace_count(workspace, true);
  bytes = workspace_lay_out(workspace, true, NULL);
  if (bytes > workspace->host_bytes) {
    memory_free(workspace->on_host);
    workspace->host_bytes = 0;
    TRY(memory_alloc(&workspace->on_host, ARENA_OTHER, bytes, 1));
    workspace->host_bytes = bytes;
  } else if (bytes > 0) {
    memset(workspace->on_host, 0, bytes);
  }
  workspace_lay_out(workspace, true, workspace->on_host);
  return STATUS_OK;
}

static const buffer_t *workspace_largest(const workspace_t *workspace) {
  const buffer_t *largest = &workspace->buffers[0];
  for (int32_t i = 1; i < workspace->count; i++)
    if (buffer_bytes(&workspace->buffers[i]) > buffer_bytes(largest)) largest = &workspace->buffers[i];
  return largest;
}

status_t workspace_end(workspace_t *workspace, bool *fresh) {
  if (fresh) *fresh = workspace->grows;
  if (workspace->status != STATUS_OK) return workspace->status;
  if (!workspace->grows || workspace->count == 0) return STATUS_OK;
  if (lies_apart(workspace)) workspace_clear_places(workspace, workspace->held);
  status_code_t status =
      lies_apart(workspace) ? workspace_allocate_apart(workspace) : workspace_allocate_blocks(workspace);
  workspace->laid_out = status == STATUS_OK;
  if (status == STATUS_OK) return STATUS_OK;
  workspace_clear_places(workspace, 0);
  workspace_release_blocks(workspace);
  const buffer_t *largest = workspace_largest(workspace);
  return error_context(status, "in workspace '%s', whose largest buffer is '%s' (%zu x %zu bytes)",
                       workspace->name, largest->name, largest->elements, largest->element);
}
