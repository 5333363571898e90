#include "text/bpe.h"

#include "text/normal_form.h"
#include "text/tokenizer_kind.h"

#include <string.h>

typedef struct {
  bpe_model_t *model;
  pre_tokenizer_t *pre_tokenizer;
  added_tokens_t *raw, *normalized; /* looked for before and after normalising */
  bool *special;                    /* (size): leaves no trace when decoded */
  bool nfc;
} bpe_t;

static const char *const usual_eos[] = {"</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>",
                                        "<|im_end|>"};
enum { USUAL_EOS = sizeof usual_eos / sizeof *usual_eos };

/* ---- Tokenising ---- */

typedef struct {
  const bpe_t *bpe;
  token_list_t *out;
} bpe_encoder_t;

static status_code_t encode_word(void *context, text_view_t word) {
  bpe_encoder_t *encoder = context;
  return bpe_model_encode(encoder->bpe->model, word, encoder->out);
}

static status_t encode_plain(bpe_encoder_t *encoder, text_view_t text) {
  return pre_tokenizer_words(encoder->bpe->pre_tokenizer, text, encode_word, encoder);
}

/* TEXT split at SET; what lies between goes to REST. */
static status_t encode_split(bpe_encoder_t *encoder, const added_tokens_t *set, text_view_t text,
                             status_code_t (*rest)(bpe_encoder_t *, text_view_t)) {
  size_t at = 0;
  added_part_t part;
  while (added_tokens_next(set, text, &at, &part))
    TRY(part.id >= 0 ? token_list_append(encoder->out, part.id) : rest(encoder, part.text));
  return STATUS_OK;
}

static status_code_t encode_normal(bpe_encoder_t *encoder, text_view_t text) {
  return encode_split(encoder, encoder->bpe->normalized, text, encode_plain);
}

static status_code_t encode_between(bpe_encoder_t *encoder, text_view_t text) {
  if (!encoder->bpe->nfc || !normal_form_may_change(text)) return encode_normal(encoder, text);
  text_buffer_t normal = {0};
  status_code_t status = normal_form_append(text, &normal);
  if (status == STATUS_OK) status = encode_normal(encoder, text_buffer_view(&normal));
  text_buffer_free(&normal);
  return status;
}

static status_t bpe_encode(const void *state, text_view_t text, token_list_t *out) {
  bpe_encoder_t encoder = {state, out};
  return encode_split(&encoder, encoder.bpe->raw, text, encode_between);
}

/* ---- Back ---- */

static status_t bpe_decode(const void *state, const int32_t *ids, int32_t n, text_buffer_t *out) {
  const bpe_t *bpe = state;
  text_buffer_t bytes = {0};
  status_code_t status = STATUS_OK;
  for (int32_t i = 0; i < n && status == STATUS_OK; i++)
    if (!bpe->special[ids[i]]) status = text_buffer_append(&bytes, bpe_model_bytes(bpe->model, ids[i]));
  if (status == STATUS_OK) status = text_buffer_append_repaired(out, text_buffer_view(&bytes));
  text_buffer_free(&bytes);
  return status;
}

static const char *bpe_piece(const void *state, int32_t id) {
  return bpe_model_piece(((const bpe_t *)state)->model, id);
}

static int32_t piece_id(const void *state, const char *text) {
  return bpe_model_id(((const bpe_t *)state)->model, text);
}

static void bpe_free(void *state) {
  bpe_t *bpe = state;
  bpe_model_free(bpe->model);
  pre_tokenizer_free(bpe->pre_tokenizer);
  added_tokens_free(bpe->raw);
  added_tokens_free(bpe->normalized);
  memory_free(bpe->special);
  memory_free(bpe);
}

static const tokenizer_kind_t bpe_kind = {bpe_free, bpe_encode, bpe_decode, bpe_piece, piece_id};

/* ---- Making ---- */

