"""Writes tiny models of random weights in every format that task import reads, and in expected.safetensors what
PyTorch, transformers and PEFT compute with them, in double precision.

Usage: pip install -r requirements.txt; python make_models.py
"""

import json
import shutil
from pathlib import Path

import numpy
import sentencepiece
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import save_file
from transformers import (CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionConfig, LlamaConfig, LlamaForCausalLM,
                          LlavaConfig, LlavaForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM, SiglipImageProcessor,
                          SiglipVisionConfig)

HERE = Path(__file__).parent
TOKENIZER = HERE.parent.parent / "text" / "golden" / "over.model"
IMAGE = -200  # stands for an image in the sequences below
SIDE, PATCH = 16, 8
PATCHES = (SIDE // PATCH)**2
TARGETS = 6  # tokens whose log-probability is kept at each position
TEXT = [[1, 300, 301, 40, 302, 17, 310, 2], [1, 33, 330, 331, 5]]
SHOWN = [[1, 300, IMAGE, 301, 40, 302, 17, 2], [1, 33, 330, 331, 5], [IMAGE, 9]]
SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the user's questions.")
QUESTION = "What is it"

VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=SIDE,
              patch_size=PATCH, projection_dim=8)
SIGLIP = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=SIDE,
              patch_size=5)  # the last row and column of pixels belong to no patch
SIGLIP_PATCHES = (SIDE // 5)**2
TEXT_SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                  max_position_embeddings=512)

SCALED = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.5, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 128},
}

expected = {}


