/* To see that an image is whole it is decoded, which is most of the work on it. What has been found is kept
 * beside the dataset, by the images' names and the hashes of their bytes, for a start after this one, which
 * then only copies them. */
#include "data/prepare_parts.h"

#include "base/memory.h"

#include <string.h>
#include <xxhash.h>

static int64_t key_of(const output_t *output, int64_t image) {
  const char *name = names_name(&output->prepare->names, output->images[image]);
  return (int64_t)(XXH3_64bits(name, strlen(name)) >> 1);
}

status_t prepare_keep(prepare_t *prepare) {
  const kept_options_t options = {.path = prepare->options->output,
                                  .identity = "images that are whole\n",
                                  .what = "images",
                                  .routine = true,
                                  .writes = true};
  return prepare->options->plan ? STATUS_OK : kept_open(prepare->comm, &options, &prepare->kept);
}

status_t output_read_whole(output_t *output) {
  kept_t *kept = output->prepare->kept;
  if (kept_found(kept) == 0) return STATUS_OK;
  TRY(memory_alloc(&output->whole, ARENA_DATA, (size_t)output->image_count, sizeof *output->whole));
  for (int64_t i = 0; i < output->image_count; i++) {
    SCOPED_MEMORY void *bytes = NULL;
    size_t n;
    TRY(kept_read(kept, key_of(output, i), &bytes, &n));
    if (bytes && n == sizeof *output->whole) memcpy(&output->whole[i], bytes, n);
  }
  return STATUS_OK;
}

bool output_found_whole(const output_t *output, int64_t image, const uint8_t *bytes, found_whole_t *whole) {
  const size_t size = (size_t)output->sizes[image];
  *whole = (found_whole_t){.hash = XXH3_64bits(bytes, size), .size = (int64_t)size};
  if (output->whole == NULL) return false;
  const found_whole_t *before = &output->whole[image];
  if (before->size != whole->size || before->hash != whole->hash) return false;
  *whole = *before;
  return true;
}

void output_keep_image(const output_t *output, int64_t image, const found_whole_t *whole) {
  kept_append(output->prepare->kept, key_of(output, image), whole, sizeof *whole);
}
