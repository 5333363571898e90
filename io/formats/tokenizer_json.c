#include "io/formats/tokenizer_json.h"

#include "base/memory.h"
#include "io/json.h"
#include "text/bpe.h"
#include "text/pattern.h"

#include <string.h>

static const char where[] = "tokenizer.json";

/* The definition while it is read, and the arrays that it points to. Texts stay the document's. */
typedef struct {
  const json_t *root;
  bpe_definition_t definition;
  bpe_piece_t *pieces;
  bpe_merge_t *merges;
  added_token_t *added;
  split_step_t *steps;
  int32_t step_capacity;
  char *split_merges; /* both halves of merges that are written as one text */
  bool cut;           /* a ByteLevel step, the last one, was read */
} tokenizer_json_reader_t;

static status_t tokenizer_json_refuse(const char *what, const char *name, const char *expected) {
  return error_set(STATUS_DATA, "%s: %s '%.60s' is not supported; expected %s", where, what, name, expected);
}

/* The member KEY of OBJECT, STANDARD where it is absent. */
static status_t tokenizer_json_flag(const json_t *object, const char *key, bool standard, bool *out) {
  *out = standard;
  return json_get(object, key) ? json_bool(object, key, where, out) : STATUS_OK;
}

static bool is_type(const char *type, const char *expected) {
  return strcmp(type, expected) == 0;
}

static status_t tokenizer_json_count_fits(int64_t count, const char *what) {
  if (count <= BPE_MOST_IDS) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: %lld %s; expected at most %d", where, (long long)count, what,
                   BPE_MOST_IDS);
}

/* A text that nothing in it ends early: '\0' cannot stand in a document. */
static status_t text_of(const json_t *value, const char *what, const char **out) {
  if (value->type != JSON_STRING)
    return error_set(STATUS_DATA, "%s: found %s among %s, expected texts", where, json_type_name(value->type),
                     what);
  *out = value->u.string;
  return STATUS_OK;
}

/* ---- Model ---- */

static status_t tokenizer_json_read_vocabulary(tokenizer_json_reader_t *reader, const json_t *model) {
  const json_t *vocabulary;
  TRY(json_object(model, "vocab", where, &vocabulary));
  TRY(tokenizer_json_count_fits(vocabulary->count, "pieces"));
  TRY(memory_alloc(&reader->pieces, ARENA_IO, (size_t)(vocabulary->count + reader->definition.added_count),
                   sizeof *reader->pieces));
  int32_t count = 0;
  for (const json_t *member = vocabulary->u.first; member; member = member->next) {
    if (member->type != JSON_INT || member->u.integer < 0 || member->u.integer >= BPE_MOST_IDS)
      return error_set(STATUS_DATA, "%s: the piece '%.60s' has no id of 0 to %d", where, member->key,
                       BPE_MOST_IDS - 1);
    reader->pieces[count++] = (bpe_piece_t){.text = member->key, .id = (int32_t)member->u.integer};
  }
  for (int32_t i = 0; i < reader->definition.added_count; i++)
    reader->pieces[count++] =
        (bpe_piece_t){.text = reader->added[i].text, .id = reader->added[i].id, .added = true};
  reader->definition.pieces = reader->pieces;
  reader->definition.piece_count = count;
  return STATUS_OK;
}

/* The tokenizers library numbers added tokens anew, whatever ids the file gives them: those of the vocabulary
 * keep their piece's, others follow it one after the other. TAKEN: (largest id + 1) all false. */
static status_t tokenizer_json_check_numbers(const bpe_definition_t *definition, bool *taken) {
  int32_t own = definition->piece_count - definition->added_count, next = own;
  for (int32_t i = 0; i < own; i++)
    taken[definition->pieces[i].id] = true;
  for (int32_t i = 0; i < definition->added_count; i++) {
    const added_token_t *token = &definition->added[i];
    if (!taken[token->id] && token->id != next)
      return error_set(STATUS_DATA,
                       "%s: the added token '%.60s' has the id %d, but the tokenizers library gives it %d; "
                       "expected that those beyond the vocabulary's %d pieces follow one after the other",
                       where, token->text, token->id, next, own);
    taken[token->id] = true;
    if (token->id >= next) next = token->id + 1;
  }
  return STATUS_OK;
}

static status_t tokenizer_json_check_added(const bpe_definition_t *definition) {
  SCOPED_MEMORY bool *taken = NULL;
  int32_t size = 0;
  for (int32_t i = 0; i < definition->piece_count; i++)
    if (definition->pieces[i].id >= size) size = definition->pieces[i].id + 1;
  TRY(memory_alloc(&taken, ARENA_IO, (size_t)size, sizeof *taken));
  return tokenizer_json_check_numbers(definition, taken);
}

