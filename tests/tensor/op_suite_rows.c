/* Cases of the operations that pick rows, or add rows of a table. */
#include "tensor/op_pair.h"
#include "tensor/packed.h"

enum { TOKENS_MAX = 64, TOKENS_MANY = 1100 };

/* Tokens of a vocabulary of V, some of them repeated, some image slots. */
static void random_tokens(op_pair_t *pair, int32_t *tokens, int64_t T, int32_t V) {
  for (int64_t t = 0; t < T; t++)
    tokens[t] =
        random_below(&pair->random, 5) == 0 ? TOKEN_IMAGE : (int32_t)random_below(&pair->random, (uint32_t)V);
}

static void embedding_run(op_pair_t *pair, int64_t T, int64_t C, int64_t begin, int64_t count, int32_t V) {
  int32_t tokens[TOKENS_MANY];
  random_tokens(pair, tokens, T, V);
  index_pair_t index = index_of(pair, tokens, T);
  real_pair_t weight = real_random(pair, count * C, 1.0), y = real_untouched(pair, T * C);
  real_pair_t dy = real_random(pair, T * C, 1.0);
  wide_pair_t dweight = wide_random(pair, count * C, 1.0);
  for (int s = 0; s < DEVICES; s++) {
    op_embedding_t forward = {.rows = T,
                              .cols = C,
                              .begin = begin,
                              .count = count,
                              .tokens = index.on[s],
                              .weight = weight_real(weight.on[s], count, C),
                              .y = y.on[s]};
    EXPECT_OK(OP(pair->devices[s], embedding, &forward));
    op_embedding_backward_t backward = {.rows = T,
                                        .cols = C,
                                        .begin = begin,
                                        .count = count,
                                        .tokens = index.on[s],
                                        .dy = dy.on[s],
                                        .dweight = dweight.on[s]};
    EXPECT_OK(OP(pair->devices[s], embedding_backward, &backward));
  }
  real_expect_close(pair, "embedding", &y, 0, T, C, C, 0.0);
  wide_expect_close(pair, "embedding dweight", &dweight, 0, count, C, C, pair->tolerances.gradient);
  pair_release(pair);
}

void case_embedding(void **state) {
  static const int64_t cols[] = {1, 8, 33, 256};
  for (int i = 0; i < 4; i++) {
    embedding_run(*state, 1 + 21 * i, cols[i], 0, 19, 19);
    embedding_run(*state, 1 + 21 * i, cols[i], 7, 6, 19); /* a shard in the middle */
    embedding_run(*state, 1 + 21 * i, cols[i], 13, 6, 19);
  }
  /* More columns, and rows between those of a token, than a block of a fast device has at once. */
  embedding_run(*state, 9, 1032, 0, 5, 5);
  embedding_run(*state, 9, 131, 0, 5, 5);
  embedding_run(*state, TOKENS_MANY, 8, 3, 150, 200);
}

static void rows_run(op_pair_t *pair, bool scatter, bool add, int64_t n, int64_t C, int64_t pad) {
  enum { PLACES = 70 };
  int32_t index[TOKENS_MAX];
  int64_t order[PLACES];
  random_permutation(random_u32(&pair->random), RANDOM_TEST, 0, PLACES, order);
  for (int64_t i = 0; i < n; i++) {
    index[i] = scatter ? (int32_t)order[i] : (int32_t)random_below(&pair->random, PLACES);
    if (random_below(&pair->random, 4) == 0) index[i] = -1;
  }
  int64_t from_rows = scatter ? n : PLACES, to_rows = scatter ? PLACES : n, ld_from = C + pad,
          ld_to = C + 2 * pad;
  index_pair_t where = index_of(pair, index, n);
  real_pair_t from = real_random(pair, from_rows * ld_from, 1.0),
              to = real_random(pair, to_rows * ld_to, 1.0);
  for (int s = 0; s < DEVICES; s++) {
    op_rows_t op = {.rows = n,
                    .cols = C,
                    .from = from.on[s],
                    .ld_from = ld_from,
                    .index = where.on[s],
                    .to = to.on[s],
                    .ld_to = ld_to,
                    .add = add};
    EXPECT_OK(scatter ? OP(pair->devices[s], rows_scatter, &op) : OP(pair->devices[s], rows_gather, &op));
  }
  int64_t all = to_rows * ld_to;
  real_expect_close(pair, scatter ? "rows_scatter" : "rows_gather", &to, 0, 1, all, all,
                    add ? pair->tolerances.forward : 0.0);
  pair_release(pair);
}

void case_rows(void **state) {
  static const int64_t counts[] = {1, 5, 33, TOKENS_MAX}, cols[] = {1, 12, 64, 200};
  for (int i = 0; i < 16; i++)
    rows_run(*state, i & 1, i & 2, counts[i / 4], cols[(i / 4 + i) % 4], i & 4 ? 3 : 0);
}

static void periodic_run(op_pair_t *pair, int64_t rows, int64_t C, int64_t period, int64_t pad) {
  int64_t ldx = C + pad;
  real_pair_t table = real_random(pair, period * C, 1.0), x = real_random(pair, rows * C, 1.0);
  real_pair_t wide_rows = real_random(pair, rows * ldx, 1.0);
  wide_pair_t sums = wide_random(pair, period * C, 1.0);
  for (int s = 0; s < DEVICES; s++) {
    op_add_periodic_t add = {.rows = rows, .cols = C, .period = period, .table = table.on[s], .x = x.on[s]};
    EXPECT_OK(OP(pair->devices[s], add_periodic, &add));
    op_sum_periodic_t sum = {
        .rows = rows, .cols = C, .period = period, .x = wide_rows.on[s], .ldx = ldx, .sums = sums.on[s]};
    EXPECT_OK(OP(pair->devices[s], sum_periodic, &sum));
  }
  real_expect_close(pair, "add_periodic", &x, 0, rows, C, C, pair->tolerances.forward);
  wide_expect_close(pair, "sum_periodic", &sums, 0, period, C, C, pair->tolerances.gradient);
  pair_release(pair);
}

void case_periodic(void **state) {
  periodic_run(*state, 1, 5, 1, 0);
  periodic_run(*state, 50, 33, 1, 2);
  periodic_run(*state, 51, 64, 17, 0);
  periodic_run(*state, 20, 7, 17, 3); /* the last period is cut */
  periodic_run(*state, 3, 7, 17, 3);
}
