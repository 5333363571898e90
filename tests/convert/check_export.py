"""Loads what task export writes with transformers and PEFT: no key may be missing or unexpected, and the logits must be
those of the models it was imported from (golden/make_models.py).

Usage: pip install -r golden/requirements.txt; python check_export.py BINARY [--update]
BINARY: llava_rlhf, run without mpirun on one rank; tests/text/tokenise_texts of the same build makes the program's
tokens of conversations, which apply_chat_template must make too. Needs no GPU; takes about a minute. --update: the files
around the tokenizer that have been compared go to golden/exported, for test_export_tokens.c.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (AutoImageProcessor, AutoProcessor, AutoTokenizer, CLIPImageProcessor, CLIPVisionModel,
                          LlamaForCausalLM, LlavaForConditionalGeneration, Qwen2ForCausalLM, SiglipImageProcessor,
                          SiglipVisionModel)

GOLDEN = Path(__file__).parent / "golden"
TOKENIZER = GOLDEN.parent.parent / "text" / "golden" / "over.model"
IMAGE, PATCHES, SIGLIP_PATCHES = -200, 4, 9
EXPECTED = load_file(GOLDEN / "expected.safetensors")
TEXTS = TOKENIZER.parent
TOKENISE = Path(sys.argv[1]).parent / "tests" / "text" / "tokenise_texts"
COMPARED = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
            "processor_config.json", "preprocessor_config.json"]


def run(task, folder, **groups):
    text = f"&job task='{task}' run_dir='{folder}/run' /\n&log level='warning' /\n"
    for group, settings in groups.items():
        text += f"&{group}\n" + "".join(f"  {name} = {value!r}\n" for name, value in settings.items()) + "/\n"
    text = text.replace("True", ".true.")
    (folder / "input.nml").write_text(text)
    subprocess.run([sys.argv[1], str(folder / "input.nml")], check=True)


def load(kind, folder, **more):
    """from_pretrained, in double, with every key in its place."""
    model, info = kind.from_pretrained(folder, output_loading_info=True, **more)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    return model.double().eval()


def sequences(case):
    tokens, begin = EXPECTED[f"{case}/tokens"].tolist(), 0
    for length in EXPECTED[f"{case}/lengths"].tolist():
        yield tokens[begin:begin + length]
        begin += length


def check(what, case, logits):
    logprobs = torch.log_softmax(torch.cat(logits), dim=-1).gather(1, EXPECTED[f"{case}/targets"].long())
    wanted = EXPECTED[f"{case}/logprobs"].double()
    error = ((logprobs - wanted).abs().max() / wanted.abs().max()).item()
    print(f"{what}: relative error {error:.1e}")
    assert error < 1e-5, what


def shown(model, case, patches=PATCHES):
    """Logits of a LLaVA of transformers for the sequences of CASE."""
    image = model.config.image_token_index if hasattr(model.config, "image_token_index") else model.config.image_token_id
    pixels, out = EXPECTED["pixels"].double(), []
    for sequence in sequences(case):
        ids = [i for t in sequence for i in ([image] * patches if t == IMAGE else [t])]
        more = {"pixel_values": pixels} if IMAGE in sequence else {}
        out.append(model(input_ids=torch.tensor([ids]), **more).logits[0])
    return out


def check_transformers(folder):
    run("import", folder, **{"import": dict(weights=str(GOLDEN / "llava_hf"), tokenizer=str(TOKENIZER),
                                            adapter=str(GOLDEN / "adapter"), output=f"{folder}/hf.h5")})
    run("export", folder, model=dict(base=f"{folder}/hf.h5"), export=dict(output=f"{folder}/hf"))
    model = load(LlavaForConditionalGeneration, folder / "hf", dtype=torch.bfloat16)
    check("transformers' LLaVA", "llava_hf", shown(model, "llava_hf"))
    adapted = PeftModel.from_pretrained(model, folder / "hf" / "default", autocast_adapter_dtype=False)
    named = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    stored = {name.replace(".weight", ".default.weight")
              for name in load_file(folder / "hf" / "default" / "adapter_model.safetensors")}
    assert named == stored, named ^ stored
    check("with its adapter", "adapter", shown(adapted.double().eval(), "adapter"))
    run("export", folder, model=dict(base=f"{folder}/hf.h5"),
        export=dict(output=f"{folder}/merged", merge=True, dtype="f32"))
    check("merged", "adapter", shown(load(LlavaForConditionalGeneration, folder / "merged"), "adapter"))


def check_language(folder, kind, case):
    run("import", folder, **{"import": dict(weights=str(GOLDEN / case), tokenizer=str(TOKENIZER),
                                            output=f"{folder}/{case}.h5")})
    run("export", folder, model=dict(base=f"{folder}/{case}.h5"), export=dict(output=f"{folder}/{case}"))
    model = load(kind, folder / case)
    check(f"{kind.__name__} '{case}'", case, [model(input_ids=torch.tensor([s])).logits[0] for s in sequences(case)])


def check_siglip(folder):
    """Within transformers' LLaVA, whole; and the tower alone, as original LLaVA has it."""
    run("import", folder, **{"import": dict(weights=str(GOLDEN / "llava_siglip"), tokenizer=str(TOKENIZER),
                                            output=f"{folder}/siglip.h5")})
    run("export", folder, model=dict(base=f"{folder}/siglip.h5"), export=dict(output=f"{folder}/siglip"))
    model = load(LlavaForConditionalGeneration, folder / "siglip", dtype=torch.bfloat16)
    check("LLaVA of Qwen2 and SigLIP", "llava_siglip", shown(model, "llava_siglip", SIGLIP_PATCHES))
    run("export", folder, model=dict(base=f"{folder}/siglip.h5"),
        export=dict(output=f"{folder}/original", naming="llava"))
    tower = load(SiglipVisionModel, folder / "original" / "vision_tower", dtype=torch.bfloat16)
    found = tower(pixel_values=EXPECTED["pixels"].double(), output_hidden_states=True).hidden_states[-2]
    wanted = EXPECTED["llava_siglip/features"].double()
    error = ((found - wanted).abs().max() / wanted.abs().max()).item()
    print(f"SigLIP's tower: relative error {error:.1e}")
    assert error < 1e-5