def randomise(model, kind):
    """Weights that matter, exact in KIND; then everything in double."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.4 if "norm" not in name else 0.2
            value = scale * torch.randn(parameter.shape)
            if "norm" in name and name.endswith("weight"):
                value = 1.0 + value
            parameter.copy_(value.to(kind))
    return model.double().eval()


def save(folder, name, tensors, kind):
    """safetensors in KIND."""
    tensors = {key: value.detach().to(kind).contiguous() for key, value in tensors.items()}
    save_file(tensors, folder / name, metadata={"format": "pt"})


def save_sharded(folder, stem, suffix, tensors, kind, write):
    """Two shards and their index."""
    names = list(tensors)
    half = len(names) // 2
    index = {"metadata": {"total_size": sum(t.numel() * 2 for t in tensors.values())}, "weight_map": {}}
    for number, part in enumerate([names[:half], names[half:]], 1):
        file = f"{stem}-{number:05d}-of-00002.{suffix}"
        write(folder, file, {name: tensors[name] for name in part}, kind)
        index["weight_map"].update({name: file for name in part})
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=1) + "\n")


def save_torch(folder, name, tensors, kind):
    torch.save({key: value.detach().to(kind).contiguous() for key, value in tensors.items()}, folder / name)


def write_config(folder, config, **more):
    fields = config if isinstance(config, dict) else json.loads(config.to_json_string())
    fields.update(more)
    (folder / "config.json").write_text(json.dumps(fields, indent=1) + "\n")


def folder_of(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def keep(case, tokens, logits):
    """Log-probabilities of some tokens after each position of each sequence, end to end."""
    targets = torch.randint(0, logits[0].shape[-1], (sum(len(x) for x in logits), TARGETS))
    logprobs = torch.log_softmax(torch.cat(logits), dim=-1).gather(1, targets)
    expected[f"{case}/tokens"] = torch.tensor([t for sequence in tokens for t in sequence])
    expected[f"{case}/lengths"] = torch.tensor([len(sequence) for sequence in tokens])
    expected[f"{case}/targets"] = targets
    expected[f"{case}/logprobs"] = logprobs


def text_logits(model, sequences):
    return [model(input_ids=torch.tensor([sequence])).logits[0] for sequence in sequences]


def features_of(tower, pixels):
    return tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2][:, 1:]


def shown_logits(language, image_tokens, sequences):
    """Of sequences with images: LLaVA by its definition."""
    logits = []
    for sequence in sequences:
        parts = [image_tokens if token == IMAGE else language.get_input_embeddings()(torch.tensor([token]))
                 for token in sequence]
        logits.append(language(inputs_embeds=torch.cat(parts)[None]).logits[0])
    return logits


def make_llama():
    """LLaMA with grouped-query attention, safetensors in two shards, half precision."""
    folder = folder_of("llama")
    config = LlamaConfig(vocab_size=332, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=5000.0, **TEXT_SIZES)
    model = randomise(LlamaForCausalLM(config), torch.float16)
    save_sharded(folder, "model", "safetensors", model.state_dict(), torch.float16, save)
    write_config(folder, config, dtype="float16")
    keep("llama", TEXT, text_logits(model, TEXT))
    return model


def make_tied():
    """Tied head, heads of another size than hidden / heads, more rows than pieces; one .bin."""
    folder = folder_of("tied")
    config = LlamaConfig(vocab_size=340, num_key_value_heads=1, rms_norm_eps=1e-6, head_dim=6,
                         tie_word_embeddings=True, **TEXT_SIZES)
    model = randomise(LlamaForCausalLM(config), torch.float16)
    tensors = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_torch(folder, "pytorch_model.bin", tensors, torch.float16)
    fields = json.loads(config.to_json_string())
    fields.pop("rope_parameters")
    fields["rope_theta"] = 10000.0
    write_config(folder, fields)
    keep("tied", TEXT, text_logits(model, TEXT))


def make_scaled():
    """Scaled rotary embeddings, on the weights of the tied LLaMA: of its three frequencies LLaMA 3's scaling keeps one,
    divides one, and does something between with the third."""
    weights = torch.load(HERE / "tied" / "pytorch_model.bin")
    long = [[1] + [(7 * i * i + 3 * i) % 330 + 2 for i in range(59)]]
    for case, scaling in SCALED.items():
        config = LlamaConfig(vocab_size=340, num_key_value_heads=1, rms_norm_eps=1e-6, head_dim=6,
                             tie_word_embeddings=True, rope_parameters=dict(scaling, rope_theta=10000.0), **TEXT_SIZES)
        model = LlamaForCausalLM(config)
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
        keep(case, long, text_logits(model.double().eval(), long))


def make_clip():
    """All of CLIP, of which the tower is used."""
    folder = folder_of("clip")
    text = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=16,
                max_position_embeddings=4, projection_dim=8)
    config = CLIPConfig(vision_config=VISION, text_config=text, projection_dim=8)
    model = randomise(CLIPModel(config), torch.float16)
    tensors = model.state_dict()
    save(folder, "model.safetensors", tensors, torch.float16)
    write_config(folder, config, model_type="clip", architectures=["CLIPModel"])
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return model.vision_model


def make_linear(tower, pixels):
    """Original LLaVA 1.0: .bin in two shards, linear projector, tables of the rotary embedding."""
    folder = folder_of("llava_linear")
    config = LlamaConfig(vocab_size=332, rms_norm_eps=1e-5, **TEXT_SIZES)
    language = randomise(LlamaForCausalLM(config), torch.float16)
    projector = randomise(torch.nn.Linear(16, 16), torch.float16)
    tensors = dict(language.state_dict())
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    tensors["model.mm_projector.weight"] = projector.weight
    tensors["model.mm_projector.bias"] = projector.bias
    save_sharded(folder, "pytorch_model", "bin", tensors, torch.float16, save_torch)
    fields = json.loads(config.to_json_string())
    fields.update(model_type="llava", architectures=["LlavaLlamaForCausalLM"], mm_vision_tower="tiny/clip",
                  mm_hidden_size=16, mm_vision_select_layer=-2, mm_use_im_start_end=False,
                  mm_use_im_patch_token=False, use_mm_proj=True, tune_mm_mlp_adapter=False)
    write_config(folder, fields)
    features = features_of(tower, pixels)
    expected["features"] = features
    keep("llava_linear", SHOWN, shown_logits(language, projector(features)[0], SHOWN))


def make_projector(language, tower, pixels):
    """A projector of two layers in a file of its own, for the LLaMA above and the tower."""
    projector = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU(), torch.nn.Linear(16, 16))
    randomise(projector, torch.float16)
    save_torch(HERE, "mm_projector.bin", {f"model.mm_projector.{k}": v for k, v in projector.state_dict().items()},
               torch.float16)
    keep("projector", SHOWN, shown_logits(language, projector(features_of(tower, pixels))[0], SHOWN))


def published_name(name):
    """Of a module of transformers' LLaVA in the repositories of its first releases."""
    name = name.replace("model.language_model.", "language_model.model.").replace("model.vision_tower.",
                                                                                "vision_tower.vision_model.")
    name = name.replace("model.multi_modal_projector.", "multi_modal_projector.")
    return "language_model." + name if name.startswith("lm_head.") else name


def prompt_ids(tokenizer, image, patches=PATCHES):
    before, after = f"{SYSTEM} USER: <image>\n{QUESTION} ASSISTANT:".split("<image>")
    return [1] + tokenizer.encode(before) + [image] * patches + tokenizer.encode(after)


def logits_of_hf(run, sequences, pixels, patches=PATCHES):
    out = []
    for sequence in sequences:
        ids = [i for t in sequence for i in ([332] * patches if t == IMAGE else [t])]
        images = {"pixel_values": pixels} if IMAGE in sequence else {}
        out.append(run(input_ids=torch.tensor([ids]), output_hidden_states=True, **images))
    return out


def greedy_answer(model, pixels, patches=PATCHES):
    tokenizer = sentencepiece.SentencePieceProcessor(str(TOKENIZER))
    ids = prompt_ids(tokenizer, 332, patches)
    made = model.generate(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                          pixel_values=pixels, do_sample=False, max_new_tokens=64, eos_token_id=2, pad_token_id=0)
    return torch.tensor([i for i in made[0, len(ids):].tolist() if i != 2])


