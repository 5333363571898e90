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
  if (n > (uint64_t)(wire->end - wire->at)) return false;
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
enum { TRAINER_MODEL = 3, TRAINER_SUFFIX = 24, TRAINER_BYTES = 35, MODEL_BPE = 2 };
enum { NORMALIZER_MAP = 2, NORMALIZER_PREFIX, NORMALIZER_REMOVE, NORMALIZER_ESCAPE };

static void read_piece(wire_t wire, spm_piece_t *out) {
  wire_field_t field;
  *out = (spm_piece_t){.kind = SPM_NORMAL};
  while (wire_next(&wire, &field)) {
    if (field.number == PIECE_TEXT) {
      out->text = (const char *)field.bytes.at;
      out->n = (size_t)(field.bytes.end - field.bytes.at);
    }
    if (field.number == PIECE_SCORE && field.bytes.end - field.bytes.at == sizeof out->score)
      memcpy(&out->score, field.bytes.at, sizeof out->score);
    if (field.number == PIECE_KIND) out->kind = (spm_kind_t)field.value;
  }
}

static void read_trainer(wire_t wire, spm_model_t *out) {
  wire_field_t field;
  while (wire_next(&wire, &field)) {
    if (field.number == TRAINER_MODEL) out->bpe = field.value == MODEL_BPE;
    if (field.number == TRAINER_SUFFIX) out->suffixing = field.value != 0;
    if (field.number == TRAINER_BYTES) out->byte_fallback = field.value != 0;
  }
}

static void read_normalizer(wire_t wire, spm_model_t *out) {
  bool mapped = false, removes = true, escapes = true;
  wire_field_t field;
  while (wire_next(&wire, &field)) {
    if (field.number == NORMALIZER_MAP) mapped = field.bytes.at < field.bytes.end;
    if (field.number == NORMALIZER_PREFIX) out->prefix = field.value != 0;
    if (field.number == NORMALIZER_REMOVE) removes = field.value != 0;
    if (field.number == NORMALIZER_ESCAPE) escapes = field.value != 0;
  }
  out->plain = !mapped && !removes && escapes;
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
  *out = (spm_model_t){.prefix = true};
  if (!read_all(wire, out)) return error_set(STATUS_DATA, "the SentencePiece model is cut short");
  TRY(memory_alloc(&out->pieces, ARENA_OTHER, (size_t)out->count, sizeof *out->pieces));
  read_all(wire, out);
  return STATUS_OK;
}

void spm_model_free(spm_model_t *model) {
  memory_free(model->pieces);
  *model = (spm_model_t){0};
}