/* Those of the definition's added tokens that are looked for before (or after) normalising. */
static status_t bpe_make_added(const bpe_definition_t *definition, bool normalized, added_tokens_t **out) {
  added_token_t *chosen;
  int32_t count = 0;
  TRY(memory_alloc(&chosen, ARENA_DATA, (size_t)definition->added_count, sizeof *chosen));
  for (int32_t i = 0; i < definition->added_count; i++)
    if (definition->added[i].normalized == normalized && !token_is_placeholder(definition->added[i].text))
      chosen[count++] = definition->added[i];
  status_code_t status = added_tokens_create(chosen, count, out);
  memory_free(chosen);
  return status;
}

/* A token that is looked for in normalised text must be normalised itself. */
static status_t bpe_check_added(const bpe_definition_t *definition) {
  for (int32_t i = 0; i < definition->added_count; i++) {
    const added_token_t *token = &definition->added[i];
    if (token->text[0] == '\0') return error_set(STATUS_DATA, "the added token of id %d is empty", token->id);
    if (definition->nfc && token->normalized && normal_form_may_change(text_view(token->text)))
      return error_set(
          STATUS_DATA,
          "the added token '%.60s' is to be looked for in normalised text, but is not plain Latin; "
          "expected \"normalized\": false",
          token->text);
  }
  return STATUS_OK;
}

static status_t mark_special(const bpe_definition_t *definition, bpe_t *bpe) {
  int32_t size = bpe_model_size(bpe->model);
  TRY(memory_alloc(&bpe->special, ARENA_DATA, (size_t)size, sizeof *bpe->special));
  for (int32_t i = 0; i < definition->added_count; i++) {
    bpe->special[definition->added[i].id] = definition->added[i].special;
  }
  return STATUS_OK;
}

static status_t bpe_fill(const bpe_definition_t *definition, bpe_t *bpe) {
  bpe->nfc = definition->nfc;
  TRY(bpe_check_added(definition));
  TRY(bpe_model_create(definition->pieces, definition->piece_count, definition->merges,
                       definition->merge_count, definition->ignore_merges, definition->unknown, &bpe->model));
  TRY(mark_special(definition, bpe));
  TRY(bpe_make_added(definition, false, &bpe->raw));
  TRY(bpe_make_added(definition, true, &bpe->normalized));
  return pre_tokenizer_create(definition->steps, definition->step_count, &bpe->pre_tokenizer);
}

/* The first of the usual pieces that end a text: a special token or, if there is none, any piece. Qwen2's
 * vocabulary has a "</s>", of which it is a word like others. */
static int32_t bpe_usual_eos(const bpe_t *bpe, bool special) {
  for (int i = 0; i < USUAL_EOS; i++) {
    int32_t id = bpe_model_id(bpe->model, usual_eos[i]);
    if (id >= 0 && (bpe->special[id] || !special)) return id;
  }
  return -1;
}

/* Ids of what begins and ends a text. */
static status_t bpe_find_ends(const bpe_definition_t *definition, const bpe_t *bpe, int32_t *bos,
                              int32_t *eos) {
  *bos = definition->bos ? bpe_model_id(bpe->model, definition->bos) : -1;
  if (definition->bos && *bos < 0)
    return error_set(STATUS_DATA, "'%.60s', which the post_processor puts in front, is no piece",
                     definition->bos);
  *eos = bpe_usual_eos(bpe, true);
  if (*eos < 0) *eos = bpe_usual_eos(bpe, false);
  if (*eos >= 0) return STATUS_OK;
  return error_set(STATUS_DATA, "no piece ends a text; expected one of '%s', '%s', '%s', '%s', '%s'",
                   usual_eos[0], usual_eos[1], usual_eos[2], usual_eos[3], usual_eos[4]);
}

status_t bpe_create(const bpe_definition_t *definition, const void *bytes, size_t n, tokenizer_t **out) {
  bpe_t *bpe;
  int32_t bos = -1, eos = -1;
  *out = NULL;
  TRY(memory_alloc(&bpe, ARENA_DATA, 1, sizeof *bpe));
  status_code_t status = bpe_fill(definition, bpe);
  if (status == STATUS_OK) status = bpe_find_ends(definition, bpe, &bos, &eos);
  if (status != STATUS_OK) {
    bpe_free(bpe);
    return status;
  }
  return tokenizer_make(&bpe_kind, bpe, bytes, n, bpe_model_size(bpe->model), bos, eos, out);
}
