/* Conversation templates as transformers has them: in the language Jinja. */
#ifndef CONVERT_CHAT_TEMPLATE_H
#define CONVERT_CHAT_TEMPLATE_H

#include "text/buffer.h"
#include "text/template.h"

/* Appends TEMPLATE (not 'plain', which is no conversation) for a model of TOKENIZER: apply_chat_template
 * gives the tokens of conversation_sequence or, with add_generation_prompt, of conversation_query. IMAGE is
 * how the text says where the image stands; NULL: the model sees none. Like task prepare it leaves out a
 * system message and what an assistant says first. Local. */
status_t chat_template_append(template_t template, const tokenizer_t *tokenizer, const char *image,
                              text_buffer_t *out);

#endif
