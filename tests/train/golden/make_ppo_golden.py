"""Writes ppo.txt: rollouts, and what PPO makes of them: a plain transcription of the method's equations.

Usage: pip install -r requirements.txt; python make_ppo_golden.py > ppo.txt
Each array is one line `name count` and one line of values in row-major order. Arrays of one case share a prefix.
"""

import numpy as np

LENGTHS = [5, 1, 12, 3, 16, 1, 7, 2, 9]
RESPONSE_LEN = 16
MINIBATCHES = [[0, 1, 2], [3, 4], [5], [6, 7, 8]]

DEFAULTS = dict(kl_coef=0.1, kl="k1", gamma=1.0, lam=1.0, clip=0.2, clip_value=0.2, vf_coef=0.1, whiten_rewards=False,
                reward_scale=10.0, loss_norm="token", correct_bonus=2.0, length_bonus=-10.0, no_stop_penalty=-8.0,
                relative_penalty=True, bias=0.0)
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


def split(flat):
    return np.split(flat, np.cumsum(LENGTHS)[:-1])


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


def make_rewards(o, d):
    """Points 3, 4 and 6 of the method's PPO."""
    policy, reference = split(d["logprob"]), split(d["ref_logprob"])
    kl, shaped, reward, bonus = [], [], [], []
    for s, length in enumerate(LENGTHS):
        if o["kl"] == "k1":
            kl.append(np.maximum(policy[s] - reference[s], 0.0))
        else:
            kl.append(np.exp(reference[s] - policy[s]) - 1.0 - (reference[s] - policy[s]))
        r = d["raw_reward"][s]
        if not d["stopped"][s]:
            r = r + o["no_stop_penalty"] if o["relative_penalty"] else o["no_stop_penalty"]
        reward.append(r)
        bonus.append(o["length_bonus"] * (length / RESPONSE_LEN) * d["multiplier"][s])
        rewards = -o["kl_coef"] * kl[s]
        rewards[-1] += r + bonus[s] + o["correct_bonus"] * d["correct"][s] + o["bias"]
        shaped.append(rewards)
    used = whiten(shaped, shift_mean=False) if o["whiten_rewards"] else [r * o["reward_scale"] for r in shaped]
    values = split(d["value"])
    advantages = [generalised_advantages(r, v, o["gamma"], o["lam"]) for r, v in zip(used, values)]
    returns = [a + v for a, v in zip(advantages, values)]
    return kl, shaped, reward, bonus, whiten(advantages, shift_mean=True), returns


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
    pick = lambda name: [split(d[name])[s] for s in members]
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
        numbers = [o["kl_coef"], o["kl"] == "k3", o["gamma"], o["lam"], o["clip"], o["clip_value"], o["vf_coef"],
                   o["whiten_rewards"], o["reward_scale"], ["token", "sequence", "fixed"].index(o["loss_norm"]),
                   o["correct_bonus"], o["length_bonus"], o["no_stop_penalty"], o["relative_penalty"], o["bias"]]
        show(f"{prefix}.options", numbers)
        d = make_rollouts(random)
        for name, array in d.items():
            show(f"{prefix}.{name}", array)
        kl, shaped, reward, bonus, advantages, returns = make_rewards(o, d)
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
