"""Reads weights, checkpoints, rollouts and scores as an outsider does, with h5py, and checks the block hashes.

    pip install h5py==3.16.0 xxhash==4.1.0
    python read_with_h5py.py run_dir/model.h5

Not part of the test suite: it shows that the files need none of our code. Ends with status 1 if a hash does not fit.
"""
import sys

import h5py
import xxhash

BLOCK = 16 << 20


def stored_bytes(path, dataset):
    """The bytes as they lie in the file; h5py itself widens bfloat16 to float32."""
    if dataset.size == 0:
        return b""
    with open(path, "rb") as file:
        file.seek(dataset.id.get_offset())
        return file.read(dataset.id.get_storage_size())


def text(value):
    """Texts have fixed lengths, which h5py gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def check(path):
    broken = 0
    with h5py.File(path) as file:
        print(path, {name: text(value) for name, value in file.attrs.items()})

        def visit(name, item):
            nonlocal broken
            if not isinstance(item, h5py.Dataset):
                return
            verdict = ""
            if "xxh3" in item.attrs:
                data = stored_bytes(path, item)
                found = [xxhash.xxh3_64_intdigest(data[i : i + BLOCK]) for i in range(0, len(data), BLOCK)]
                good = found == [int(h) for h in item.attrs["xxh3"]]
                verdict = "hashes fit" if good else "HASHES DO NOT FIT"
                broken += not good
            print(f"/{name}", item.dtype, item.shape, text(item.attrs.get("meaning", "")), verdict)

        file.visititems(visit)
    return broken


if __name__ == "__main__":
    sys.exit(1 if sum(check(path) for path in sys.argv[1:]) else 0)
