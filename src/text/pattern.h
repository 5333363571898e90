/* Regular expressions of tokenizer files. They are written for Oniguruma; here they run in PCRE2, translated
 * so that both mean the same: white space is spelt out, and what the two may read differently is refused. */
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H

#include "text/buffer.h"

/* What byte-level BPE splits by where its file asks for no other: GPT-2's pattern. */
#define PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Appends the PCRE2 pattern for SOURCE, '\0'-terminated UTF-8. Taken are characters, alternatives, groups
 * "(?:",
 * "(?i:" and look-arounds, classes without nesting, escapes for white space, digits, Unicode properties and
 * punctuation, and the repeats ? * + (lazy or possessive as well) and {m,n}; groups may be optional, not
 * repeated, so that no text takes exponential time. Errors: STATUS_DATA, which names what is not taken.
 * Local. */
status_t pattern_translate(const char *source, text_buffer_t *out);

/* The same for a pattern that is a plain text. Local. */
status_t pattern_quote(const char *text, text_buffer_t *out);

#endif
