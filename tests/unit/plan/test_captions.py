"""Captions, names and pages of the HTML report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from docutils.core import publish_parts

from edgebench.errors import ConfigError
from edgebench.plan.captions import caption, category, labels
from edgebench.plan.tables import FIGURES, Plan, Table
from edgebench.plan.workbench import Workbench


@pytest.fixture(scope="module")
def plans(root: Path) -> dict[str, Plan]:
    bench = Workbench(root)
    return {scale: bench.plan(scale) for scale in ("demo", "paper")}


@pytest.fixture(scope="module")
def main_table(plans: dict[str, Plan]) -> Table:
    return plans["demo"].tables["memo/main_bsds"]


class TestCaption:
    def test_says_scale_settings_data_protocol_and_identity(self, main_table: Table) -> None:
        text = caption(main_table)
        images = main_table.predictions[0].settings["limit"]
        steps = main_table.scale.recipes["memo_bsds"]["finetune"]["steps"]
        assert "Made at scale demo: not comparable with the printed numbers." in text
        for said in (
            f"scored on scenes/test ({images} images). scenes\\_photos stands in for laion.",
            "memo\\_bsds, ",
            "Seeds: 0.",
            f"finetune (preset small, crop 48, drop\\_first no, annotators random, steps {steps}",
            "bsds\\_seval, bsds\\_ceval, crispness.",
            main_table.id,
            "results/tables/demo/memo/main\\_bsds",
            "Canny's smoothing and thresholds are tuned",
        ):
            assert said in text
        assert "resources" not in text

    def test_is_plain_text_to_docutils(self, plans: dict[str, Plan]) -> None:
        """No name or note is taken for markup, which would leave a message of docutils in the report."""
        for plan in plans.values():
            for table in plan.tables.values():
                for text in (caption(table), *(caption(table, figure) for figure in table.experiment.figures)):
                    body = publish_parts(text, writer="html", settings_overrides={"report_level": 5})["body"]
                    assert "system-message" not in body
                    assert "problematic" not in body
                    assert body.count("<li>") == text.count("\n- ")

    def test_of_a_figure_says_how_to_read_it(self, main_table: Table) -> None:
        assert "a dot marks the best threshold" in caption(main_table, "precision_recall")

    def test_says_what_the_command_line_changed(self, root: Path) -> None:
        bench = Workbench(root, {"set": {"finetune.steps": 600}})
        assert "Changed on the command line:* finetune.steps = 600." in caption(
            bench.find_table("demo", "memo/guidance")
        )

    def test_at_the_papers_scale_speaks_of_no_stand_in(self, plans: dict[str, Plan]) -> None:
        text = caption(plans["paper"].tables["memo/main_bsds"])
        assert "scored on bsds500/test (200 images)." in text
        assert "not comparable" not in text
        assert "stands in" not in text


class TestNames:
    def test_papers_are_called_by_their_names_in_their_order(self, plans: dict[str, Plan]) -> None:
        found = {category(table) for table in plans["paper"].tables.values()}
        assert sorted(found) == ["1. MEMO", "2. DiffDIS", "3. TRACE"]

    def test_no_two_entries_of_a_list_are_called_the_same(self, plans: dict[str, Plan]) -> None:
        tables = plans["paper"].tables.values()
        shown = [(category(table), *labels(table).values()) for table in tables]
        shown += [(category(t), *labels(t, figure).values()) for t in tables for figure in t.experiment.figures]
        assert len(set(shown)) == len(shown)

    def test_a_paper_of_ones_own_is_called_as_its_folder(self, main_table: Table) -> None:
        assert category(replace(main_table, name="mine/table")) == "mine"


class TestPages:
    def test_the_demo_has_one(self, plans: dict[str, Plan]) -> None:
        assert plans["demo"].pages == ["results/report/demo.html"]

    def test_what_could_not_be_mailed_has_one_for_each_paper(self, plans: dict[str, Plan]) -> None:
        papers = ("diffdis", "memo", "trace")
        assert plans["paper"].pages == [f"results/report/paper-{paper}.html" for paper in papers]
        tables = [table for paper in papers for table in plans["paper"].targets(paper)]
        assert tables == plans["paper"].targets()

    def test_an_unknown_paper_is_told(self, plans: dict[str, Plan]) -> None:
        with pytest.raises(ConfigError, match=r"no table of a paper 'mem'.*'memo'"):
            plans["demo"].targets("mem")


def test_every_figure_is_explained() -> None:
    assert all(text.endswith(".") for text in FIGURES.values())
