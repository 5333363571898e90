"""Writes ppo.txt: rollouts, and what PPO makes of them: a plain transcription of the method's equations.

Usage: pip install -r requirements.txt; python make_ppo_golden.py > ppo.txt
Each array is one line `name count` and one line of values in row-major order. Arrays of one case share a prefix.
"""

import numpy as np
from method import DEFAULTS, make_rewards, numbers, split

LENGTHS = [5, 1, 12, 3, 16, 1, 7, 2, 9]
RESPONSE_LEN = 16
MINIBATCHES = [[0, 1, 2], [3, 4], [5], [6, 7, 8]]

CASES = {
    "published": {},
    "k3": dict(kl="k3", loss_norm="sequence", gamma=0.97, lam=0.9, reward_scale=1.0, bias=0.3),
    "whitened": dict(whiten_rewards=True, relative_penalty=False, loss_norm="fixed", lam=0.95, kl_coef=0.37),
    "narrow": dict(kl="k3", clip=0.02, clip_value=0.01, loss_norm="fixed", reward_scale=0.1, length_bonus=4.0),
}


def show(name, array):
    values = np.asarray(array, dtype=np.float64).reshape(-1)
    print(name, values.size)
    print(" ".join(f"{value:.17g}" for value in values))


def make_rollouts(random):
    tokens = sum(LENGTHS)
    data = dict(
        logprob=-random.gamma(1.0, 1.5, tokens),
        value=random.normal(0.0, 2.0, tokens),
        entropy=random.gamma(2.0, 0.5, tokens),
        ref_entropy=random.gamma(2.0, 0.5, tokens),
        raw_reward=random.normal(0.5, 2.0, len(LENGTHS)),
        multiplier=np.where(random.random(len(LENGTHS)) < 0.5, 1.0, random.random(len(LENGTHS))),
        correct=random.choice([0.0, 1.0, 0.5, -0.5], len(LENGTHS)),
        stopped=(random.random(len(LENGTHS)) < 0.6).astype(float),
    )
    data["ref_logprob"] = data["logprob"] + random.normal(0.0, 0.5, tokens)
    # Present ones during the update; some tokens have not changed at all.
    changed = random.random(tokens) < 0.8
    data["new_logprob"] = data["logprob"] + changed * random.normal(0.0, 0.3, tokens)
    data["new_value"] = data["value"] + changed * random.normal(0.0, 0.3, tokens)
    data["new_entropy"] = random.gamma(2.0, 0.5, tokens)
    return data


def objective(o, d, kl, shaped, reward, bonus):
    return [
        np.mean([x.sum() for x in kl]),
        np.mean(np.concatenate(kl)),
        np.mean(bonus),
        np.mean(o["correct_bonus"] * d["correct"]),
        np.mean(reward),
        np.mean([x.sum() for x in shaped]),
        np.mean([(-o["kl_coef"] * x).sum() for x in kl]),
        np.mean(d["entropy"]),
        np.mean(d["ref_entropy"]),
    ]


def normalise(o, terms):
    """The loss of a mini-batch from its tokens' terms, a list of arrays."""
    if o["loss_norm"] == "token":
        return np.concatenate(terms).mean()
    if o["loss_norm"] == "sequence":
        return np.mean([x.mean() for x in terms])
    return sum(x.sum() for x in terms) / (len(terms) * RESPONSE_LEN)


def update(o, d, members, advantages, returns):
    """Point 7 of the method's PPO on one mini-batch: statistics in the order of ppo_statistics_t."""
    pick = lambda name: [split(d[name], LENGTHS)[s] for s in members]
    ratio = [np.exp(new - old) for new, old in zip(pick("new_logprob"), pick("logprob"))]
    a, r = [advantages[s] for s in members], [returns[s] for s in members]
    policy1 = [-x * y for x, y in zip(a, ratio)]
    policy2 = [-x * np.clip(y, 1.0 - o["clip"], 1.0 + o["clip"]) for x, y in zip(a, ratio)]
    value, old = pick("new_value"), pick("value")
    near = [np.clip(v, w - o["clip_value"], w + o["clip_value"]) for v, w in zip(value, old)]
    value1 = [(v - x) ** 2 for v, x in zip(value, r)]
    value2 = [(v - x) ** 2 for v, x in zip(near, r)]
    every = np.concatenate
    return [
        normalise(o, [np.maximum(x, y) for x, y in zip(policy1, policy2)]),
        normalise(o, [0.5 * np.maximum(x, y) for x, y in zip(value1, value2)]),
        every(pick("new_entropy")).mean(),
        0.5 * ((every(pick("new_logprob")) - every(pick("logprob"))) ** 2).mean(),
        (every(policy2) > every(policy1)).mean(),
        every(r).mean(),
        every(r).var(),
        every(value).mean(),
        every(value1).mean(),
        (every(value2) > every(value1)).mean(),
        every(old).mean(),
        every(old).var(),
    ]


def main():
    random = np.random.default_rng(20309)
    show("lengths", LENGTHS)
    show("response_len", RESPONSE_LEN)
    for i, members in enumerate(MINIBATCHES):
        show(f"minibatch{i}", members)
    for prefix, changes in CASES.items():
        o = {**DEFAULTS, **changes}
        show(f"{prefix}.options", numbers(o))
        d = make_rollouts(random)
        for name, array in d.items():
            show(f"{prefix}.{name}", array)
        kl, shaped, reward, bonus, advantages, returns = make_rewards(o, d, LENGTHS, RESPONSE_LEN)
        show(f"{prefix}.kl", np.concatenate(kl))
        show(f"{prefix}.shaped_reward", np.concatenate(shaped))
        show(f"{prefix}.reward", reward)
        show(f"{prefix}.bonus", bonus)
        show(f"{prefix}.advantage", np.concatenate(advantages))
        show(f"{prefix}.return", np.concatenate(returns))
        show(f"{prefix}.objective", objective(o, d, kl, shaped, reward, bonus))
        for i, members in enumerate(MINIBATCHES):
            show(f"{prefix}.statistics{i}", update(o, d, members, advantages, returns))


main()
