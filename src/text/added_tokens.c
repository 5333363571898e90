#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/added_tokens.h"

#include "base/memory.h"
#include "text/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Characters of words, as Rust's \w: Alphabetic, marks, decimal digits, connectors, joiners. */
static const char word_pattern[] = "^[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}"
                                   "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}]";

struct added_tokens {
  added_token_t *tokens; /* (count), in the order of their texts */
  int32_t count;
  bool begins[256]; /* some token begins with this byte */
  pcre2_code *word; /* NULL where no token asks */
};

/* ---- Making ---- */

static int added_tokens_compare_texts(const void *a, const void *b) {
  return strcmp(((const added_token_t *)a)->text, ((const added_token_t *)b)->text);
}

static status_t added_tokens_copy_tokens(const added_token_t *tokens, int32_t count, added_tokens_t *set) {
  TRY(memory_alloc(&set->tokens, ARENA_DATA, (size_t)count, sizeof *set->tokens));
  for (; set->count < count; set->count++) {
    char *text;
    TRY(memory_copy_text(&text, ARENA_DATA, tokens[set->count].text, strlen(tokens[set->count].text)));
    set->tokens[set->count] = tokens[set->count];
    set->tokens[set->count].text = text;
    set->begins[(unsigned char)text[0]] = true;
  }
  if (count > 0) qsort(set->tokens, (size_t)count, sizeof *set->tokens, added_tokens_compare_texts);
  return STATUS_OK;
}

static status_t compile_word(added_tokens_t *set) {
  int number;
  PCRE2_SIZE at;
  bool asked = false;
  for (int32_t i = 0; i < set->count; i++)
    asked = asked || set->tokens[i].single_word;
  if (!asked) return STATUS_OK;
  set->word = pcre2_compile((PCRE2_SPTR)word_pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &number, &at, NULL);
  if (!set->word) return error_set(STATUS_INTERNAL, "the pattern of word characters: PCRE2 error %d", number);
  return STATUS_OK;
}

status_t added_tokens_create(const added_token_t *tokens, int32_t count, added_tokens_t **out) {
  added_tokens_t *set;
  *out = NULL;
  TRY(memory_alloc(&set, ARENA_DATA, 1, sizeof *set));
  status_code_t status = added_tokens_copy_tokens(tokens, count, set);
  if (status == STATUS_OK) status = compile_word(set);
  if (status == STATUS_OK)
    *out = set;
  else
    added_tokens_free(set);
  return status;
}

void added_tokens_free(added_tokens_t *set) {
  if (!set) return;
  for (int32_t i = 0; i < set->count; i++)
    memory_free((void *)(uintptr_t)set->tokens[i].text);
  pcre2_code_free(set->word);
  memory_free(set->tokens);
  memory_free(set);
}

/* ---- Splitting ---- */

/* First of the tokens LOW..HIGH-1, which agree in their first DEPTH bytes, whose next byte is not below BYTE.
 */
static int32_t first_from(const added_tokens_t *set, int32_t low, int32_t high, size_t depth, int byte) {
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    if ((unsigned char)set->tokens[middle].text[depth] < byte)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The longest token that TEXT begins with; NULL if none. */
static const added_token_t *added_tokens_longest(const added_tokens_t *set, text_view_t text) {
  const added_token_t *best = NULL;
  int32_t low = 0, high = set->count;
  for (size_t depth = 0; depth < text.n && low < high; depth++) {
    int byte = (unsigned char)text.bytes[depth];
    if (byte == 0) break;
    low = first_from(set, low, high, depth, byte);
    high = first_from(set, low, high, depth, byte + 1);
    if (low < high && set->tokens[low].text[depth + 1] == '\0') best = &set->tokens[low];
  }
  return best;
}

static bool is_word(const added_tokens_t *set, text_view_t character) {
  pcre2_match_data *data = pcre2_match_data_create(1, NULL);
  if (!data) return false;
  int result =
      pcre2_match(set->word, (PCRE2_SPTR)character.bytes, character.n, 0, PCRE2_NO_UTF_CHECK, data, NULL);
  pcre2_match_data_free(data);
  return result >= 0;
}

static size_t character_before(text_view_t text, size_t at) {
  do
    at--;
  while (at > 0 && ((unsigned char)text.bytes[at] & 0xC0) == 0x80);
  return at;
}

static bool stands_alone(const added_tokens_t *set, text_view_t text, size_t begin, size_t end) {
  if (begin > 0 && is_word(set, text_slice(text, character_before(text, begin), begin))) return false;
  return end == text.n || !is_word(set, text_slice(text, end, text.n));
}

static bool is_space_at(text_view_t text, size_t at, size_t *length) {
  uint32_t character;
  *length = utf8_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
  return *length > 0 && unicode_white_space(character);
}

static size_t spaces_after(text_view_t text, size_t at) {
  size_t length;
  while (at < text.n && is_space_at(text, at, &length))
    at += length;
  return at;
}

static size_t spaces_before(text_view_t text, size_t at, size_t from) {
  size_t length;
  while (at > from && is_space_at(text, character_before(text, at), &length))
    at = character_before(text, at);
  return at < from ? from : at;
}

bool added_tokens_next(const added_tokens_t *set, text_view_t text, size_t *at, added_part_t *part) {
  if (*at >= text.n) return false;
  for (size_t i = *at; i < text.n; i++) {
    if (!set->begins[(unsigned char)text.bytes[i]]) continue;
    const added_token_t *token = added_tokens_longest(set, text_slice(text, i, text.n));
    if (!token) continue;
    size_t end = i + strlen(token->text);
    if (token->single_word && !stands_alone(set, text, i, end)) {
      i = end - 1;
      continue;
    }
    size_t begin = token->left ? spaces_before(text, i, *at) : i;
    if (begin > *at) {
      *part = (added_part_t){-1, text_slice(text, *at, begin)};
      *at = begin;
      return true;
    }
    *part = (added_part_t){token->id, text_slice(text, i, end)};
    *at = token->right ? spaces_after(text, end) : end;
    return true;
  }
  *part = (added_part_t){-1, text_slice(text, *at, text.n)};
  *at = text.n;
  return true;
}
