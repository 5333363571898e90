#include "base/memory.h"
#include "io/formats/weights_file.h"

#include <stdlib.h>
#include <string.h>

static uint64_t weights_hash_mix(uint64_t hash, const void *bytes, size_t n) {
  for (size_t i = 0; i < n; ++i)
    hash = (hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
  return hash;
}

/* Adds a tensor's path and the hashes (n) of its blocks. */
static uint64_t mix_tensor(uint64_t identity, const char *path, const uint64_t *hashes, int64_t n) {
  return weights_hash_mix(weights_hash_mix(identity, path, strlen(path)), hashes, (size_t)n * sizeof *hashes);
}

uint64_t weights_identity_add(uint64_t identity, uint64_t hash) {
  return weights_hash_mix(identity, &hash, sizeof hash);
}

uint64_t weights_identity(const weights_file_t *file, const char *prefix, uint64_t from) {
  const weights_plan_t *plan = &file->plan;
  for (int64_t t = 0; t < plan->tensor_count; ++t) {
    int64_t n = plan->first[t + 1] - plan->first[t];
    if (strncmp(plan->tensors[t].path, prefix, strlen(prefix)) != 0) continue;
    from = mix_tensor(from, plan->tensors[t].path, file->hashes + plan->first[t], n);
  }
  return from;
}

static int weights_identity_compare_paths(const void *a, const void *b) {
  const weights_tensor_t *const *left = a, *const *right = b;
  return strcmp((*left)->path, (*right)->path);
}

status_t weights_identity_sorted(const weights_plan_t *plan, const uint64_t *hashes, uint64_t *identity) {
  SCOPED_MEMORY const weights_tensor_t **order = NULL;
  TRY(memory_alloc(&order, ARENA_IO, (size_t)plan->tensor_count + 1, sizeof *order));
  for (int64_t t = 0; t < plan->tensor_count; ++t)
    order[t] = &plan->tensors[t];
  qsort(order, (size_t)plan->tensor_count, sizeof *order, weights_identity_compare_paths);
  *identity = WEIGHTS_IDENTITY_START;
  for (int64_t k = 0; k < plan->tensor_count; ++k) {
    ptrdiff_t t = order[k] - plan->tensors;
    *identity =
        mix_tensor(*identity, order[k]->path, hashes + plan->first[t], plan->first[t + 1] - plan->first[t]);
  }
  return STATUS_OK;
}
