#include "data/composing.h"

#include "text/script.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char MARK[] = IMAGE_MARK "\n";

status_t composing_start(composing_t *composing, int32_t turns, size_t bytes) {
  composing->sample = (dataset_sample_t){.image = -1, .caption_type = 1, .length_bonus = 1};
  composing->id[0] = composing->image[0] = '\0';
  composing->used = 0;
  composing->count = 0;
  TRY(memory_reserve(&composing->text, ARENA_DATA, bytes + sizeof MARK, 1));
  return memory_reserve(&composing->turns, ARENA_DATA, (size_t)turns, sizeof *composing->turns);
}

status_t composing_coco_image(composing_t *composing, const char *prefix, int64_t number) {
  int n = snprintf(composing->image, sizeof composing->image, "%s%012" PRId64 ".jpg", prefix, number);
  if (n >= 0 && n < (int)sizeof composing->image) return STATUS_OK;
  return error_set(STATUS_INPUT, "prepare.coco_prefix: %zu bytes are too long", strlen(prefix));
}

void composing_turn(composing_t *composing, turn_role_t role) {
  composing->turns[composing->count++] = (turn_t){role, {composing->text + composing->used, 0}};
  if (composing->count == 1) composing_say(composing, MARK);
}

char *composing_room(composing_t *composing, size_t n) {
  char *at = composing->text + composing->used;
  composing->used += n;
  composing->turns[composing->count - 1].text.n += n;
  return at;
}

void composing_put(composing_t *composing, const char *bytes, size_t n) {
  if (n > 0) memcpy(composing_room(composing, n), bytes, n);
}

void composing_say(composing_t *composing, const char *text) {
  composing_put(composing, text, strlen(text));
}

const dataset_sample_t *composing_end(composing_t *composing) {
  composing->sample.id = text_view(composing->id);
  composing->sample.conversation = (conversation_t){.turns = composing->turns, .count = composing->count};
  return &composing->sample;
}

void composing_free(composing_t *composing) {
  memory_free(composing->text);
  memory_free(composing->turns);
  *composing = (composing_t){0};
}
