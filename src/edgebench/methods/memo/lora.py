"""Low-rank adaptation of the MEMO network, as released: rank 8, alpha 8, in convolutions and attention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

ADAPTER = "unet_lora"
RANK = 8
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "qkv", "fc1", "fc2"]


def add_lora(network: nn.Module, rank: int = RANK) -> None:
    """Put adapters into `network` in place and freeze everything else, the output convolution included.

    Adapted are the two 3x3 convolutions of every ResNet block, the middle attention, and the fused
    query-key-value and MLP layers of DINOv2: 84 layers and 2,971,648 parameters (1.247 %) of the published
    network. The paper speaks of encoder and decoder only, but its 1.2 % counts DINOv2 too. Scale is
    alpha / rank = 1; the down-projection starts Gaussian and the up-projection zero, so the network starts
    unchanged.

    Args:
        network: A `MemoNetwork`.
        rank: Rank of the adapters; alpha follows it.
    """
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS)
    inject_adapter_in_model(config, network, adapter_name=ADAPTER)


def merge_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with adapters (scale 1) -> that of the plain network: W + B A, computed in float32.

    A state dict without adapters comes back as it is.
    """
    merged: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".lora_A." in name or ".lora_B." in name:
            continue
        layer, base, parameter = name.rpartition(".base_layer.")
        if not base:
            merged[name] = value
            continue
        if parameter == "weight":
            down = state[f"{layer}.lora_A.{ADAPTER}.weight"].float()
            up = state[f"{layer}.lora_B.{ADAPTER}.weight"].float()
            change = torch.einsum("or,r...->o...", up.flatten(1), down)
            value = (value.float() + change).to(value.dtype)
        merged[f"{layer}.{parameter}"] = value
    return merged
