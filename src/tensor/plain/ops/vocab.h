/* What the operations on a vocabulary shard share. */
#ifndef TENSOR_PLAIN_OPS_VOCAB_H
#define TENSOR_PLAIN_OPS_VOCAB_H

#include "tensor/plain/ops/element.h"

/* An id and the value that it was chosen for; -1 and -inf: none. */
typedef struct {
  int64_t id;
  element_t value;
} vocab_winner_t;

/* The id that DRAW takes from row I of SHARD. */
vocab_winner_t PLAIN_NAME(plain_draw)(const vocab_draw_t *draw, const vocab_shard_t *shard, int64_t i);
/* Names what DRAW reads as operands. */
void PLAIN_NAME(plain_draw_operands)(access_t *access, const vocab_draw_t *draw, int64_t rows);

/* Checks the shard and names its logits as an operand: the true columns only. */
static inline void vocab_operands(access_t *access, const vocab_shard_t *shard) {
  access_require(access, shard->begin >= 0 && shard->count >= 0 && shard->count <= shard->ld,
                 "vocabulary shard begins at %lld with %lld ids in rows of %lld", (long long)shard->begin,
                 (long long)shard->count, (long long)shard->ld);
  reads(access, "logits", shard->logits, shard->rows, shard->count, shard->ld);
}

/* Scaled logit j of row i. */
static inline double vocab_scaled(const vocab_shard_t *shard, int64_t i, int64_t j) {
  return shard->scale * (double)((const element_t *)shard->logits)[i * shard->ld + j];
}

#endif
