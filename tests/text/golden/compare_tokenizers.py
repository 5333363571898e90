"""Compares the program's ids, and the texts it makes of ids, with those of transformers and the tokenizers library on
many lines: all scripts, emoji, white space, code, special tokens, broken UTF-8.

    python -m venv venv && venv/bin/pip install -r tokenizer_requirements.txt
    venv/bin/python compare_tokenizers.py PROGRAM TOKENIZER [--lines 100000] [--seed 1] [--files FILE ...]

PROGRAM is tests/text/tokenise_texts of a build; TOKENIZER is a tokenizer.model (compared with transformers' slow
LlamaTokenizer, legacy, which LLaVA trains with) or a tokenizer.json. FILE: texts whose lines are taken besides. Bytes
that are not UTF-8 are replaced as Python does. Exit status 1 if anything differs; the first differences are shown.
"""
import argparse
import random
import subprocess
import sys
import unicodedata

SPECIALS = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>",
            "<|start_header_id|>", "<|end_header_id|>", "<tool_call>", "<think>", "<|im_end", "<|", "<0x41>", "\u2581"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u1680", "\u180e",
          "\u2003", "\u200b", "\u2028", "\u202f", "\u3000", " \n ", "\n\t"]
WORDS = ["don't", "I'LL", "we'Ve", "it\u2019s", "'\u017f", "x're", "2024", "3.14159", "1,000,000", "\u0663\u0664", "\u2167",
         "\u00bd", "foo_bar", "CamelCase", "a+b==c", "!!!", "...", "https://example.org/?q=1&r=%20", "e\u0301", "\u00e9",
         "A\u030a", "\u1100\u1161\u11a8", "\uac01", "\u0958", "\u0915\u093c", "\ufb01", "\u212b", "\U0001d160", "USER:",
         "ASSISTANT:", "<image>"[:4]]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f",
         "\U0001f44d\U0001f3fd", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "1\ufe0f\u20e3"]
CODE = ["for (int i = 0; i < n; i++) {", "    return x[i] ** 2", "#include <stdio.h>", "def f(self, *args):",
        "\tif err != nil {", "SELECT * FROM t WHERE a='b';", "<div class=\"x\">&nbsp;</div>", "a->b.c[0xFF] |= ~0u;",
        "let \u03bb = (x) => x;", "% \\frac{1}{2}", "x" * 70, "=" * 100, " " * 90 + "x"]


def characters():
    """All characters but surrogates and NUL, by blocks of 256; of those not assigned the first planes'."""
    blocks = {}
    for code in range(1, 0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        if category not in ("Cs", "Co", "Cn") or (category == "Cn" and code < 0x34000):
            blocks.setdefault(code >> 8, []).append(character)
    return list(blocks.values())


class Lines:
    def __init__(self, seed, files):
        self.random = random.Random(seed)
        self.blocks = characters()
        self.files = [line for name in files for line in open(name, "rb").read().split(b"\n") if line and b"\0" not in line]

    def script(self):
        block = self.random.choice(self.blocks)
        words = ["".join(self.random.choices(block, k=self.random.randint(1, 9))) for _ in range(self.random.randint(1, 8))]
        return self.random.choice(SPACES[:3]).join(words)

    def mixture(self):
        parts = []
        for _ in range(self.random.randint(1, 20)):
            kind = self.random.choice((SPECIALS, SPACES, SPACES, WORDS, WORDS, EMOJI, CODE, None))
            parts.append(self.random.choice(kind) if kind else self.script())
        return "".join(parts)

    def broken(self):
        line = bytearray(self.mixture().encode())
        for _ in range(self.random.randint(1, 5)):
            at = self.random.randrange(len(line) + 1)
            if self.random.random() < 0.5:
                line[at:at] = bytes([self.random.randint(1, 255)])
            else:
                del line[at : at + 1]
        return bytes(line)

    def make(self):
        kind = self.random.random()
        if kind < 0.3 and self.files:
            return self.random.choice(self.files)
        if kind < 0.6:
            return self.script().encode()
        return self.mixture().encode() if kind < 0.9 else self.broken()


def sweep(blocks):
    """Each character once: alone, between letters, after a space, before a digit."""
    for block in blocks:
        for at in range(0, len(block), 16):
            yield "".join(f"a{c}b {c}{c} 1{c}2\n" for c in block[at : at + 16]).encode()


class Json:
    def __init__(self, name):
        import tokenizers

        self.tokenizer = tokenizers.Tokenizer.from_file(name)

    def ids(self, texts):
        return [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def texts(self, ids):
        return [self.tokenizer.decode(i, skip_special_tokens=True) for i in ids]


class Model:
    def __init__(self, name):
        import transformers

        self.tokenizer = transformers.LlamaTokenizer(name, legacy=True)

    def ids(self, texts):
        return [self.tokenizer(text, add_special_tokens=False).input_ids for text in texts]

    def texts(self, ids):
        model, special = self.tokenizer.sp_model, set(self.tokenizer.all_special_ids)
        return [model.decode([i for i in line if i not in special]) for line in ids]


def run(program, tokenizer, mode, records):
    result = subprocess.run([program, tokenizer, mode], input=records, stdout=subprocess.PIPE, check=True)
    return result.stdout


def compare(what, inputs, ours, theirs):
    wrong = [i for i in range(len(inputs)) if ours[i] != theirs[i]]
    print(f"{what}: {len(inputs)} lines, {len(wrong)} differ")
    for i in wrong[:10]:
        print(f"  {inputs[i]!r}\n    program {ours[i]}\n    library {theirs[i]}")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("tokenizer")
    parser.add_argument("--lines", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", nargs="*", default=[])
    options = parser.parse_args()
    library = (Json if open(options.tokenizer, "rb").read(1) == b"{" else Model)(options.tokenizer)
    source = Lines(options.seed, options.files)
    lines = list(sweep(source.blocks)) + [source.make() for _ in range(options.lines)]
    texts = [line.decode(errors="replace") for line in lines]
    theirs = library.ids(texts)
    output = run(options.program, options.tokenizer, "ids", b"".join(line + b"\0" for line in lines))
    ours = [[int(i) for i in line.split()] for line in output.split(b"\n")[:-1]]
    assert len(ours) == len(lines), (len(ours), len(lines))
    wrong = compare("ids", lines, ours, theirs)
    # Whole lines, and cut anywhere, so that characters are cut as well.
    pieces = [ids[source.random.randrange(len(ids) + 1) :] if n % 3 == 0 else ids for n, ids in enumerate(theirs)]
    output = run(options.program, options.tokenizer, "texts", "".join(" ".join(map(str, i)) + "\n" for i in pieces).encode())
    back = [text.decode() for text in output.split(b"\0")[:-1]]
    wrong += compare("texts", pieces, back, library.texts(pieces))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
