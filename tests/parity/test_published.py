from __future__ import annotations

import csv
from pathlib import Path

from edgebench.plan.published import published_rows


def test_numbers_are_those_of_the_paper(root: Path, shared: Path) -> None:
    with open(shared / "published/memo.csv", newline="") as file:
        theirs = [line for line in csv.DictReader(file) if line["value"]]
    ours = {table: published_rows(root / "config/published/memo.csv", table) for table in {x["table"] for x in theirs}}
    found = {
        (table, each.method, each.variant, each.dataset, each.metric): each.value
        for table, rows in ours.items()
        for each in rows
        if each.value is not None
    }
    assert found == {
        (x["table"], x["method"], x["variant"], x["dataset"], x["metric"]): float(x["value"]) for x in theirs
    }
