"""Writes bpe_*.json, small tokenizers of byte-level BPE in the shapes that models have, and bpe_ids.txt, the reference of
test_bpe.c: ids and texts by the tokenizers library.

    python -m venv venv && venv/bin/pip install -r tokenizer_requirements.txt && venv/bin/python make_bpe.py

Lines of bpe_ids.txt: "shape file"; below it "text ids": the text's bytes in hexadecimal and its ids; "ids text back":
ids, and the bytes of the text that they make.
"""
import json
import random

import tokenizers
from compare_tokenizers import Lines, Json
from tokenizers import decoders, models, pre_tokenizers, trainers

LLAMA3 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
          "|\\s+(?!\\S)|\\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
ABSENT = "\u0104\u0106\u00f1"  # the letters of the bytes 04, 06 and f1
TEXTS = ["USER: What is in the image? ASSISTANT: There is a red circle left of a blue square.",
         "Is there a green star ? No, there is not. Yes, there are 2 small triangles and 128 large ones.",
         "don't we'll I'VE it's they're", "for (int i = 0; i < n; i++) { return x[i]; }\n\n    while (true)\n\t\tbreak;",
         "\u00fcber \u00e9t\u00e9 caf\u00e9 na\u00efve", "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
         "\u4f60\u597d\u4e16\u754c \u56fe\u50cf", "\U0001f600\U0001f44d", "1234567890 2024 100", "    \n\n  \t x\r\n"] * 20


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def added(token, content, **flags):
    return {"id": token, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True} | flags


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def template(token, content):
    return {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": content, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {content: {"id": content, "ids": [token], "tokens": [content]}}}


def train():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=560, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXTS, trainer)
    return json.loads(tokenizer.to_str())


def shapes(base):
    """GPT-2, LLaMA 3, Qwen2, SmolLM2, one with what none of them uses, and two whose vocabulary lacks bytes, as SmolLM2's does."""
    n = len(base["model"]["vocab"])
    pairs = base["model"]["merges"]
    texts = [" ".join(pair) for pair in pairs]
    more = dict(base["model"]["vocab"]) | {" red": n, "\u0120redstar": n + 1}
    yield "gpt2", {"merges": texts}, {"pre_tokenizer": BYTES | {"add_prefix_space": True, "use_regex": True},
           "added_tokens": [added(n, "<|endoftext|>")], "post_processor": BYTES}
    yield "llama3", {"merges": texts, "ignore_merges": True, "vocab": more}, {
        "pre_tokenizer": sequence(split(LLAMA3), BYTES), "added_tokens": [
            added(n + 2 + i, text) for i, text in enumerate(["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                                                             "<|end_header_id|>", "<|eot_id|>"])],
        "post_processor": {"type": "Sequence", "processors": [BYTES, template(n + 2, "<|begin_of_text|>")]}}
    yield "qwen2", {"merges": pairs, "continuing_subword_prefix": "", "end_of_word_suffix": ""}, {
        "normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split(QWEN2), BYTES), "post_processor": BYTES,
        "added_tokens": [added(n + i, text) for i, text in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])]
        + [added(n + 3, "<tool_call>", special=False), added(n + 4, "<|image_pad|>")]}
    yield "smollm2", {"merges": texts}, {
        "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, BYTES | {"use_regex": True}),
        "added_tokens": [added(n + i, text) for i, text in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])]}
    yield "flags", {"merges": pairs}, {
        "pre_tokenizer": sequence({"type": "Split", "pattern": {"String": "_"}, "behavior": "Removed", "invert": False},
                                  {"type": "Digits", "individual_digits": False}, BYTES | {"use_regex": True}),
        "added_tokens": [added(n, "</s>", lstrip=True), added(n + 1, "<s>", rstrip=True), added(n + 2, "foo", single_word=True,
                         special=False), added(n + 3, "=b", normalized=True, special=False), added(n + 4, "<|im_", special=False),
                         added(n + 5, "<|im_start|>", lstrip=True, rstrip=True), added(n + 6, "<unk>", single_word=True)]}
    sparse = {piece: id for piece, id in base["model"]["vocab"].items() if piece not in ABSENT} | {"<|endoftext|>": n}
    ends = {"pre_tokenizer": BYTES | {"use_regex": True}, "added_tokens": [added(n, "<|endoftext|>")]}
    yield "sparse", {"merges": texts, "vocab": sparse}, ends
    yield "unknown", {"merges": texts, "vocab": sparse, "unk_token": "<|endoftext|>", "fuse_unk": True}, ends


def texts_of(lines):
    for n, line in enumerate(lines.make() for _ in range(80)):
        yield line[:36]


def main():
    lines, chance = Lines(7, []), random.Random(7)
    bare = [b"!\x04!", b"\x04", b"!\x04\x06!!\x06", "a\U00040000\U00040001".encode(), b"(\x06\x04;\x04)" * 20]
    texts = [b"", b"star foo food foo_ _foo foo", b"x <s>  </s> y<s>\n\t</s>z", b"\xff\xc3", b"  "] + list(texts_of(lines))
    with open("bpe_ids.txt", "w") as file:
        base = train()
        for name, model, rest in shapes(base):
            shape = base | {"post_processor": None} | rest
            shape["model"] = base["model"] | model
            with open(f"bpe_{name}.json", "w") as out:
                json.dump(shape, out, ensure_ascii=False, separators=(",", ":"))
            library = Json(f"bpe_{name}.json")
            file.write(f"shape bpe_{name}.json\n")
            for at, text in enumerate(texts + bare if name in ("sparse", "unknown") else texts):
                ids = library.ids([text.decode(errors="replace")])[0]
                file.write(f"text {text.hex()} {' '.join(map(str, ids))}\n")
                if at % 4 == 0:
                    tail = ids[chance.randrange(len(ids) + 1) :]
                    file.write(f"ids {library.texts([tail])[0].encode().hex()} {' '.join(map(str, tail))}\n")


if __name__ == "__main__":
    main()
