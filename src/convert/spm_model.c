#include "convert/spm_model.h"

#include "base/memory.h"

#include <string.h>

/* ---- Protocol buffers ---- */

typedef struct {
  const unsigned char *at, *end;
} wire_t;

/* A field: a number, or the bytes of a text or of a message. */
typedef struct {
  uint64_t number; /* of the field */
  uint64_t value;  /* also the bits of a fixed one */
  wire_t bytes;
} wire_field_t;

static size_t wire_length(wire_t wire) {
  return (size_t)(wire.end - wire.at);
}

static bool wire_varint(wire_t *wire, uint64_t *out) {
  *out = 0;
  for (int shift = 0; shift < 64 && wire->at < wire->end; shift += 7) {
    unsigned char byte = *wire->at++;
    *out |= (uint64_t)(byte & 0x7F) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

static bool wire_take(wire_t *wire, uint64_t n, wire_t *out) {
  if (n > wire_length(*wire)) return false;
  *out = (wire_t){wire->at, wire->at + n};
  wire->at += n;
  return true;
}

/* The next field; false at the end and where the bytes are none, which leaves WIRE before its end. */
static bool wire_next(wire_t *wire, wire_field_t *field) {
  enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
  uint64_t key, n;
  *field = (wire_field_t){0};
  const unsigned char *start = wire->at;
  bool read = wire->at < wire->end && wire_varint(wire, &key);
  if (read) {
    field->number = key >> 3;
    if ((key & 7) == VARINT)
      read = wire_varint(wire, &field->value);
    else if ((key & 7) == BYTES)
      read = wire_varint(wire, &n) && wire_take(wire, n, &field->bytes);
    else if ((key & 7) == FIXED64 || (key & 7) == FIXED32)
      read = wire_take(wire, (key & 7) == FIXED32 ? 4 : 8, &field->bytes);
    else
      read = false;
  }
  if (!read && start < wire->end) wire->at = start;
  return read;
}

/* ---- The model ---- */

enum { MODEL_PIECE = 1, MODEL_TRAINER, MODEL_NORMALIZER };
enum { PIECE_TEXT = 1, PIECE_SCORE, PIECE_KIND };
enum { TRAINER_MODEL = 3, TRAINER_SUFFIX = 24, TRAINER_BYTES = 35 };
enum { NORMALIZER_NAME = 1, NORMALIZER_MAP, NORMALIZER_PREFIX, NORMALIZER_REMOVE, NORMALIZER_ESCAPE };

static void read_piece(wire_t wire, spm_piece_t *out) {
  wire_field_t field;
  *out = (spm_piece_t){.kind = SPM_NORMAL};
  while (wire_next(&wire, &field)) {
    if (field.number == PIECE_TEXT) {
      out->text = (const char *)field.bytes.at;
      out->n = wire_length(field.bytes);
    }
    if (field.number == PIECE_SCORE && wire_length(field.bytes) == sizeof out->score)
      memcpy(&out->score, field.bytes.at, sizeof out->score);
    if (field.number == PIECE_KIND) out->kind = (spm_kind_t)field.value;
  }
}

static void read_trainer(wire_t wire, spm_model_t *out) {
  wire_field_t field;
  while (wire_next(&wire, &field)) {
    if (field.number == TRAINER_MODEL) out->algorithm = (spm_algorithm_t)field.value;
    if (field.number == TRAINER_SUFFIX) out->suffixing = field.value != 0;
    if (field.number == TRAINER_BYTES) out->byte_fallback = field.value != 0;
  }
}

static bool is_known_map(wire_t name) {
  static const char *const known[] = {"nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (wire_length(name) == strlen(known[i]) && memcmp(name.at, known[i], wire_length(name)) == 0)
      return true;
  return false;
}

static void read_normalizer(wire_t wire, spm_model_t *out) {
  wire_field_t field;
  while (wire_next(&wire, &field)) {
    if (field.number == NORMALIZER_NAME) out->map_known = is_known_map(field.bytes);
    if (field.number == NORMALIZER_MAP) {
      out->map = field.bytes.at;
      out->map_n = wire_length(field.bytes);
    }
    if (field.number == NORMALIZER_PREFIX) out->prefix = field.value != 0;
    if (field.number == NORMALIZER_REMOVE) out->removes = field.value != 0;
    if (field.number == NORMALIZER_ESCAPE) out->escapes = field.value != 0;
  }
}

/* Pieces are counted first, where OUT has no room for them. */
static bool read_all(wire_t wire, spm_model_t *out) {
  wire_field_t field;
  out->count = 0;
  while (wire_next(&wire, &field)) {
    if (field.number == MODEL_TRAINER) read_trainer(field.bytes, out);
    if (field.number == MODEL_NORMALIZER) read_normalizer(field.bytes, out);
    if (field.number != MODEL_PIECE) continue;
    if (out->pieces) read_piece(field.bytes, &out->pieces[out->count]);
    out->count++;
  }
  return wire.at == wire.end;
}

status_t spm_model_read(const void *bytes, size_t n, spm_model_t *out) {
  const wire_t wire = {bytes, (const unsigned char *)bytes + n};
  *out = (spm_model_t){.algorithm = SPM_UNIGRAM, .prefix = true, .removes = true, .escapes = true};
  if (!read_all(wire, out)) return error_set(STATUS_DATA, "the SentencePiece model is cut short");
  TRY(memory_alloc(&out->pieces, ARENA_OTHER, (size_t)out->count, sizeof *out->pieces));
  read_all(wire, out);
  return STATUS_OK;
}

void spm_model_free(spm_model_t *model) {
  memory_free(model->pieces);
  *model = (spm_model_t){0};
}
