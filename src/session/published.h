/* What a published configuration says that no pass computes with: its special tokens, its defaults of
 * generation. A model file carries it (attribute `published` of /weights, JSON; no part of its identity): its
 * EOS tokens end answers here, and an export gives it back. */
#ifndef SESSION_PUBLISHED_H
#define SESSION_PUBLISHED_H

#include "io/json.h"
#include "text/tokenizer.h"

/* bos_token_id, pad_token_id and eos_token_id of one file. */
typedef struct {
  int32_t bos, pad; /* -1: it names none */
  int32_t eos[TOKENIZER_ENDS_MAX];
  int32_t eos_count; /* 0: it names none */
  bool eos_listed;   /* as an array, though it may be of one */
} published_tokens_t;

typedef struct {
  published_tokens_t config;   /* config.json's */
  published_tokens_t defaults; /* generation_config.json's */
  const json_t *generation;    /* all of that file, an object; NULL: there was none */
  int32_t image;               /* image_token_index: the id that stands for an image; -1: it names none */
  int32_t positions;           /* max_position_embeddings; 0: it does not say */
  json_document_t document;    /* what GENERATION is part of */
} published_t;

/* The ids of OBJECT (NULL: none), whose model has VOCAB rows: absent, null and negative is none, what lies
 * beyond the rows is left out with a warning, since programs fail at it. WHERE is for messages. Errors:
 * STATUS_DATA for anything that is no id, or a list of more EOS tokens than TOKENIZER_ENDS_MAX. Local. */
status_t published_read_tokens(const json_t *object, const char *where, int32_t vocab,
                               published_tokens_t *out);
/* Their members, those that there are. Local. */
void published_write_tokens(json_writer_t *writer, const published_tokens_t *tokens);

/* GENERATION (an object, or NULL) with TOKENS in place of its own, as an object. Local. */
void published_write_generation(json_writer_t *writer, const json_t *generation,
                                const published_tokens_t *tokens);

/* Reads the TEXT of a model file (NULL: nothing is known) whose model has VOCAB rows. Free with
 * published_free, also after an error. Errors: STATUS_DATA. Local. */
status_t published_read(const char *text, const char *where, int32_t vocab, published_t *out);
void published_free(published_t *published);
/* The TEXT for PUBLISHED, NULL where it says nothing; freed with memory_free. Local. */
status_t published_to_text(const published_t *published, char **text);

/* What batches are filled with by either file, config.json before the other; -1: none. Local. */
int32_t published_pad(const published_t *published);

/* Adds ID to the EOS tokens, unless it is one. Errors: STATUS_DATA where there are too many. Local. */
status_t published_add_eos(published_tokens_t *tokens, int32_t id, const char *where);
/* All tokens that end an answer by either file, each once, to ENDS; returns how many. Local. */
status_t published_ends(const published_t *published, const char *where, published_tokens_t *ends);

#endif
