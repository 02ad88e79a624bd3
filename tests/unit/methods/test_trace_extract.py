"""TRACE's first stage on small random models of all families, and its files."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace import extract as module
from edgebench.methods.trace.backbone import Schedule
from edgebench.methods.trace.capture import attention_map
from edgebench.methods.trace.diffusion import DiffusionBackbone, FamilyName
from edgebench.methods.trace.diffusion_random import random_backbone
from edgebench.methods.trace.divergence import boundary_divergence
from edgebench.methods.trace.extract import (
    TAUS,
    ExtractSettings,
    attention_at,
    edge_map,
    extract,
    noise_for,
    trajectory,
)
from edgebench.methods.trace.label_files import read_labels, write_labels
from edgebench.methods.trace.labels import pseudo_labels
from edgebench.methods.trace.squares import in_range, square
from tests.unit.methods import trace_plain as plain

torch.set_num_threads(1)
FEW = (0, 99, 499, 999)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 3) < height / 3
    return np.where(inside[..., None], (200, 80, 40), (30, 60, 90)).astype(np.uint8)


@pytest.fixture(scope="module")
def pixart() -> DiffusionBackbone:
    return random_backbone("pixart_alpha")


@pytest.mark.parametrize("family", get_args(FamilyName))
def test_the_whole_stage_beside_plain_loops(family: FamilyName) -> None:
    backbone = random_backbone(family)
    settings = ExtractSettings(taus=FEW, guard_below=0.9)
    found = extract(backbone, picture(), "a", 3, settings)
    clean = backbone.encode(in_range(square(picture(), backbone.size))[None])
    eps = noise_for("a", 3, clean.shape[1:])
    maps = []
    for tau in FEW:
        if family in ("sd35", "flux1"):
            noisy = (1 - tau / 1000) * clean + tau / 1000 * eps
        else:
            assert backbone.schedule is not None
            noisy = backbone.schedule.noised(clean, eps, tau)
        maps.append(attention_map(backbone, noisy, tau)[0])
    curve = plain.curve([each.double() for each in maps])
    torch.testing.assert_close(found.curve, curve, atol=1e-5, rtol=1e-4)
    kept = int(curve[:2].argmax()) + 1  # 999 is beyond tau_max
    assert (found.taus, found.kept) == (FEW, FEW[kept])
    expected = plain.boundary_divergence(maps[kept].double(), (16, 16))
    torch.testing.assert_close(found.scores.double(), expected, atol=1e-4, rtol=0)
    assert found.labels.guarded
    assert torch.equal(found.labels.labels, pseudo_labels(found.scores, guard_below=0.9).labels)
    assert set(found.seconds) == {"search", "abdiv"}


def test_the_default_grid() -> None:
    assert TAUS == (0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999)
    assert ExtractSettings().candidates == 10


@pytest.mark.parametrize("options", [{}, {"keep": "cleaner"}, {"noise": "independent"}, {"tau_max": 99}])
def test_a_map_that_is_not_held_is_made_again(
    pixart: DiffusionBackbone, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ExtractSettings(taus=FEW, **options)
    held = extract(pixart, picture(), "a", settings=settings)
    monkeypatch.setattr(module, "_HELD", 0)
    again = extract(pixart, picture(), "a", settings=settings)
    assert torch.equal(held.scores, again.scores)
    assert held.kept == again.kept
    assert set(again.seconds) == {"search", "kept", "abdiv"}


def test_as_many_maps_are_held_as_said(pixart: DiffusionBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, alive, most = module.attention_at, list[weakref.ref[Tensor]](), 0

    def counted(*arguments: Any) -> Tensor:
        nonlocal most
        most = max(most, sum(each() is not None for each in alive))
        made = ours(*arguments)
        alive.append(weakref.ref(made._base if made._base is not None else made))
        return made

    monkeypatch.setattr(module, "attention_at", counted)
    monkeypatch.setattr(module, "_HELD", 0)
    extract(pixart, picture(), "a", settings=ExtractSettings(taus=FEW))
    assert most == 1  # while the second is made


def test_noise_is_shared_or_not(pixart: DiffusionBackbone) -> None:
    clean = pixart.encode(in_range(square(picture(), pixart.size))[None])
    shape = clean.shape[1:]
    assert torch.equal(noise_for("a", 0, shape), noise_for("a", 0, shape))
    others = [noise_for("b", 0, shape), noise_for("a", 1, shape), noise_for("a", 0, shape, 99)]
    assert not any(torch.equal(noise_for("a", 0, shape), each) for each in others)
    # The same on every machine and in every process.
    assert noise_for("a", 0, torch.Size([2])).tolist() == pytest.approx([0.0, 0.0], abs=10)
    shared, independent = (ExtractSettings(taus=FEW, noise=each) for each in ("shared", "independent"))
    one, other = (dict(trajectory(pixart, clean, "a", 0, each)) for each in (shared, independent))
    assert list(one) == list(FEW)
    # A level of 0 leaves a ten-thousandth of noise; whatever it is, the map is nearly the same.
    torch.testing.assert_close(one[0], other[0], atol=3e-3, rtol=0)
    assert (one[999] - other[999]).abs().max() > 0.01


def test_a_single_step_needs_no_search(pixart: DiffusionBackbone) -> None:
    settings = ExtractSettings(tau=899)
    found = extract(pixart, picture(), "a", settings=settings)
    clean = pixart.encode(in_range(square(picture(), pixart.size))[None])
    expected = boundary_divergence(attention_at(pixart, clean, 899, "a", 0, settings), (16, 16))
    assert torch.equal(found.scores, expected)
    assert (found.taus, found.kept, len(found.curve)) == ((899,), 899, 0)
    assert set(found.seconds) == {"map", "abdiv"}


def test_a_network_without_time_is_looked_at_once(pixart: DiffusionBackbone) -> None:
    class Encoder:
        network, blocks, size = pixart.network, pixart.blocks, pixart.size
        schedule: Schedule | None = None
        encode, decode, answer = pixart.encode, pixart.decode, pixart.answer

    found = extract(Encoder(), picture(), "a")
    clean = pixart.encode(in_range(square(picture(), pixart.size))[None])
    assert torch.equal(found.scores, boundary_divergence(attention_map(pixart, clean, 0)[0], (16, 16)))
    assert (found.taus, found.kept) == ((), None)


@pytest.mark.parametrize("measure", ["jsd", "l2", "cosine"])
def test_other_measures(pixart: DiffusionBackbone, measure: Any) -> None:
    found = extract(pixart, picture(), "a", settings=ExtractSettings(taus=FEW, measure=measure, blocks=(-1,)))
    clean = pixart.encode(in_range(square(picture(), pixart.size))[None])
    settings = ExtractSettings(blocks=(1,))
    kept = attention_at(pixart, clean, found.kept, "a", 0, settings)
    torch.testing.assert_close(
        found.scores.double(), plain.boundary_divergence(kept.double(), (16, 16), measure), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"taus": (0, 0, 5)}, "not ascending"),
        ({"taus": (0, 1000)}, "from 0 to 999"),
        ({"taus": (), "tau_max": None}, "not ascending"),
        ({"tau": -1}, "from 0 to 999"),
        ({"taus": (0, 99), "tau_max": 50}, "has 1 levels up to tau_max 50"),
        ({"keep": "noisiest"}, "keep 'noisiest' is unknown. Did you mean 'noisier'"),
        ({"noise": "none"}, "noise 'none'"),
        ({"measure": "kld"}, "measure 'kld'"),
        ({"interior": "high"}, "interior 'high'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        ExtractSettings(**options)
    assert words in str(error.value)


def test_an_answer_that_is_no_number_names_the_image(pixart: DiffusionBackbone) -> None:
    class Broken:
        network, blocks, size, schedule = pixart.network, pixart.blocks, pixart.size, pixart.schedule
        decode, answer = pixart.decode, pixart.answer

        def encode(self, pictures: Tensor) -> Tensor:
            return pixart.encode(pictures) * torch.nan

    with pytest.raises(DataError, match=r"^a: "):
        extract(Broken(), picture(), "a", settings=ExtractSettings(tau=0))
    with pytest.raises(DataError, match=r"^a: "):
        extract(Broken(), picture(), "a")


def test_edge_map_is_relative_to_the_picture() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0], [1.0, 4.0, 40.0]])
    shown = edge_map(scores, 2, 3)
    top = scores.double().mean() + 3 * scores.double().std(correction=0)
    np.testing.assert_allclose(shown, (scores / top).clamp(max=1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(edge_map(5 * scores, 2, 3), shown, rtol=1e-6)
    large = edge_map(scores, 20, 33)
    assert (large.dtype, large.shape) == (np.float32, (20, 33))
    assert 0 <= large.min() <= large.max() <= 1
    assert not edge_map(torch.zeros(2, 2), 4, 4).any()


def test_files_hold_it_all(pixart: DiffusionBackbone, tmp_path: Path) -> None:
    found = extract(pixart, picture(), "a", settings=ExtractSettings(taus=FEW))
    write_labels(tmp_path / "x" / "a.npz", found)
    read = read_labels(tmp_path / "x" / "a.npz")
    np.testing.assert_array_equal(read.labels, found.labels.labels.numpy())
    np.testing.assert_array_equal(read.scores, found.scores.numpy())
    np.testing.assert_array_equal(read.curve, found.curve.numpy())
    assert (read.labels.dtype, read.scores.dtype, tuple(read.taus)) == (np.int8, np.float32, FEW)
    assert (read.kept, read.mean, read.deviation) == (found.kept, found.labels.mean, found.labels.deviation)
    assert (read.edge, read.interior, read.unknown) == (
        found.labels.edge,
        found.labels.interior,
        found.labels.unknown,
    )
    assert read.guarded == found.labels.guarded
    (tmp_path / "b.npz").write_bytes(b"nothing")
    whole = (tmp_path / "x" / "a.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    with open(tmp_path / "e.npz", "wb") as file:
        np.save(file, np.zeros(3))
    damaged = bytearray(whole)
    damaged[60] ^= 255  # in what is compressed, so that zlib is the one that stumbles
    (tmp_path / "f.npz").write_bytes(damaged)
    for name in ("b.npz", "c.npz", "d.npz", "e.npz", "f.npz"):
        with pytest.raises(DataError, match=rf"{name}: no readable pseudo labels"):
            read_labels(tmp_path / name)
