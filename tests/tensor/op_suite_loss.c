/* Cases of the derivatives of losses. */
#include "tensor/op_pair.h"

#include "base/memory.h"

#include <math.h>

enum { TOKENS = 700, GROUP = 5, GROUPS = 3, PAIRS = GROUP * GROUPS };

/* Log-ratios on both sides of the clip, slopes of both signs. */
void case_policy_loss(void **state) {
  op_pair_t *pair = *state;
  wide_pair_t logprob = wide_random(pair, TOKENS, 0.5), old = wide_random(pair, TOKENS, 0.5);
  wide_pair_t slope = wide_random(pair, TOKENS, 1.0), out = wide_untouched(pair, TOKENS);
  for (int s = 0; s < DEVICES; s++)
    EXPECT_OK(OP(pair->devices[s], policy_loss,
                 &(op_policy_loss_t){.n = TOKENS,
                                     .logprob = logprob.on[s],
                                     .old_logprob = old.on[s],
                                     .slope = slope.on[s],
                                     .clip = 0.25,
                                     .dlogprob = out.on[s]}));
  wide_expect_close(pair, "policy_loss", &out, 0, 1, TOKENS, TOKENS, pair->tolerances.gradient);
  double *found = wide_host(pair, &out, TESTED);
  int zeros = 0;
  for (int i = 0; i < TOKENS; i++)
    zeros += found[i] == 0.0;
  assert_in_range(zeros, TOKENS / 8, TOKENS / 2); /* about a third is clipped */
  memory_free(found);
  pair_release(pair);
}

/* A ratio that would overflow, with a slope of zero and one that clips. */
void case_policy_loss_overflow(void **state) {
  static const double high[] = {0.0, 0.0}, low[] = {-1e4, -1e4}, slopes[] = {0.0, -1.0};
  op_pair_t *pair = *state;
  wide_pair_t logprob = wide_of(pair, high, 2), old = wide_of(pair, low, 2), slope = wide_of(pair, slopes, 2);
  wide_pair_t out = wide_untouched(pair, 2);
  EXPECT_OK(OP(pair->devices[TESTED], policy_loss,
               &(op_policy_loss_t){.n = 2,
                                   .logprob = logprob.on[TESTED],
                                   .old_logprob = old.on[TESTED],
                                   .slope = slope.on[TESTED],
                                   .clip = 0.2,
                                   .dlogprob = out.on[TESTED]}));
  double *found = wide_host(pair, &out, TESTED);
  assert_true(found[0] == 0.0 && found[1] == 0.0);
  memory_free(found);
  pair_release(pair);
}

void case_value_loss(void **state) {
  op_pair_t *pair = *state;
  wide_pair_t value = wide_random(pair, TOKENS, 1.0), old = wide_random(pair, TOKENS, 1.0);
  wide_pair_t ret = wide_random(pair, TOKENS, 1.0), weight = wide_random(pair, TOKENS, 1.0);
  wide_pair_t out = wide_untouched(pair, TOKENS);
  for (int s = 0; s < DEVICES; s++)
    EXPECT_OK(OP(pair->devices[s], value_loss,
                 &(op_value_loss_t){.n = TOKENS,
                                    .value = value.on[s],
                                    .old_value = old.on[s],
                                    .ret = ret.on[s],
                                    .weight = weight.on[s],
                                    .clip = 0.5,
                                    .dvalue = out.on[s]}));
  wide_expect_close(pair, "value_loss", &out, 0, 1, TOKENS, TOKENS, pair->tolerances.gradient);
  pair_release(pair);
}

/* One run of the pairs of PREFERRED (pairs), in groups of GROUP, to DREWARDS (pairs, 2) of the tested device.
 */
static void pairs_run(op_pair_t *pair, const wide_pair_t *rewards, int64_t pairs, int64_t group,
                      const int32_t *preferred, double weight, double *drewards) {
  index_pair_t labels = index_of(pair, preferred, pairs);
  wide_pair_t out = wide_untouched(pair, 2 * pairs);
  for (int s = 0; s < DEVICES; s++)
    EXPECT_OK(OP(pair->devices[s], pair_loss,
                 &(op_pair_loss_t){.pairs = pairs,
                                   .group = group,
                                   .rewards = rewards->on[s],
                                   .preferred = labels.on[s],
                                   .center_coef = 0.125,
                                   .weight = weight,
                                   .drewards = out.on[s]}));
  wide_expect_close(pair, "pair_loss", &out, 0, 1, 2 * pairs, 2 * pairs, pair->tolerances.gradient);
  double *found = wide_host(pair, &out, TESTED);
  for (int64_t i = 0; i < 2 * pairs; i++)
    drewards[i] = found[i];
  memory_free(found);
}

/* Pairs that take no part, a whole group of them too: the others' derivatives are as without them. */
void case_pair_loss(void **state) {
  op_pair_t *pair = *state;
  int32_t preferred[PAIRS], kept[GROUP];
  double drewards[2 * PAIRS], rewards[2 * GROUP], expected[2 * GROUP];
  wide_pair_t random = wide_random(pair, 2 * PAIRS, 2.0);
  double *all = wide_host(pair, &random, TESTED);
  for (int p = 0; p < PAIRS; p++)
    preferred[p] = p / GROUP == 1 ? -1 : p % GROUP == 2 ? -1 : (int32_t)random_below(&pair->random, 2);
  pairs_run(pair, &random, PAIRS, GROUP, preferred, 0.75, drewards);
  for (int g = 0; g < GROUPS; g++) {
    int count = 0;
    for (int p = g * GROUP; p < (g + 1) * GROUP; p++) {
      if (preferred[p] < 0) {
        assert_true(drewards[2 * p] == 0.0 && drewards[2 * p + 1] == 0.0);
        continue;
      }
      rewards[2 * count] = all[2 * p];
      rewards[2 * count + 1] = all[2 * p + 1];
      kept[count++] = preferred[p];
    }
    if (count == 0) continue;
    wide_pair_t whole = wide_of(pair, rewards, 2 * count);
    pairs_run(pair, &whole, count, count, kept, 0.75, expected);
    for (int p = g * GROUP, k = 0; p < (g + 1) * GROUP; p++) {
      if (preferred[p] < 0) continue;
      assert_true(drewards[2 * p] == expected[2 * k] && drewards[2 * p + 1] == expected[2 * k + 1]);
      k++;
    }
  }
  memory_free(all);
  pair_release(pair);
}
