"""Small weights as PyTorch and safetensors write them, in the folder tensors. The tests know the values: element i of the tensor with
seed s is ((7 i + 5 s) mod 23 - 11) / 4, for integers without the division, for bool its lowest bit. Run in this folder:
pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6 && python make_tensors.py"""
import json
import os
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save_file

FOLDER = "tensors"


def values(seed, *shape, dtype=torch.float32):
    n = 1
    for size in shape:
        n *= size
    whole = (7 * torch.arange(n) + 5 * seed) % 23 - 11
    if dtype == torch.bool:
        return (whole & 1).bool().reshape(shape)
    return (whole / 4 if dtype.is_floating_point else whole).to(dtype).reshape(shape)


def place(name):
    path = os.path.join(FOLDER, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def save_index(name, shards):
    total = sum(t.numel() * t.element_size() for shard in shards.values() for t in shard.values())
    names = {tensor: file for file, shard in shards.items() for tensor in shard}
    with open(place(name), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": names}, file, indent=2)
        file.write("\n")


# Every type, a scalar, an empty one; half precision's special values.
types = {
    "f64": values(1, 3, 5, dtype=torch.float64),
    "f32": values(2, 4, 3),
    "f16": values(3, 2, 3, 4, dtype=torch.float16),
    "bf16": values(4, 7, dtype=torch.bfloat16),
    "i64": values(5, 3, dtype=torch.int64),
    "i32": values(6, 3, dtype=torch.int32),
    "i16": values(7, 3, dtype=torch.int16),
    "i8": values(8, 3, dtype=torch.int8),
    "u8": (values(9, 3, dtype=torch.int64) + 11).to(torch.uint8),
    "bool": values(10, 5, dtype=torch.bool),
    "scalar": values(11),
    "empty": values(12, 0, 4),
    "special": torch.tensor([float("inf"), float("-inf"), float("nan"), 2.0**-24, -(2.0**-14), 65504.0], dtype=torch.float16),
}
save_file(types, place("types.safetensors"), metadata={"format": "pt"})

# As the program's own writer must write it, byte for byte.
save_file({"a.weight": values(1, 3, 5), "b.weight": values(2, 2, 3, dtype=torch.bfloat16), "c.bias": values(3, 7, dtype=torch.float16)},
          place("written.safetensors"), metadata={"format": "pt"})

# A module's state dict, with parameters, views, tied weights.
base = values(1, 4, 6)
model = OrderedDict(
    [
        ("plain.weight", values(2, 3, 4)),
        ("transposed.weight", base.t()),
        ("middle.weight", base[1:3, 2:5]),
        ("every_other", values(3, 10)[1::2]),
        ("permuted", values(4, 2, 3, 4).permute(2, 0, 1)),
        ("row", base[2]),
        ("tied.weight", base),
        ("parameter", torch.nn.Parameter(values(5, 2, 2, dtype=torch.bfloat16))),
        ("half", values(6, 5, dtype=torch.float16)),
        ("double", values(7, 5, dtype=torch.float64)),
        ("position_ids", values(8, 1, 5, dtype=torch.int64)),
        ("flag", values(9, 3, dtype=torch.bool)),
        ("scalar", values(10)),
        ("empty", values(11, 0, 3)),
    ]
)
model._metadata = OrderedDict([("", {"version": 1})])
torch.save(model, place("model.bin"))
torch.save({"epoch": 3, "loss": 0.5, "done": True, "args": ("a", None), "state_dict": {"head": {"weight": values(1, 1, 4)}},
            "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "moments": [values(2, 3), values(3, 2)]}}, place("nested.pt"))

# Sharded, in both formats.
safe = {"model-00001-of-00002.safetensors": {"one": values(1, 2, 3), "two": values(2, 4)}, "model-00002-of-00002.safetensors": {"three": values(3, 5)}}
for file, shard in safe.items():
    save_file(shard, place("sharded/" + file), metadata={"format": "pt"})
save_index("sharded/model.safetensors.index.json", safe)
old = {"pytorch_model-00001-of-00002.bin": {"one": values(1, 2, 3), "two": values(2, 4)}, "pytorch_model-00002-of-00002.bin": {"three": values(3, 5)}}
for file, shard in old.items():
    torch.save(shard, place("sharded/" + file))
save_index("sharded/pytorch_model.bin.index.json", old)

# What is refused.
torch.save({"weight": values(1, 2)}, place("old_format.pt"), _use_new_zipfile_serialization=False)
torch.save({"weight": values(1, 2)}, place("protocol_4.pt"), pickle_protocol=4)
torch.save(values(1, 2), place("no_dict.pt"))


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/llava_rlhf_was_run",)


torch.save({"weight": values(1, 2), "evil": Evil()}, place("evil.pt"))
with zipfile.ZipFile(place("model.bin")) as plain, zipfile.ZipFile(place("compressed.pt"), "w", zipfile.ZIP_DEFLATED) as packed:
    for entry in plain.infolist():
        packed.writestr(entry.filename, plain.read(entry))
