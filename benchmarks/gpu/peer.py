"""What PyTorch reaches on one GPU in bf16, at the shapes that the program's own benchmarks use.

    python3 benchmarks/gpu/peer.py --output peer.json
    python3 benchmarks/gpu/peer.py --sections peaks,decode --compile
    python3 benchmarks/gpu/peer.py --device cpu --tiny       # does the script work? no figures to speak of

Needs torch, and transformers and peft for `training` and `prefill`; no network: weights and inputs are random.
One line for each figure, all of them in the file of --output. A case that fails is a line, too, and leaves the
others running. Times are the median of several repetitions between CUDA events, after a warm-up.

peaks       a product of 8192^3, and a copy on the device (bytes read and written); the others show their share of these
attention   scaled_dot_product_attention, causal, by its flash and its cuDNN backend; backward is both less forward
training    LlamaForCausalLM: LoRA on all seven projections in Vicuna-7B's shapes, and all weights of a 1B-sized decoder
decode      a step of one token for each sequence, static cache, in a CUDA graph
prefill     forward without gradients and without the head

FLOPs: 2 per weight and token forward, 2 backward for the gradient of the input, 2 for that of trained weights, and
causal attention; what checkpointing computes again and the adapters themselves are not counted. Weights are those of
the decoder with its head and without the embedding. Attention's backward counts twice its forward in training, as in
the program's own figures, and 2.5 times (scores are computed again) in section attention, as is usual there.
"""
import argparse
import contextlib
import dataclasses
import functools
import os
import pathlib
import time

# Training nearly fills the device, and cases of other sizes come before it.
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from peer_bench import BF16, COMPILE_SECONDS, Bench, Report, causal_flops, first_call  # noqa: E402

LORA_R = 64
NORM_EPSILON = 1e-5
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


# ---- peaks -----------------------------------------------------------------------------------------------------------


def measure_peaks(bench):
    size = bench.sizes.product
    with bench.report.case("product"):
        a, b = bench.random(size, size), bench.random(size, size)
        out = torch.empty_like(a)
        milliseconds = bench.median(lambda: torch.mm(a, b, out=out), repetitions=20)
        figure = bench.report.add(f"product, {size}^3", milliseconds, flops=2 * size**3)
        bench.report.peaks["tflops"] = figure["tflops"]
        del a, b, out
    with bench.report.case("copy"):
        source = bench.random(bench.sizes.copy_bytes // 2)
        target = torch.empty_like(source)
        milliseconds = bench.median(lambda: target.copy_(source), repetitions=20)
        size = bench.sizes.copy_bytes
        figure = bench.report.add(f"copy, {size / 1e9:g} GB", milliseconds, moved=2 * size)
        bench.report.peaks["gb_per_s"] = figure["gb_per_s"]
        del source, target


# ---- attention -------------------------------------------------------------------------------------------------------


def measure_attention(bench):
    backends = {"flash": SDPBackend.FLASH_ATTENTION}
    if bench.on_gpu:
        backends["cuDNN"] = SDPBackend.CUDNN_ATTENTION
    for heads, head_size in bench.sizes.attention_heads:
        for sequences, length in bench.sizes.attention:
            for name, backend in backends.items():
                name = f"attention, {name}, {sequences} x {length}, {heads} x {head_size}"
                with bench.report.case(name), sdpa_kernel(backend):
                    attention_case(bench, name, (sequences, heads, length, head_size))


def attention_case(bench, name, shape):
    # (B, T, H, D) in memory, as a projection leaves them; attention sees (B, H, T, D).
    sequences, heads, length, head_size = shape
    q, k, v = (bench.random(sequences, length, heads, head_size).transpose(1, 2).requires_grad_() for _ in range(3))
    gradient = bench.random(sequences, length, heads, head_size).transpose(1, 2)

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def both():
        torch.autograd.grad(forward(), (q, k, v), gradient)

    flops = causal_flops(*shape)
    forward_ms = bench.median(forward)
    bench.report.add(f"{name}, forward", forward_ms, flops=flops)
    both_ms = bench.median(both)
    bench.report.add(f"{name}, backward", max(both_ms - forward_ms, 1e-6), flops=2.5 * flops)


# ---- training and prefill: transformers ------------------------------------------------------------------------------


def make_llama(bench, shape, dtype=BF16):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.mlp,
                         num_hidden_layers=shape.layers, num_attention_heads=shape.heads, tie_word_embeddings=False,
                         max_position_embeddings=bench.sizes.length, rms_norm_eps=NORM_EPSILON,
                         attn_implementation="sdpa", use_cache=False)
    torch.set_default_dtype(dtype)
    try:
        with bench.device:
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)


