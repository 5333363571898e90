"""Writes ops.txt: inputs and results of the operations, computed by PyTorch and transformers.

Usage: pip install -r requirements.txt; python make_golden.py > ops.txt
Each array is one line `name count` and one line of values in row-major order.
"""

import torch
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

torch.manual_seed(20231)
torch.set_default_dtype(torch.float64)


def show(name, array):
    values = torch.as_tensor(array).detach().to(torch.float64).reshape(-1).tolist()
    print(name, len(values))
    print(" ".join(f"{value:.12g}" for value in values))


def random(*shape, scale=1.0):
    """Values of six decimals, so that what is printed is exactly what is computed with."""
    values = torch.randn(*shape) * scale
    return (values * 1e6).round() / 1e6


def leaf(*shape, scale=1.0):
    return random(*shape, scale=scale).requires_grad_()


def backward(prefix, result, inputs):
    """Shows the result, a random gradient of it, and the gradients of the inputs (name -> tensor)."""
    gradient = random(*result.shape)
    result.backward(gradient)
    show(prefix + ".y", result)
    show(prefix + ".dy", gradient)
    for name, tensor in inputs.items():
        show(f"{prefix}.{name}", tensor)
        show(f"{prefix}.d{name}", tensor.grad)


def rmsnorm():
    norm = LlamaRMSNorm(8, eps=1e-5)
    norm.weight.data = random(8)
    x = leaf(5, 8, scale=2.0)
    backward("rmsnorm", norm(x), {"x": x, "weight": norm.weight})


def layernorm():
    x, weight, bias = leaf(5, 8, scale=2.0), leaf(8), leaf(8)
    y = torch.nn.functional.layer_norm(x, (8,), weight, bias, eps=1e-5)
    backward("layernorm", y, {"x": x, "weight": weight, "bias": bias})


def swiglu():
    gate, up = leaf(24, scale=3.0), leaf(24)
    backward("swiglu", torch.nn.functional.silu(gate) * up, {"gate": gate, "up": up})


def activation(name):
    x = leaf(24, scale=3.0)
    backward(name, ACT2FN[name](x), {"x": x})


def rope():
    heads, size, positions = 2, 8, torch.tensor([[0, 1, 5, 300, 2047]])
    config = LlamaConfig(hidden_size=heads * size, num_attention_heads=heads, max_position_embeddings=4096)
    x = leaf(1, positions.shape[1], heads, size)
    cos, sin = LlamaRotaryEmbedding(config)(x, positions)
    turned, _ = apply_rotary_pos_emb(x.transpose(1, 2), x.transpose(1, 2), cos, sin)
    show("rope.positions", positions)
    backward("rope", turned.transpose(1, 2).contiguous(), {"x": x})


def attention(name, causal):
    """Packed sequences of lengths 1, 6, 4; grouped queries."""
    heads, kv_heads, size, offsets = 4, 2, 8, [0, 1, 7, 11]
    rows = offsets[-1]
    q, k, v = leaf(rows, heads, size), leaf(rows, kv_heads, size), leaf(rows, kv_heads, size)
    parts = []
    for begin, end in zip(offsets, offsets[1:]):
        part = [tensor[begin:end].transpose(0, 1).unsqueeze(0) for tensor in (q, k, v)]
        out = torch.nn.functional.scaled_dot_product_attention(*part, is_causal=causal, enable_gqa=True)
        parts.append(out.squeeze(0).transpose(0, 1))
    show(name + ".offsets", offsets)
    backward(name, torch.cat(parts), {"q": q, "k": k, "v": v})


def vocabulary():
    rows, size, temperature = 4, 13, 0.7
    logits, targets = leaf(rows, size, scale=2.0), torch.tensor([0, 12, 5, 5])
    scaled = logits / temperature
    logprob = -torch.nn.functional.cross_entropy(scaled, targets, reduction="none")
    show("vocab.targets", targets)
    show("vocab.temperature", [temperature])
    show("vocab.entropy", torch.distributions.Categorical(logits=scaled).entropy())
    backward("vocab", logprob, {"logits": logits})


def adamw():
    """Three steps with weight decay, at a learning rate large enough to see."""
    weight = torch.nn.Parameter(random(10))
    optimiser = torch.optim.AdamW([weight], lr=0.05, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    show("adamw.start", weight)
    for step in range(3):
        weight.grad = random(10)
        show(f"adamw.grad{step + 1}", weight.grad)
        optimiser.step()
        show(f"adamw.weight{step + 1}", weight)
    state = optimiser.state[weight]
    show("adamw.m", state["exp_avg"])
    show("adamw.v", state["exp_avg_sq"])


if __name__ == "__main__":
    rmsnorm()
    layernorm()
    swiglu()
    activation("gelu")
    activation("quick_gelu")
    rope()
    attention("causal", True)
    attention("full", False)
    vocabulary()
    adamw()
    activation("gelu_pytorch_tanh")
