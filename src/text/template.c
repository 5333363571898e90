#include "text/template.h"

#include <stdio.h>
#include <string.h>

#define CHATML_START "<|im_start|>"
#define CHATML_END "<|im_end|>"
#define LLAMA3_START "<|start_header_id|>"
#define LLAMA3_HEADER_END "<|end_header_id|>\n\n"
#define LLAMA3_END "<|eot_id|>"

/* Wire constants: published weights were trained with exactly these. */
static const template_row_t rows[] = {
    [TEMPLATE_V1] = {.name = "v1",
                     .system = "A chat between a curious user and an artificial intelligence assistant. "
                               "The assistant gives helpful, detailed, and polite answers to the user's "
                               "questions. ",
                     .before_question = "USER: ",
                     .after_question = " ASSISTANT:",
                     .before_answer = " ",
                     .between = ""},
    [TEMPLATE_LLAVA_V1] = {.name = "llava_v1",
                           .system =
                               "A chat between a curious human and an artificial intelligence "
                               "assistant. The assistant gives helpful, detailed, and polite answers to "
                               "the human's questions. ",
                           .before_question = "USER: ",
                           .after_question = " ASSISTANT:",
                           .before_answer = " ",
                           .between = ""},
    [TEMPLATE_PLAIN] = {.name = "plain", .end = "\n"},
    [TEMPLATE_CHATML] = {.name = "chatml",
                         .system = CHATML_START "system\nYou are a helpful assistant." CHATML_END "\n",
                         .before_question = CHATML_START "user\n",
                         .after_question = CHATML_END "\n" CHATML_START "assistant\n",
                         .before_answer = "",
                         .end = CHATML_END,
                         .between = "\n",
                         .needs = {CHATML_START, CHATML_END}},
    [TEMPLATE_SMOLLM2] = {.name = "smollm2",
                          .system =
                              CHATML_START "system\nYou are a helpful AI assistant named SmolLM, trained by "
                                           "Hugging Face" CHATML_END "\n",
                          .before_question = CHATML_START "user\n",
                          .after_question = CHATML_END "\n" CHATML_START "assistant\n",
                          .before_answer = "",
                          .end = CHATML_END,
                          .between = "\n",
                          .needs = {CHATML_START, CHATML_END}},
    [TEMPLATE_LLAMA3] = {.name = "llama3",
                         .system = "",
                         .before_question = LLAMA3_START "user" LLAMA3_HEADER_END,
                         .after_question = LLAMA3_END LLAMA3_START "assistant" LLAMA3_HEADER_END,
                         .before_answer = "",
                         .end = LLAMA3_END,
                         .between = "",
                         .stripped = true,
                         .needs = {LLAMA3_START, "<|end_header_id|>", LLAMA3_END}},
    [TEMPLATE_LLAVA_LLAMA3] =
        {.name = "llava_llama3",
         .system =
             LLAMA3_START "system" LLAMA3_HEADER_END
                          "You are a helpful language and vision assistant. You are able to understand the "
                          "visual content that the user provides, and assist the user with a variety of "
                          "tasks using natural language." LLAMA3_END,
         .before_question = LLAMA3_START "user" LLAMA3_HEADER_END,
         .after_question = LLAMA3_END LLAMA3_START "assistant" LLAMA3_HEADER_END,
         .before_answer = "",
         .end = LLAMA3_END,
         .between = "",
         .stripped = true,
         .needs = {LLAMA3_START, "<|end_header_id|>", LLAMA3_END}},
};
enum { TEMPLATES = sizeof rows / sizeof *rows, NEEDS = sizeof rows[0].needs / sizeof *rows[0].needs };

status_t template_from_name(const char *name, template_t *out) {
  char names[256] = "";
  for (int i = 0; i < TEMPLATES; i++) {
    if (strcmp(name, rows[i].name) == 0) {
      *out = (template_t)i;
      return STATUS_OK;
    }
    size_t n = strlen(names);
    snprintf(names + n, sizeof names - n, "%s'%s'", i > 0 ? ", " : "", rows[i].name);
  }
  return error_set(STATUS_INPUT, "unknown template '%s'; expected one of %s", name, names);
}

const template_row_t *template_row(template_t template) {
  return &rows[template];
}

status_t template_check(template_t template, const tokenizer_t *tokenizer) {
  for (int i = 0; i < NEEDS && rows[template].needs[i]; i++)
    if (tokenizer_piece_id(tokenizer, rows[template].needs[i]) < 0)
      return error_set(
          STATUS_INPUT,
          "model.template = '%s' needs the token '%s', which the model's tokenizer lacks; choose the "
          "template that the model was trained with",
          rows[template].name, rows[template].needs[i]);
  return STATUS_OK;
}

int32_t template_end(template_t template, const tokenizer_t *tokenizer) {
  const template_row_t *row = &rows[template];
  return row->needs[0] ? tokenizer_piece_id(tokenizer, row->end) : tokenizer_eos(tokenizer);
}
