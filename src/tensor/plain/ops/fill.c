#include "tensor/plain/ops/fill.h"

#include "tensor/plain/ops/element.h"

void PLAIN_NAME(plain_fill)(ops_t *ops) {
  PLAIN_NAME(plain_fill_linear)(ops);
  PLAIN_NAME(plain_fill_norm)(ops);
  PLAIN_NAME(plain_fill_elementwise)(ops);
  PLAIN_NAME(plain_fill_rows)(ops);
  PLAIN_NAME(plain_fill_attention)(ops);
  PLAIN_NAME(plain_fill_cache)(ops);
  PLAIN_NAME(plain_fill_decode)(ops);
  PLAIN_NAME(plain_fill_vocab)(ops);
  PLAIN_NAME(plain_fill_sampling)(ops);
  PLAIN_NAME(plain_fill_loss)(ops);
  PLAIN_NAME(plain_fill_optimiser)(ops);
}
