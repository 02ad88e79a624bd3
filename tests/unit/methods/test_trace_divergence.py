"""ABDiv equals the loop over tokens, whatever the grid, the measure and the type."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace import divergence
from edgebench.methods.trace.divergence import boundary_divergence
from tests.unit.methods import trace_plain as plain

GRIDS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (6, 1), (3, 3), (2, 5), (4, 4), (5, 8), (9, 4)]
MEASURES = tuple(plain.MEASURES)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid[0]}x{grid[1]}")
def test_equals_the_loop(grid: tuple[int, int], measure: str) -> None:
    attention = plain.distributions(grid[0] * grid[1], grid[0] * grid[1])
    expected = plain.boundary_divergence(attention.double(), grid, measure)
    result = boundary_divergence(attention, grid, measure)
    assert result.shape == grid
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, atol=2e-5 if measure != "cosine" else 1e-6, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_equals_the_loop_to_many_digits_in_float64(measure: str) -> None:
    attention = plain.distributions(40, 40).double()
    attention /= attention.sum(1, keepdim=True)
    expected = plain.boundary_divergence(attention, (5, 8), measure)
    result = boundary_divergence(attention, (5, 8), measure)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_blocks_of_keys_add_up(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = plain.distributions(24, 1000)  # keys need not be the queries
    monkeypatch.setattr(divergence, "_BLOCK", 1)  # then 256 keys at once, the last block a shorter one
    expected = plain.boundary_divergence(attention.double(), (4, 6), measure)
    torch.testing.assert_close(boundary_divergence(attention, (4, 6), measure).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("zeros", [0.5, 0.95])
def test_zeros_are_no_trouble(measure: str, zeros: float) -> None:
    attention = plain.distributions(48, 48, zeros=zeros)
    expected = plain.boundary_divergence(attention.double(), (6, 8), measure)
    result = boundary_divergence(attention, (6, 8), measure).double()
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_map_of_half_precision_is_normalised_again(dtype: torch.dtype) -> None:
    attention = plain.distributions(48, 48).to(dtype)
    exact = attention.double()
    exact /= exact.sum(1, keepdim=True)
    result = boundary_divergence(attention, (6, 8))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), plain.boundary_divergence(exact, (6, 8)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_is_zero_inside_and_equal_along_a_seam(measure: str) -> None:
    side = torch.arange(6) >= 3
    kind = side.repeat(6).long()
    rows = torch.softmax(3.0 * (kind == torch.arange(2)[:, None]), 1)
    result = boundary_divergence(rows[kind], (6, 6), measure)
    assert result[:, [0, 1, 4, 5]].abs().max() < 1e-6
    seam = result[:, [2, 3]]
    assert seam.min() > 0.005
    torch.testing.assert_close(seam, seam[:1, :1].expand(6, 2))


def test_is_the_same_every_time_and_leaves_the_map_alone() -> None:
    attention = plain.distributions(48, 48)
    before = attention.clone()
    first = boundary_divergence(attention, (6, 8))
    assert torch.equal(first, boundary_divergence(attention, (6, 8)))
    assert torch.equal(attention, before)
    attention.requires_grad_()
    assert not boundary_divergence(attention, (6, 8)).requires_grad


def test_a_map_read_across_its_storage_is_read_rightly() -> None:
    attention = plain.distributions(48, 48)
    across = attention.T.contiguous().T
    assert not across.is_contiguous()
    torch.testing.assert_close(boundary_divergence(across, (6, 8)), boundary_divergence(attention, (6, 8)))


def test_never_less_than_zero() -> None:
    same = plain.distributions(1, 4096, spread=0.01).expand(64, -1)
    for measure in MEASURES:
        assert boundary_divergence(same, (8, 8), measure).min() >= 0


def test_direction_is_from_below_and_from_the_right() -> None:
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    expected = plain.kl(q.double(), p.double()).float()
    assert not torch.isclose(expected, plain.kl(p.double(), q.double()).float(), rtol=0.1)
    for grid in ((2, 1), (1, 2)):
        torch.testing.assert_close(boundary_divergence(torch.stack([p, q]), grid), expected.expand(grid))


@pytest.mark.parametrize(
    ("attention", "grid", "words"),
    [
        (plain.distributions(6, 6), (2, 2), "2x2 tokens needs 4 rows"),
        (plain.distributions(6, 6), (0, 6), "0x6"),
        (plain.distributions(6, 6)[None], (2, 3), "(1, 6, 6)"),
        (2 * plain.distributions(6, 6), (2, 3), "row 0 sums to 2, not to 1"),
        (2 * plain.distributions(6, 6).bfloat16(), (2, 3), "row 0 sums to 2"),
        (torch.full((6, 6), float("nan")), (2, 3), "sums to nan"),
        (torch.tensor([[1.5, -0.5]]).repeat(6, 1), (2, 3), "values below 0"),
        (torch.ones(6, 1, dtype=torch.int64), (2, 3), "torch.int64"),
    ],
)
def test_what_is_no_map_is_refused(attention: Tensor, grid: tuple[int, int], words: str) -> None:
    with pytest.raises(DataError) as error:
        boundary_divergence(attention, grid)
    assert words in str(error.value)


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'jsd'"):
        boundary_divergence(plain.distributions(6, 6), (2, 3), "js")


def test_pairs_of_opposite_neighbours() -> None:
    for n in range(1, 7):
        line = list(range(n))
        found: dict[int, tuple[int, int]] = {}
        for after, before, between in divergence._neighbours(n):
            here = line[between]
            sides = zip(itertools.cycle(line[after]), itertools.cycle(line[before]), strict=False)
            found.update(zip(here, sides, strict=False))
        assert found == {j: (min(j + 1, n - 1), max(j - 1, 0)) for j in line}


def test_reads_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = divergence.measure_named("kl")
    sizes: list[int] = []

    def prepare(p: Tensor, room: Tensor) -> Tensor:
        sizes.append(p.numel())
        return terms.prepare(p, room)

    monkeypatch.setitem(divergence._MEASURES, "kl", dataclasses.replace(terms, prepare=prepare))
    boundary_divergence(plain.distributions(32 * 32, 32 * 32), (32, 32))
    assert sum(sizes) == 32**4  # one logarithm for each element
    assert max(sizes) == 32**3
