#include "eval/yes_no.h"

#include "text/answers.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

yes_no_rule_t yes_no_choose(const char *name, yes_no_rule_t published) {
  if (strcmp(name, "sentence") == 0) return YES_NO_SENTENCE;
  if (strcmp(name, "words") == 0) return YES_NO_WORDS;
  return strcmp(name, "exact") == 0 ? YES_NO_EXACT : published;
}

const char *yes_no_describe(yes_no_rule_t rule) {
  switch (rule) {
  case YES_NO_SENTENCE:
    return "an answer says no if its first sentence has one of the words No, not, no, else yes";
  case YES_NO_WORDS:
    return "an answer says that of the words yes and no which occurs, neither if both or none do";
  case YES_NO_EXACT:
    return "an answer says yes or no if that is all of it, in any case";
  default:
    return "an answer says yes or no if it is Yes or No, so written";
  }
}

static bool is_word_byte(char c) {
  unsigned char byte = (unsigned char)c;
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         byte == '\'' || byte >= 0x80;
}

static bool has_word(text_view_t text, const char *word) {
  size_t n = strlen(word);
  for (size_t i = 0; i + n <= text.n; i++)
    if (strncasecmp(text.bytes + i, word, n) == 0 && (i == 0 || !is_word_byte(text.bytes[i - 1])) &&
        (i + n == text.n || !is_word_byte(text.bytes[i + n])))
      return true;
  return false;
}

static bool is_all(text_view_t text, const char *word) {
  return text.n == strlen(word) && strncasecmp(text.bytes, word, text.n) == 0;
}

static says_t says_of(bool yes, bool no) {
  return yes == no ? SAYS_NEITHER : yes ? SAYS_YES : SAYS_NO;
}

says_t yes_no_read(yes_no_rule_t rule, text_view_t text) {
  switch (rule) {
  case YES_NO_SENTENCE:
    return pope_says_yes(text) ? SAYS_YES : SAYS_NO;
  case YES_NO_WORDS:
    return says_of(has_word(text, "yes"), has_word(text, "no"));
  case YES_NO_EXACT:
    return says_of(is_all(text, "yes"), is_all(text, "no"));
  default:
    return says_of(text_equal(text, "Yes"), text_equal(text, "No"));
  }
}

const char *says_name(says_t says) {
  return says == SAYS_NEITHER ? "neither" : says == SAYS_YES ? "yes" : "no";
}