def training_figure(bench, name, shape, flops_per_weight, step, variant):
    first_call(step, variant)
    bench.start_memory()
    milliseconds = bench.median(step, repetitions=5, warmup=2)
    tokens = bench.sizes.sequences * bench.sizes.length
    attention = 3 * shape.attention_flops(bench.sizes.sequences, bench.sizes.length)
    bench.report.add(f"{name}, {variant}", milliseconds, tokens=tokens,
                     flops=flops_per_weight * shape.weights * tokens + attention, **bench.memory())


def measure_training(bench):
    policy = dataclasses.replace(bench.sizes.policy, layers=bench.layers)
    for checkpointing in (False, True):
        for variant in bench.variants():
            name = f"training, LoRA, {policy.layers} layers{', checkpointing' if checkpointing else ''}"
            with bench.report.case(f"{name}, {variant}"):
                lora_case(bench, name, policy, checkpointing, variant)
    # Weights and moments in bf16 are the least that this can take; usual are fp32 weights and products in bf16.
    for dtype, checkpointing in ((BF16, False), (BF16, True), (torch.float32, True)):
        for variant in bench.variants():
            weights = "bf16" if dtype == BF16 else "fp32"
            name = f"training, all, weights {weights}{', checkpointing' if checkpointing else ''}"
            with bench.report.case(f"{name}, {variant}"):
                full_case(bench, name, bench.sizes.small, dtype, checkpointing, variant)


def checkpoint_layers(model):
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def lora_case(bench, name, shape, checkpointing, variant):
    """Forward and backward, without an optimiser step. Frozen weights and adapters in bf16."""
    from peft import LoraConfig, get_peft_model

    model = make_llama(bench, shape)
    if checkpointing:
        checkpoint_layers(model)
    # Both factors random: with b = 0, the first step of training, half of the products would be of zeros.
    config = LoraConfig(r=LORA_R, lora_alpha=LORA_R, target_modules=PROJECTIONS, lora_dropout=0.0,
                        init_lora_weights=False)
    model = get_peft_model(model, config, autocast_adapter_dtype=False).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    run = torch.compile(model, dynamic=False) if variant == "compiled" else model
    ids = bench.tokens(shape, bench.sizes.sequences, bench.sizes.length)

    def step():
        run(input_ids=ids, labels=ids).loss.backward()
        for p in trained:
            p.grad = None

    training_figure(bench, name, shape, 4, step, variant)


def full_case(bench, name, shape, dtype, checkpointing, variant):
    """Forward, backward and AdamW."""
    model = make_llama(bench, shape, dtype).train()
    if checkpointing:
        checkpoint_layers(model)
    run = torch.compile(model, dynamic=False) if variant == "compiled" else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = bench.tokens(shape, bench.sizes.sequences, bench.sizes.length)

    def step():
        with torch.autocast(bench.device.type, BF16, enabled=dtype != BF16):
            loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    training_figure(bench, name, shape, 6, step, variant)


def measure_prefill(bench):
    shape = dataclasses.replace(bench.sizes.policy, layers=bench.layers)
    sequences, length = bench.sizes.sequences, bench.sizes.length
    for variant in bench.variants():
        name = f"prefill, {shape.layers} layers, {sequences} x {length}, {variant}"
        with bench.report.case(name), torch.no_grad():
            model = make_llama(bench, shape).model.eval()
            run = torch.compile(model, dynamic=False) if variant == "compiled" else model
            ids = bench.tokens(shape, sequences, length)
            first_call(lambda: run(input_ids=ids), variant)
            milliseconds = bench.median(lambda: run(input_ids=ids), repetitions=5, warmup=2)
            tokens = sequences * length
            flops = 2 * shape.layer_weights * tokens + shape.attention_flops(sequences, length)
            bench.report.add(name, milliseconds, tokens=tokens, flops=flops)
            del model, run


# ---- decode ----------------------------------------------------------------------------------------------------------


