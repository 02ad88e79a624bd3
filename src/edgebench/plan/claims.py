"""What a paper concludes from a table, written so that it can be checked on other numbers.

A claim compares two sides: `"locmax,10.ceval_ods > topk,10.ceval_ods"`. A side is a number or
`<row key>.<column>`, split at the last dot; the right side may carry a margin: `... > random,10.ac + 0.02`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgebench.errors import ConfigError, nearest

Operator = Literal[">", ">=", "<", "<="]

_CLAIM = re.compile(r"^(?P<left>.+?)\s+(?P<operator>>=|<=|>|<)\s+(?P<right>.+)$")
_MARGIN = re.compile(r"^(?P<side>.+?)\s+(?P<sign>[+-])\s+(?P<margin>\d*\.?\d+)$")


@dataclass(frozen=True)
class Cell:
    """One number of a table: the row's key and the column."""

    row: str
    column: str

    def __str__(self) -> str:
        return f"{self.row}.{self.column}"


@dataclass(frozen=True)
class Claim:
    """`left operator right + margin`, with the text it was written as."""

    text: str
    left: Cell | float
    operator: Operator
    right: Cell | float
    margin: float = 0.0

    @property
    def cells(self) -> list[Cell]:
        """The sides that are numbers of the table."""
        return [side for side in (self.left, self.right) if isinstance(side, Cell)]


def parse_claim(text: str) -> Claim:
    """Read one claim.

    Raises:
        ConfigError: it is not `side operator side`, or no side names a number of the table.
    """
    match = _CLAIM.match(text.strip())
    if match is None or re.search(r"\s(>=|<=|>|<)\s", match["right"]):
        raise ConfigError(
            f"claim '{text}': needs two sides and one of > >= < <= between them, with spaces around it, "
            f"for example 'locmax,10.ceval_ods > topk,10.ceval_ods'."
        )
    right, margin = match["right"].strip(), 0.0
    if found := _MARGIN.match(right):
        right, margin = found["side"], float(found["sign"] + found["margin"])
    operator: Operator = match["operator"]  # type: ignore[assignment]
    claim = Claim(text.strip(), _side(match["left"], text), operator, _side(right, text), margin)
    if not claim.cells:
        raise ConfigError(f"claim '{text}': compares two numbers; at least one side must be 'row.column'.")
    return claim


def _side(text: str, claim: str) -> Cell | float:
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        pass
    row, dot, column = text.rpartition(".")
    if not (dot and row and column):
        raise ConfigError(f"claim '{claim}': '{text}' is neither a number nor 'row.column'.")
    return Cell(row, column)


def parse_claims(texts: Sequence[str], rows: Sequence[str], columns: Sequence[str]) -> list[Claim]:
    """Read the claims of a table whose reproduced rows and columns are known.

    Raises:
        ConfigError: a claim cannot be read, or names a row or column that the table does not have; names the
            claim and the nearest one.
    """
    claims = [parse_claim(text) for text in texts]
    for claim in claims:
        for cell in claim.cells:
            if cell.row not in rows:
                raise ConfigError(f"claim '{claim.text}': unknown row '{cell.row}'.{nearest(cell.row, rows)}")
            if cell.column not in columns:
                raise ConfigError(
                    f"claim '{claim.text}': unknown column '{cell.column}'.{nearest(cell.column, columns)}"
                )
    return claims
