"""Attention over the levels of noise, as colours and as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.extract import ExtractSettings, extract
from edgebench.methods.trace.watching import principal_colours, watch
from edgebench.report.emergence import Emerging, emergence_figure, read_emerging, write_emergence, write_emerging
from tests.unit.methods.test_trace_small import TINY, Scenes
from tests.unit.methods.test_trace_small import backbone as small_backbone
from tests.unit.methods.trace_encoders import random_encoder

torch.set_num_threads(1)
IMAGE = Scenes().image("scene3")
FEW = ExtractSettings(taus=(0, 99, 499, 999), tau_max=None)


@pytest.mark.parametrize("keep", ["noisier", "cleaner"])
def test_watching_finds_what_the_first_stage_finds(keep: str) -> None:
    how = ExtractSettings(taus=(0, 99, 499, 999), tau_max=None, keep=keep)  # type: ignore[arg-type]
    watched, found = watch(small_backbone(TINY), IMAGE, "a", 3, how), extract(small_backbone(TINY), IMAGE, "a", 3, how)
    np.testing.assert_array_equal(watched.scores, found.scores.numpy())
    np.testing.assert_array_equal(watched.curve, found.curve.numpy())
    assert watched.taus[watched.kept] == found.kept
    assert watched.curve[watched.gap] == watched.curve.max()
    assert watched.kept == watched.gap + (keep == "noisier")
    assert watched.colours.shape == (4, 8, 8, 3)
    assert 0 <= watched.colours.min() < watched.colours.max() <= 1


def test_one_level_and_networks_without_time_show_nothing() -> None:
    with pytest.raises(ConfigError, match="nothing emerges"):
        watch(small_backbone(TINY), IMAGE, "a", 0, ExtractSettings(tau=99))
    with pytest.raises(ConfigError, match="nothing emerges"):
        watch(random_encoder("dinov2"), IMAGE, "a")


class TestColours:
    def test_what_attends_alike_is_alike_at_every_level(self) -> None:
        source = torch.Generator().manual_seed(0)
        kinds = torch.rand(5, 256, generator=source).softmax(-1)
        which = torch.randint(5, (3, 40), generator=source)
        colours = principal_colours(kinds[which])
        for kind in range(5):
            same = colours[which == kind]
            torch.testing.assert_close(same, same[:1].expand_as(same))
        assert len({tuple(each.tolist()) for each in colours.flatten(0, 1)}) == 5

    def test_blank_maps_have_a_colour(self) -> None:
        colours = principal_colours(torch.full((2, 9, 256), 1 / 256))
        assert colours.isfinite().all()
        assert colours.shape == (2, 9, 3)


def test_one_picture(tmp_path: Path) -> None:
    watched = Emerging(**vars(watch(small_backbone(TINY), IMAGE, "a", 0, FEW)))
    figure = emergence_figure(watched, IMAGE, np.zeros((64, 64)))
    titles = [axes.get_title() for axes in [*figure.subfigs[0].axes, *figure.subfigs[1].axes]]
    assert titles[:4] == ["0", "99", "499", "999"]
    first, second = watched.taus[watched.gap], watched.taus[watched.gap + 1]
    assert titles[4:] == [
        "photograph",
        f"change of attention: widest from {first} to {second}",
        f"ABDiv at {watched.taus[watched.kept]}",
        "edges in one pass",
    ]
    curve = figure.subfigs[1].axes[1].lines[0]
    np.testing.assert_array_equal(curve.get_ydata(), watched.curve)
    assert len(emergence_figure(watched, IMAGE).subfigs[1].axes) == 3
    for number in range(2):
        write_emergence(tmp_path / f"{number}.png", watched, IMAGE)
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    assert min(Image.open(tmp_path / "0.png").size) > 300


def test_what_a_run_keeps_gives_the_same_picture(tmp_path: Path) -> None:
    watched = watch(small_backbone(TINY), IMAGE, "a", 3, FEW)
    write_emerging(tmp_path / "kept.npz", Emerging(**vars(watched)))
    kept = read_emerging(tmp_path / "kept.npz")
    assert (kept.taus, kept.gap, kept.kept) == (list(watched.taus), watched.gap, watched.kept)
    np.testing.assert_array_equal(kept.scores, watched.scores)
    np.testing.assert_allclose(kept.colours / 255, watched.colours, atol=1 / 500)
    (tmp_path / "kept.npz").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"kept\.npz"):
        read_emerging(tmp_path / "kept.npz")
