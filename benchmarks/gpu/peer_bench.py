"""What peer.py measures with: shapes and sizes, times on the device, and the report of figures."""
import contextlib
import dataclasses
import gc
import json
import signal
import statistics
import time

import torch

BF16 = torch.bfloat16
COMPILE_SECONDS = 40


@dataclasses.dataclass(frozen=True)
class Shape:
    """Of a decoder."""
    hidden: int
    heads: int
    mlp: int
    vocabulary: int
    layers: int

    @property
    def layer_weights(self):
        return self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.mlp)

    @property
    def weights(self):
        return self.layer_weights + self.vocabulary * self.hidden

    def attention_flops(self, sequences, length):
        return self.layers * causal_flops(sequences, self.heads, length, self.hidden // self.heads)


VICUNA_7B = Shape(hidden=4096, heads=32, mlp=11008, vocabulary=32000, layers=32)
DECODER_1B = Shape(hidden=2048, heads=16, mlp=5632, vocabulary=32000, layers=24)
TINY = Shape(hidden=64, heads=4, mlp=176, vocabulary=256, layers=3)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of everything that is measured."""
    product: int = 8192
    copy_bytes: int = 4 * 10**9
    attention: tuple = ((16, 2048), (4, 8192))  # sequences, their length
    attention_heads: tuple = ((32, 128), (32, 64))  # heads, their size
    policy: Shape = VICUNA_7B
    small: Shape = DECODER_1B
    sequences: int = 8
    length: int = 2048
    decode_sequences: tuple = (1, 64)
    context: int = 600


TINY_SIZES = Sizes(product=128, copy_bytes=10**6, attention=((2, 32), (1, 64)), attention_heads=((4, 16),), policy=TINY,
                   small=TINY, sequences=2, length=32, decode_sequences=(1, 3), context=20)


def causal_flops(sequences, heads, length, head_size):
    """Of the forward pass."""
    return 0.5 * 4 * sequences * heads * length**2 * head_size


class Report:
    """The figures so far, in a file after each section and on the screen at once."""

    def __init__(self, path, facts):
        self.path, self.facts = path, facts
        self.figures, self.failures, self.peaks = [], [], {}

    def add(self, name, milliseconds, tokens=None, flops=None, moved=None, **more):
        """A figure: of one repetition the time, and what it did in it."""
        seconds = milliseconds / 1e3
        figure = {"name": name, "ms": milliseconds}
        if tokens is not None:
            figure["tokens_per_s"] = tokens / seconds
        for unit, work, scale in (("tflops", flops, 1e12), ("gb_per_s", moved, 1e9)):
            if work is None:
                continue
            figure[unit] = work / seconds / scale
            if unit in self.peaks:
                figure[f"{unit}_share_of_peak"] = figure[unit] / self.peaks[unit]
        figure.update(more)
        self.figures.append(figure)
        values = "  ".join(f"{key} {value:.5g}" for key, value in figure.items() if key != "name")
        print(f"{name:58}{values}", flush=True)
        return figure

    @contextlib.contextmanager
    def case(self, name):
        """What fails within is reported, and its memory is free afterwards."""
        try:
            yield
        except Exception as error:  # whatever it is, the other cases can still be measured
            words = f"{type(error).__name__}: {error}"
            self.failures.append({"name": name, "error": words})
            print(f"{name:58}FAILED {words.splitlines()[0][:200]}", flush=True)
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def write(self):
        if self.path:
            text = json.dumps({**self.facts, "figures": self.figures, "failures": self.failures}, indent=1)
            self.path.write_text(text + "\n")


class Bench:
    """The device, the sizes, and how times are taken."""

    def __init__(self, options, report):
        self.device = torch.device(options.device)
        self.on_gpu = self.device.type == "cuda"
        if self.on_gpu:
            torch.cuda.set_device(self.device.index or 0)
        self.sizes = TINY_SIZES if options.tiny else Sizes()
        self.layers = min(options.layers, self.sizes.policy.layers)
        self.compile = options.compile
        self.report = report

    def median(self, function, repetitions=10, warmup=3):
        """Milliseconds of a call."""
        for _ in range(warmup):
            function()
        if not self.on_gpu:
            return statistics.median(wall_milliseconds(function) for _ in range(repetitions))
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repetitions)]
        torch.cuda.synchronize()
        for start, end in events:
            start.record()
            function()
            end.record()
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in events)

    def random(self, *shape, scale=1.0):
        return torch.randn(*shape, device=self.device, dtype=BF16).mul_(scale)

    def tokens(self, shape, *counts):
        return torch.randint(shape.vocabulary, counts, device=self.device)

    def start_memory(self):
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def memory(self):
        """Gigabytes, the most since start_memory."""
        return {"peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9} if self.on_gpu else {}

    def has_room(self, count):
        return not self.on_gpu or torch.cuda.mem_get_info()[0] > count

    def variants(self):
        """How to run a function: as it is, and compiled if that is asked for."""
        return ("eager", "compiled") if self.compile else ("eager",)


def wall_milliseconds(function):
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


@contextlib.contextmanager
def time_limit(seconds):
    """Raises TimeoutError within what takes longer."""
    def give_up(_signal, _frame):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def first_call(function, variant):
    """Compiles what is to be compiled."""
    with time_limit(COMPILE_SECONDS) if variant == "compiled" else contextlib.nullcontext():
        function()
