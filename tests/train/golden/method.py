"""The method's equations for PPO, transcribed plainly: points 3, 4, 6 of its step, in numpy. Per-token arrays are
lists of one array per sample."""

import numpy as np

DEFAULTS = dict(kl_coef=0.1, kl="k1", gamma=1.0, lam=1.0, clip=0.2, clip_value=0.2, vf_coef=0.1, whiten_rewards=False,
                reward_scale=10.0, loss_norm="token", correct_bonus=2.0, length_bonus=-10.0, no_stop_penalty=-8.0,
                relative_penalty=True, bias=0.0)


def numbers(o):
    """Options in the order in which the tests read them."""
    return [o["kl_coef"], o["kl"] == "k3", o["gamma"], o["lam"], o["clip"], o["clip_value"], o["vf_coef"],
            o["whiten_rewards"], o["reward_scale"], ["token", "sequence", "fixed"].index(o["loss_norm"]),
            o["correct_bonus"], o["length_bonus"], o["no_stop_penalty"], o["relative_penalty"], o["bias"]]


def split(flat, lengths):
    return np.split(flat, np.cumsum(lengths)[:-1])


def whiten(lists, shift_mean):
    every = np.concatenate(lists)
    mean, std = every.mean(), every.std()
    return [(x - mean) / (std + 1e-8) + (0.0 if shift_mean else mean) for x in lists]


def generalised_advantages(rewards, values, gamma, lam):
    """The definition: A_t = sum over l of (gamma lam)^l delta_{t+l}; no value after the end."""
    n = len(rewards)
    after = np.append(values[1:], 0.0)
    delta = rewards + gamma * after - values
    return np.array([sum((gamma * lam) ** l * delta[t + l] for l in range(n - t)) for t in range(n)])


def make_rewards(o, d, lengths, response_len):
    """From rollouts D: kl, shaped rewards, rewards, length bonuses, whitened advantages, returns."""
    policy, reference = split(d["logprob"], lengths), split(d["ref_logprob"], lengths)
    kl, shaped, reward, bonus = [], [], [], []
    for s, length in enumerate(lengths):
        if o["kl"] == "k1":
            kl.append(np.maximum(policy[s] - reference[s], 0.0))
        else:
            kl.append(np.exp(reference[s] - policy[s]) - 1.0 - (reference[s] - policy[s]))
        r = d["raw_reward"][s]
        if not d["stopped"][s]:
            r = r + o["no_stop_penalty"] if o["relative_penalty"] else o["no_stop_penalty"]
        reward.append(r)
        bonus.append(o["length_bonus"] * (length / response_len) * d["multiplier"][s])
        rewards = -o["kl_coef"] * kl[s]
        rewards[-1] += r + bonus[s] + o["correct_bonus"] * d["correct"][s] + o["bias"]
        shaped.append(rewards)
    used = whiten(shaped, shift_mean=False) if o["whiten_rewards"] else [r * o["reward_scale"] for r in shaped]
    values = split(d["value"], lengths)
    advantages = [generalised_advantages(r, v, o["gamma"], o["lam"]) for r, v in zip(used, values)]
    returns = [a + v for a, v in zip(advantages, values)]
    return kl, shaped, reward, bonus, whiten(advantages, shift_mean=True), returns
