"""Writes {grouped,tied,embeddings,front}.golden: weights, inputs and results of a tiny model, computed by PyTorch,
transformers and PEFT in double.

Usage: pip install -r requirements.txt; python make_model_golden.py
The file format is reference_model.Writer's.
"""

from pathlib import Path

import torch
from reference_model import EMBEDDINGS, FRONT, GROUPED, IMAGE, TIED, ReferenceModel, Writer, single

SCALE = 0.8  # of the logits: one over the temperature
SEQUENCES = [([1, 5, IMAGE, 7, 8, 9, 30, 2], 1), ([1, IMAGE, 36, 12, 3, 11, 4, 0], 0), ([1, 20, 21, 22, 23], -1),
             ([IMAGE, 14, 15], 1)]
# Per token of a sequence whether it is a target of supervised training: two answers in the first one.
LEARNT = [[0, 0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 0, 1], [0, 0, 1]]


def statistics(model, hidden, rows, targets):
    """Log-probabilities of targets and entropies of the scaled distribution."""
    logprobs = torch.log_softmax(SCALE * model.logits(hidden[rows]), dim=-1)
    entropies = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(1, targets[:, None])[:, 0], entropies


def add_gradients(writer, model, prefix, wanted):
    for name, parameter in model.named.items():
        if parameter.grad is not None and wanted(name):
            writer.add(prefix + name, parameter.grad)


def add_passes(writer, model):
    """Forward results, a loss of log-probabilities and values, and its gradients."""
    rows = torch.arange(sum(model.length(tokens) for tokens, _ in SEQUENCES))
    targets = torch.randint(0, model.sizes["vocab"], rows.shape)
    weights = single(torch.randn(rows.shape))
    ends = torch.tensor([model.length(tokens) for tokens, _ in SEQUENCES]).cumsum(0)
    scalar_rows = torch.cat([ends - 1, ends[:2] - 4])
    scalar_weights = single(torch.randn(scalar_rows.shape))
    writer.add("targets", targets)
    writer.add("weights", weights)
    writer.add("scalar_rows", scalar_rows)
    writer.add("scalar_weights", scalar_weights)

    hidden, features = model.run(SEQUENCES)
    logprobs, entropies = statistics(model, hidden, rows, targets)
    values = model.head(hidden[scalar_rows])[:, 0]
    loss = -(weights * logprobs).sum() + (scalar_weights * values).sum()
    loss.backward()
    for name, array in dict(features=features, hidden=hidden, logprobs=logprobs, entropies=entropies, values=values,
                            loss=loss).items():
        writer.add(name, array)
    add_gradients(writer, model, "gradient/", lambda name: True)
    model.zero_grad()
    with torch.no_grad(), model.decoder.disable_adapter():
        hidden, _ = model.run(SEQUENCES)
        writer.add("base_logprobs", statistics(model, hidden, rows, targets)[0])


def add_supervised(writer, model):
    """The loss of supervised training, and gradients of the decoder's and projector's weights."""
    loss = model.supervised_loss(SEQUENCES, LEARNT)
    loss.backward()
    writer.add("sft_learnt", [x for learnt in LEARNT for x in learnt])
    writer.add("sft_loss", loss)
    decoder = lambda name: name.startswith("model.") and "vision_tower" not in name or name.startswith("lm_head")
    add_gradients(writer, model, "sft_gradient/", decoder)
    model.zero_grad()


def make(path, **options):
    model = ReferenceModel(**options)
    writer = Writer()
    for name, value in model.sizes.items():
        writer.add("sizes/" + name, value)
    for name, parameter in model.named.items():
        writer.add("weight/" + name, parameter)
    writer.add("pixels", model.pixels)
    writer.add_sequences("", SEQUENCES)
    writer.add("scale", SCALE)
    add_passes(writer, model)
    add_supervised(writer, model)
    writer.write(path)


here = Path(__file__).parent
make(here / "grouped.golden", **GROUPED)
make(here / "tied.golden", **TIED)
make(here / "embeddings.golden", **EMBEDDINGS)
make(here / "front.golden", **FRONT)
