#include "text/judging.h"

#include "base/memory.h"
#include "base/random.h"

/* Wire constants: published reward models were trained with exactly these. */
static const char facts_line[] = "Specifically, the AI's response should be fully supported by the "
                                 "combination of the following captions:\n";
static const char fact_before[] = "  - ";
static const char fact_after[] = "\n";

static const char builtin[] =
    "USER: Please rate your last response. It should be accurate: it says only what the image "
    "shows. " JUDGING_SLOT "It should be helpful, natural and concise. "
    "ASSISTANT: Following your definitions, the quality score of my last response is";

const char *judging_prompt_builtin(void) {
  return builtin;
}

bool judging_prompt_has_slot(text_view_t prompt) {
  return text_contains(prompt, JUDGING_SLOT);
}

/* Uniform in 0..n-1, n > 0, from 64 random bits: the high half of a 96-bit product. */
static int32_t judging_below(random_words_t words, int32_t n) {
  unsigned __int128 bits = (uint64_t)words.v[0] << 32 | words.v[1];
  return (int32_t)(bits * (uint32_t)n >> 64);
}

void judging_facts_order(uint64_t seed, uint64_t sample, uint64_t use, int32_t n, int32_t *order) {
  for (int32_t i = 0; i < n; i++)
    order[i] = i;
  for (int32_t i = n - 1; i > 0; i--) {
    int32_t j = judging_below(random_words(seed, RANDOM_FACTS, sample, use << 32 | (uint32_t)i), i + 1);
    int32_t swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
}

static status_t judging_write_facts(const text_view_t *captions, const int32_t *order, int32_t n,
                                    text_buffer_t *facts) {
  if (n == 0) return STATUS_OK;
  TRY(text_buffer_append_string(facts, facts_line));
  for (int32_t i = 0; i < n; i++) {
    TRY(text_buffer_append_string(facts, fact_before));
    TRY(text_buffer_append(facts, captions[order ? order[i] : i]));
    TRY(text_buffer_append_string(facts, fact_after));
  }
  return STATUS_OK;
}

static status_t judging_write_filled(text_view_t prompt, text_view_t facts, text_buffer_t *out) {
  size_t at = 0;
  TRY(text_buffer_append_string(out, " "));
  while (true) {
    size_t slot = text_find(prompt, JUDGING_SLOT, at);
    TRY(text_buffer_append(out, text_slice(prompt, at, slot)));
    if (slot == prompt.n) return STATUS_OK;
    TRY(text_buffer_append(out, facts));
    at = slot + sizeof JUDGING_SLOT - 1;
  }
}

status_t judging_prompt_fill(text_view_t prompt, const text_view_t *captions, const int32_t *order, int32_t n,
                             text_buffer_t *out) {
  text_buffer_t facts = {0};
  status_code_t status = judging_write_facts(captions, order, n, &facts);
  if (status == STATUS_OK) status = judging_write_filled(text_strip(prompt), text_buffer_view(&facts), out);
  text_buffer_free(&facts);
  return status;
}

status_t judging_prompt_append(const tokenizer_t *tokenizer, text_view_t prompt, sequence_t *sequence) {
  int32_t *ids = NULL, n = 0;
  TRY(tokenizer_encode(tokenizer, prompt.bytes, prompt.n, &ids, &n));
  status_code_t status = sequence_append(sequence, ids, n, false);
  memory_free(ids);
  return status;
}
