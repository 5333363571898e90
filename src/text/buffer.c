#include "text/buffer.h"

#include "base/memory.h"
#include "text/utf8.h"

#include <string.h>

static status_t text_buffer_reserve(text_buffer_t *buffer, size_t more) {
  size_t needed = buffer->n + more + 1;
  if (needed < more)
    return error_set(STATUS_MEMORY, "a text of %zu and %zu bytes is too long", buffer->n, more);
  if (needed <= buffer->capacity) return STATUS_OK;
  size_t capacity = needed < 128 ? 128 : needed + needed / 2;
  TRY(memory_resize(&buffer->bytes, ARENA_DATA, capacity, 1));
  buffer->capacity = capacity;
  return STATUS_OK;
}

status_t text_buffer_append(text_buffer_t *buffer, text_view_t text) {
  TRY(text_buffer_reserve(buffer, text.n));
  if (text.n > 0) memcpy(buffer->bytes + buffer->n, text.bytes, text.n);
  buffer->n += text.n;
  buffer->bytes[buffer->n] = '\0';
  return STATUS_OK;
}

status_t text_buffer_append_string(text_buffer_t *buffer, const char *string) {
  return text_buffer_append(buffer, text_view(string));
}

/* Drops a mark that the last LENGTH bytes spell, never looking before FROM. */
static void drop_mark(text_buffer_t *buffer, size_t from, const char *mark, size_t length) {
  if (buffer->n - from < length || memcmp(buffer->bytes + buffer->n - length, mark, length) != 0) return;
  buffer->n -= length;
  buffer->bytes[buffer->n] = '\0';
}

/* Byte by byte: a mark is dropped as soon as its last byte arrives, so that none remains, however nested. */
status_t text_buffer_append_without(text_buffer_t *buffer, text_view_t text, const char *mark) {
  size_t from = buffer->n, length = strlen(mark);
  TRY(text_buffer_reserve(buffer, text.n));
  buffer->bytes[buffer->n] = '\0';
  for (size_t i = 0; i < text.n; i++) {
    buffer->bytes[buffer->n++] = text.bytes[i];
    buffer->bytes[buffer->n] = '\0';
    drop_mark(buffer, from, mark, length);
  }
  return STATUS_OK;
}

status_t text_buffer_append_repaired(text_buffer_t *buffer, text_view_t text) {
  size_t bad;
  while (!text_is_utf8(text, &bad)) {
    TRY(text_buffer_append(buffer, text_slice(text, 0, bad)));
    TRY(text_buffer_append_string(buffer, "\xEF\xBF\xBD"));
    bad += utf8_bad_length((const unsigned char *)text.bytes + bad, text.n - bad);
    text = text_slice(text, bad, text.n);
  }
  return text_buffer_append(buffer, text);
}

text_view_t text_buffer_view(const text_buffer_t *buffer) {
  return (text_view_t){buffer->bytes, buffer->n};
}

void text_buffer_free(text_buffer_t *buffer) {
  memory_free(buffer->bytes);
  *buffer = (text_buffer_t){0};
}
