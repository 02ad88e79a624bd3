"""Diffusion backbones with random weights, for tests and benchmarks: nothing is fetched."""

from __future__ import annotations

from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from torch import Tensor, nn

from edgebench.methods.codec import VaeCodec
from edgebench.methods.trace.backbone import Ddpm, Flow, Schedule
from edgebench.methods.trace.diffusion import DiffusionBackbone, FamilyName, family_named

Scale = Literal["tiny", "full"]

# Configurations of the published models, and small ones of the same kind: what differs from diffusers' defaults.
NETWORKS: dict[Scale, dict[str, dict[str, Any]]] = {
    "full": {
        "sd15": {
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        "sdxl": {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "pixart_alpha": {"sample_size": 128, "caption_channels": 4096},
        "sd35": {
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "pos_embed_max_size": 192,
            "qk_norm": "rms_norm",
        },
        "flux1": {"guidance_embeds": True},
    },
    "tiny": {
        "sd15": {
            "sample_size": 16,
            "block_out_channels": (8, 16),
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 12,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        },
        "sdxl": {
            "sample_size": 32,
            "block_out_channels": (8, 8, 16),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "layers_per_block": 1,
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 2, 4),
            "cross_attention_dim": 12,
            "norm_num_groups": 4,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 10,
        },
        "pixart_alpha": {
            "sample_size": 32,
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "cross_attention_dim": 24,
            "num_layers": 2,
            "caption_channels": 12,
            "use_additional_conditions": True,
        },
        "sd35": {
            "sample_size": 32,
            "num_layers": 3,
            "num_attention_heads": 3,
            "attention_head_dim": 8,
            "caption_projection_dim": 24,
            "joint_attention_dim": 12,
            "pooled_projection_dim": 10,
            "pos_embed_max_size": 24,
            "qk_norm": "rms_norm",
        },
        "flux1": {
            "num_layers": 2,
            "num_single_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "joint_attention_dim": 12,
            "pooled_projection_dim": 10,
            "axes_dims_rope": (4, 6, 6),
            "guidance_embeds": True,
        },
    },
}
TEXT_TOKENS = {"sd15": 77, "sdxl": 77, "pixart_alpha": 120, "sd35": 333, "flux1": 512}
_LATENTS: dict[str, dict[str, Any]] = {
    "sd15": {"latent_channels": 4, "scaling_factor": 0.18215},
    "sdxl": {"latent_channels": 4, "scaling_factor": 0.13025},
    "pixart_alpha": {"latent_channels": 4, "scaling_factor": 0.18215},
    "sd35": {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609},
    "flux1": {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159},
}


def random_backbone(
    family: FamilyName,
    scale: Scale = "tiny",
    size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DiffusionBackbone:
    """A backbone of a family with random weights.

    Args:
        family: Which of the five.
        scale: `full` has the published sizes, of network and autoencoder; `tiny` a few thousand weights, and its
            autoencoder halves sides once.
        size: Side of the square of pixels; None takes the network's own, 512 or 1024 (tiny: 32 or 64).
        seed: Of all weights.
        device: Where they are made, at once, so that a full network needs no room elsewhere.
        dtype: Of the denoiser; the autoencoder is float32.
    """
    kind = family_named(family)
    config = NETWORKS[scale][family]
    source = torch.Generator(device).manual_seed(seed)
    network = _filled(lambda: kind.network.from_config(config), source, dtype)
    layers = 4 if scale == "full" else 2
    vae = _filled(
        lambda: AutoencoderKL(
            block_out_channels=(128, 256, 512, 512) if scale == "full" else (4, 8),
            down_block_types=("DownEncoderBlock2D",) * layers,
            up_block_types=("UpDecoderBlock2D",) * layers,
            layers_per_block=2 if scale == "full" else 1,
            norm_num_groups=32 if scale == "full" else 4,
            **_LATENTS[family],
        ),
        source,
        torch.float32,
    )
    schedule: Schedule = Ddpm.linear() if family == "pixart_alpha" else Ddpm.scaled_linear()
    text = {name: tensor.to(dtype) for name, tensor in _text(family, network, scale, source).items()}
    codec = VaeCodec(vae, colour=True)
    size = size or network.config.get("sample_size", 128 if scale == "full" else 32) * codec.factor
    return DiffusionBackbone(
        kind, network, codec, text, Flow() if kind.flow else schedule, size, {"weights": f"random, {scale}"}
    )


def _text(family: str, network: Any, scale: Scale, source: torch.Generator) -> dict[str, Tensor]:
    config, tokens = network.config, TEXT_TOKENS[family] if scale == "full" else 5
    names = ("joint_attention_dim", "caption_channels", "cross_attention_dim")
    width = next(config[name] for name in names if config.get(name))
    text = {"hidden": torch.randn(1, tokens, width, generator=source, device=source.device)}
    if family == "pixart_alpha":
        text["mask"] = (torch.arange(tokens, device=source.device) < 1)[None].long()
    pooled = config.get("pooled_projection_dim")
    if family == "sdxl":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    if pooled:
        text["pooled"] = torch.randn(1, pooled, generator=source, device=source.device)
    return text


@torch.no_grad()
def _filled(make: Any, source: torch.Generator, dtype: torch.dtype) -> Any:
    """A module made without memory, then filled where the generator lies: spreads that keep activations finite."""
    with init_empty_weights(include_buffers=False):  # tables of positions are computed, not filled
        module: nn.Module = make()
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            made = torch.empty(parameter.shape, dtype=dtype, device=source.device)
            if made.ndim > 1:
                made.normal_(0, (parameter[0].numel()) ** -0.5, generator=source)
            else:
                made.fill_(float(name == "weight"))  # of a normalisation; biases are 0
            part._parameters[name] = nn.Parameter(made, requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(source.device, dtype)
    return module.eval()