/* "a b": the halves are put one behind the other, each ended by '\0', at *SPACE. */
static status_t split_merge(const json_t *value, int32_t rank, char **space, bpe_merge_t *merge) {
  const char *text;
  TRY(text_of(value, "merges", &text));
  const char *middle = strchr(text, ' ');
  if (!middle || middle == text || middle[1] == '\0' || strchr(middle + 1, ' '))
    return error_set(STATUS_DATA, "%s: merge %d is '%.60s'; expected two pieces with a space between", where,
                     rank, text);
  size_t n = strlen(text) + 1;
  memcpy(*space, text, n);
  (*space)[middle - text] = '\0';
  *merge = (bpe_merge_t){*space, *space + (middle - text) + 1};
  *space += n;
  return STATUS_OK;
}

static status_t pair_merge(const json_t *value, int32_t rank, bpe_merge_t *merge) {
  if (value->count != 2)
    return error_set(STATUS_DATA, "%s: merge %d has %lld items; expected two pieces", where, rank,
                     (long long)value->count);
  TRY(text_of(value->u.first, "merges", &merge->left));
  return text_of(value->u.first->next, "merges", &merge->right);
}

static status_t tokenizer_json_read_merges(tokenizer_json_reader_t *reader, const json_t *model) {
  const json_t *list;
  size_t bytes = 0;
  TRY(json_array(model, "merges", where, &list));
  TRY(tokenizer_json_count_fits(list->count, "merges"));
  for (const json_t *value = list->u.first; value; value = value->next)
    if (value->type == JSON_STRING) bytes += (size_t)value->count + 1;
  TRY(memory_alloc(&reader->merges, ARENA_IO, (size_t)list->count, sizeof *reader->merges));
  TRY(memory_alloc(&reader->split_merges, ARENA_IO, bytes, 1));
  char *space = reader->split_merges;
  int32_t rank = 0;
  for (const json_t *value = list->u.first; value; value = value->next, rank++)
    TRY(value->type == JSON_ARRAY ? pair_merge(value, rank, &reader->merges[rank])
                                  : split_merge(value, rank, &space, &reader->merges[rank]));
  reader->definition.merges = reader->merges;
  reader->definition.merge_count = rank;
  return STATUS_OK;
}

static status_t tokenizer_json_check_absent_text(const json_t *model, const char *key) {
  const json_t *value = json_get(model, key);
  if (!value || (value->type == JSON_STRING && value->count == 0)) return STATUS_OK;
  return tokenizer_json_refuse("the model's field", key, "none");
}

/* What would make other ids of the same pieces. */
static status_t tokenizer_json_check_model(const json_t *model) {
  const char *type = "BPE";
  bool fallback;
  if (json_get(model, "type")) TRY(json_string(model, "type", where, &type));
  if (!is_type(type, "BPE")) return tokenizer_json_refuse("the model type", type, "BPE over bytes");
  TRY(tokenizer_json_check_absent_text(model, "continuing_subword_prefix"));
  TRY(tokenizer_json_check_absent_text(model, "end_of_word_suffix"));
  const json_t *dropout = json_get(model, "dropout");
  if (dropout && !(dropout->type == JSON_REAL && dropout->u.real == 0.0) &&
      !(dropout->type == JSON_INT && dropout->u.integer == 0))
    return tokenizer_json_refuse("the model's field", "dropout", "none");
  TRY(tokenizer_json_flag(model, "byte_fallback", false, &fallback));
  if (!fallback) return STATUS_OK;
  return tokenizer_json_refuse(
      "the model's field", "byte_fallback",
      "BPE over bytes; this is SentencePiece's kind of model, whose file is tokenizer.model");
}

static status_t tokenizer_json_read_model(tokenizer_json_reader_t *reader) {
  const json_t *model;
  TRY(json_object(reader->root, "model", where, &model));
  TRY(tokenizer_json_check_model(model));
  TRY(tokenizer_json_flag(model, "ignore_merges", false, &reader->definition.ignore_merges));
  TRY(tokenizer_json_flag(model, "fuse_unk", false, &reader->definition.unknown.fused));
  if (json_get(model, "unk_token"))
    TRY(json_string(model, "unk_token", where, &reader->definition.unknown.piece));
  TRY(tokenizer_json_read_vocabulary(reader, model));
  TRY(tokenizer_json_check_added(&reader->definition));
  return tokenizer_json_read_merges(reader, model);
}

/* ---- Added tokens ---- */

