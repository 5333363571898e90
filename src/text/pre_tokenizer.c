#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pre_tokenizer.h"

#include "base/memory.h"
#include "text/newer_characters.h"
#include "text/pattern.h"

#include <pcre2.h>
#include <string.h>

enum {
  MOST_STEPS = 16,
  JIT_STACK_START = 64 * 1024,
  JIT_STACK_MOST = 16 * 1024 * 1024,
  MATCH_LIMIT = 1 << 30 /* steps of one match: white space of megabytes is gone through from its end */
};

typedef struct {
  bool prefix_space;
  split_kind_t kind;
  pcre2_code *code; /* NULL: no cut */
} pre_tokenizer_step_t;

struct pre_tokenizer {
  pre_tokenizer_step_t steps[MOST_STEPS];
  int32_t count;
};

/* ---- Making ---- */

static status_t pre_tokenizer_compile(const char *translated, const char *source, pcre2_code **out) {
  int number;
  PCRE2_SIZE at;
  *out =
      pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &number, &at, NULL);
  if (*out) {
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no compiler, matching is interpreted */
    return STATUS_OK;
  }
  PCRE2_UCHAR message[128] = "";
  pcre2_get_error_message(number, message, sizeof message);
  return error_set(STATUS_DATA, "the pattern '%.200s' to split by is not valid: %s", source,
                   (const char *)message);
}

static status_t step_create(const split_step_t *from, pre_tokenizer_step_t *step) {
  *step = (pre_tokenizer_step_t){.prefix_space = from->prefix_space, .kind = from->kind};
  if (!from->pattern) return STATUS_OK;
  text_buffer_t translated = {0};
  status_code_t status =
      from->plain ? pattern_quote(from->pattern, &translated) : pattern_translate(from->pattern, &translated);
  if (status == STATUS_OK) status = pre_tokenizer_compile(translated.bytes, from->pattern, &step->code);
  text_buffer_free(&translated);
  return status;
}

status_t pre_tokenizer_create(const split_step_t *steps, int32_t count, pre_tokenizer_t **out) {
  *out = NULL;
  if (count > MOST_STEPS)
    return error_set(STATUS_DATA, "a pre_tokenizer of %d steps; expected at most %d", count, MOST_STEPS);
  pre_tokenizer_t *made;
  TRY(memory_alloc(&made, ARENA_DATA, 1, sizeof *made));
  status_code_t status = STATUS_OK;
  for (int32_t i = 0; i < count && status == STATUS_OK; i++)
    status = step_create(&steps[i], &made->steps[made->count++]);
  if (status == STATUS_OK)
    *out = made;
  else
    pre_tokenizer_free(made);
  return status;
}

void pre_tokenizer_free(pre_tokenizer_t *pre_tokenizer) {
  if (!pre_tokenizer) return;
  for (int32_t i = 0; i < pre_tokenizer->count; i++)
    pcre2_code_free(pre_tokenizer->steps[i].code);
  memory_free(pre_tokenizer);
}

/* ---- Cutting ---- */

/* One text's way through the steps. */
typedef struct {
  const pre_tokenizer_t *pre_tokenizer;
  word_t word;
  void *context;
  pcre2_match_data *data;
  pcre2_match_context *limits;
  pcre2_jit_stack *stack; /* NULL until the one on the machine's stack is too small */
} cutter_t;

/* First match in TEXT at or after FROM; *FOUND says whether there is one. */
static status_t pre_tokenizer_find(cutter_t *cutter, const pcre2_code *code, text_view_t text, size_t from,
                                   bool *found, size_t *begin, size_t *end) {
  int result = pcre2_match(code, (PCRE2_SPTR)text.bytes, text.n, from, PCRE2_NO_UTF_CHECK, cutter->data,
                           cutter->limits);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && !cutter->stack) {
    cutter->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MOST, NULL);
    if (!cutter->stack) return error_set(STATUS_MEMORY, "no memory for splitting %zu bytes", text.n);
    pcre2_jit_stack_assign(cutter->limits, NULL, cutter->stack);
    return pre_tokenizer_find(cutter, code, text, from, found, begin, end);
  }
  *found = result >= 0;
  if (result >= 0) {
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(cutter->data);
    *begin = span[0];
    *end = span[1];
    return STATUS_OK;
  }
  if (result == PCRE2_ERROR_NOMATCH) return STATUS_OK;
  PCRE2_UCHAR message[128] = "";
  pcre2_get_error_message(result, message, sizeof message);
  return error_set(STATUS_DATA, "splitting %zu bytes into words: %s", text.n, (const char *)message);
}

