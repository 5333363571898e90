#include "tensor/workspace.h"

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

/* What of a block that no arena counts as a whole is the buffer's. */
static void buffer_count(buffer_t *buffer, size_t bytes) {
  memory_account(buffer->arena, (int64_t)bytes - (int64_t)buffer->counted);
  buffer->counted = bytes;
}

/* Gives the memory back; the table stays. */
static void workspace_release(workspace_t *workspace) {
  bool apart = workspace->device->alignment == 0;
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    if (apart && buffer->host) memory_free(buffer->pointer);
    if (apart && !buffer->host) device_release(workspace->device, buffer->pointer);
    buffer_place(buffer, NULL);
    buffer_count(buffer, 0);
  }
  device_release(workspace->device, workspace->on_device);
  memory_free(workspace->on_host);
  workspace->on_device = workspace->on_host = NULL;
  workspace->allocated = false;
}

void workspace_free(workspace_t *workspace) {
  if (workspace->count > 0) workspace_release(workspace);
  memory_free(workspace->buffers);
  *workspace = (workspace_t){0};
}

void workspace_begin(workspace_t *workspace) {
  workspace->described = 0;
  workspace->grows = !workspace->allocated;
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

static size_t buffer_span(const buffer_t *buffer, size_t alignment) {
  return (buffer->elements * buffer->element + alignment - 1) / alignment * alignment;
}

/* Lays the buffers of one memory side by side from BASE (NULL: their places are only counted). Returns the
 * bytes of all. Buffers that are never needed together can share a place once this function knows which. */
static size_t workspace_lay_out(workspace_t *workspace, bool host, unsigned char *base) {
  size_t bytes = 0;
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    if (buffer->host != host || buffer->elements == 0) continue;
    if (base) buffer_place(buffer, base + bytes);
    bytes += buffer_span(buffer, workspace->device->alignment);
  }
  return bytes;
}

/* Every buffer a block of its own: a device that checks, or a sanitizer, sees where one is overrun. */
static status_t workspace_allocate_apart(workspace_t *workspace) {
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    void *pointer = NULL;
    if (buffer->host)
      TRY(memory_alloc(&pointer, buffer->arena, buffer->elements, buffer->element));
    else
      TRY(device_alloc(workspace->device, &buffer->arena, buffer->elements * buffer->element, &pointer));
    buffer_place(buffer, pointer);
  }
  return STATUS_OK;
}

static status_t workspace_allocate_block(workspace_t *workspace) {
  size_t bytes = workspace_lay_out(workspace, false, NULL);
  TRY(device_alloc(workspace->device, NULL, bytes, &workspace->on_device));
  workspace_lay_out(workspace, false, workspace->on_device);
  for (int32_t i = 0; i < workspace->count; i++) {
    buffer_t *buffer = &workspace->buffers[i];
    if (!buffer->host) buffer_count(buffer, buffer->elements * buffer->element);
  }
  TRY(memory_alloc(&workspace->on_host, ARENA_OTHER, workspace_lay_out(workspace, true, NULL), 1));
  workspace_lay_out(workspace, true, workspace->on_host);
  return STATUS_OK;
}

static const buffer_t *workspace_largest(const workspace_t *workspace) {
  const buffer_t *largest = &workspace->buffers[0];
  for (int32_t i = 1; i < workspace->count; i++)
    if (buffer_span(&workspace->buffers[i], 1) > buffer_span(largest, 1)) largest = &workspace->buffers[i];
  return largest;
}

status_t workspace_end(workspace_t *workspace, bool *fresh) {
  if (fresh) *fresh = workspace->grows;
  if (workspace->status != STATUS_OK) return workspace->status;
  if (!workspace->grows || workspace->count == 0) return STATUS_OK;
  workspace_release(workspace);
  status_code_t status = workspace->device->alignment == 0 ? workspace_allocate_apart(workspace)
                                                           : workspace_allocate_block(workspace);
  workspace->allocated = status == STATUS_OK;
  if (status == STATUS_OK) return STATUS_OK;
  workspace_release(workspace);
  const buffer_t *largest = workspace_largest(workspace);
  return error_context(status, "in workspace '%s', whose largest buffer is '%s' (%zu x %zu bytes)",
                       workspace->name, largest->name, largest->elements, largest->element);
}
