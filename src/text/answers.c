#include "text/answers.h"

#include <stdio.h>
#include <string.h>

/* A question mark after a space, as SentencePiece or byte-level BPE spells it. */
static int32_t spaced_question(const tokenizer_t *tokenizer) {
  int32_t id = tokenizer_piece_id(tokenizer, "\u2581?");
  return id >= 0 ? id : tokenizer_piece_id(tokenizer, "\u0120?");
}

response_end_t response_end(const tokenizer_t *tokenizer, template_t template, bool stop_at_question) {
  response_end_t end = {
      .answer = template_end(template, tokenizer), .text = tokenizer_eos(tokenizer), .question = {-1, -1}};
  const int32_t *own = tokenizer_ends(tokenizer, &end.own_count);
  if (end.own_count > 0) memcpy(end.own, own, (size_t)end.own_count * sizeof *own);
  if (stop_at_question) {
    end.question[0] = spaced_question(tokenizer);
    end.question[1] = tokenizer_piece_id(tokenizer, "?");
  }
  return end;
}

bool response_completes(const response_end_t *end, int32_t token) {
  bool own = false;
  for (int32_t i = 0; i < end->own_count; i++)
    own = own || token == end->own[i];
  return token >= 0 && (own || token == end->answer || token == end->text);
}

bool response_ends(const response_end_t *end, int32_t token) {
  return response_completes(end, token) ||
         (token >= 0 && (token == end->question[0] || token == end->question[1]));
}

static int32_t response_add_end(int32_t *tokens, int32_t n, int32_t token) {
  for (int32_t i = 0; i < n; i++)
    if (tokens[i] == token) return n;
  if (token < 0) return n;
  tokens[n] = token;
  return n + 1;
}

int32_t response_end_tokens(const response_end_t *end, int32_t tokens[RESPONSE_ENDS_MAX]) {
  int32_t n = response_add_end(tokens, 0, end->answer);
  n = response_add_end(tokens, n, end->text);
  for (int32_t i = 0; i < end->own_count; i++)
    n = response_add_end(tokens, n, end->own[i]);
  n = response_add_end(tokens, n, end->question[0]);
  return response_add_end(tokens, n, end->question[1]);
}

status_t answer_type_from_number(int64_t number, answer_type_t *out) {
  if (number < ANSWER_GENERAL || number > ANSWER_YES)
    return error_set(STATUS_DATA,
                     "caption_type %lld; expected 1 (general), 2 to 5 (option A to D), 6 (No) or 7 (Yes)",
                     (long long)number);
  *out = (answer_type_t)number;
  return STATUS_OK;
}

bool answer_type_is_option(answer_type_t type) {
  return type >= ANSWER_OPTION_A && type <= ANSWER_OPTION_D;
}

static double option_correct(char letter, text_view_t response) {
  char start[3] = {letter, '.', '\0'};
  char phrase[24];
  snprintf(phrase, sizeof phrase, "correct option is %s", start);
  return text_starts_with(text_strip(response), start) || text_contains(response, phrase) ? 1.0 : 0.0;
}

double answer_correct(answer_type_t type, text_view_t response) {
  if (answer_type_is_option(type)) return option_correct((char)('A' + (type - ANSWER_OPTION_A)), response);
  if (type != ANSWER_NO) return 0.0;
  text_view_t stripped = text_strip(response);
  return text_starts_with(stripped, "No") ? 0.5 : text_starts_with(stripped, "Yes") ? -0.5 : 0.0;
}

/* Reads the word of SENTENCE that starts at *AT, without commas, into WORD (CAPACITY; longer words are cut:
 * they are none of those looked for), and moves *AT behind the space after it. */
static void next_word(text_view_t sentence, size_t *at, char *word, size_t capacity) {
  size_t length = 0;
  for (; *at < sentence.n && sentence.bytes[*at] != ' '; ++*at)
    if (sentence.bytes[*at] != ',' && length + 1 < capacity) word[length++] = sentence.bytes[*at];
  word[length] = '\0';
  ++*at;
}

bool pope_says_yes(text_view_t response) {
  text_view_t sentence = text_slice(response, 0, text_find(response, ".", 0));
  size_t at = 0;
  while (at < sentence.n) {
    char word[8];
    next_word(sentence, &at, word, sizeof word);
    if (strcmp(word, "No") == 0 || strcmp(word, "not") == 0 || strcmp(word, "no") == 0) return false;
  }
  return true;
}

static char answers_lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* True if TEXT starts with PREFIX (lower-case), whatever the case of TEXT. */
static bool starts_with_any_case(text_view_t text, const char *prefix) {
  size_t length = strlen(prefix);
  if (text.n < length) return false;
  for (size_t i = 0; i < length; i++)
    if (answers_lower(text.bytes[i]) != prefix[i]) return false;
  return true;
}

int32_t mmhal_rating(text_view_t reply, bool *found) {
  static const char label[] = "rating: ";
  const size_t length = sizeof label - 1;
  unsigned seen = 0; /* bit N: "rating: N" occurs */
  for (size_t i = 0; i + length < reply.n; i++) {
    if (!starts_with_any_case(text_slice(reply, i, reply.n), label)) continue;
    char digit = reply.bytes[i + length];
    if (digit >= '0' && digit <= '6') seen |= 1u << (digit - '0');
  }
  *found = seen != 0 && (seen & (seen - 1)) == 0;
  return *found ? __builtin_ctz(seen) : 0;
}
