/* The world's tokenizer: trained on its texts, on the templates and on the judging prompt, so that all of
 * them are short. */
#include "base/log.h"
#include "base/memory.h"
#include "io/output_file.h"
#include "shapes/words.h"
#include "shapes/world_files.h"
#include "shapes/world_sets.h"
#include "text/conversation.h"
#include "text/judging.h"
#include "text/sentencepiece.h"

#include <string.h>

/* How often a text stands in the corpus: pieces are made in the order of their frequency, and the world's own
 * words, some of them rare, have to come first. */
enum { SCENES = 500, VOCABULARY_COPIES = 2000, TEMPLATE_COPIES = 500, JUDGING_COPIES = 100 };

static status_t corpus_add(text_buffer_t *corpus, const char *text) {
  TRY(text_buffer_append_string(corpus, text));
  return text_buffer_append_string(corpus, "\n");
}

static status_t world_tokenizer_add_vocabulary(text_buffer_t *corpus) {
  int count;
  const char *const *words = world_vocabulary(&count);
  for (int copy = 0; copy < VOCABULARY_COPIES; copy++) {
    for (int i = 0; i < count; i++) {
      TRY(text_buffer_append_string(corpus, i ? " " : ""));
      TRY(text_buffer_append_string(corpus, words[i]));
    }
    TRY(text_buffer_append_string(corpus, "\n"));
  }
  return STATUS_OK;
}

static status_t world_tokenizer_add_templates(text_buffer_t *corpus) {
  static const char asked[] = "What color is the red circle?", answer[] = "The red circle is red.";
  const turn_t turns[] = {{TURN_HUMAN, text_view(asked)}, {TURN_GPT, text_view(answer)}};
  const conversation_t conversation = {.turns = turns, .count = 2};
  for (int copy = 0; copy < TEMPLATE_COPIES; copy++) {
    TRY(conversation_text(copy % 2 ? TEMPLATE_V1 : TEMPLATE_LLAVA_V1, &conversation, corpus));
    TRY(text_buffer_append_string(corpus, "\n"));
  }
  return STATUS_OK;
}

static status_t world_tokenizer_add_judging(text_buffer_t *corpus) {
  const text_view_t caption = text_view("There is a red circle.");
  const int32_t order = 0;
  for (int copy = 0; copy < JUDGING_COPIES; copy++) {
    TRY(judging_prompt_fill(text_view(judging_prompt_builtin()), &caption, &order, 1, corpus));
    TRY(text_buffer_append_string(corpus, "\n"));
  }
  return STATUS_OK;
}

static status_t world_tokenizer_add_dialogues(const world_options_t *options, text_buffer_t *corpus) {
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    dialogue_t dialogue;
    random_stream_t stream = world_text_stream(options, id, TEXT_OF_DIALOGUE);
    scene_draw(options->seed, id, options->objects_min, options->objects_max, &scene);
    dialogue_draw_sft(&scene, id, 0, options->turns, &stream, &dialogue);
    for (int i = 0; i < dialogue.count; i++) {
      TRY(corpus_add(corpus, dialogue.turns[i].asked));
      TRY(corpus_add(corpus, dialogue.turns[i].answer));
    }
  }
  return STATUS_OK;
}

static status_t corpus_make(const world_options_t *options, text_buffer_t *corpus) {
  TRY(world_tokenizer_add_vocabulary(corpus));
  TRY(world_tokenizer_add_templates(corpus));
  TRY(world_tokenizer_add_judging(corpus));
  return world_tokenizer_add_dialogues(options, corpus);
}

/* The corpus line by line. */
static bool next_line(void *context, const char **text, size_t *n) {
  text_view_t *rest = context;
  if (rest->n == 0) return false;
  const char *end = memchr(rest->bytes, '\n', rest->n);
  *text = rest->bytes;
  *n = end ? (size_t)(end - rest->bytes) : rest->n;
  *rest = text_slice(*rest, *n + (end ? 1 : 0), rest->n);
  return true;
}

/* Says so where the vocabulary was too small for the world's words: texts then are longer and harder to
 * learn. */
static status_t vocabulary_check(const tokenizer_t *tokenizer) {
  int count, split = 0, last = 0;
  const char *const *words = world_vocabulary(&count);
  for (int i = 0; i < count; i++) {
    int32_t *ids, n;
    TRY(tokenizer_encode(tokenizer, words[i], strlen(words[i]), &ids, &n));
    memory_free(ids);
    if (n == 1) continue;
    split++;
    last = i;
  }
  if (split > 0)
    log_warning("world.vocab: %d pieces are too few, %d of the world's %d words are split ('%s' is one); 768 "
                "hold them all",
                (int)tokenizer_size(tokenizer), split, count, words[last]);
  return STATUS_OK;
}

static status_t tokenizer_write(const world_options_t *options, const text_buffer_t *corpus) {
  char path[FILE_MAX_PATH];
  tokenizer_t *tokenizer;
  text_view_t rest = text_buffer_view(corpus);
  size_t n;
  tokenizer_training_t training = {.vocab_size = options->vocab, .byte_fallback = true};
  TRY(file_join(path, options->dir, "corpus.txt", NULL));
  TRY(file_replace(path, corpus->bytes, corpus->n));
  TRY(tokenizer_train(&training, next_line, &rest, &tokenizer));
  const void *bytes = tokenizer_bytes(tokenizer, &n);
  status_code_t status = vocabulary_check(tokenizer);
  if (status == STATUS_OK) status = file_join(path, options->dir, "tokenizer.model", NULL);
  if (status == STATUS_OK) status = file_replace(path, bytes, n);
  tokenizer_free(tokenizer);
  return status;
}

status_t world_tokenizer_write(const world_options_t *options) {
  text_buffer_t corpus = {0};
  status_code_t status = corpus_make(options, &corpus);
  if (status == STATUS_OK) status = tokenizer_write(options, &corpus);
  text_buffer_free(&corpus);
  return status;
}
