"""SAM and SAM 2 as what we need of them: from a crop and prompts to mask logits and predicted IoUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from edgebench.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class View(Protocol):
    """A crop that the image encoder has seen, once for all its points."""

    def score(self, points: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Points (N, 2) of x and y in pixels of the crop -> float32 logits (N, M, h, w), small, and IoUs (N, M)."""

    def prompt(self, points: NDArray[np.float64], boxes: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """As `score` for prompts of several points (N, P, 2) and a box (N, 4), which is left, top, right, bottom."""

    def enlarge(self, logits: Tensor) -> Tensor:
        """Small logits (K, h, w) -> logits (K, H, W) of the crop's own size."""


class Scorer(Protocol):
    """A promptable segmenter."""

    def __call__(self, crop: NDArray[np.uint8]) -> View:
        """Encode a crop, uint8 (H, W, 3)."""


class Sam2Scorer:
    """Sam2Model, prepared as in the authors' code: every crop is stretched to the square that the model takes.

    Args:
        model: transformers' Sam2Model in evaluation mode, on its device.
        precision: fp32, or fp16 or bf16 by autocast (released: fp16).
    """

    def __init__(self, model: Any, precision: str = "fp32") -> None:
        self.model, self.dtype = model, DTYPES[precision]
        self.side = _side(model.config.prompt_encoder_config.image_size)

    @torch.inference_mode()
    def __call__(self, crop: NDArray[np.uint8]) -> View:
        """Encode a crop, uint8 (H, W, 3)."""
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).to(self.model.device).permute(2, 0, 1)[None] / 255
        pixels = functional.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)
        with _autocast(self.model, self.dtype):
            embeddings = self.model.get_image_embeddings(_normalised(pixels))
        height, width = crop.shape[:2]
        return _Sam2View(self, embeddings, (height, width), (self.side, self.side))


class _View:
    """What both models do alike; `inner` is the size at which the model sees a crop of `size`, both (H, W)."""

    def __init__(
        self, scorer: Sam2Scorer | SamScorer, embeddings: Any, size: tuple[int, int], inner: tuple[int, int]
    ) -> None:
        self.scorer, self.embeddings, self.size, self.inner = scorer, embeddings, size, inner
        # Along x and y, as points are.
        self.scale = np.array((inner[1] / size[1], inner[0] / size[0]))

    def score(self, points: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        return _decode(self.scorer.model, self.embeddings, points[:, None] * self.scale, self.scorer.dtype)

    def prompt(self, points: NDArray[np.float64], boxes: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        scaled = points * self.scale, boxes * np.tile(self.scale, 2)
        return _decode(self.scorer.model, self.embeddings, scaled[0], self.scorer.dtype, scaled[1])


class _Sam2View(_View):
    @torch.inference_mode()
    def enlarge(self, logits: Tensor) -> Tensor:
        return functional.interpolate(logits[None], self.size, mode="bilinear", align_corners=False)[0]


class SamScorer:
    """SamModel, prepared as in the authors' code: a crop keeps its aspect, and is filled up at the right and bottom.

    Args:
        model: transformers' SamModel in evaluation mode, on its device.
        precision: fp32, or fp16 or bf16 by autocast.
    """

    def __init__(self, model: Any, precision: str = "fp32") -> None:
        self.model, self.dtype = model, DTYPES[precision]
        self.side = _side(model.config.vision_config.image_size)

    @torch.inference_mode()
    def __call__(self, crop: NDArray[np.uint8]) -> View:
        """Encode a crop, uint8 (H, W, 3)."""
        height, width = crop.shape[:2]
        scale = self.side / max(height, width)
        inner = int(height * scale + 0.5), int(width * scale + 0.5)
        small = np.array(Image.fromarray(crop).resize((inner[1], inner[0]), Image.Resampling.BILINEAR))
        pixels = _normalised(torch.from_numpy(small).to(self.model.device).permute(2, 0, 1)[None] / 255)
        pixels = functional.pad(pixels, (0, self.side - inner[1], 0, self.side - inner[0]))
        with _autocast(self.model, self.dtype):
            embeddings = self.model.get_image_embeddings(pixels)
        return _SamView(self, embeddings, (height, width), inner)


class _SamView(_View):
    @torch.inference_mode()
    def enlarge(self, logits: Tensor) -> Tensor:
        side = self.scorer.side
        square = functional.interpolate(logits[None], (side, side), mode="bilinear", align_corners=False)
        square = square[:, :, : self.inner[0], : self.inner[1]]
        return functional.interpolate(square, self.size, mode="bilinear", align_corners=False)[0]


@torch.inference_mode()
def _decode(
    model: Any,
    embeddings: Any,
    points: NDArray[np.float64],
    dtype: torch.dtype,
    boxes: NDArray[np.float64] | None = None,
) -> tuple[Tensor, Tensor]:
    """Three masks per prompt of foreground points (N, P, 2) and, where they are given, a box (N, 4)."""
    prompts = torch.from_numpy(points).float().to(model.device)[None]
    labels = torch.ones(prompts.shape[:3], dtype=torch.int32, device=model.device)
    given = {} if boxes is None else {"input_boxes": torch.from_numpy(boxes).float().to(model.device)[None]}
    with _autocast(model, dtype):
        out = model(
            image_embeddings=embeddings, input_points=prompts, input_labels=labels, multimask_output=True, **given
        )
    return out.pred_masks[0].float(), out.iou_scores[0].float()


def _autocast(model: Any, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32)


def _normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (MEAN, STD))
    return (pixels - mean) / std


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])


def load_scorer(kind: Literal["sam2", "sam"], folder: Path, device: str, precision: str) -> Scorer:
    """Load a segmenter from a folder in the form of transformers.

    Args:
        kind: Which of the two models.
        folder: Holds `config.json` and the weights as safetensors; nothing is downloaded, no pickle read.
        device: `cpu` or `cuda`.
        precision: fp32, fp16 or bf16.

    Raises:
        DataError: a file is missing or damaged, or the weights are not exactly those that the model has.
    """
    from transformers import Sam2Model, SamModel

    model_class: Any = Sam2Model if kind == "sam2" else SamModel
    try:
        model, found = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # transformers and safetensors raise whatever they stumble over
        raise DataError(
            f"{folder}: holds no readable {kind} model in the form of transformers (config.json and "
            f"model.safetensors): {str(error).splitlines()[0]} Fetch the checkpoint again."
        ) from error
    problems = {key: sorted(map(str, names)) for key, names in found.items() if names}
    if problems:
        parts = [f"{key.replace('_', ' ')}: {len(names)}, such as {names[0]}" for key, names in problems.items()]
        wrong = "; ".join(parts)
        raise DataError(f"{folder}: its weights are not those of {kind} ({wrong}). Choose another checkpoint.")
    model.eval().requires_grad_(False).to(device)
    return Sam2Scorer(model, precision) if kind == "sam2" else SamScorer(model, precision)
