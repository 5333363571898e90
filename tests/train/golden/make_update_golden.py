"""Writes update.golden: what reward-model training and PPO make of the model of ../../model/golden/grouped.golden:
gradients of one group of pairs, and two PPO updates on fixed rollouts, computed by PyTorch, transformers and PEFT in
double. The losses are plain transcriptions of the method's equations.

Usage: pip install -r ../../model/golden/requirements.txt; python make_update_golden.py
The file format is reference_model.Writer's.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from method import DEFAULTS, make_rewards, numbers

here = Path(__file__).parent
sys.path.append(str(here.parent.parent / "model" / "golden"))
from reference_model import GROUPED, IMAGE, ReferenceModel, Writer, single  # noqa: E402

# Two answers to each of four prompts, the judging prompt (31 32 33) behind each.
PAIRS = [([1, 5, IMAGE, 7, 8, 2, 31, 32, 33], 1), ([1, 5, IMAGE, 7, 19, 11, 2, 31, 32, 33], 1),
         ([1, IMAGE, 36, 12, 31, 32, 33], 0), ([1, IMAGE, 36, 4, 4, 31, 32, 33], 0),
         ([1, 20, 21, 22, 2, 31, 32, 33], -1), ([1, 20, 21, 2, 31, 32, 33], -1),
         ([1, IMAGE, 9, 10, 2, 31, 32, 33], 1), ([1, IMAGE, 9, 2, 31, 32, 33], 1)]
PREFERRED = [0, 1, 1, 0]
CENTER_COEF = 0.1

QUERIES = [([1, 5, IMAGE, 7, 8], 1), ([1, IMAGE, 36], 0), ([1, 20, 21, 22], -1), ([1, 5, IMAGE, 9], 0),
           ([1, 30, IMAGE, 12, 3], 1), ([1, 17], -1)]
RESPONSES = [[9, 30, 11, 2], [12, 3, 2], [23, 24, 25, 26, 27, 28, 29], [2], [4, 2], [6, 10, 13, 14, 15]]
RESPONSE_LEN = 7
LENGTHS = [len(response) for response in RESPONSES]
UPDATES = 2  # over all samples each
TEMPERATURE = 1.25

CASES = {
    "published": (DEFAULTS, dict(lr=0.01, weight_decay=0.0, grad_clip=1.0)),
    "sequence": (dict(DEFAULTS, kl="k3", loss_norm="sequence", gamma=0.95, lam=0.9, reward_scale=0.5, vf_coef=0.3),
                 dict(lr=0.003, weight_decay=0.2, grad_clip=30.0)),
    "fixed": (dict(DEFAULTS, whiten_rewards=True, loss_norm="fixed", relative_penalty=False, clip=0.1, bias=0.5),
              dict(lr=0.02, weight_decay=0.0, grad_clip=0.0)),
}


def add_parameters(writer, model, prefix, starts, array):
    for name, parameter in model.named.items():
        if name.startswith(starts):
            writer.add(prefix + name, array(parameter))


def add_reward_model(writer, model):
    model.use("value")
    hidden, _ = model.run(PAIRS)
    ends = torch.tensor([model.length(tokens) for tokens, _ in PAIRS]).cumsum(0) - 1
    rewards = model.head(hidden[ends])[:, 0].reshape(-1, 2)
    target = torch.tensor(PREFERRED, dtype=torch.float64)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(rewards[:, 1] - rewards[:, 0], target)
    loss = loss + CENTER_COEF * (rewards[:, 0] + rewards[:, 1]).mean().abs()
    loss.backward()
    writer.add_sequences("rm/", PAIRS)
    writer.add("rm/preferred", PREFERRED)
    writer.add("rm/center_coef", CENTER_COEF)
    writer.add("rm/rewards", rewards)
    writer.add("rm/loss", loss)
    add_parameters(writer, model, "rm/gradient/", ("value/", "head/"), lambda parameter: parameter.grad)
    model.zero_grad()


def evaluate(model, adapter):
    """Of every response token under ADAPTER (None: the base alone): logprob, entropy, value, one array per sample."""
    sequences = [(query + response, image) for (query, image), response in zip(QUERIES, RESPONSES)]
    if adapter is None:
        with model.decoder.disable_adapter():
            hidden, _ = model.run(sequences)
    else:
        model.use(adapter)
        hidden, _ = model.run(sequences)
    logprobs, entropies, values, end = [], [], [], 0
    for (query, _), response in zip(QUERIES, RESPONSES):
        first = end + model.length(query) - 1  # the state that predicts the first token of the response
        end += model.length(query) + len(response)
        states = hidden[first:first + len(response)]
        scores = torch.log_softmax(model.logits(states) / TEMPERATURE, dim=-1)
        logprobs.append(scores.gather(1, torch.tensor(response)[:, None])[:, 0])
        entropies.append(-(scores.exp() * scores).sum(-1))
        values.append(model.head(states)[:, 0])
    return logprobs, entropies, values


def make_rollouts(model):
    """Old log-probabilities and values a little off the present ones, so that some terms are clipped."""
    with torch.no_grad():
        logprob = torch.cat(evaluate(model, "policy")[0])
        value = torch.cat(evaluate(model, "value")[2])
        reference = torch.cat(evaluate(model, None)[0])
    samples = len(LENGTHS)
    data = dict(logprob=logprob + 0.2 * torch.randn(logprob.shape), value=value + 0.3 * torch.randn(value.shape),
                ref_logprob=reference, raw_reward=2.0 * torch.randn(samples), multiplier=torch.rand(samples),
                correct=torch.tensor([0.0, 1.0, -0.5, 0.5, 0.0, 1.0]),
                stopped=torch.tensor([float(2 in response) for response in RESPONSES]))
    return {name: single(array).numpy() for name, array in data.items()}


def normalise(o, terms):
    if o["loss_norm"] == "token":
        return torch.cat(terms).mean()
    if o["loss_norm"] == "sequence":
        return torch.stack([term.mean() for term in terms]).mean()
    return torch.cat(terms).sum() / (len(terms) * RESPONSE_LEN)


def losses(o, d, model, advantages, returns):
    """Policy and value loss (point 7), and the statistics in the order of ppo_statistics_t."""
    cut = lambda name: torch.from_numpy(d[name]).split(LENGTHS)
    adv, ret = torch.from_numpy(advantages).split(LENGTHS), torch.from_numpy(returns).split(LENGTHS)
    logprobs, entropies, _ = evaluate(model, "policy")
    ratio = [(new - old).exp() for new, old in zip(logprobs, cut("logprob"))]
    policy1 = [-a * r for a, r in zip(adv, ratio)]
    policy2 = [-a * r.clamp(1.0 - o["clip"], 1.0 + o["clip"]) for a, r in zip(adv, ratio)]
    policy_loss = normalise(o, [torch.maximum(x, y) for x, y in zip(policy1, policy2)])
    policy_loss.backward()
    _, _, values = evaluate(model, "value")
    near = [torch.clamp(v, old - o["clip_value"], old + o["clip_value"]) for v, old in zip(values, cut("value"))]
    value1 = [(v - r) ** 2 for v, r in zip(values, ret)]
    value2 = [(v - r) ** 2 for v, r in zip(near, ret)]
    value_loss = normalise(o, [0.5 * torch.maximum(x, y) for x, y in zip(value1, value2)])
    (o["vf_coef"] * value_loss).backward()
    every = lambda arrays: torch.cat(list(arrays)).detach()
    old = every(cut("value"))
    return [policy_loss, value_loss, every(entropies).mean(),
            0.5 * ((every(logprobs) - every(cut("logprob"))) ** 2).mean(),
            (every(policy2) > every(policy1)).double().mean(), every(ret).mean(), every(ret).var(unbiased=False),
            every(values).mean(), every(value1).mean(), (every(value2) > every(value1)).double().mean(), old.mean(),
            old.var(unbiased=False)]


def norm(parameters):
    return torch.cat([p.grad.reshape(-1) for p in parameters]).norm()


def update(o, optimiser, d, model, trained, advantages, returns):
    """One update; statistics, then gradient norms: policy, value, both."""
    model.zero_grad()
    statistics = losses(o, d, model, advantages, returns)
    # The policy has no head: what value and policy train is disjoint.
    policy, value = trained
    norms = [norm(policy), norm(value), norm(policy + value)]
    settings = optimiser.param_groups[0]
    if settings["grad_clip"] > 0.0:
        torch.nn.utils.clip_grad_norm_(policy + value, settings["grad_clip"])
    optimiser.step()
    return [x.item() for x in statistics + norms]


def add_ppo(writer, model, case, o, adam):
    prefix = f"ppo/{case}/"
    d = make_rollouts(model)
    kl, shaped, _, _, advantages, returns = make_rewards(o, d, LENGTHS, RESPONSE_LEN)
    writer.add(prefix + "options", numbers(o))
    for name, value in adam.items():
        writer.add(prefix + name, value)
    for name, array in d.items():
        writer.add(prefix + name, array)
    for name, arrays in dict(kl=kl, shaped_reward=shaped, advantage=advantages, ret=returns).items():
        writer.add(prefix + name, np.concatenate(arrays))
    pick = lambda *starts: [p for name, p in model.named.items() if name.startswith(starts)]
    trained = pick("policy/"), pick("value/", "head/")
    optimiser = torch.optim.AdamW([dict(params=trained[0] + trained[1], grad_clip=adam["grad_clip"])], lr=adam["lr"],
                                  betas=(0.9, 0.999), eps=1e-8, weight_decay=adam["weight_decay"])
    advantages, returns = np.concatenate(advantages), np.concatenate(returns)
    results = [update(o, optimiser, d, model, trained, advantages, returns) for _ in range(UPDATES)]
    writer.add(prefix + "statistics", np.mean(results, axis=0))
    add_parameters(writer, model, prefix + "after/", ("policy/", "value/", "head/"), lambda parameter: parameter)


def main():
    writer = Writer()
    add_reward_model(writer, ReferenceModel(**GROUPED))
    writer.add_sequences("ppo/query/", QUERIES)
    writer.add("ppo/responses", [token for response in RESPONSES for token in response])
    writer.add("ppo/response_lengths", LENGTHS)
    writer.add("ppo/response_len", RESPONSE_LEN)
    writer.add("ppo/temperature", TEMPERATURE)
    writer.add("ppo/updates", UPDATES)
    for case, (options, adam) in CASES.items():
        add_ppo(writer, ReferenceModel(**GROUPED), case, options, adam)
    writer.write(here / "update.golden")


main()
