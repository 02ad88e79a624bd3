"""Protocols of masks in the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edgebench.metrics.masks import METRICS
from edgebench.plan.definitions import Protocol
from edgebench.plan.workbench import COLUMNS_OF, Workbench


def test_the_plan_knows_every_metric() -> None:
    assert tuple(COLUMNS_OF["masks"]) == METRICS


def test_both_protocols_are_defined_with_columns_of_their_own(root: Path) -> None:
    bench = Workbench(root)
    assert (bench.protocol("masks_diffdis").columns, bench.protocol("masks_diffdis").rule) == ("", "diffdis")
    assert (bench.protocol("masks_standard").columns, bench.protocol("masks_standard").rule) == ("standard", "standard")


def test_a_rule_belongs_to_masks_alone() -> None:
    with pytest.raises(ValidationError, match="needs 'rule'"):
        Protocol(name="p", title="", method="masks", columns="")
    with pytest.raises(ValidationError, match="needs 'rule'"):
        Protocol(name="p", title="", method="edges", columns="", rule="diffdis")


def test_fields_of_other_methods_are_no_part_of_a_protocol(root: Path) -> None:
    bench = Workbench(root)
    assert set(bench.protocol("masks_standard").content()) == {"name", "title", "method", "columns", "rule"}
    assert "rule" not in bench.protocol("bsds_seval").content()