def make_hf(pixels):
    """transformers' LLaVA in bfloat16 with rows for <image>, and a PEFT adapter and a reward head on it."""
    folder = folder_of("llava_hf")
    text = LlamaConfig(vocab_size=336, num_key_value_heads=2, rms_norm_eps=1e-5, **TEXT_SIZES)
    config = LlavaConfig(vision_config=CLIPVisionConfig(**VISION), text_config=text, image_token_index=332)
    model = randomise(LlavaForConditionalGeneration(config), torch.bfloat16)
    tensors = {published_name(name): value for name, value in model.state_dict().items()}
    save(folder, "model.safetensors", tensors, torch.bfloat16)
    write_config(folder, config, dtype="bfloat16")

    keep("llava_hf", SHOWN, [out.logits[0] for out in logits_of_hf(model, SHOWN, pixels)])
    expected["llava_hf/features"] = features_of(model.model.vision_tower, pixels)
    expected["answer"] = greedy_answer(model, pixels)

    lora = LoraConfig(r=4, lora_alpha=6, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                      target_modules=r".*language_model.*\.(q_proj|v_proj|o_proj|gate_proj|down_proj)")
    adapted = get_peft_model(model, lora)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_((0.3 * torch.randn(parameter.shape)).float())
    adapted.double().eval()
    outs = logits_of_hf(adapted, SHOWN, pixels)
    keep("adapter", SHOWN, [out.logits[0] for out in outs])
    head = randomise(torch.nn.Linear(16, 1), torch.float32)
    expected["adapter/rewards"] = torch.stack([head(out.hidden_states[-1][0, -1])[0] for out in outs])
    shutil.rmtree(HERE / "adapter", ignore_errors=True)
    adapted.float().save_pretrained(HERE / "adapter")
    (HERE / "adapter" / "README.md").unlink(missing_ok=True)
    save_torch(HERE, "reward_head.pt", head.state_dict(), torch.float32)


def make_biased():
    """LLaMA with biases on all projections."""
    folder = folder_of("biased")
    config = LlamaConfig(vocab_size=332, num_key_value_heads=2, rms_norm_eps=1e-5, attention_bias=True, mlp_bias=True,
                         **TEXT_SIZES)
    model = randomise(LlamaForCausalLM(config), torch.float16)
    save(folder, "model.safetensors", model.state_dict(), torch.float16)
    write_config(folder, config, dtype="float16")
    keep("biased", TEXT, text_logits(model, TEXT))


def make_qwen2():
    """Qwen2: biases on q, k and v, a tied head."""
    folder = folder_of("qwen2")
    config = Qwen2Config(vocab_size=332, num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
                         tie_word_embeddings=True, **TEXT_SIZES)
    model = randomise(Qwen2ForCausalLM(config), torch.bfloat16)
    tensors = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save(folder, "model.safetensors", tensors, torch.bfloat16)
    fields = json.loads(config.to_json_string())
    fields.update(dtype="bfloat16", use_sliding_window=False, sliding_window=4096, max_window_layers=1)  # as published
    write_config(folder, fields)
    keep("qwen2", TEXT, text_logits(model, TEXT))


def make_siglip(pixels):
    """transformers' LLaVA of Qwen2 and a SigLIP tower, all of whose tokens are features."""
    folder = folder_of("llava_siglip")
    text = Qwen2Config(vocab_size=336, num_key_value_heads=2, **TEXT_SIZES)
    config = LlavaConfig(vision_config=SiglipVisionConfig(**SIGLIP), text_config=text, image_token_index=332,
                         vision_feature_select_strategy="full", image_seq_length=SIGLIP_PATCHES)
    model = randomise(LlavaForConditionalGeneration(config), torch.bfloat16)
    tensors = {published_name(name): value for name, value in model.state_dict().items()}
    save(folder, "model.safetensors", tensors, torch.bfloat16)
    write_config(folder, config, dtype="bfloat16")
    processor = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    processor.save_pretrained(folder)
    outs = logits_of_hf(model, SHOWN, pixels, SIGLIP_PATCHES)
    keep("llava_siglip", SHOWN, [out.logits[0] for out in outs])
    tower = model.model.vision_tower
    expected["llava_siglip/features"] = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    shown = processor(Image.open(HERE / "image.jpg"), return_tensors="pt")["pixel_values"].double()
    expected["llava_siglip/answer"] = greedy_answer(model, shown, SIGLIP_PATCHES)


def make_image():
    """A picture of the tower's size, so that nothing but its decoding and normalising comes before it."""
    rows, columns = numpy.mgrid[0:SIDE, 0:SIDE]
    pixels = numpy.stack([rows * 15, columns * 15, (rows * columns) % 256], axis=-1).astype(numpy.uint8)
    Image.fromarray(pixels).save(HERE / "image.jpg", quality=95, subsampling=0)
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    values = processor(Image.open(HERE / "image.jpg"), return_tensors="pt")["pixel_values"]
    expected["pixels"] = values
    return values.double()


def main():
    torch.manual_seed(20)
    with torch.no_grad():
        pixels = make_image()
        language = make_llama()
        make_tied()
        tower = make_clip()
        make_linear(tower, pixels)
        make_projector(language, tower, pixels)
        make_hf(pixels)
        make_scaled()
        make_biased()
        make_qwen2()
        make_siglip(pixels)
    kept = {name: (value.float() if value.is_floating_point() else value.int()).contiguous()
            for name, value in expected.items()}
    save_file(kept, HERE / "expected.safetensors")


main()
