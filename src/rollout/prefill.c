#include "rollout/prefill.h"

#include <string.h>

static size_t per_image(const prefill_t *prefill) {
  return (size_t)config_patches(prefill->config) * (size_t)prefill->config->vision_hidden;
}

status_t prefill_create(const model_config_t *config, int32_t most, int64_t tokens, prefill_t *prefill) {
  memory_pool_t *pool = &prefill->pool;
  prefill->config = config;
  prefill->most = most;
  prefill->tokens = tokens;
  TRY(memory_pool_alloc(pool, &prefill->sources, (size_t)most, sizeof *prefill->sources));
  TRY(memory_pool_alloc(pool, &prefill->places, (size_t)most, sizeof *prefill->places));
  return memory_pool_alloc(pool, &prefill->rows, (size_t)most, sizeof *prefill->rows);
}

void prefill_free(prefill_t *prefill) {
  packed_free(&prefill->packed);
  memory_free(prefill->features);
  memory_pool_free(&prefill->pool);
}

bool prefill_has_room(const prefill_t *prefill, int32_t length) {
  return prefill->n < prefill->most && (prefill->n == 0 || prefill->positions + length <= prefill->tokens);
}

static status_t prefill_add_image(prefill_t *prefill, const float *features) {
  size_t n = per_image(prefill);
  TRY(memory_reserve(&prefill->features, ARENA_FEATURES, (size_t)(prefill->images + 1) * n,
                     sizeof *prefill->features));
  memcpy(prefill->features + (size_t)prefill->images++ * n, features, n * sizeof *prefill->features);
  return STATUS_OK;
}

status_t prefill_add(prefill_t *prefill, int32_t place, const generator_prompt_t *prompt, int32_t drawn,
                     const int32_t *response) {
  int32_t *copy, n = prompt->n + drawn, i = prefill->n++;
  TRY(memory_pool_alloc(&prefill->pool, &copy, (size_t)n, sizeof *copy));
  memcpy(copy, prompt->tokens, (size_t)prompt->n * sizeof *copy);
  if (drawn > 0) memcpy(copy + prompt->n, response, (size_t)drawn * sizeof *copy);
  prefill->places[i] = place;
  prefill->sources[i] = (packed_source_t){copy, n, prompt->features ? prefill->images : -1};
  prefill->positions += packed_length(copy, n, config_patches(prefill->config));
  return prompt->features ? prefill_add_image(prefill, prompt->features) : STATUS_OK;
}

/* Places in the cache of all positions. */
static void prefill_fill_slots(prefill_t *prefill, const places_t *all, int32_t *slots) {
  int32_t size = all->options.page_size;
  for (int32_t i = 0; i < prefill->n; i++) {
    const int32_t *pages = all->places[prefill->places[i]].pages;
    int32_t begin = prefill->packed.offsets[i], end = prefill->packed.offsets[i + 1];
    for (int32_t t = begin; t < end; t++)
      slots[t] = pages[(t - begin) / size] * size + (t - begin) % size;
    prefill->rows[i] = end - 1;
  }
}

status_t prefill_pass(prefill_t *prefill, pass_t *pass, const role_t *role, cache_t *cache,
                      const places_t *all) {
  int32_t *slots;
  const pass_images_t images = {.count = prefill->images, .features = prefill->features};
  TRY(packed_create(prefill->sources, prefill->n, config_patches(prefill->config), &prefill->packed));
  TRY(memory_pool_alloc(&prefill->pool, &slots, (size_t)prefill->packed.offsets[prefill->n], sizeof *slots));
  prefill_fill_slots(prefill, all, slots);
  return pass_forward(pass, role, &prefill->packed, &images, false, cache, slots);
}
