from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgebench.errors import ConfigError
from edgebench.plan.claims import parse_claim
from edgebench.report.bootstrap import Bootstrap, draw_weights
from edgebench.report.claims import Checked, check_claim, check_claims, explain
from edgebench.report.collect import collect

MakeTable = Callable[..., Path]


@pytest.fixture
def check(make_table: MakeTable, tmp_path: Path) -> Callable[[str], Checked]:
    collected = collect(make_table(seeds=(0, 1)), tmp_path)
    bootstrap = Bootstrap(resamples=300)
    return lambda text: check_claim(parse_claim(text), collected, bootstrap)


def best_f(cntR: np.ndarray, sumR: np.ndarray, cntP: np.ndarray, sumP: np.ndarray) -> float:
    P, R = cntP / np.maximum(sumP, 1), cntR / np.maximum(sumR, 1)
    at = np.linspace(0, 1, 100)[:, None]
    p, r = (each[:-1] * (1 - at) + each[1:] * at for each in (P, R))
    return float(np.max(2 * p * r / (p + r)))


def test_interval_is_that_of_a_direct_slow_paired_bootstrap(check: Callable[[str], Checked], tmp_path: Path) -> None:
    checked = check("locmax,10.ceval_ods > topk,10.ceval_ods")
    names = ("cntR", "sumR", "cntP", "sumP")
    files = {
        row: [np.load(tmp_path / f"results/runs/bsds_ceval/{row}-s{seed}/counts.npz") for seed in (0, 1)]
        for row in ("locmax10", "topk10")
    }
    ids = [str(each) for each in files["locmax10"][0]["ids"]]
    differences = []
    for weight in draw_weights(ids, 300).astype(int):
        drawn = np.repeat(np.arange(len(ids)), weight)
        f = {
            row: np.mean([best_f(*(file[name][drawn].sum(axis=0) for name in names)) for file in of_row])
            for row, of_row in files.items()
        }
        differences.append(f["locmax10"] - f["topk10"])
    assert (checked.low, checked.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])), abs=1e-9)
    assert checked.n_images == len(ids)
    assert checked.paired
    assert checked.status == "holds"


def test_numbers_are_means_over_seeds_beside_the_papers(check: Callable[[str], Checked], tmp_path: Path) -> None:
    checked = check("locmax,10.ac > topk,10.ac")
    own = [np.load(tmp_path / f"results/runs/crispness/locmax10-s{seed}/per_image.npz")["ac"].mean() for seed in (0, 1)]
    assert checked.left == pytest.approx(np.mean(own))
    assert (checked.published_left, checked.published_right) == (0.663, 0.51)
    assert checked.status == "does not hold"  # drawn with 0.6 and 0.7
    assert "paper 0.663 and 0.510" in explain(checked)


def test_the_same_numbers_leave_a_claim_undecided(check: Callable[[str], Checked]) -> None:
    assert check("locmax,10.ac < topk,10.ac").status == "holds"
    difference = check("topk,10.ac > locmax,10.ac").difference
    assert check(f"topk,10.ac > locmax,10.ac + {difference:.3f}").status == "undecided"
    assert check("topk,10.ac > locmax,10.ac + 0.2").status == "does not hold"
    assert check("topk,10.ac > locmax,10.ac - 0.2").status == "holds"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("one.shot.ac > 0.2", "holds"),
        ("0.2 >= one.shot.ac", "does not hold"),
        ("one.shot.ac < 0.3", "undecided"),
        ("one.shot.seconds_per_image < locmax,10.seconds_per_image", "holds"),
        ("one.shot.seconds_per_image < locmax,10.seconds_per_image - 0.2", "does not hold"),
        ("locmax,10.seconds_per_image >= topk,10.seconds_per_image", "holds"),
        ("locmax,10.seconds_per_image > topk,10.seconds_per_image", "does not hold"),
        ("locmax,10.seconds_per_image > locmax,10.fid", "undecided"),
    ],
)
def test_sides_may_be_numbers_or_have_none(check: Callable[[str], Checked], text: str, status: str) -> None:
    assert check(text).status == status


def test_without_per_image_numbers_the_explanation_says_so(check: Callable[[str], Checked]) -> None:
    checked = check("one.shot.seconds_per_image < locmax,10.seconds_per_image")
    assert checked.low is None
    assert "no per-image numbers" in explain(checked)


def test_a_claim_about_a_printed_row_is_refused(make_table: MakeTable, tmp_path: Path) -> None:
    collected = collect(make_table(claims=["locmax,10.ac > DiffEdge.ac"]), tmp_path)
    with pytest.raises(ConfigError, match="unknown row 'DiffEdge'"):
        check_claims(collected, Bootstrap(resamples=10))
