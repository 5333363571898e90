"""CPU time of one thread from an image file's bytes to what the vision tower reads: Pillow and CLIPImageProcessor (after
LLaVA's padding) beside bench_images, file by file in the same run, the least of several rounds each.

    tests/photographs/fetch.sh
    python -m venv venv && venv/bin/pip install -r tests/vision/golden/requirements.txt
    taskset -c 1 venv/bin/python benchmarks/images/compare.py build/release/benchmarks/images/bench_images .cache/photographs

Besides the photographs as they are it takes each at 640 x 480, as JPEG of quality 90 (COCO's size) and as PNG.
"""
import argparse
import io
import os
import pathlib
import subprocess
import tempfile
import time

# One thread, also of numpy's.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from PIL import Image  # noqa: E402
from transformers import CLIPImageProcessor  # noqa: E402


def pad(image, mean):
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def reference_times(data, processor, padded):
    """Milliseconds to decode, and for all."""
    start = time.process_time()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    decoded = time.process_time()
    if padded:
        image = pad(image, processor.image_mean)
    processor.preprocess(image, return_tensors="np")
    return [1e3 * (decoded - start), 1e3 * (time.process_time() - start)]


def our_times(program, path, size, padded):
    command = [program, "-s", str(size), "-a", "pad" if padded else "square", "-r", "5", path]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [float(words[0]), float(words[2])]


def compare(program, path, size, padded, rounds):
    """Least times: (ours decode, ours all), (theirs decode, theirs all)."""
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    data = path.read_bytes()
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(reference_times(data, processor, padded))
        ours.append(our_times(program, path, size, padded))
    return [min(column) for column in zip(*ours)], [min(column) for column in zip(*theirs)]


def make_sets(photographs, folder):
    for path in photographs:
        small = Image.open(path).convert("RGB").resize((640, 480), Image.BICUBIC)
        small.save(folder / f"{path.stem}.jpg", quality=90)
        small.save(folder / f"{path.stem}.png")
    return {"as they are": photographs, "640 x 480, JPEG": sorted(folder.glob("*.jpg")),
            "640 x 480, PNG": sorted(folder.glob("*.png"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bench_images")
    parser.add_argument("folder", type=pathlib.Path, help="of photographs (*.jpg)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    photographs = sorted(options.folder.glob("*.jpg"))
    print("milliseconds of CPU time an image, mean over the photographs")
    print(f"{'images':18} {'aspect':7} {'size':>4} {'theirs':>8} {'decode':>8} {'ours':>8} {'decode':>8} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in make_sets(photographs, pathlib.Path(folder)).items():
            for padded in (True, False):
                for size in (224, 336):
                    found = [compare(options.program, path, size, padded, options.rounds) for path in paths]
                    ours = [sum(f[0][k] for f in found) / len(found) for k in range(2)]
                    theirs = [sum(f[1][k] for f in found) / len(found) for k in range(2)]
                    print(f"{name:18} {'pad' if padded else 'square':7} {size:4} {theirs[1]:8.2f} {theirs[0]:8.2f} "
                          f"{ours[1]:8.2f} {ours[0]:8.2f} {theirs[1] / ours[1]:6.1f}", flush=True)


if __name__ == "__main__":
    main()