def check_original(folder):
    """The language model alone, as LLaMA: LLaVA's own program adds the projector. Its tower alone."""
    run("import", folder, **{"import": dict(weights=str(GOLDEN / "llava_linear"), tokenizer=str(TOKENIZER),
                                            vision_tower=str(GOLDEN / "clip"), output=f"{folder}/linear.h5")})
    run("export", folder, model=dict(base=f"{folder}/linear.h5"),
        export=dict(output=f"{folder}/linear", naming="llava"))
    tensors = load_file(folder / "linear" / "model.safetensors")
    config = LlamaForCausalLM.config_class.from_pretrained(folder / "linear")
    language = LlamaForCausalLM(config)
    missing, unexpected = language.load_state_dict(tensors, strict=False)
    assert not missing and set(unexpected) == {"model.mm_projector.weight", "model.mm_projector.bias"}
    language.double().eval()
    tower = load(CLIPVisionModel, folder / "linear" / "vision_tower")
    features = tower(pixel_values=EXPECTED["pixels"].double(), output_hidden_states=True).hidden_states[-2][:, 1:]
    projected = (features @ tensors["model.mm_projector.weight"].double().T
                 + tensors["model.mm_projector.bias"].double())[0]
    logits = []
    for sequence in sequences("llava_linear"):
        parts = [projected if t == IMAGE else language.get_input_embeddings()(torch.tensor([t])) for t in sequence]
        logits.append(language(inputs_embeds=torch.cat(parts)[None]).logits[0])
    check("original LLaVA", "llava_linear", logits)


# ---- Tokenizers and conversations ----

PARTS = ["What is this?", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "A dog", "two cats", "don't", "1,024", "x == y;", "\u00e9",
         "e\u0301", "\u6f22\u5b57", "\U0001f600", "</s>", "<s>", "<unk>", "<|im_end|>", "<|eot_id|>", "<|im_start|>", "<tool_call>", "USER:", "ASSISTANT:",
         "\\n", "'", "{{ x }}"]


def conversations(sees, count=300):
    """Of one to six turns; those of an odd number end with a question. Half of those of a model that SEES have an image."""
    draw = random.Random(3)
    for i in range(count):
        turns = ["".join(draw.choice(PARTS) for _ in range(draw.randint(1, 10))) for _ in range(draw.randint(1, 6))]
        if sees and i % 2 == 0:
            turns[0] = draw.choice([f"<image>\n{turns[0]}", f"{turns[0]}\n<image>", f" {turns[0]}<image> and this",
                                    "<image>"])
        yield turns


def messages(turns):
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(turns)]


