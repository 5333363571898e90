#include "text/sequence.h"

#include "base/memory.h"
#include "tensor/packed.h"

#include <string.h>

static status_t sequence_reserve(sequence_t *sequence, int32_t more) {
  int64_t needed = (int64_t)sequence->n + more;
  if (needed <= sequence->capacity) return STATUS_OK;
  int64_t capacity = needed + needed / 2 + 16;
  if (capacity > INT32_MAX)
    return error_set(STATUS_DATA, "a sequence of %lld tokens is too long", (long long)needed);
  TRY(memory_resize(&sequence->tokens, ARENA_DATA, (size_t)capacity, sizeof *sequence->tokens));
  TRY(memory_resize(&sequence->learnt, ARENA_DATA, (size_t)capacity, sizeof *sequence->learnt));
  sequence->capacity = (int32_t)capacity;
  return STATUS_OK;
}

status_t sequence_append(sequence_t *sequence, const int32_t *tokens, int32_t n, bool learnt) {
  if (n <= 0) return STATUS_OK;
  TRY(sequence_reserve(sequence, n));
  memcpy(sequence->tokens + sequence->n, tokens, (size_t)n * sizeof *tokens);
  memset(sequence->learnt + sequence->n, learnt, (size_t)n);
  sequence->n += n;
  return STATUS_OK;
}

status_t sequence_copy(const sequence_t *from, sequence_t *out) {
  *out = (sequence_t){0};
  status_code_t status = sequence_append(out, from->tokens, from->n, false);
  if (status != STATUS_OK) {
    sequence_free(out);
    return status;
  }
  if (from->n > 0) memcpy(out->learnt, from->learnt, (size_t)from->n);
  return STATUS_OK;
}

int32_t sequence_cut(sequence_t *sequence, int32_t max_len) {
  if (max_len <= 0 || sequence->n <= max_len) return 0;
  int32_t cut = sequence->n - max_len;
  sequence->n = max_len;
  return cut;
}

int32_t sequence_learnt(const sequence_t *sequence) {
  int32_t count = 0;
  for (int32_t i = 0; i < sequence->n; i++)
    count += sequence->learnt[i];
  return count;
}

int32_t sequence_images(const sequence_t *sequence) {
  int32_t count = 0;
  for (int32_t i = 0; i < sequence->n; i++)
    count += sequence->tokens[i] == TOKEN_IMAGE;
  return count;
}

void sequence_free(sequence_t *sequence) {
  memory_free(sequence->tokens);
  memory_free(sequence->learnt);
  *sequence = (sequence_t){0};
}
