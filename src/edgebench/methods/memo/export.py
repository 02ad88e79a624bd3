"""MEMO as ONNX graphs, for programs without PyTorch: one for the image's features, one for a pass of the network.

The reveal loop stays with the program that uses them: start with all tokens 2, ask `denoiser` for logits, reveal,
and so on. Guidance is a second call with a black image and the features of a black image.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.files import atomic_path, write_json
from edgebench.methods.memo.dino import PATCH
from edgebench.methods.memo.inference import without_adapters
from edgebench.methods.memo.network import MASK, MemoNetwork

OPSET = 17
TOLERANCE = 1e-3
FEATURES, DENOISER, DESCRIPTION = "features.onnx", "denoiser.onnx", "export.json"
_BATCH = {0: "batch"}
_IMAGE = {**_BATCH, 2: "height", 3: "width"}
_AXES = {
    "image": _IMAGE,
    "tokens": {**_BATCH, 1: "height", 2: "width"},
    "ratio": _BATCH,
    "features": _BATCH,
    "logits": _IMAGE,
}


class _Features(nn.Module):
    def __init__(self, network: MemoNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        features = self.network.encode(image)
        assert features is not None
        return features


class _Denoiser(nn.Module):
    def __init__(self, network: MemoNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, ratio: Tensor, image: Tensor, features: Tensor | None = None) -> Tensor:
        return self.network(tokens, ratio, image, features)


def export_onnx(network: MemoNetwork, folder: Path) -> dict[str, Any]:
    """Write `features.onnx` and `denoiser.onnx`, opset 17, and `export.json`, which describes them.

    - features: image float32 (B, 3, H, W) in [0, 1] -> features (B, C, h, w); not for networks without DINOv2.
    - denoiser: tokens int64 (B, H, W), ratio float32 (B,), image and features -> logits (B, 2, H, W).

    Batch, height and width are free; height and width must be multiples of the network's divisor. The position
    embeddings are written as the constants that they are at DINOv2's fixed size, antialiased or not as trained.

    Returns:
        What export.json says, with `difference`: the largest between the graphs' answers and PyTorch's at another
        size, or None where onnxruntime is not installed.

    Raises:
        ConfigError: DINOv2 sees every image at its own size, which these graphs cannot.
        EdgebenchError: the package onnx is missing, or the graphs do not answer as PyTorch does.
    """
    if importlib.util.find_spec("onnx") is None:
        raise EdgebenchError('ONNX export needs the package onnx. Type `pip install ".[onnx]"`.')
    network = without_adapters(network).cpu().eval()
    if network.dino is not None and network.dino.size == "adaptive":
        raise ConfigError("ONNX export needs a network with a fixed DINO size; this one has dino size 'adaptive'.")
    inputs = _example(network, 2, 8)
    graphs: dict[str, tuple[nn.Module, dict[str, Tensor]]] = {DENOISER: (_Denoiser(network), inputs)}
    if network.dino is not None:
        graphs[FEATURES] = (_Features(network), {"image": inputs["image"]})
    for file, (module, arguments) in graphs.items():
        output = "features" if file == FEATURES else "logits"
        names = [*arguments, output]
        with atomic_path(folder / file) as path, torch.no_grad(), _constant_positions(network), _quiet():
            # The newer exporter (dynamo) gives the same answers, takes ten times as long and needs onnxscript.
            torch.onnx.export(
                module,
                tuple(arguments.values()),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(arguments),
                output_names=[output],
                dynamic_axes={name: _AXES[name] for name in names},
            )
    description = {
        "method": "memo",
        "config": network.config.to_dict(),
        "opset": OPSET,
        "graphs": sorted(graphs),
        "multiple": network.divisor,
        "mask_token": MASK,
        "difference": _difference(network, folder),
    }
    write_json(folder / DESCRIPTION, description)
    return description


def _example(network: MemoNetwork, batch: int, blocks: int) -> dict[str, Tensor]:
    """Inputs of the denoiser: `blocks` times the divisor high, and higher than wide."""
    generator = torch.Generator().manual_seed(blocks)
    height, width = blocks * network.divisor, (blocks - 2) * network.divisor
    image = torch.rand(batch, 3, height, width, generator=generator)
    inputs = {
        "tokens": torch.randint(0, MASK + 1, (batch, height, width), generator=generator),
        "ratio": torch.rand(batch, generator=generator),
        "image": image,
    }
    with torch.no_grad():
        features = network.encode(image)
    return inputs if features is None else {**inputs, "features": features}


def _difference(network: MemoNetwork, folder: Path) -> float | None:
    """The largest difference between graphs and network at a size and batch that were not exported."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    from onnxruntime import InferenceSession

    def answer(file: str, inputs: dict[str, Tensor]) -> Tensor:
        session = InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])

    inputs = _example(network, 3, 12)
    with torch.no_grad():
        differences = [(answer(DENOISER, inputs) - network(**inputs)).abs().max()]
    if "features" in inputs:
        differences.append((answer(FEATURES, {"image": inputs["image"]}) - inputs["features"]).abs().max())
    largest = float(torch.stack(differences).max())
    if not largest <= TOLERANCE:
        raise EdgebenchError(
            f"{folder}: the exported graphs differ from PyTorch by {largest:.1e}, more than {TOLERANCE}. Do not use "
            f"them; try other versions of torch and onnxruntime."
        )
    return largest


@contextmanager
def _constant_positions(network: MemoNetwork) -> Iterator[None]:
    """DINOv2's position embeddings at its fixed size as a constant: ONNX has no antialiased bicubic resampling."""
    if network.dino is None:
        yield
        return
    embeddings: Any = network.dino.model.embeddings
    size = network.dino.input_size(0, 0)
    with torch.no_grad():
        # Of the image's tokens the resampling reads the shape only.
        tokens = torch.zeros(1, 1 + (size[0] // PATCH) * (size[1] // PATCH), embeddings.position_embeddings.shape[-1])
        positions = embeddings.interpolate_pos_encoding(tokens, *size).clone()
    embeddings.interpolate_pos_encoding = lambda *_: positions
    try:
        yield
    finally:
        del embeddings.interpolate_pos_encoding


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own age and on Python values in the traced code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
