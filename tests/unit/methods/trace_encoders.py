"""Small random encoders of every kind that TRACE reads, in memory and as folders of the hub."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from edgebench.errors import EdgebenchError
from edgebench.methods.trace.encoders.dino import dino_encoder
from edgebench.methods.trace.encoders.encoder import CLIP, Encoder
from edgebench.methods.trace.encoders.eva import eva_encoder, import_timm
from edgebench.methods.trace.encoders.llava import language_encoder, tower_encoder
from edgebench.methods.trace.encoders.qwen import qwen_encoder

KINDS = ("dinov2", "dinov2_registers", "dinov3", "llava", "llava_language", "qwen", "eva", "eva_rotary")
ARCHITECTURE = "eva02_enormous_patch14_clip_224"
BEFORE = [1, 5]
IMAGE_TOKEN = 7


def need(kind: str) -> None:
    """Skip the test where `kind` needs an extra that is not installed."""
    if kind.startswith("eva"):
        try:
            import_timm()
        except EdgebenchError as error:
            pytest.skip(str(error))


def random_network(kind: str, seed: int = 0) -> nn.Module:
    """A network with random weights, biases included, and attention that is far from even."""
    need(kind)
    torch.manual_seed(seed)
    network = _FAMILIES[kind]()
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim == 1 and "norm" not in name and "lambda" not in name and "ln_q" not in name:
                value.copy_(0.3 * torch.randn(value.shape, generator=source))
            elif any(part in name for part in ("q_proj", "k_proj", "qkv")):
                value.copy_(torch.randn(value.shape, generator=source) / value.shape[1] ** 0.5)
    return network.eval()


def encoder_of(network: nn.Module, kind: str, size: int | None = None, **options: Any) -> Encoder:
    """The encoder of such a network."""
    model: Any = network
    if kind == "llava":
        return tower_encoder(model.model.vision_tower, model.config.vision_feature_layer, size=size, **options)
    if kind == "llava_language":
        return language_encoder(model.model, BEFORE, size=size, **options)
    if kind == "qwen":
        return qwen_encoder(model.model.visual, size=size, **options)
    build: Any = eva_encoder if kind.startswith("eva") else dino_encoder
    return build(model, size=size, **options)


def random_encoder(kind: str, seed: int = 0, **options: Any) -> Encoder:
    """A random encoder; sides of pictures are multiples of 4 pixels, of 8 for `qwen`, and 24 for `llava_language`."""
    size = None if kind == "llava_language" else 24
    return encoder_of(random_network(kind, seed), kind, size, **options)


def pictures(size: int | tuple[int, int], batch: int = 1, seed: int = 0) -> Tensor:
    """Random RGB (B, 3, H, W) in [-1, 1]."""
    sides = (size, size) if isinstance(size, int) else size
    return torch.rand(batch, 3, *sides, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def save(network: nn.Module, kind: str, folder: Path) -> Path:
    """Write a network as its owners publish it, with a tokenizer where one is needed."""
    model: Any = network
    if kind.startswith("eva"):
        save_file(model.state_dict(), folder / "model.safetensors")
        config: dict[str, Any] = {"architecture": ARCHITECTURE, "num_classes": 6, "model_args": _eva_sizes(kind)}
        config["pretrained_cfg"] = {"input_size": [3, 24, 24], "mean": CLIP.mean, "std": CLIP.deviation}
        config["pretrained_cfg"] |= {"num_classes": 6, "classifier": "head", "first_conv": "patch_embed.proj"}
        (folder / "config.json").write_text(json.dumps(config))
        return folder
    model.save_pretrained(folder, max_shard_size="50KB" if kind in ("llava", "qwen", "llava_language") else "5GB")
    if kind == "llava_language":
        words = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "USER:": 5}, unk_token="<unk>"))
        words.pre_tokenizer = WhitespaceSplit()
        words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        words.save(str(folder / "tokenizer.json"))
    return folder


def _dinov2(**more: Any) -> nn.Module:
    family: Any = Dinov2WithRegistersModel if more else Dinov2Model
    config: Any = Dinov2WithRegistersConfig if more else Dinov2Config
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 16, "patch_size": 4}
    return family(config(**sizes, **more))


def _dinov3() -> nn.Module:
    sizes: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 4}
    return DINOv3ViTModel(DINOv3ViTConfig(**sizes, intermediate_size=32, num_register_tokens=4, image_size=16))


def _llava() -> nn.Module:
    sizes: dict[str, Any] = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3}
    vision = CLIPVisionConfig(**sizes, num_attention_heads=3, image_size=24, patch_size=4, projection_dim=8)
    text = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, vocab_size=10, head_dim=6)
    return LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN, image_seq_length=36)
    )


def _qwen() -> nn.Module:
    vision: dict[str, Any] = {"depth": 3, "hidden_size": 24, "num_heads": 3, "intermediate_size": 32, "patch_size": 4}
    vision |= {"window_size": 16, "fullatt_block_indexes": [1], "out_hidden_size": 16}
    text: dict[str, Any] = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(vision_config=vision, text_config=text))


def _eva_sizes(kind: str) -> dict[str, Any]:
    sizes: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2, "patch_size": 4}
    if kind == "eva_rotary":
        sizes |= {"use_rot_pos_emb": True, "qkv_fused": False, "ref_feat_shape": (6, 6), "use_post_norm": False}
    return sizes | {"img_size": 24}


def _eva(kind: str) -> nn.Module:
    timm: Any = importlib.import_module("timm")
    return timm.create_model(ARCHITECTURE, num_classes=6, dynamic_img_size=True, **_eva_sizes(kind))


_FAMILIES: dict[str, Any] = {
    "dinov2": _dinov2,
    "dinov2_registers": lambda: _dinov2(num_register_tokens=4),
    "dinov3": _dinov3,
    "llava": _llava,
    "llava_language": _llava,
    "qwen": _qwen,
    "eva": lambda: _eva("eva"),
    "eva_rotary": lambda: _eva("eva_rotary"),
}