static status_t tokenizer_json_read_added_token(const json_t *value, added_token_t *token) {
  int64_t id;
  TRY(json_string(value, "content", where, &token->text));
  TRY(json_int(value, "id", where, &id));
  if (id < 0 || id >= BPE_MOST_IDS)
    return error_set(STATUS_DATA, "%s: the added token '%.60s' has the id %lld; expected 0 to %d", where,
                     token->text, (long long)id, BPE_MOST_IDS - 1);
  token->id = (int32_t)id;
  TRY(tokenizer_json_flag(value, "special", false, &token->special));
  TRY(tokenizer_json_flag(value, "single_word", false, &token->single_word));
  TRY(tokenizer_json_flag(value, "lstrip", false, &token->left));
  TRY(tokenizer_json_flag(value, "rstrip", false, &token->right));
  return tokenizer_json_flag(value, "normalized", !token->special, &token->normalized);
}

static status_t tokenizer_json_read_added(tokenizer_json_reader_t *reader) {
  const json_t *list;
  int32_t count = 0;
  if (!json_get(reader->root, "added_tokens")) return STATUS_OK;
  TRY(json_array(reader->root, "added_tokens", where, &list));
  TRY(tokenizer_json_count_fits(list->count, "added tokens"));
  TRY(memory_alloc(&reader->added, ARENA_IO, (size_t)list->count, sizeof *reader->added));
  for (const json_t *value = list->u.first; value; value = value->next)
    TRY(tokenizer_json_read_added_token(value, &reader->added[count++]));
  reader->definition.added = reader->added;
  reader->definition.added_count = count;
  return STATUS_OK;
}

/* ---- Normalizer ---- */

static status_t tokenizer_json_read_normalizer(tokenizer_json_reader_t *reader, const json_t *normalizer) {
  const char *type;
  const json_t *list;
  if (!normalizer) return STATUS_OK;
  TRY(json_string(normalizer, "type", where, &type));
  if (is_type(type, "NFC")) {
    reader->definition.nfc = true;
    return STATUS_OK;
  }
  if (!is_type(type, "Sequence")) return tokenizer_json_refuse("the normalizer", type, "none or 'NFC'");
  TRY(json_array(normalizer, "normalizers", where, &list));
  for (const json_t *step = list->u.first; step; step = step->next)
    TRY(tokenizer_json_read_normalizer(reader, step));
  return STATUS_OK;
}

/* ---- Pre-tokenizer ---- */

static status_t tokenizer_json_add_step(tokenizer_json_reader_t *reader, split_step_t step) {
  int32_t count = reader->definition.step_count;
  if (reader->cut)
    return tokenizer_json_refuse("a step after", "ByteLevel", "it last, for words are letters of bytes then");
  if (count == reader->step_capacity) {
    int32_t capacity = 2 * count + 4;
    TRY(memory_resize(&reader->steps, ARENA_IO, (size_t)capacity, sizeof *reader->steps));
    reader->step_capacity = capacity;
  }
  reader->steps[count] = step;
  reader->definition.steps = reader->steps;
  reader->definition.step_count++;
  return STATUS_OK;
}

static status_t split_kind(const json_t *value, split_kind_t *kind) {
  const char *behavior;
  bool invert;
  TRY(json_string(value, "behavior", where, &behavior));
  TRY(tokenizer_json_flag(value, "invert", false, &invert));
  if (!is_type(behavior, "Isolated") && !is_type(behavior, "Removed"))
    return tokenizer_json_refuse("the behavior", behavior, "'Isolated' or 'Removed'");
  *kind = is_type(behavior, "Isolated") ? SPLIT_ISOLATED : invert ? SPLIT_MATCHES : SPLIT_GAPS;
  return STATUS_OK;
}

static status_t tokenizer_json_read_split(tokenizer_json_reader_t *reader, const json_t *value) {
  split_step_t step = {0};
  const json_t *pattern;
  TRY(split_kind(value, &step.kind));
  TRY(json_object(value, "pattern", where, &pattern));
  step.plain = json_get(pattern, "String") != NULL;
  TRY(json_string(pattern, step.plain ? "String" : "Regex", where, &step.pattern));
  return tokenizer_json_add_step(reader, step);
}

static status_t tokenizer_json_read_digits(tokenizer_json_reader_t *reader, const json_t *value) {
  bool individual;
  TRY(tokenizer_json_flag(value, "individual_digits", false, &individual));
  return tokenizer_json_add_step(reader, (split_step_t){.pattern = individual ? "\\p{N}" : "\\p{N}+"});
}

static status_t tokenizer_json_read_byte_level(tokenizer_json_reader_t *reader, const json_t *value) {
  bool prefix, pattern;
  TRY(tokenizer_json_flag(value, "add_prefix_space", true, &prefix));
  TRY(tokenizer_json_flag(value, "use_regex", true, &pattern));
  TRY(tokenizer_json_add_step(
      reader, (split_step_t){.prefix_space = prefix, .pattern = pattern ? PATTERN_GPT2 : NULL}));
  reader->cut = true;
  return STATUS_OK;
}

