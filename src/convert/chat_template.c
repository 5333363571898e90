#include "convert/chat_template.h"

#include "text/script.h"

#include <string.h>

/* TEXT as a literal. */
static status_t append_literal(text_buffer_t *out, const char *text) {
  TRY(text_buffer_append_string(out, "'"));
  for (; *text; text++) {
    const char one[2] = {*text, '\0'};
    TRY(text_buffer_append_string(out, *text == '\n'   ? "\\n"
                                       : *text == '\'' ? "\\'"
                                       : *text == '\\' ? "\\\\"
                                                       : one));
  }
  return text_buffer_append_string(out, "'");
}

/* A line that writes TEXT, nothing for none. */
static status_t append_writing(text_buffer_t *out, const char *text) {
  if (!text || !*text) return STATUS_OK;
  TRY(text_buffer_append_string(out, "{{- "));
  TRY(append_literal(out, text));
  return text_buffer_append_string(out, " -}}\n");
}

/* What is the same in all: the turns, and a turn's text and whether there is an image with it. */
static const char beginning[] =
    "{%- set turns = messages[1:] if messages and messages[0]['role'] == 'system' else messages -%}\n"
    "{%- set turns = turns[1:] if turns and turns[0]['role'] == 'assistant' else turns -%}\n";
static const char turn_text[] =
    "{%- for turn in turns -%}\n"
    "{%- if turn['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}\n"
    "{{- raise_exception('user and assistant take turns, and the user begins') -}}\n"
    "{%- endif -%}\n"
    "{%- set part = namespace(text='', images=0) -%}\n"
    "{%- if turn['content'] is string -%}\n"
    "{%- set part.text = turn['content'] -%}\n"
    "{%- else -%}\n"
    "{%- for item in turn['content'] -%}\n"
    "{%- if item['type'] == 'text' -%}\n"
    "{%- set part.text = part.text + item['text'] -%}\n"
    "{%- else -%}\n"
    "{%- set part.images = part.images + 1 -%}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- endif -%}\n";
static const char blind[] = "{%- if part.images > 0 -%}\n"
                            "{{- raise_exception('the model reads text alone') -}}\n"
                            "{%- endif -%}\n";
static const char sees[] = "{%- if part.images > 1 or (part.images and not loop.first) -%}\n"
                           "{{- raise_exception('there is one image at most, with the first question') -}}\n"
                           "{%- endif -%}\n"
                           "{%- if loop.first and (part.images or '" IMAGE_MARK "' in part.text) -%}\n"
                           "{%- set part.images = 1 -%}\n"
                           "{%- set part.text = part.text | replace('" IMAGE_MARK "', '') | trim -%}\n"
                           "{%- endif -%}\n";

static status_t append_question(const template_row_t *row, const char *image, text_buffer_t *out) {
  bool closes = row->end && strncmp(row->after_question, row->end, strlen(row->end)) == 0;
  if (*row->between) {
    TRY(text_buffer_append_string(out, "{%- if not loop.first -%}\n"));
    TRY(append_writing(out, row->between));
    TRY(text_buffer_append_string(out, "{%- endif -%}\n"));
  }
  TRY(append_writing(out, row->before_question));
  if (image) {
    TRY(text_buffer_append_string(out, "{%- if part.images -%}\n"));
    TRY(append_writing(out, image));
    TRY(text_buffer_append_string(out, "{{- '\\n' if part.text -}}\n{%- endif -%}\n"));
  }
  TRY(text_buffer_append_string(out, "{{- part.text -}}\n"));
  if (closes) TRY(append_writing(out, row->end));
  TRY(text_buffer_append_string(out, "{%- if not loop.last or add_generation_prompt -%}\n"));
  TRY(append_writing(out, row->after_question + (closes ? strlen(row->end) : 0)));
  return text_buffer_append_string(out, "{%- endif -%}\n");
}

static status_t append_answer(const template_row_t *row, text_buffer_t *out) {
  TRY(append_writing(out, row->before_answer));
  TRY(text_buffer_append_string(out, "{{- part.text -}}\n"));
  return row->end ? append_writing(out, row->end) : text_buffer_append_string(out, "{{- eos_token -}}\n");
}

status_t chat_template_append(template_t template, const tokenizer_t *tokenizer, const char *image,
                              text_buffer_t *out) {
  const template_row_t *row = template_row(template);
  TRY(text_buffer_append_string(out, beginning));
  if (tokenizer_bos(tokenizer) >= 0) TRY(text_buffer_append_string(out, "{{- bos_token -}}\n"));
  TRY(append_writing(out, row->system));
  TRY(text_buffer_append_string(out, turn_text));
  if (row->stripped) TRY(text_buffer_append_string(out, "{%- set part.text = part.text | trim -%}\n"));
  TRY(text_buffer_append_string(out, image ? sees : blind));
  TRY(text_buffer_append_string(out, "{%- if turn['role'] == 'user' -%}\n"));
  TRY(append_question(row, image, out));
  TRY(text_buffer_append_string(out, "{%- else -%}\n"));
  TRY(append_answer(row, out));
  return text_buffer_append_string(out, "{%- endif -%}\n{%- endfor -%}\n");
}
