"""One-step TRACE: a denoiser whose self-attention at no noise is read by the edge decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn import functional

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.methods.trace.backbone import Backbone
from edgebench.methods.trace.decoder import Decoder, DecoderConfig, Level, read_features
from edgebench.methods.trace.squares import in_range, square

ADAPTER = "trace"


@dataclass(frozen=True)
class Passes:
    """What the network says in training.

    Attributes:
        edges: float32 (B, H, W) in [0, 1], on the decoder's grid.
        clean: Answer to the clean latents at level 0.
        noisy: Answer to the noisy latents; None where none were given.
    """

    edges: Tensor
    clean: Tensor
    noisy: Tensor | None


class Student(nn.Module):
    """Denoiser and decoder as one module, which trains and is saved as such.

    Adapters go into queries, keys, values and output of the self-attention of every block, whichever blocks the
    decoder looks at; all else of the denoiser is frozen then. Their scale is 1, the up-projection starts as 0, so that
    the denoiser starts unchanged. Without adapters all of the denoiser trains.

    Args:
        backbone: The denoiser, changed in place; its code of pictures stays as it is.
        config: What the decoder sees.
        levels: Resolutions that it sees.
        lora_rank: Rank of the adapters; None trains the denoiser itself.
    """

    def __init__(
        self, backbone: Backbone, config: DecoderConfig, levels: Sequence[Level], lora_rank: int | None
    ) -> None:
        super().__init__()
        self.lora_rank = lora_rank
        self.checkpointed = False  # until `enable_gradient_checkpointing`
        self.levels = list(levels)
        self.config = config
        self._backbone = (backbone,)  # no module of this one: its parts are
        self.network = backbone.network
        self.network.requires_grad_(lora_rank is None)
        if lora_rank is not None:
            add_lora(backbone, lora_rank)
        self.decoder = Decoder(config, levels)

    @property
    def backbone(self) -> Backbone:
        """What the denoiser belongs to."""
        return self._backbone[0]

    def forward(self, latents: Tensor, noisy: Tensor | None = None, tau: int = 0) -> Passes:
        """Edges from clean latents (B, C, h, w), and the answer to noisy ones at level `tau` if they are given."""
        gradient = torch.is_grad_enabled()
        features, clean = read_features(self.backbone, latents, 0, self.config, self.levels, gradient)
        edges = self.decoder(features)
        return Passes(edges, clean, None if noisy is None else self.backbone.answer(noisy, tau))

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of the denoiser's blocks, and of the decoding of each picture, for the backward pass.

        Raises:
            ConfigError: the denoiser cannot.
        """
        for name in ("enable_gradient_checkpointing", "gradient_checkpointing_enable"):
            if hasattr(self.network, name):
                getattr(self.network, name)()
                self.checkpointed = True
                return
        raise ConfigError(
            f"training setting gradient_checkpointing: {type(self.network).__name__} has no such switch. Set it to "
            "false, and look at fewer blocks if memory is short."
        )


def add_lora(backbone: Backbone, rank: int) -> None:
    """Put adapters of this rank, alpha = rank, into the self-attention of every block, and freeze everything else."""
    targets = [f"{block.name}.{projection}" for block in backbone.blocks for projection in block.projections]
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=targets)
    inject_adapter_in_model(config, backbone.network, adapter_name=ADAPTER)
    for name, parameter in backbone.network.named_parameters():
        if is_lora(name):
            parameter.data = parameter.data.float()  # of a denoiser in bfloat16 too


def is_lora(name: str) -> bool:
    """Whether a tensor of this name belongs to an adapter."""
    return f".lora_A.{ADAPTER}." in name or f".lora_B.{ADAPTER}." in name


class EdgePredictor:
    """From pictures to edges in one pass; the result of one does not depend on those that share its batch."""

    def __init__(
        self,
        student: Student,
        device: torch.device | str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
        batch_size: int = 4,
    ) -> None:
        """Take over `student`, which is moved to `device` and made ready for prediction alone.

        Raises:
            ConfigError: the precision is unknown.
        """
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision {precision!r} is unknown; choose fp32 or bf16.")
        self.device = torch.device(device)
        self.student = student.to(self.device).eval()
        self.precision = precision
        self.batch_size = batch_size

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Probability of an edge, float32 (H, W) in [0, 1], of `images`, uint8 (H, W, 3) of any sizes.

        Pictures are resized to the backbone's square, whatever their aspect, and the edges back, bilinearly.

        Raises:
            EdgebenchError: the network's answer is not a number; `names` are for this message.
        """
        backbone, maps = self.student.backbone, []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            pictures = in_range(torch.stack([square(each, backbone.size) for each in batch]).to(self.device))
            latents = backbone.encode(pictures)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                edges = self.student(latents).edges
            for image, each, name in zip(batch, edges, names[start : start + self.batch_size], strict=True):
                if not each.isfinite().all():
                    raise EdgebenchError(
                        f"{name}: the network's answer is not a number. Use precision fp32, or check the weights."
                    )
                maps.append(at_size(each, *image.shape[:2]))
        return maps


def at_size(values: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """A map (h, w) in [0, 1] at a picture's size, bilinear; where it shrinks, with antialiasing."""
    resized = functional.interpolate(
        values[None, None].float(), (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0, 0].clamp(0, 1).cpu().numpy()
