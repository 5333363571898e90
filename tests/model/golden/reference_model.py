"""A tiny LLaVA of PyTorch, transformers and PEFT, in double, for golden files: CLIP tower, projector, LLaMA decoder
with two LoRA adapters whose B is not zero, a scalar head."""

import struct

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


class DoubleTorch:
    """torch, with double for float32: transformers computes norms, rotations and losses in single precision whatever
    the model's type, which would limit the golden values to six digits."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


modeling_llama.torch = DoubleTorch()
torch.Tensor.float = torch.Tensor.double

IMAGE = -200
ADAPTERS = ("policy", "value")
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOWER = "model.vision_tower.vision_tower.vision_model."
SIZES = dict(hidden=24, layers=2, heads=4, head_size=6, mlp=20, vocab=37, vision_hidden=16, vision_layers=3,
             vision_heads=2, vision_mlp=28, vision_patch=4, vision_image_size=8, vision_feature_layer=-2, lora_r=3,
             lora_alpha=5)


# The models of the golden files.
GROUPED = dict(kv_heads=2, tied=False, mlp_projector=True, seed=1)
TIED = dict(kv_heads=1, tied=True, mlp_projector=False, seed=2)
# Features that leave the tower before its first layer, and after the one whose number counts from the front.
EMBEDDINGS = dict(kv_heads=2, tied=True, mlp_projector=False, seed=3, vision_feature_layer=-4)
FRONT = dict(kv_heads=2, tied=True, mlp_projector=False, seed=4, vision_feature_layer=1)


def single(tensor):
    """The nearest single-precision numbers: what the file holds is exactly what is computed with."""
    return tensor.to(torch.float32).to(torch.float64)


class ReferenceModel:
    def __init__(self, kv_heads, tied, mlp_projector, seed, vision_feature_layer=SIZES["vision_feature_layer"]):
        torch.manual_seed(seed)
        s = SIZES
        self.sizes = dict(s, kv_heads=kv_heads, tied=int(tied), mlp_projector=int(mlp_projector),
                          vision_feature_layer=vision_feature_layer)
        self.tower = CLIPVisionModel(CLIPVisionConfig(
            hidden_size=s["vision_hidden"], intermediate_size=s["vision_mlp"], num_hidden_layers=s["vision_layers"],
            num_attention_heads=s["vision_heads"], image_size=s["vision_image_size"], patch_size=s["vision_patch"],
            hidden_act="quick_gelu", layer_norm_eps=1e-5, attn_implementation="sdpa"))
        layers = [nn.Linear(s["vision_hidden"], s["hidden"])]
        if mlp_projector:
            layers += [nn.GELU(), nn.Linear(s["hidden"], s["hidden"])]
        self.projector = nn.Sequential(*layers)
        decoder = LlamaForCausalLM(LlamaConfig(
            hidden_size=s["hidden"], intermediate_size=s["mlp"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], num_key_value_heads=kv_heads, head_dim=s["head_size"],
            vocab_size=s["vocab"], rms_norm_eps=1e-5, tie_word_embeddings=tied, max_position_embeddings=64,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attn_implementation="sdpa"))
        lora = LoraConfig(r=s["lora_r"], lora_alpha=s["lora_alpha"], lora_dropout=0.0, target_modules=TARGETS)
        self.decoder = get_peft_model(decoder, lora, adapter_name=ADAPTERS[0])
        self.decoder.add_adapter(ADAPTERS[1], lora)
        self.head = nn.Linear(s["hidden"], 1)
        self.named = self._name_parameters()
        self._randomise()
        self.pixels = single(torch.randn(2, 3, s["vision_image_size"], s["vision_image_size"]))
        self.use(ADAPTERS[0])

    def _name_parameters(self):
        """Parameters by the names that published weights have; adapters and head below names of their own."""
        named = {}
        used = range(self.sizes["vision_layers"] + 1)[self.sizes["vision_feature_layer"]]
        for name, parameter in self.tower.named_parameters():
            short = name.removeprefix("vision_model.")
            layer = int(short.split(".")[2]) if short.startswith("encoder.layers.") else -1
            if layer < used and not short.startswith("post_layernorm"):
                named[TOWER + short] = parameter
        for name, parameter in self.projector.named_parameters():
            plain = "model.mm_projector." + (name if self.sizes["mlp_projector"] else name.split(".")[1])
            named[plain] = parameter
        for name, parameter in self.decoder.named_parameters():
            short = name.removeprefix("base_model.model.").replace(".base_layer", "")
            for adapter in ADAPTERS:
                if f".{adapter}." in short:
                    short = f"{adapter}/" + short.replace(f".{adapter}.", ".")
            named[short] = parameter
        for name, parameter in self.head.named_parameters():
            named["head/" + name] = parameter
        return named

    def _randomise(self):
        """Weights large enough that attention, norms and activations all matter."""
        for name, parameter in self.named.items():
            noise = torch.randn(parameter.shape)
            if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                value = 1.0 + 0.2 * noise
            elif parameter.ndim == 1:
                value = 0.2 * noise
            elif "embed" in name:
                value = 0.4 * noise
            else:
                value = noise / parameter[0].numel() ** 0.5
            parameter.data = single(value)

    def use(self, adapter):
        """Chooses the adapter of the passes that follow. Everything has gradients."""
        self.decoder.set_adapter(adapter)
        for parameter in self.named.values():
            parameter.requires_grad_(True)

    def zero_grad(self):
        for parameter in self.named.values():
            parameter.grad = None

    def features(self):
        """(N, P, vision hidden) of the pixels: hidden states of the feature layer, without the class token."""
        states = self.tower(self.pixels, output_hidden_states=True).hidden_states
        return states[self.sizes["vision_feature_layer"]][:, 1:]

    def embed(self, tokens, image_tokens):
        """(T, hidden) of one sequence, its image places replaced by IMAGE_TOKENS (P, hidden)."""
        table = self.decoder.get_input_embeddings()
        parts = [image_tokens if t == IMAGE else table(torch.tensor([t])) for t in tokens]
        return torch.cat(parts)

    def hidden(self, embedded):
        """(T, hidden) after the final norm, of one sequence by itself: no padding, no mask."""
        return self.decoder(inputs_embeds=embedded[None], output_hidden_states=True).hidden_states[-1][0]

    def logits(self, hidden):
        return self.decoder.get_base_model().lm_head(hidden)

    def run(self, sequences):
        """Packed final hidden states (T, hidden) of SEQUENCES: (tokens, image or -1) each; also the features."""
        features = self.features()
        image_tokens = self.projector(features)
        states = [self.hidden(self.embed(tokens, image_tokens[image])) for tokens, image in sequences]
        return torch.cat(states), features

    def supervised_loss(self, sequences, learnt):
        """Supervised training as transformers does it: one padded batch with a mask, labels -100 where nothing is
        learnt, the mean over what is. LEARNT: per token of each sequence, whether it is."""
        image_tokens = self.projector(self.features())
        longest = max(self.length(tokens) for tokens, _ in sequences)
        embedded = torch.zeros(len(sequences), longest, self.sizes["hidden"])
        mask = torch.zeros(len(sequences), longest, dtype=torch.long)
        labels = torch.full((len(sequences), longest), -100)
        for i, ((tokens, image), wanted) in enumerate(zip(sequences, learnt)):
            length = self.length(tokens)
            embedded[i, :length] = self.embed(tokens, image_tokens[image])
            mask[i, :length] = 1
            place = 0
            for token, target in zip(tokens, wanted):
                if target:
                    labels[i, place] = token
                place += self.length([token])
        return self.decoder(inputs_embeds=embedded, attention_mask=mask, labels=labels).loss

    def length(self, tokens):
        patches = (self.sizes["vision_image_size"] // self.sizes["vision_patch"]) ** 2
        return sum(patches if t == IMAGE else 1 for t in tokens)


class Writer:
    """Arrays by name in one file: lines `name size size ...`, an empty line, then single-precision numbers, little
    endian, row-major, in the order of the lines."""

    def __init__(self):
        self.lines, self.data = [], []

    def add(self, name, array):
        tensor = torch.as_tensor(array).detach().to(torch.float32)
        self.lines.append(" ".join([name, *map(str, tensor.shape)]))
        self.data += tensor.reshape(-1).tolist()

    def add_sequences(self, prefix, sequences):
        self.add(prefix + "tokens", [t for tokens, _ in sequences for t in tokens])
        self.add(prefix + "lengths", [len(tokens) for tokens, _ in sequences])
        self.add(prefix + "images", [image for _, image in sequences])

    def write(self, path):
        with open(path, "wb") as file:
            file.write(("\n".join(self.lines) + "\n\n").encode())
            file.write(struct.pack(f"<{len(self.data)}f", *self.data))