static status_t tokenizer_json_read_pre_tokenizer(tokenizer_json_reader_t *reader, const json_t *value) {
  const char *type;
  const json_t *list;
  TRY(json_string(value, "type", where, &type));
  if (is_type(type, "Split")) return tokenizer_json_read_split(reader, value);
  if (is_type(type, "Digits")) return tokenizer_json_read_digits(reader, value);
  if (is_type(type, "ByteLevel")) return tokenizer_json_read_byte_level(reader, value);
  if (!is_type(type, "Sequence"))
    return tokenizer_json_refuse("the pre_tokenizer", type,
                                 "'Split', 'Digits', 'ByteLevel' or a 'Sequence' of them");
  TRY(json_array(value, "pretokenizers", where, &list));
  for (const json_t *step = list->u.first; step; step = step->next)
    TRY(tokenizer_json_read_pre_tokenizer(reader, step));
  return STATUS_OK;
}

static status_t tokenizer_json_read_words(tokenizer_json_reader_t *reader) {
  const json_t *value = json_get(reader->root, "pre_tokenizer");
  if (value) TRY(tokenizer_json_read_pre_tokenizer(reader, value));
  if (reader->cut) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: the pre_tokenizer has no step 'ByteLevel'; expected a byte-level tokenizer%s", where,
                   value ? "" : " (SentencePiece's file is tokenizer.model)");
}

/* ---- Post-processor and decoder ---- */

/* A template of one text: at most one token in front, then the text, nothing after it. */
static status_t tokenizer_json_read_template(tokenizer_json_reader_t *reader, const json_t *value) {
  const json_t *list;
  bool seen = false;
  TRY(json_array(value, "single", where, &list));
  for (const json_t *item = list->u.first; item; item = item->next) {
    const json_t *token = json_get(item, "SpecialToken");
    if (!token && json_get(item, "Sequence")) {
      seen = true;
      continue;
    }
    if (!token || seen || reader->definition.bos)
      return tokenizer_json_refuse("the field", "single",
                                   "at most one token in front of a text and none after it");
    TRY(json_string(token, "id", where, &reader->definition.bos));
  }
  return STATUS_OK;
}

static status_t tokenizer_json_read_post_processor(tokenizer_json_reader_t *reader, const json_t *value) {
  const char *type;
  const json_t *list;
  if (!value) return STATUS_OK;
  TRY(json_string(value, "type", where, &type));
  if (is_type(type, "ByteLevel")) return STATUS_OK; /* concerns positions in the text only */
  if (is_type(type, "TemplateProcessing")) return tokenizer_json_read_template(reader, value);
  if (!is_type(type, "Sequence"))
    return tokenizer_json_refuse("the post_processor", type,
                                 "'ByteLevel', 'TemplateProcessing' or a 'Sequence' of them");
  TRY(json_array(value, "processors", where, &list));
  for (const json_t *step = list->u.first; step; step = step->next)
    TRY(tokenizer_json_read_post_processor(reader, step));
  return STATUS_OK;
}

static status_t tokenizer_json_check_decoder(const json_t *value) {
  const char *type;
  const json_t *list;
  if (!value) return STATUS_OK;
  TRY(json_string(value, "type", where, &type));
  if (is_type(type, "ByteLevel")) return STATUS_OK;
  if (!is_type(type, "Sequence")) return tokenizer_json_refuse("the decoder", type, "'ByteLevel'");
  TRY(json_array(value, "decoders", where, &list));
  for (const json_t *step = list->u.first; step; step = step->next)
    TRY(tokenizer_json_check_decoder(step));
  return STATUS_OK;
}

/* ---- All of it ---- */

static status_t tokenizer_json_read_all(tokenizer_json_reader_t *reader) {
  TRY(tokenizer_json_read_added(reader));
  TRY(tokenizer_json_read_model(reader));
  TRY(tokenizer_json_read_normalizer(reader, json_get(reader->root, "normalizer")));
  TRY(tokenizer_json_read_words(reader));
  TRY(tokenizer_json_read_post_processor(reader, json_get(reader->root, "post_processor")));
  return tokenizer_json_check_decoder(json_get(reader->root, "decoder"));
}

static void tokenizer_json_reader_free(tokenizer_json_reader_t *reader) {
  memory_free(reader->pieces);
  memory_free(reader->merges);
  memory_free(reader->added);
  memory_free(reader->steps);
  memory_free(reader->split_merges);
}

status_t tokenizer_json_create(const char *text, size_t n, tokenizer_t **out) {
  json_document_t document;
  *out = NULL;
  TRY(json_parse(text, n, where, &document));
  tokenizer_json_reader_t reader = {.root = document.root};
  status_code_t status = tokenizer_json_read_all(&reader);
  if (status == STATUS_OK) status = bpe_create(&reader.definition, text, n, out);
  tokenizer_json_reader_free(&reader);
  json_free(&document);
  return status;
}