static status_code_t pre_tokenizer_cut(cutter_t *cutter, int32_t number, text_view_t text);

static status_t pass_on(cutter_t *cutter, int32_t number, text_view_t text, bool kept) {
  return kept && text.n > 0 ? pre_tokenizer_cut(cutter, number + 1, text) : STATUS_OK;
}

static size_t next_character(text_view_t text, size_t at) {
  do
    at++;
  while (at < text.n && ((unsigned char)text.bytes[at] & 0xC0) == 0x80);
  return at;
}

/* TEXT is cut where the pattern finds something in SUBJECT, which is as long. */
static status_t cut_where(cutter_t *cutter, int32_t number, text_view_t text, text_view_t subject) {
  const pre_tokenizer_step_t *step = &cutter->pre_tokenizer->steps[number];
  size_t from = 0, done = 0, begin = 0, end = 0;
  while (from < text.n) {
    bool found;
    TRY(pre_tokenizer_find(cutter, step->code, subject, from, &found, &begin, &end));
    if (!found) break;
    TRY(pass_on(cutter, number, text_slice(text, done, begin), step->kind != SPLIT_MATCHES));
    TRY(pass_on(cutter, number, text_slice(text, begin, end), step->kind != SPLIT_GAPS));
    done = end;
    from = end > begin ? end : next_character(text, end);
  }
  return pass_on(cutter, number, text_slice(text, done, text.n), step->kind != SPLIT_MATCHES);
}

static status_t cut_by_pattern(cutter_t *cutter, int32_t number, text_view_t text) {
  if (!newer_characters_in(text)) return cut_where(cutter, number, text, text);
  text_buffer_t hidden = {0};
  status_code_t status = newer_characters_hide(text, &hidden);
  if (status == STATUS_OK) status = cut_where(cutter, number, text, text_buffer_view(&hidden));
  text_buffer_free(&hidden);
  return status;
}

/* The space is put in front of a copy, which lives as long as its words are looked at. */
static status_t cut_prefixed(cutter_t *cutter, int32_t number, text_view_t text) {
  text_buffer_t copy = {0};
  status_code_t status = text_buffer_append_string(&copy, " ");
  if (status == STATUS_OK) status = text_buffer_append(&copy, text);
  if (status == STATUS_OK) status = pre_tokenizer_cut(cutter, number, text_buffer_view(&copy));
  text_buffer_free(&copy);
  return status;
}

static status_code_t pre_tokenizer_cut(cutter_t *cutter, int32_t number, text_view_t text) {
  if (number == cutter->pre_tokenizer->count) return cutter->word(cutter->context, text);
  const pre_tokenizer_step_t *step = &cutter->pre_tokenizer->steps[number];
  if (step->prefix_space && text.bytes[0] != ' ') return cut_prefixed(cutter, number, text);
  return step->code ? cut_by_pattern(cutter, number, text) : pre_tokenizer_cut(cutter, number + 1, text);
}

status_t pre_tokenizer_words(const pre_tokenizer_t *pre_tokenizer, text_view_t text, word_t word,
                             void *context) {
  if (text.n == 0) return STATUS_OK;
  cutter_t cutter = {.pre_tokenizer = pre_tokenizer, .word = word, .context = context};
  cutter.data = pcre2_match_data_create(1, NULL);
  cutter.limits = pcre2_match_context_create(NULL);
  status_code_t status = STATUS_OK;
  if (!cutter.data || !cutter.limits)
    status = error_set(STATUS_MEMORY, "no memory for splitting %zu bytes", text.n);
  if (status == STATUS_OK) {
    pcre2_set_match_limit(cutter.limits, MATCH_LIMIT);
    status = pre_tokenizer_cut(&cutter, 0, text);
  }
  pcre2_match_data_free(cutter.data);
  pcre2_match_context_free(cutter.limits);
  pcre2_jit_stack_free(cutter.stack);
  return status;
}
