"""Backbones without time: DINOv2, DINOv3, EVA02, LLaVA and Qwen2.5-VL behind the interface of the diffusion ones."""

from __future__ import annotations

from edgebench.methods.trace.encoders.encoder import Encoder, Reads
from edgebench.methods.trace.encoders.loading import Layers, load_encoder

__all__ = ["Encoder", "Layers", "Reads", "load_encoder"]
