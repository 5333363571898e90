"""Writes training.golden: what six steps of training make of the models of ../../model/golden/{grouped,tied}.golden
(PyTorch, transformers and PEFT, in double): losses, gradient norms and the weights afterwards. AdamW with weight decay
and clipping is PyTorch's, the schedule transformers'; its first learning rate is 0, so five steps move the weights.

Usage: pip install -r ../../model/golden/requirements.txt; python make_training_golden.py
The file format is reference_model.Writer's.
"""

import random
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from transformers import get_cosine_schedule_with_warmup

here = Path(__file__).parent
sys.path.append(str(here.parent.parent / "model" / "golden"))
from reference_model import GROUPED, IMAGE, SIZES, TIED, ReferenceModel, Writer  # noqa: E402

STEPS, WARMUP = 6, 2
LR, WEIGHT_DECAY, GRAD_CLIP = 0.005, 0.1, 1.0
CENTER_COEF = 0.1
SEQUENCES = 6  # of a step of supervised training
GROUPS, PAIRS = 3, 2  # groups of a step of the reward model, pairs of a group

DECODER = ("model.layers.", "model.embed_tokens.", "model.norm.", "model.mm_projector.", "lm_head.")
# Model, adapter, names of what is trained.
MODES = {
    "all": (GROUPED, None, DECODER + ("model.vision_tower.",)),
    "decoder": (TIED, None, DECODER),
    "projector": (GROUPED, None, ("model.mm_projector.",)),
    "lora": (GROUPED, "policy", ("policy/",)),
    "reward": (GROUPED, "value", ("value/", "head/")),
}


def make_prompt(rng):
    image = rng.choice((-1, 0, 1))
    tokens = [1] + [rng.randrange(3, SIZES["vocab"]) for _ in range(rng.randrange(2, 5))]
    if image >= 0:
        tokens.insert(rng.randrange(1, len(tokens) + 1), IMAGE)
    return tokens, image


def make_answer(rng):
    return [rng.randrange(3, SIZES["vocab"]) for _ in range(rng.randrange(1, 6))] + [2]


def make_supervised(rng):
    """Sequences, and per token whether it is learnt."""
    sequences, learnt = [], []
    for _ in range(STEPS * SEQUENCES):
        (prompt, image), answer = make_prompt(rng), make_answer(rng)
        sequences.append((prompt + answer, image))
        learnt.append([0] * len(prompt) + [1] * len(answer))
    return sequences, learnt


def make_pairs(rng):
    """Two answers to each prompt, one after the other, the judging prompt (31 32 33) behind each."""
    sequences = []
    for _ in range(STEPS * GROUPS * PAIRS):
        prompt, image = make_prompt(rng)
        sequences += [(prompt + make_answer(rng) + [31, 32, 33], image) for _ in range(2)]
    return sequences, [rng.randrange(2) for _ in range(STEPS * GROUPS * PAIRS)]


def pair_loss(model, sequences, preferred):
    """Cross-entropy of the preferences, and the centring term of each group."""
    hidden, _ = model.run(sequences)
    ends = torch.tensor([model.length(tokens) for tokens, _ in sequences]).cumsum(0) - 1
    rewards = model.head(hidden[ends])[:, 0].reshape(GROUPS, PAIRS, 2)
    target = torch.tensor(preferred, dtype=torch.float64).reshape(GROUPS, PAIRS)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(rewards[..., 1] - rewards[..., 0], target)
    return loss + CENTER_COEF * rewards.sum(-1).mean(-1).abs().mean()


def train(model, trained, loss_of):
    """Losses and, before clipping, gradient norms of the steps."""
    for parameter in model.named.values():
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=WEIGHT_DECAY)
    schedule = get_cosine_schedule_with_warmup(optimiser, WARMUP, STEPS)
    losses, norms = [], []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = loss_of(step)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, GRAD_CLIP).item())
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses, norms


def add_mode(writer, mode, supervised, pairs):
    options, adapter, names = MODES[mode]
    model = ReferenceModel(**options)
    chosen = {name: parameter for name, parameter in model.named.items() if name.startswith(names)}
    if adapter:
        model.use(adapter)

    def loss_of(step):
        first, last = ((step + i) * len(supervised[0]) // STEPS for i in (0, 1))
        if mode != "reward":
            return model.supervised_loss(supervised[0][first:last], supervised[1][first:last])
        groups = slice(step * GROUPS * PAIRS, (step + 1) * GROUPS * PAIRS)
        return pair_loss(model, pairs[0][2 * groups.start:2 * groups.stop], pairs[1][groups])

    with nullcontext() if adapter else model.decoder.disable_adapter():
        losses, norms = train(model, list(chosen.values()), loss_of)
    print(mode, losses, norms)
    writer.add(mode + "/loss", losses)
    writer.add(mode + "/norm", norms)
    for name, parameter in chosen.items():
        writer.add(f"{mode}/after/{name}", parameter)


def main():
    rng = random.Random(5)
    supervised, pairs = make_supervised(rng), make_pairs(rng)
    writer = Writer()
    for name, value in dict(steps=STEPS, warmup=WARMUP, lr=LR, weight_decay=WEIGHT_DECAY, grad_clip=GRAD_CLIP,
                            center_coef=CENTER_COEF).items():
        writer.add(name, value)
    writer.add_sequences("", supervised[0])
    writer.add("sft_learnt", [x for learnt in supervised[1] for x in learnt])
    writer.add_sequences("rm/", pairs[0])
    writer.add("rm/preferred", pairs[1])
    for mode in MODES:
        add_mode(writer, mode, supervised, pairs)
    writer.write(here / "training.golden")


main()
