"""Writes words.model (a small SentencePiece model, made as LLaMA's is), over.model (one whose pieces reach over spaces) and sequences.txt, the reference of test_golden.c: token
ids by transformers' LlamaTokenizer (slow, as LLaVA trains with), sequences put together and masked by LLaVA's rule.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_text.py

LLaVA's rule: the text is split at <image>, each part is tokenised with a BOS in front, which is kept for the first only. For the
mask the text is cut into rounds at </s>; of each round, the part up to and including " ASSISTANT: " counts
len(tokens) - 2 masked tokens (without BOS and without the space at its end); a round's len(tokens) counts its BOS for the
</s> that it was cut at.

One line per case: name, then token:learnt for each token. test_golden.c holds the same conversations.
"""
import io

import sentencepiece
from transformers import LlamaTokenizer

IMAGE = -200
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
TEXTS = [
    SYSTEM,
    "USER: What is in the image? ASSISTANT: There is a red circle left of a blue square.",
    "Is there a green star ? No, there is not. Yes, there are two small triangles and 12 large ones.",
    "The correct option is B. A. yes C. no D. maybe",
    "USER: Describe it.\nASSISTANT: A small red square, a large blue circle and a green star.",
]
OVER = ["ASSISTANT: Yes"] * 8 + ["USER: is it"]
CASES = {
    "one_turn": ["What is in the image?\n<image>", "A red circle."],
    "two_turns": ["<image>\nIs there a star?", "No, there is not.", "What is left of the square?", "A blue circle"],
    "mark_inside": ["What <image> is in <image> it ?", "Two small triangles."],
    "no_image": ["What is red?", "A square."],
    "only_image": ["<image>", "A star."],
    "unicode": ["<image>\nÜber was? \U0001f600", "Ein Kreis \u2013 rot.\nUnd ein Stern?"],
    "answer_starts_with_line_end": ["<image>\nList them.", "\n1. circle\n2. star"],
    "spaces": ["  two  spaces ", " leading space"],
    "long": ["<image>\nDescribe it.", "A small red square, " * 20, "Is it?", "Yes", "And?", "No"],
}
PLAIN = {"plain": ["<image>\nDescribe it.", "a red circle left of a star"]}


def train(name, texts, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=420, hard_vocab_limit=False,
        byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity", num_threads=1,
        remove_extra_whitespaces=False, split_digits=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
        **settings,
    )
    with open(name, "wb") as file:
        file.write(model.getvalue())


def with_image(text, tokenizer):
    ids = []
    for number, part in enumerate(text.split("<image>")):
        tokens = tokenizer(part).input_ids
        assert tokens[0] == tokenizer.bos_token_id
        ids += tokens if number == 0 else [IMAGE] + tokens[1:]
    return ids


def human(text):
    if "<image>" not in text:
        return text
    return ("<image>\n" + text.replace("<image>", "").strip()).strip()


def chat(turns):
    text = SYSTEM + " "
    for number, turn in enumerate(turns):
        text += "ASSISTANT: " + turn + "</s>" if number % 2 else "USER: " + human(turn) + " "
    return text


def chat_case(turns, tokenizer):
    text = chat(turns)
    ids = with_image(text, tokenizer)
    learnt = [1] * len(ids)
    learnt[0] = 0
    at = 1
    for part in text.split("</s>")[:-1]:
        prompt, _ = part.split(" ASSISTANT: ")
        masked = len(with_image(prompt + " ASSISTANT: ", tokenizer)) - 2
        learnt[at : at + masked] = [0] * masked
        at += len(with_image(part, tokenizer))
    assert at == len(ids), (at, len(ids))
    return ids, learnt


def plain_case(turns, tokenizer):
    ids = with_image("<image>" + turns[1] + "\n", tokenizer)
    return ids, [0, 0] + [1] * (len(ids) - 2)


def main():
    train("words.model", TEXTS)
    train("over.model", OVER, split_by_whitespace=False, split_by_unicode_script=False)
    tokenizer = LlamaTokenizer("words.model", legacy=True)
    with open("sequences.txt", "w") as file:
        for cases, make in ((CASES, chat_case), (PLAIN, plain_case)):
            for name, turns in cases.items():
                ids, learnt = make(turns, tokenizer)
                file.write(name + "".join(f" {i}:{m}" for i, m in zip(ids, learnt)) + "\n")


if __name__ == "__main__":
    main()
