"""Trains unigram SentencePiece models of several kinds, and checks that AutoTokenizer reads the ids of the SentencePiece library
from what task export writes beside a model that has them, and the texts of ids.

Usage: pip install -r golden/requirements.txt; python check_unigram.py BINARY [--lines N] [--update]
BINARY: llava_rlhf, run without mpirun on one rank. N lines for each kind (10000 unless said otherwise): all scripts, emoji,
white space, code, special tokens, broken UTF-8. Needs no GPU; takes a few minutes. --update: unigram.model is trained anew, and the
files that have been compared go to golden/unigram, for test_export_tokens.c.

SentencePiece adds scores in single precision and tokenizers in double, so that they choose differently among the same tokens in
another order, of the same text: such lines are counted, and may be 3 %. Where characters are mapped, 0.3 % of the lines may have other
tokens: marks in no canonical order or behind characters that the map removes, and U+FDD0, which tokenizer.json cuts graphemes with.
Elsewhere none may.
"""
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import sentencepiece
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
TEXTS = HERE.parent / "text" / "golden"
sys.path.insert(0, str(TEXTS))
from compare_tokenizers import CODE, WORDS, Lines  # noqa: E402

LINES = int(sys.argv[sys.argv.index("--lines") + 1]) if "--lines" in sys.argv else 10000
AS_IT_IS = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
MAPPED = dict(normalization_rule_name="nmt_nfkc")
KINDS = {
    "as it is": dict(byte_fallback=True, **AS_IT_IS),
    "over spaces": dict(byte_fallback=True, split_by_whitespace=False, split_by_unicode_script=False, **AS_IT_IS),
    "without bytes": AS_IT_IS,
    "spaces removed": dict(byte_fallback=True, normalization_rule_name="identity"),
    "without a space in front": dict(add_dummy_prefix=False, allow_whitespace_only_pieces=True, **AS_IT_IS),
    "other special tokens": dict(byte_fallback=True, control_symbols=["<cls>", "[MASK]"], **AS_IT_IS),
    "mapped": dict(byte_fallback=True, **MAPPED),
    "mapped, spaces kept": dict(byte_fallback=True, remove_extra_whitespaces=False, **MAPPED),
    "mapped, without bytes": dict(add_dummy_prefix=False, **MAPPED),
}
UNEXPRESSED = {
    "user-defined pieces": dict(byte_fallback=True, user_defined_symbols=["<sep>"], **AS_IT_IS),
    "spaces behind words": dict(byte_fallback=True, treat_whitespace_as_suffix=True, **AS_IT_IS),
}
SMALL = ["ASSISTANT: Yes, there is a red circle left of it", "USER: Is it a star? No"] * 8 + ["<0x0123456789ABCDEF>", "</unks>"]


def train(path, texts, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="unigram", hard_vocab_limit=False, num_threads=1,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, max_sentence_length=100000, minloglevel=2, **settings)
    path.write_bytes(model.getvalue())


def run(task, folder, **groups):
    text = f"&job task='{task}' run_dir='{folder}/run' /\n&log level='warning' /\n"
    for group, settings in groups.items():
        text += f"&{group}\n" + "".join(f"  {name} = {value!r}\n" for name, value in settings.items()) + "/\n"
    (folder / "input.nml").write_text(text)
    subprocess.run([sys.argv[1], str(folder / "input.nml")], check=True)


def export(folder, tokenizer, weights):
    """The folder that is written of WEIGHTS with the model TOKENIZER."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    run("import", folder, **{"import": dict(weights=str(weights), tokenizer=str(tokenizer), output=f"{folder}/in.h5")})
    run("export", folder, model=dict(base=f"{folder}/in.h5"), export=dict(output=f"{folder}/out"))
    return folder / "out"


def library_ids(tokenizer):
    """The library's ids of a text, each piece between special tokens on its own."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    special = {processor.id_to_piece(i): i for i in (processor.unk_id(), processor.bos_id(), processor.eos_id())}
    cut = re.compile("(" + "|".join(map(re.escape, special)) + ")")

    def ids(text):
        return [i for part in cut.split(text) if part for i in ([special[part]] if part in special else processor.encode(part))]

    return ids


def compare_texts(what, read, tokenizer, texts, ids):
    """What answers are read from: texts of ids, but for unknown ones, for which the library writes a sign of its own."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    known = [found for found in map(ids, texts) if processor.unk_id() not in found]
    for found in known:
        wanted, text = processor.decode(found), read.decode(found, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert text == wanted, (what, found, wanted, text)
    print(f"{what}: the ids of {len(known)} lines are the same texts", flush=True)


def compare(what, out, tokenizer, texts, mapped):
    read, ids = AutoTokenizer.from_pretrained(out), library_ids(tokenizer)
    compare_texts(what, read, tokenizer, texts, ids)
    assert read("a").input_ids == [1] + ids("a")
    order, other = 0, []
    for text, found in zip(texts, read(texts, add_special_tokens=False).input_ids):
        wanted = ids(text)
        if found == wanted:
            continue
        if sorted(found) == sorted(wanted) and read.decode(found) == read.decode(wanted):
            order += 1
        else:
            other.append((text, wanted, found))
    print(f"{what}: of {len(texts)} lines {order} have the tokens in another order, {len(other)} other tokens", flush=True)
    assert order <= 0.03 * len(texts) and len(other) <= (0.003 * len(texts) if mapped else 0), other[:3]


def main():
    documents = [str(path) for path in sorted((HERE.parent.parent / "docs").glob("*.md"))]
    source, held = Lines(5, documents), Lines(6, documents)
    source.blocks = source.blocks[:7]  # the scripts up to Arabic; characters of the others are unknown
    learnt = [source.script() for _ in range(2000)] + (WORDS + CODE + SMALL) * 20
    learnt += [line.decode() for line in source.files] + ["".join(map(chr, range(33, 127)))] * 20
    texts = ["", " ", "  ", "\u2581", " a", "a ", "a  b", "<s>", "<s> a</s>  b<unk>", "<0x41>", "\uff1cs\uff1e", "<cls> [MASK]", "\x01"]
    texts += [held.make().decode(errors="replace") for _ in range(LINES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "--update" in sys.argv:
            train(TEXTS / "unigram.model", SMALL, vocab_size=330, byte_fallback=True, **AS_IT_IS)
        small = export(folder, TEXTS / "unigram.model", HERE / "golden" / "llava_hf")
        imageless = [text for text in texts if "<image>" not in text]  # there a token of its own
        compare("unigram.model, of a LLaVA", small, TEXTS / "unigram.model", imageless, False)
        if "--update" in sys.argv:
            (HERE / "golden" / "unigram").mkdir(exist_ok=True)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(small / file, HERE / "golden" / "unigram" / file)
        config = LlamaConfig(vocab_size=4096, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4)
        LlamaForCausalLM(config).save_pretrained(folder / "rows")
        tokenizer = folder / "kind.model"
        for what, settings in KINDS.items():
            train(tokenizer, learnt, vocab_size=3500, character_coverage=1.0, **settings)
            compare(what, export(folder, tokenizer, folder / "rows"), tokenizer, texts, "mapped" in what)
        for what, settings in UNEXPRESSED.items():
            train(tokenizer, learnt, vocab_size=3500, character_coverage=1.0, **settings)
            out = export(folder, tokenizer, folder / "rows")
            assert not (out / "tokenizer.json").exists(), what
            assert json.loads((out / "tokenizer_config.json").read_text())["tokenizer_class"] == "LlamaTokenizer"
    print("ok")


main()
