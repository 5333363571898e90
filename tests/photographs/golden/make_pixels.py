"""Writes pixels.bin, the reference of test_photographs.c: what CLIPImageProcessor (transformers, after LLaVA's padding to
a square) makes of the photographs that ../fetch.sh gets, decoded by Pillow.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_pixels.py FOLDER

For each photograph, in the order of NAMES, with padding and with cropping: GRID x GRID pixels of the 336 x 336, from the
middle of GRID x GRID tiles, as little-endian float32 (3, GRID, GRID).
"""
import sys

import numpy as np
from PIL import Image
from transformers import CLIPImageProcessor

SIZE, GRID = 336, 8
NAMES = ["dog", "eagle", "giraffe", "horses", "kite", "person", "scream", "branches", "throne", "garden", "hibiscus",
         "tower", "tower_grey", "tower_progressive"]


def pad(image, mean):
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def pixels(image, padded):
    processor = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    if padded:
        image = pad(image, processor.image_mean)
    return processor.preprocess(image, return_tensors="np")["pixel_values"][0].astype("<f4")


def main():
    step = SIZE // GRID
    with open("pixels.bin", "wb") as file:
        for name in NAMES:
            image = Image.open(f"{sys.argv[1]}/{name}.jpg").convert("RGB")
            for padded in (True, False):
                whole = pixels(image, padded)
                file.write(np.ascontiguousarray(whole[:, step // 2::step, step // 2::step]).tobytes())


if __name__ == "__main__":
    main()
