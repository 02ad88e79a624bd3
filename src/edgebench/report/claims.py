"""Whether what a paper concludes holds on the reproduced numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgebench.plan.claims import Cell, Claim, parse_claims
from edgebench.report.bootstrap import Bootstrap, interval
from edgebench.report.collect import Collected

Status = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Checked:
    """A claim beside the numbers.

    Attributes:
        claim: What was claimed.
        left: Number of the left side; None when no run gave it.
        right: Number of the right side, without the margin.
        difference: left - right.
        low: Lower end of the 95 % bootstrap interval of the difference over images; None without per-image
            numbers.
        high: Its upper end.
        status: `undecided` when the interval includes the margin (0 without one), a number is missing, or both sides
            are the same number of the same runs.
        n_images: Images behind the interval; None without one.
        paired: Whether both sides were scored on the same images.
        same: Whether both sides are the same number of the same runs, as rows may become at a scale.
        published_left: What the paper prints for the left side.
        published_right: What it prints for the right side.
    """

    claim: Claim
    left: float | None
    right: float | None
    difference: float | None
    low: float | None
    high: float | None
    status: Status
    n_images: int | None
    paired: bool
    published_left: float | None
    published_right: float | None
    same: bool = False


def check_claims(collected: Collected, bootstrap: Bootstrap) -> list[Checked]:
    """Check every claim of a table.

    Raises:
        ConfigError: a claim names a row or column that the table does not have.
    """
    rows = [row.key for row in collected.rows if not row.published_only]
    claims = parse_claims(collected.spec.claims, rows, collected.spec.columns)
    return [check_claim(claim, collected, bootstrap) for claim in claims]


def check_claim(claim: Claim, collected: Collected, bootstrap: Bootstrap) -> Checked:
    """Check one claim on the means over seeds, with an interval from resampled images.

    Both sides use the same resampled images when they were scored on the same images. Without per-image
    numbers (time per image) the numbers alone decide.
    """
    left, right = _value(claim.left, collected), _value(claim.right, collected)
    images, resampled = [], []
    for side in (claim.left, claim.right):
        if isinstance(side, Cell):
            found = bootstrap.row(collected.row(side.row), side.column)
            if found is not None:
                images.append(found[0])
                resampled.append(found[1])
        else:
            resampled.append(np.full(bootstrap.resamples, side))
    complete = left is not None and right is not None
    difference = left - right if left is not None and right is not None else None
    low, high = interval(resampled[0] - resampled[1]) if complete and len(resampled) == 2 else (None, None)
    same = _origin(claim.left, collected) == _origin(claim.right, collected)
    return Checked(
        claim=claim,
        left=left,
        right=right,
        difference=difference,
        low=low,
        high=high,
        status="undecided" if same else _status(claim, difference, low, high),
        n_images=min(map(len, images)) if low is not None else None,
        paired=all(ids == images[0] for ids in images),
        published_left=_published(claim.left, collected),
        published_right=_published(claim.right, collected),
        same=same,
    )


def _status(claim: Claim, difference: float | None, low: float | None, high: float | None) -> Status:
    if difference is None:
        return "undecided"
    if low is None or high is None:
        low = high = difference
    # Turned so that a positive gap speaks for the claim.
    least, most = (low - claim.margin, high - claim.margin)
    if claim.operator in ("<", "<="):
        least, most = -most, -least
    if least > 0 or (least == 0 and "=" in claim.operator):
        return "holds"
    return "does not hold" if most < 0 or (least == most == 0) else "undecided"


def _value(side: Cell | float, collected: Collected) -> float | None:
    if not isinstance(side, Cell):
        return side
    values = collected.row(side.row).values(side.column)
    return float(np.mean(values)) if values else None


def _origin(side: Cell | float, collected: Collected) -> tuple[object, ...]:
    """What a side's number is made of: its column and the predictions of the row and of its members."""
    if not isinstance(side, Cell):
        return (side,)
    row = collected.row(side.row)
    return (side.column, row.combines, *(run.predict for run in row.all_runs))


def _published(side: Cell | float, collected: Collected) -> float | None:
    return collected.row(side.row).published.get(side.column) if isinstance(side, Cell) else side


def decimals(left: float, right: float) -> int:
    """Decimals that two compared numbers need: three, and more where both are tiny, as standard deviations are."""
    largest = max(abs(left), abs(right))
    return 3 if largest >= 0.01 or largest == 0 else 1 - math.floor(math.log10(largest))


def explain(checked: Checked) -> str:
    """The numbers of a checked claim as one line of plain text."""
    if checked.left is None or checked.right is None or checked.difference is None:
        return "no number for one side"
    if checked.same:
        return "both sides are the same runs"
    claim, n = checked.claim, decimals(checked.left, checked.right)
    margin = f" {'+' if claim.margin > 0 else '-'} {abs(claim.margin):g}" if claim.margin else ""
    text = f"{checked.left:.{n}f} {claim.operator} {checked.right:.{n}f}{margin}"
    text += f"; difference {checked.difference:+.{n}f}"
    if checked.low is not None and checked.high is not None:
        pairing = "" if checked.paired else ", sides scored on different images"
        text += f" [{checked.low:+.{n}f}, {checked.high:+.{n}f}] over {checked.n_images} images{pairing}"
    else:
        text += ", no per-image numbers: decided by these two alone"
    if checked.published_left is not None and checked.published_right is not None:
        text += f"; paper {checked.published_left:.3f} and {checked.published_right:.3f}"
    return text
