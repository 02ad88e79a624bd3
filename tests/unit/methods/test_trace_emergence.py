"""The chosen gap, its kept end, and two maps in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.emergence import Keep, emergence
from tests.unit.methods import trace_plain as plain

# Random maps mixed with one fixed map: those of equal shares hardly differ, the third gap is the widest.
SHARES = (0.0, 0.05, 0.15, 0.8, 0.95, 0.97)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trajectory(queries: int = 30, zeros: float = 0.0) -> list[Tensor]:
    first, last = plain.distributions(queries, queries, 1, zeros), plain.distributions(queries, queries, 2, zeros)
    return [(1 - share) * first + share * last for share in SHARES]


@pytest.mark.parametrize("zeros", [0.0, 0.6])
@pytest.mark.parametrize("measure", tuple(plain.MEASURES))
def test_curve_equals_the_loop(measure: str, zeros: float) -> None:
    maps = trajectory(zeros=zeros)
    expected = plain.curve([each.double() for each in maps], measure)
    curve = emergence(iter(maps), measure=measure).curve
    assert curve.dtype == torch.float64
    torch.testing.assert_close(curve, expected, atol=1e-4 if zeros else 1e-5, rtol=0)


def test_curve_over_several_blocks_of_rows_and_keys() -> None:
    maps = [plain.distributions(70, 5000, seed) for seed in range(3)]
    expected = plain.curve([each.double() for each in maps])
    torch.testing.assert_close(emergence(maps).curve, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("keep", "index"), [("noisier", 3), ("cleaner", 2)])
def test_the_end_that_is_kept(keep: Keep, index: int) -> None:
    assert emergence(trajectory(), keep).kept == index


def test_the_divergence_is_from_the_cleaner_to_the_noisier() -> None:
    clean, noisy = plain.distributions(6, 6, 1), plain.distributions(6, 6, 2)
    there, back = emergence([clean, noisy]).curve, emergence([noisy, clean]).curve
    assert not torch.isclose(there, back, rtol=0.01)
    torch.testing.assert_close(there, plain.curve([clean.double(), noisy.double()]), atol=1e-5, rtol=0)


def test_the_end_of_noise_can_be_left_out() -> None:
    maps = [*trajectory(), plain.distributions(30, 30, 9, spread=5)]
    assert emergence(maps).kept == len(maps) - 1
    chosen = emergence(maps, candidates=len(maps) - 1)
    assert chosen.kept == 3
    assert len(chosen.curve) == len(maps) - 1
    assert emergence(maps, candidates=2).kept == 1


def test_of_equal_gaps_the_cleanest_counts() -> None:
    one, other = plain.distributions(9, 9, 1), plain.distributions(9, 9, 2)
    assert emergence([one, one, other, one, other], "cleaner", "l2").kept == 1
    assert emergence([one, one, one]).kept == 1


def test_holds_two_maps() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def maps() -> Iterator[Tensor]:
        nonlocal most
        for seed in range(5):
            made = plain.distributions(8, 8, seed)
            alive.append(weakref.ref(made))
            most = max(most, sum(each() is not None for each in alive))
            yield made
            del made

    emergence(maps())
    assert most == 2


def test_is_the_same_every_time() -> None:
    assert torch.equal(emergence(trajectory()).curve, emergence(trajectory()).curve)


def test_maps_of_half_precision() -> None:
    maps = [each.bfloat16() for each in trajectory()]
    exact = [each.double() / each.double().sum(1, keepdim=True) for each in maps]
    torch.testing.assert_close(emergence(maps).curve, plain.curve(exact), atol=1e-5, rtol=0)


def test_one_token() -> None:
    assert emergence([torch.ones(1, 1)] * 3).curve.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ([], "at least two time steps"),
        ([plain.distributions(4, 4)], "at least two time steps"),
        ([plain.distributions(4, 4), plain.distributions(9, 9)], "(4, 4) and (9, 9)"),
        ([plain.distributions(4, 4), 0.5 * plain.distributions(4, 4)], "sums to 0.5"),
    ],
)
def test_what_is_no_trajectory_is_refused(maps: list[Tensor], words: str) -> None:
    with pytest.raises(DataError) as error:
        emergence(maps)
    assert words in str(error.value)


def test_unknown_settings_are_refused() -> None:
    maps = trajectory()
    with pytest.raises(ConfigError, match="Did you mean 'noisier'"):
        emergence(maps, "noisy")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Known: cosine"):
        emergence(maps, measure="xyz")
    with pytest.raises(ConfigError, match="candidates 1"):
        emergence(maps, candidates=1)


@pytest.mark.parametrize("candidates", [None, 2, 3])
def test_holds_the_kept_map(candidates: int | None) -> None:
    maps = trajectory()
    for keep in get_args(Keep):
        found = emergence(iter(maps), keep, candidates=candidates, hold=True)
        assert found.attention is maps[found.kept]
        assert emergence(maps, keep, candidates=candidates).attention is None