def rotate(x, cosine, sine):
    """Rotary embedding of the rows x (B, H, 1, D) at one position; cosine and sine are (D / 2)."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x.dtype)


def normed(x, weight):
    return F.rms_norm(x, weight.shape, weight, NORM_EPSILON)


def decode_layer(x, weights, keys, values, position, cosine, sine):
    """One layer for a new token of each sequence, x (B, C); key and value go to position of the cache (B, H, T, D)."""
    sequences, heads, _, head_size = keys.shape
    qkv = F.linear(normed(x, weights["attention_norm"]), weights["qkv"])
    q, k, v = qkv.view(sequences, 3, heads, 1, head_size).unbind(1)
    keys.index_copy_(2, position, rotate(k, cosine, sine))
    values.index_copy_(2, position, v)
    attended = F.scaled_dot_product_attention(rotate(q, cosine, sine), keys, values)
    x = x + F.linear(attended.reshape(x.shape), weights["o"])
    gate, up = F.linear(normed(x, weights["mlp_norm"]), weights["gate_up"]).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, weights["down"])


class Decoder:
    """A Llama decoder that makes one token at a time and keeps nothing but its weights and a cache of one length."""

    def __init__(self, bench, shape):
        self.bench, self.shape = bench, shape
        hidden, mlp = shape.hidden, shape.mlp
        make = functools.partial(bench.random, scale=0.02)
        self.embedding, self.head = make(shape.vocabulary, hidden), make(shape.vocabulary, hidden)
        self.norm = 1 + make(hidden)
        self.layers = [{"attention_norm": 1 + make(hidden), "qkv": make(3 * hidden, hidden), "o": make(hidden, hidden),
                        "mlp_norm": 1 + make(hidden), "gate_up": make(2 * mlp, hidden), "down": make(hidden, mlp)}
                       for _ in range(shape.layers)]

    def step_at(self, sequences, context, variant):
        """A function that decodes the last of context tokens of every sequence, in a CUDA graph where there are any."""
        head_size = self.shape.hidden // self.shape.heads
        cache = [(self.bench.random(sequences, self.shape.heads, context, head_size),
                  self.bench.random(sequences, self.shape.heads, context, head_size)) for _ in self.layers]
        ids = self.bench.tokens(self.shape, sequences)
        position = torch.tensor([context - 1], device=self.bench.device)
        angles = (context - 1) / 10000 ** (torch.arange(0, head_size, 2, device=self.bench.device) / head_size)
        cosine, sine = angles.cos(), angles.sin()
        layer = torch.compile(decode_layer, dynamic=False) if variant == "compiled" else decode_layer

        def step():
            x = F.embedding(ids, self.embedding)
            for weights, (keys, values) in zip(self.layers, cache):
                x = layer(x, weights, keys, values, position, cosine, sine)
            logits = F.linear(normed(x, self.norm), self.head)
            ids.copy_(logits.argmax(dim=-1))

        first_call(step, variant)
        return graph_of(step) if self.bench.on_gpu else step

    def bytes_of_step(self, sequences, context):
        """Weights once, and the cache: two bytes each."""
        return 2 * (self.shape.weights + sequences * context * self.shape.layers * 2 * self.shape.hidden)


def graph_of(function):
    """The function's kernels, to be launched all at once. Keeps the function, whose tensors they work on."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()

    def replay(_kept=function):
        graph.replay()

    return replay


def measure_decode(bench):
    context, most = bench.sizes.context, max(bench.sizes.decode_sequences)
    shape = bench.sizes.policy
    needed = 1.1 * (2 * shape.vocabulary * shape.hidden + 2 * shape.weights
                    + 4 * most * context * shape.layers * shape.hidden)
    if not bench.has_room(needed):
        shape = dataclasses.replace(shape, layers=bench.layers)
    with torch.no_grad():
        decoder = Decoder(bench, shape)
        for sequences in bench.sizes.decode_sequences:
            for variant in bench.variants():
                name = f"decode, {shape.layers} layers, {sequences} at context {context}, {variant}"
                with bench.report.case(name):
                    step = decoder.step_at(sequences, context, variant)
                    milliseconds = bench.median(step, repetitions=30)
                    bench.report.add(name, milliseconds, tokens=sequences,
                                     moved=decoder.bytes_of_step(sequences, context))
                    del step


SECTIONS = {"peaks": measure_peaks, "attention": measure_attention, "training": measure_training,
            "decode": measure_decode, "prefill": measure_prefill}


def facts_of(options):
    """What the figures depend on."""
    on_gpu = options.device.startswith("cuda")
    facts = {"device": torch.cuda.get_device_name(options.device) if on_gpu else options.device,
             "torch": torch.__version__, "cuda": torch.version.cuda, "tiny": options.tiny}
    for name in ("transformers", "peft"):
        with contextlib.suppress(ImportError):
            facts[name] = __import__(name).__version__
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default=",".join(SECTIONS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=8, help="of the 7B decoder in training and prefill (default: 8)")
    parser.add_argument("--compile", action="store_true",
                        help=f"also with torch.compile, where that takes {COMPILE_SECONDS} s at most")
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file for the figures")
    options = parser.parse_args()
    sections = options.sections.split(",")
    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        parser.error(f"--sections has {', '.join(unknown)}; there are {', '.join(SECTIONS)}")

    torch.manual_seed(1)
    report = Report(options.output, facts_of(options))
    print("  ".join(f"{key} {value}" for key, value in report.facts.items()), flush=True)
    bench = Bench(options, report)
    for name in SECTIONS:
        if name in sections:
            start = time.perf_counter()
            with report.case(name):
                SECTIONS[name](bench)
            print(f"{'':58}({name}: {time.perf_counter() - start:.1f} s)", flush=True)
            report.write()
    return 1 if report.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
