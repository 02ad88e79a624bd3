from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.claims import Cell, parse_claim, parse_claims


@pytest.mark.parametrize(
    ("text", "left", "operator", "right", "margin"),
    [
        ("locmax,10.ac > topk,10.ac", Cell("locmax,10", "ac"), ">", Cell("topk,10", "ac"), 0),
        ("full.ac >= 0.8", Cell("full", "ac"), ">=", 0.8, 0),
        ("0.8 < full.ac", 0.8, "<", Cell("full", "ac"), 0),
        ("a b.c.ac <= sigma 1.5.ac + 0.02", Cell("a b.c", "ac"), "<=", Cell("sigma 1.5", "ac"), 0.02),
        ("x.ac < y.ac - .5", Cell("x", "ac"), "<", Cell("y", "ac"), -0.5),
        ("a + 1.ac > b-2.ac", Cell("a + 1", "ac"), ">", Cell("b-2", "ac"), 0),
    ],
)  # fmt: skip
def test_claims_are_read(text: str, left: object, operator: str, right: object, margin: float) -> None:
    claim = parse_claim(text)
    assert (claim.left, claim.operator, claim.right, claim.margin) == (left, operator, right, margin)
    assert claim.text == text


@pytest.mark.parametrize(
    "text", ["", "a.ac", "a.ac = b.ac", "a.ac > ", "a.ac > b.ac > c.ac", "a > b.ac", "a. > 1", "1 > 2"]
)
def test_what_is_no_claim_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ConfigError, match="claim '"):
        parse_claim(text)


def test_unknown_rows_and_columns_name_claim_and_nearest() -> None:
    rows, columns = ["locmax,10", "topk,10"], ["ceval_ods", "ac"]
    with pytest.raises(
        ConfigError, match=r"claim 'lokmax,10\.ac > 0': unknown row 'lokmax,10'\. Did you mean 'locmax,10'"
    ):
        parse_claims(["topk,10.ac > 0", "lokmax,10.ac > 0"], rows, columns)
    with pytest.raises(ConfigError, match=r"unknown column 'ceval_od'\. Did you mean 'ceval_ods'"):
        parse_claims(["locmax,10.ceval_od > 0"], rows, columns)


def test_planning_loads_nothing_heavy(root: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(root / 'src')!r});"
        "import edgebench.plan.claims, edgebench.plan.published;"
        "print([m for m in ('numpy', 'torch', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
