"""What the page of `edgebench app` lets people choose, and how it calls what it shows; no Gradio is needed for it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EDGE_TITLES = ("Probability (bright = edge)", "Edges", "Reveal")
MASK_TITLES = ("Mask (bright = object)", "Cut-out", "Outline")


def arguments(method: str) -> list[str]:
    """Names of what a method can be told."""
    from edgebench.stages.photos import METHODS

    return list(inspect.signature(METHODS[method]).parameters)


@dataclass(frozen=True)
class Control:
    """A choice on the page.

    Attributes:
        argument: What it chooses, by the name that methods give it.
        component: Gradio's class for it.
        settings: Arguments of that class.
        method: The method that it is for; None for all that have the argument.
    """

    argument: str
    component: str
    settings: dict[str, Any]
    method: str | None = None

    def serves(self, method: str) -> bool:
        """Whether it means something for a method."""
        return self.method in (None, method) and self.argument in arguments(method)


def all_controls(weights: dict[str, dict[str, Path]]) -> list[Control]:
    """Every choice of every method, in the order of the page.

    Args:
        weights: Weight files by method and label, the newest first.
    """
    return [
        _weights("memo", weights.get("memo", {})),
        _weights("diffdis", weights.get("diffdis", {})),
        _weights("trace", weights.get("trace", {}) | weights.get("trace_backbone", {})),
        _dropdown(
            "steps",
            ["5", "10", "20", "50", "adaptive", "full"],
            "10",
            "Steps",
            "Rounds of the network; the time grows with them.",
            "memo",
        ),
        _slider("guidance", 1, 3, 1.4, 0.1, "Guidance", "Higher draws more edges; above 1 a round costs double."),
        _dropdown("reveal", ["locmax", "topk", "random"], "locmax", "Reveal"),
        _slider(
            "long_side",
            0,
            1024,
            320,
            32,
            "Long side",
            "Larger photographs are made smaller first, which is much faster; 0 leaves them as they are.",
        ),
        _dropdown(
            "tile",
            [("no tiles", 0), ("512", 512), ("768", 768), ("1024", 1024)],
            0,
            "Tiles",
            "Photographs longer than this are cut into pieces: all the detail (with long side 0) in little memory, "
            "but the network no longer sees the whole.",
        ),
        _slider(
            "size",
            0,
            2048,
            0,
            64,
            "Size",
            "Side of the square at which the network works: a larger one finds thinner parts and takes longer; 0 is "
            "what it was trained at.",
        ),
        _dropdown(
            "resize",
            [("squeezed into the square, as in training", "square"), ("with its aspect", "aspect")],
            "square",
            "The photograph is seen",
        ),
        _slider(
            "steps", 1, 10, 1, 1, "Steps", "From noise to mask; the published network was trained for 1.", "diffdis"
        ),
        _dropdown(
            "tta",
            [("one", "none"), ("two: mirrored too", "flip"), ("six, as the authors' program", "official")],
            "none",
            "Runs that are averaged",
        ),
        _checkbox("matte", False, "Soft cut-out", "Alpha is the mask's grey values, not its half."),
        _checkbox("edges", False, "Outline too"),
        _checkbox("tiled", False, "Decode in tiles", "Less memory for the published network."),
        _dropdown("device", ["auto", "cpu", "cuda"], "auto", "Device"),
        _checkbox("frames", True, "Animation of the reveal"),
        _slider("sigma", 0.5, 5, 1, 0.1, "Smoothing (pixels)"),
        _slider("low", 0, 0.5, 0.1, 0.01, "Low threshold"),
        _slider("high", 0, 0.5, 0.2, 0.01, "High threshold"),
        _slider("threshold", 0, 0.7, 0.1, 0.01, "Threshold"),
    ]


def chosen_values(method: str, controls: Sequence[Control], values: Sequence[Any]) -> dict[str, Any]:
    """What was chosen for a method, by argument; `values` are those of all controls."""
    return {each.argument: value for each, value in zip(controls, values, strict=True) if each.serves(method)}


def titles_of(method: str) -> tuple[tuple[str, str, str], tuple[bool, bool]]:
    """What the pictures of a method are called; whether there may be a third, and whether something is cut out."""
    from edgebench.stages.photos import MASK_METHODS

    names, masks = arguments(method), method in MASK_METHODS
    return MASK_TITLES if masks else EDGE_TITLES, ("frames" in names or "edges" in names, masks)


def _weights(method: str, files: dict[str, Path]) -> Control:
    choices = [(label, str(path)) for label, path in files.items()]
    info = "Found below results/." if choices else "None found: `make demo` trains some."
    return _dropdown("weights", choices, choices[0][1] if choices else None, "Weights", info, method)


def _dropdown(
    argument: str, choices: list[Any], value: Any, label: str, info: str | None = None, method: str | None = None
) -> Control:
    settings = {"choices": choices, "value": value, "label": label, "info": info}
    return Control(argument, "Dropdown", settings, method)


def _slider(
    argument: str,
    low: float,
    high: float,
    value: float,
    step: float,
    label: str,
    info: str | None = None,
    method: str | None = None,
) -> Control:
    settings = {"minimum": low, "maximum": high, "value": value, "step": step, "label": label, "info": info}
    return Control(argument, "Slider", settings, method)


def _checkbox(argument: str, value: bool, label: str, info: str | None = None) -> Control:
    return Control(argument, "Checkbox", {"value": value, "label": label, "info": info})
