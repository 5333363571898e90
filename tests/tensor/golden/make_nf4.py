"""Writes nf4.bin, the reference of test_nf4.c: what bitsandbytes makes of matrices of a formula that test_nf4.c repeats.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_nf4.py

Little endian: the code book (16) and the map of the scales (256) as float32; then for each case four int32 (kind, rows,
cols, seed) and, with one block to 64 values and one group to 256 blocks: absmax (blocks), codes (values / 2 bytes,
rounded up), scales (blocks bytes), group absmax (groups), offset, decoded scales (blocks), and the 64-bit FNV-1a hash of
the bytes of the decoded float32 values.

bitsandbytes runs without its compiled library for processors: that rounds the scales through a table of 65536 steps,
too coarse for the map near zero, and so differs from what its CUDA kernels and its PyTorch implementation compute. The
latter stores 1e-38, not 0, for a last group of fewer than 256 equal blocks; no case has one.
"""
import ctypes
import os
import struct

import numpy as np
import torch

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # as written, not as a compiler fuses it


class NoLibrary(ctypes.LibraryLoader):
    def LoadLibrary(self, name):
        raise OSError(f"{name}: not wanted")


ctypes.cdll = NoLibrary(ctypes.CDLL)
import bitsandbytes.functional as bnb  # noqa: E402

NORMAL, UNIFORM, HEAVY, GAPS, TIES, ROW_SCALES, HUGE, TINY, CONSTANT = range(9)
CASES = [
    (NORMAL, 64, 256, 1),
    (NORMAL, 128, 512, 2),
    (UNIFORM, 128, 192, 3),
    (HEAVY, 128, 256, 4),
    (GAPS, 128, 128, 5),
    (TIES, 128, 128, 6),
    (ROW_SCALES, 64, 256, 7),
    (HUGE, 64, 256, 8),
    (TINY, 64, 256, 9),
    (CONSTANT, 64, 256, 10),
    (NORMAL, 1, 128, 11),
    (NORMAL, 1, 100, 12),
    (NORMAL, 3, 128, 13),
    (HEAVY, 257, 64, 14),
]


def randoms(count, seed):
    """Four numbers of 16 bits for each of COUNT values."""
    states = np.empty(4 * count, dtype=np.uint32)
    state = seed * 2654435761 & 0xFFFFFFFF
    for i in range(4 * count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        states[i] = state >> 16
    return states.reshape(count, 4).astype(np.int64)


def tie(code, which):
    """A boundary between two codes, or the float above or below it."""
    boundary = (code[which % 15] + code[which % 15 + 1]) / np.float32(2)
    towards = {0: boundary, 1: np.float32(2), 2: np.float32(-2)}[which // 15 % 3]
    return np.nextafter(boundary, towards)


def make(kind, rows, cols, seed, code):
    """Every value is an integer times a power of two, or a tie, so exact in float."""
    r = randoms(rows * cols, seed)
    bell = (r.sum(1) - 2 * 65535).astype(np.float32)
    x = bell * np.float32(2.0**-21)
    index = np.arange(rows * cols)
    row, block = index // cols, index // 64
    if kind == UNIFORM:
        x = (r[:, 0] - 32768).astype(np.float32) * np.float32(2.0**-15)
    elif kind == HEAVY:
        x = np.ldexp(x, (r[:, 3] & 15).astype(np.int32) % 7 + np.where(r[:, 3] & 511, 0, 8).astype(np.int32))
    elif kind == GAPS:
        x = np.where((block % 3 == 1) | (row % 8 == 5), np.where(r[:, 0] & 1, np.float32(-0.0), np.float32(0)), x)
    elif kind == TIES:
        ties = np.array([tie(code, int(which)) for which in r[:, 0]], dtype=np.float32)
        ends = np.where(row % 2, np.float32(1), np.float32(-1))
        x = np.ldexp(np.where(index % 64 == 0, ends, ties), (row % 5).astype(np.int32))
    elif kind == ROW_SCALES:
        x = np.ldexp(x, (row % 64 - 32).astype(np.int32))
    elif kind == HUGE:
        x = np.ldexp(x, 120)
    elif kind == TINY:
        x = np.ldexp(x, (-124 - row % 16).astype(np.int32))
    elif kind == CONSTANT:
        x = np.where(r[:, 0] & 1, np.float32(0.375), np.float32(-0.375))
    return x.astype(np.float32).reshape(rows, cols)


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def case(kind, rows, cols, seed, code):
    x = torch.from_numpy(make(kind, rows, cols, seed, code))
    _, plain = bnb.quantize_4bit(x, blocksize=64, quant_type="nf4")
    codes, state = bnb.quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=True)
    values = bnb.dequantize_4bit(codes, state)
    scales = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    assert torch.isfinite(values).all()
    return b"".join([
        struct.pack("<4i", kind, rows, cols, seed),
        plain.absmax.numpy().astype("<f4").tobytes(),
        codes.numpy().tobytes(),
        state.absmax.numpy().tobytes(),
        state.state2.absmax.numpy().astype("<f4").tobytes(),
        struct.pack("<f", state.offset.item()),
        scales.numpy().astype("<f4").tobytes(),
        struct.pack("<Q", fnv(values.numpy().astype("<f4").tobytes())),
    ])


def main():
    code = bnb.get_4bit_type("nf4", device="cpu").numpy()
    with open("nf4.bin", "wb") as file:
        file.write(code.astype("<f4").tobytes())
        file.write(bnb.create_dynamic_map().numpy().astype("<f4").tobytes())
        for arguments in CASES:
            file.write(case(*arguments, code))


if __name__ == "__main__":
    main()
