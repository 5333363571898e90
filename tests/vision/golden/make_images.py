"""Writes images.bin, the reference of test_image.c: Pillow's bicubic resize, and CLIPImageProcessor (transformers, after
LLaVA's padding to a square), on images made by a formula that test_image.c repeats.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_images.py

Each case: seven little-endian int32 (kind, width, height, seed, out width, out height, bytes), then the bytes: kind 0
resize, 8-bit (height, width, 3); kind 1 pad, kind 2 square, float (3, size, size). Pillow 13
gives another byte here and there: it starts with the vertical pass where the height shrinks far more than the width.
"""
import struct

import numpy as np
from PIL import Image

RESIZE, PAD, SQUARE = 0, 1, 2
CASES = [
    (RESIZE, 37, 23, 1, 16, 16),
    (RESIZE, 23, 37, 2, 61, 40),
    (RESIZE, 16, 16, 3, 16, 16),
    (RESIZE, 20, 31, 4, 20, 9),
    (RESIZE, 31, 20, 5, 9, 20),
    (RESIZE, 1, 1, 6, 5, 4),
    (RESIZE, 3, 200, 7, 50, 2),
    (RESIZE, 640, 427, 8, 48, 33),
    (RESIZE, 321, 480, 9, 7, 56),
    (RESIZE, 500, 5, 10, 1, 1),
    (RESIZE, 2, 2, 12, 40, 40),
    (PAD, 33, 33, 11, 14, 14),
    (PAD, 64, 47, 13, 28, 28),
    (PAD, 47, 64, 14, 28, 28),
    (PAD, 300, 7, 15, 20, 20),
    (PAD, 7, 300, 16, 20, 20),
    (PAD, 11, 10, 17, 24, 24),
    (PAD, 480, 640, 18, 42, 42),
    (SQUARE, 33, 33, 19, 14, 14),
    (SQUARE, 64, 47, 20, 28, 28),
    (SQUARE, 47, 64, 21, 28, 28),
    (SQUARE, 300, 7, 22, 20, 20),
    (SQUARE, 7, 301, 23, 21, 21),
    (SQUARE, 640, 427, 24, 42, 42),
]


def make(width, height, seed):
    """Noise where the seed is odd, else a gradient with noise in the low bits and hard edges."""
    out = np.zeros((height, width, 3), dtype=np.uint8)
    state = seed * 2654435761 & 0xFFFFFFFF
    for y in range(height):
        for x in range(width):
            for c in range(3):
                state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
                noise = state >> 24
                smooth = x * 255 // width if c == 0 else y * 255 // height if c == 1 else 255 * ((x // 5 + y // 3) % 2)
                out[y, x, c] = noise if seed % 2 else (smooth & 0xF8) + (noise & 7)
    return Image.fromarray(out, "RGB")


def pad(image, mean):
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def reference(kind, image, width, height):
    if kind == RESIZE:
        return np.asarray(image.resize((width, height), Image.BICUBIC)).tobytes()
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": width}, crop_size={"height": width, "width": width})
    if kind == PAD:
        image = pad(image, processor.image_mean)
    pixels = processor.preprocess(image, return_tensors="np")["pixel_values"][0]
    assert pixels.shape == (3, height, width)
    return pixels.astype("<f4").tobytes()


def main():
    with open("images.bin", "wb") as file:
        for kind, width, height, seed, out_width, out_height in CASES:
            data = reference(kind, make(width, height, seed), out_width, out_height)
            file.write(struct.pack("<7i", kind, width, height, seed, out_width, out_height, len(data)) + data)


if __name__ == "__main__":
    main()
