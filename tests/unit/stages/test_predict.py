"""The predict stage with MEMO: batches, the kept reveals, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgebench.files import write_json
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.predictor import Predictor
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.plan.methods.memo import MemoPredict
from edgebench.stages.predict import predict
from edgebench.stages.spec import RunSpec

torch.set_num_threads(1)
SIZES = {"a": (40, 60), "b": (64, 33), "c": (64, 64), "d": (33, 50), "e": (70, 30)}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, size in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    torch.manual_seed(0)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    (tmp_path / "train").mkdir()
    save_file(
        network.state_dict(), tmp_path / "train" / "weights.safetensors", metadata=weight_metadata(network.config)
    )
    for folder in ("photos", "train"):
        write_json(tmp_path / folder / "run.json", {})
    return tmp_path


def spec(inputs: Path, folder: str, **settings: Any) -> RunSpec:
    chosen = MemoPredict(
        stage="predict", method="memo", dataset="photos", weights="train", device="cpu", **{"steps": 3, **settings}
    )
    return RunSpec(
        {
            "folder": str(inputs / folder),
            "label": folder,
            "seed": 0,
            "settings": chosen.model_dump(mode="json"),
            "inputs": {"dataset": str(inputs / "photos"), "weights": str(inputs / "train")},
            "dataset": {"layout": "folder"},
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for kind in ("maps", "frames")
        for path in sorted((folder / kind).rglob("*.*"))
    }


def test_images_of_one_padded_size_share_a_batch(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[str]] = []
    ours = Predictor.predict

    def recorded(self: Predictor, images: Any, names: Any, on_frame: Any = None) -> Any:
        batches.append(list(names))
        return ours(self, images, names, on_frame)

    monkeypatch.setattr(Predictor, "predict", recorded)
    predict(spec(inputs, "out", batch=3))
    assert batches == [["a", "b", "c"], ["d"], ["e"]]
    batches.clear()
    predict(spec(inputs, "small", batch=3, long_side=32))
    assert batches == [["a", "b", "c"], ["d", "e"]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reveal": "random"},
        {"compat": "official"},
        {"compat": "official", "reveal": "random"},
    ],
)
def test_an_interrupted_run_ends_with_the_same_files(
    inputs: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgebench.methods.memo.reveal.CAP_SHARE", 0.05)  # or noise would never reach it
    record = predict(spec(inputs, "whole", batch=2, frames=2, **options))
    whole = files(inputs / "whole")
    assert record["n_images"] == 5
    assert list(whole) == [*(f"maps/{name}.png" for name in SIZES), "frames/a.npz", "frames/b.npz"]
    predict(spec(inputs, "cut", batch=2, frames=2, **options))
    for gone in ("maps/b.png", "maps/e.png", "frames/b.npz"):
        (inputs / "cut" / gone).unlink()
    predict(spec(inputs, "cut", batch=2, frames=2, **options))
    assert files(inputs / "cut") == whole


@pytest.mark.parametrize(("steps", "kind"), [(3, np.uint8), (257, np.uint16)])
def test_a_kept_reveal_leads_to_the_map(inputs: Path, steps: int, kind: type) -> None:
    predict(spec(inputs, "out", limit=1, frames=1, guidance=1, steps=steps, reveal="topk"))
    with np.load(inputs / "out" / "frames" / "a.npz") as kept:
        order, probability = kept["order"], kept["probability"]
    assert order.shape == probability.shape == SIZES["a"]
    assert order.dtype == kind
    assert probability.dtype == np.uint8
    np.testing.assert_array_equal(probability, np.asarray(Image.open(inputs / "out" / "maps" / "a.png")))
    assert order.min() == 0
    assert order.max() == steps - 1


def test_every_option_reaches_the_predictor(inputs: Path) -> None:
    plain = predict_map(inputs, "plain")
    changes: list[dict[str, Any]] = [
        {"guidance": 1.0},
        {"confidence_threshold": 0.6},
        {"reveal": "topk", "schedule": "exponential"},
        {"long_side": 32},
        {"scales": [1, 0.5]},
        {"steps": "adaptive"},
    ]
    for number, options in enumerate(changes):
        assert not np.array_equal(predict_map(inputs, f"other{number}", **options), plain), options
    np.testing.assert_array_equal(predict_map(inputs, "tiled", tile=96), plain)


def predict_map(inputs: Path, folder: str, **options: Any) -> np.ndarray:
    predict(spec(inputs, folder, limit=1, **options))
    return np.asarray(Image.open(inputs / folder / "maps" / "a.png"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 100}, "multiple of 32"),
        ({"tile": 64}, "greater than 64"),
        ({"tile": 96, "scales": [1, 2]}, "tile and scales"),
        ({"scales": []}, "at least 1"),
        ({"steps": "some"}, "adaptive"),
        ({"confidence_threshold": 1}, "less than 1"),
        ({"guidance": float("inf")}, "finite"),
        ({"guidance": float("nan")}, "finite"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(inputs: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(inputs, "out", **options)
