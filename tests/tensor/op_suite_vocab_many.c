/* Statistics of many rows at once, as a training step has them: those of the rows one by one, to the bit, so
 * that log-probabilities do not depend on how many there are. */
#include "tensor/op_pair.h"

#include "base/memory.h"

#include <string.h>

enum { MANY_ROWS = 20, MANY_RECORDS = MANY_ROWS * VOCAB_RECORD };

static void statistics(op_pair_t *pair, int side, vocab_shard_t shard, const index_t *targets,
                       wide_t *records) {
  op_vocab_statistics_t op = {.shard = shard, .targets = targets, .records = records};
  EXPECT_OK(OP(pair->devices[side], vocab_statistics, &op));
}

static void many_run(op_pair_t *pair, int64_t V, int64_t ld) {
  device_t *device = pair->devices[TESTED];
  int32_t ids[MANY_ROWS];
  for (int i = 0; i < MANY_ROWS; i++)
    ids[i] = (int32_t)random_below(&pair->random, (uint32_t)V);
  wide_pair_t logits = wide_rows(pair, MANY_ROWS, V, ld, 3.0), together = wide_untouched(pair, MANY_RECORDS),
              alone = wide_untouched(pair, MANY_RECORDS);
  index_pair_t targets = index_of(pair, ids, MANY_ROWS);
  vocab_shard_t shard = {.rows = MANY_ROWS, .ld = ld, .count = V, .scale = 0.7};
  for (int s = 0; s < DEVICES; s++) {
    shard.logits = logits.on[s];
    statistics(pair, s, shard, targets.on[s], together.on[s]);
  }
  shard.rows = 1;
  for (int r = 0; r < MANY_ROWS; r++) {
    shard.logits = wide_at(device, logits.on[TESTED], r * ld);
    statistics(pair, TESTED, shard, index_at(targets.on[TESTED], r),
               wide_at(device, alone.on[TESTED], r * VOCAB_RECORD));
  }
  for (int column = 0; column < VOCAB_RECORD; column++)
    wide_expect_close(pair, "vocab record", &together, column, MANY_ROWS, 1, VOCAB_RECORD,
                      column == VOCAB_RECORD_EQUAL || column == VOCAB_RECORD_ID ? 0.0
                                                                                : pair->tolerances.forward);
  double *many = wide_host(pair, &together, TESTED), *one = wide_host(pair, &alone, TESTED);
  assert_memory_equal(many, one, MANY_RECORDS * sizeof *many);
  memory_free(many);
  memory_free(one);
  pair_release(pair);
}

void case_vocab_many(void **state) {
  many_run(*state, 8197, 8200); /* beyond several blocks of a fast device, the last of them nearly empty */
  many_run(*state, 8193, 8193); /* no row but the first at an address of 16 bytes */
}
