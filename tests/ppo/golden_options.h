/* PPO's options as the golden scripts write them (golden/method.py). */
#ifndef TESTS_PPO_GOLDEN_OPTIONS_H
#define TESTS_PPO_GOLDEN_OPTIONS_H

#include "ppo/ppo_math.h"

enum { GOLDEN_OPTIONS = 15 };

static inline ppo_options_t golden_options(const double o[GOLDEN_OPTIONS], double response_len) {
  return (ppo_options_t){.kl_coef = o[0],
                         .kl_estimator = o[1] != 0.0 ? KL_K3 : KL_K1,
                         .gamma = o[2],
                         .lam = o[3],
                         .clip = o[4],
                         .clip_value = o[5],
                         .vf_coef = o[6],
                         .whiten_rewards = o[7] != 0.0,
                         .reward_scale = o[8],
                         .loss_norm = (loss_norm_t)(int)o[9],
                         .correct_bonus = o[10],
                         .length_bonus = o[11],
                         .no_stop_penalty = o[12],
                         .relative_penalty = o[13] != 0.0,
                         .bias = o[14],
                         .response_len = (int32_t)response_len};
}

#endif