def check_conversations(what, folder, tokenizer, template, sees):
    read = AutoTokenizer.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    told = list(conversations(sees))
    made = subprocess.run([TOKENISE, tokenizer, "chat", template], input="".join(json.dumps(t) + "\n" for t in told),
                          capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(made) == len(told)
    for turns, line in zip(told, made):
        ids = [config["image_token_index"] if int(i) == IMAGE else int(i) for i in line.split()]
        found = read.apply_chat_template(messages(turns), add_generation_prompt=len(turns) % 2 == 1, return_dict=False)
        assert found == ids, (what, turns, found, ids)
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert read.eos_token_id in (ends if isinstance(ends, list) else [ends]), (what, read.eos_token_id, ends)
    print(f"{what}: the tokens of {len(told)} conversations are the program's ({type(read).__name__})")


def language_of(folder, kind, rows):
    """A language model of ROWS rows, more than any of the tokenizers has pieces."""
    config = kind.config_class(vocab_size=rows, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                               num_attention_heads=4, num_key_value_heads=2)
    kind(config).save_pretrained(folder)


def check_templates(folder):
    """transformers makes a tokenizer of its own for Qwen2, whatever tokenizer_config.json names."""
    for kind, tokenizer, template in [(LlamaForCausalLM, "over.model", "v1"), (LlamaForCausalLM, "words.model", "llava_v1"),
                                      (LlamaForCausalLM, "unigram.model", "v1"), (LlamaForCausalLM, "bpe_qwen2.json", "chatml"),
                                      (LlamaForCausalLM, "bpe_smollm2.json", "smollm2"),
                                      (LlamaForCausalLM, "bpe_llama3.json", "llama3"),
                                      (LlamaForCausalLM, "bpe_llama3.json", "llava_llama3"),
                                      (LlamaForCausalLM, "bpe_gpt2.json", "v1"), (Qwen2ForCausalLM, "bpe_qwen2.json", "chatml")]:
        name = f"{kind.config_class.model_type}_{template}"
        language_of(folder / "rows", kind, 640)
        run("import", folder, **{"import": dict(weights=f"{folder}/rows", tokenizer=str(TEXTS / tokenizer),
                                                output=f"{folder}/rows.h5")})
        run("export", folder, model=dict(base=f"{folder}/rows.h5", template=template),
            export=dict(output=f"{folder}/{name}"))
        check_conversations(f"{tokenizer} with '{name}'", folder / name, TEXTS / tokenizer, template, False)


def check_aspect(folder):
    """Images that are not square: padded with the mean colour, as original LLaVA does before the tower's processor, or cropped."""
    image = Image.open(GOLDEN / "image.jpg").convert("RGB").resize((61, 38), Image.BICUBIC)
    for source, kind in (("hf", CLIPImageProcessor), ("siglip", SiglipImageProcessor)):
        for aspect in ("pad", "square"):
            run("export", folder, model=dict(base=f"{folder}/{source}.h5"), image=dict(aspect=aspect),
                export=dict(output=f"{folder}/{source}_{aspect}"))
            found = AutoImageProcessor.from_pretrained(folder / f"{source}_{aspect}")
            size = found.to_dict()["size"]
            own = kind(size={k: v for k, v in size.items() if v}, image_mean=found.image_mean, image_std=found.image_std,
                       resample=found.resample, **({"crop_size": found.crop_size} if source == "hf" else {}))
            shown = image
            if aspect == "pad":
                shown = Image.new("RGB", (61, 61), tuple(int(255 * mean) for mean in found.image_mean))
                shown.paste(image, (0, (61 - 38) // 2))
            pixels, expected = (p(i, return_tensors="pt")["pixel_values"] for p, i in ((found, image), (own, shown)))
            assert pixels.shape == expected.shape and (pixels - expected).abs().max() < 1e-5
    print("images that are not square are padded and cropped as asked")


def check_processor(folder):
    """Text and image together: as many tokens as the tower has patches, and its pixels."""
    check_conversations("transformers' LLaVA", folder / "hf", TOKENIZER, "v1", True)
    processor = AutoProcessor.from_pretrained(folder / "hf")
    parts = [{"type": "image"}, {"type": "text", "text": "What is it"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    read = processor(text=prompt, images=Image.open(GOLDEN / "image.jpg"), add_special_tokens=False, return_tensors="pt")
    assert (read["input_ids"] == processor.tokenizer.convert_tokens_to_ids(processor.image_token)).sum() == PATCHES
    assert (read["pixel_values"].double() - EXPECTED["pixels"].double()).abs().max() < 1e-5
    model = load(LlavaForConditionalGeneration, folder / "hf", dtype=torch.bfloat16)
    made = model.generate(**{k: v.double() if v.is_floating_point() else v for k, v in read.items()}, do_sample=False,
                          max_new_tokens=64)[0, read["input_ids"].shape[1]:]
    assert [i for i in made.tolist() if i != 2] == EXPECTED["answer"].tolist()
    print("the processor's prompt gives the expected answer")
    if "--update" in sys.argv:
        (GOLDEN / "exported").mkdir(exist_ok=True)
        for name in COMPARED:
            shutil.copy(folder / "hf" / name, GOLDEN / "exported" / name)


def main():
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        check_transformers(Path(folder))
        check_processor(Path(folder))
        check_templates(Path(folder))
        check_language(Path(folder), LlamaForCausalLM, "llama")
        check_language(Path(folder), LlamaForCausalLM, "biased")
        check_language(Path(folder), Qwen2ForCausalLM, "qwen2")
        check_siglip(Path(folder))
        check_aspect(Path(folder))
        check_original(Path(folder))
    print("ok")


main()
