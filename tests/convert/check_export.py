"""Loads what task export writes with transformers and PEFT: no key may be missing or unexpected, and the logits must be
those of the models it was imported from (golden/make_models.py).

Usage: pip install -r golden/requirements.txt; python check_export.py BINARY
BINARY: llava_rlhf, run without mpirun on one rank. Needs no GPU; takes about a minute.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (CLIPVisionModel, LlamaForCausalLM, LlavaForConditionalGeneration, Qwen2ForCausalLM,
                          SiglipVisionModel)

GOLDEN = Path(__file__).parent / "golden"
TOKENIZER = GOLDEN.parent.parent / "text" / "golden" / "over.model"
IMAGE, PATCHES, SIGLIP_PATCHES = -200, 4, 9
EXPECTED = load_file(GOLDEN / "expected.safetensors")


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


def main():
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        check_transformers(Path(folder))
        check_language(Path(folder), LlamaForCausalLM, "llama")
        check_language(Path(folder), LlamaForCausalLM, "biased")
        check_language(Path(folder), Qwen2ForCausalLM, "qwen2")
        check_siglip(Path(folder))
        check_original(Path(folder))
    print("ok")


main()
