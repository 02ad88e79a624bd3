"""Patch features of images: the keys of DINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import ViTConfig, ViTModel

from edgebench.errors import ConfigError, DataError
from edgebench.methods.unsupervised.finish import squared

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class DinoKeys:
    """Keys of the last attention of DINO (Caron et al., ICCV 2021), all heads side by side, without the class token.

    They are taken by a hook on the projection, so that attention itself may be of any kind. Positions are resampled
    where the image has another size than in training.
    """

    def __init__(
        self, model: ViTModel, size: int = 480, device: str = "cpu", precision: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        """Take over a model.

        Args:
            model: Vision transformer.
            size: Side of the square that images are resized to, pixels: a multiple of the patches' side.
            device: Where to compute.
            precision: Of the network; features are float32 in either case.

        Raises:
            ConfigError: the size is no multiple.
        """
        patch: Any = model.config.patch_size
        self.patch = int(patch)
        if size % self.patch:
            raise ConfigError(f"size {size} is not a multiple of {self.patch}, the side of this network's patches.")
        self.size, self.device, self.precision = size, torch.device(device), precision
        kept: Any = model
        self.model = kept.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Sequence[NDArray[np.uint8]], /) -> list[NDArray[np.float32]]:
        """Features of images, as in `statistics.Features`; float32 (size / patch, size / patch, d)."""
        mean, std = (torch.tensor(each, device=self.device).view(1, 3, 1, 1) for each in (MEAN, STD))
        pixels = torch.from_numpy(np.stack([squared(image, self.size) for image in images])).to(self.device)
        found: list[Tensor] = []
        hook = self.model.layers[-1].attention.k_proj.register_forward_hook(
            lambda module, inputs, output: found.append(output)
        )
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                self.model((pixels.permute(0, 3, 1, 2) / 255 - mean) / std, interpolate_pos_encoding=True)
        finally:
            hook.remove()
        side = self.size // self.patch
        return list(found[0][:, 1:].float().unflatten(1, (side, side)).cpu().numpy())


def load_dino(folder: str | Path) -> ViTModel:
    """The DINO that its authors published, from a folder of transformers.

    Args:
        folder: `config.json` and `model.safetensors`, or `pytorch_model.bin` where the owners publish no other; that
            one is read without running anything in it.

    Raises:
        DataError: the folder holds no such weights.
    """
    folder = Path(folder)
    again = "Fetch it again: `edgebench fetch dino_vitb8`, for example."
    try:
        if not (folder / "config.json").is_file():
            raise OSError("there is no config.json")
        config = ViTConfig.from_pretrained(str(folder), local_files_only=True)
        if config.model_type != "vit":
            raise ValueError(f"config.json describes a model of type {config.model_type!r}")
        kind: Any = ViTModel
        model, report = kind.from_pretrained(
            str(folder),
            config=config,
            use_safetensors=(folder / "model.safetensors").is_file(),
            weights_only=True,
            add_pooling_layer=False,  # published ones have weights for it that nobody trained
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: holds no DINO weights ({reason}). {again}") from error
    if report["missing_keys"]:
        raise DataError(f"{folder}: weights of another model: {min(report['missing_keys'])} is missing. {again}")
    return model
