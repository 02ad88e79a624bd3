"""Tables in sections, means and spreads over sections, footnotes of printed numbers, in every format."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgebench.report.bootstrap import draw_weights
from edgebench.report.claims import decimals, explain
from edgebench.report.columns import column_title, footnote_letter, number
from edgebench.report.tables import Table, build_table, verdict
from edgebench.report.terminal import print_table
from edgebench.report.words import facts
from edgebench.report.write import to_csv, to_latex, to_markdown, write_table
from tests.unit.report.conftest import write_row

MakeTable = Callable[..., Path]
GROUPS = {"a": "First split", "b": "Second & split", "mean": "Both", "spread": "Spread of both"}
DOUBT, OTHER = "The paper does not say which <E>.", "50 % of the images."


@pytest.fixture
def spec(make_table: MakeTable, tmp_path: Path) -> Path:
    """Two rows in two sections with runs, the same rows combined, a printed row in the second section."""

    def row(key: str, **content: Any) -> dict[str, Any]:
        group, name = key.split("/")
        return {"key": key, "label": name, "group": group, "published": {}, "published_only": False} | content

    def measured(key: str, quality: float, **content: Any) -> dict[str, Any]:
        run = write_row(tmp_path, key.replace("/", "-"), 0, quality, quality - 0.2, 0.1)
        run["dataset"] = {"folder": "data", "layout": "folder", "split": key[0], "images": 30, "limit": None}
        return row(key, runs=[run], **content)

    published = {"published": {"ceval_ods": 0.8, "ac": 0.5}, "footnotes": {"ceval_ods": [DOUBT], "ac": [OTHER, DOUBT]}}
    rows = [
        measured("a/good", 0.9, **published),
        measured("a/bad", 0.6),
        measured("b/good", 0.8),
        row("b/printed: HED", published={"ac": 0.2}, footnotes={"ac": [OTHER]}, published_only=True),
        measured("b/bad", 0.65),
        *(
            row(f"{kind}/{name}", runs=[], combines=kind, members=[f"a/{name}", f"b/{name}"])
            for kind in ("mean", "spread")
            for name in ("good", "bad")
        ),
    ]
    claims = ["mean/good.ac > mean/bad.ac", "spread/good.ac < spread/bad.ac", "a/good.ac > b/good.ac"]
    columns = ["ceval_ods", "ac", "seconds_per_image"]
    return make_table(rows=rows, groups=GROUPS, columns=columns, claims=claims, figures=[])


@pytest.fixture
def table(spec: Path, tmp_path: Path) -> Table:
    return build_table(spec, tmp_path)


def values_of(root: Path, name: str) -> np.ndarray:
    values: np.ndarray = np.load(root / f"results/runs/crispness/{name}-s0/per_image.npz")["ac"]
    return values


def test_a_mean_over_sections(table: Table, tmp_path: Path) -> None:
    cell, members = table.cells["mean/good", "ac"], [table.cells[f"{key}/good", "ac"] for key in "ab"]
    assert cell.value == pytest.approx(np.mean([each.value for each in members]), abs=1e-12)
    assert cell.n_images == 60
    assert cell.run_ids == (*members[0].run_ids, *members[1].run_ids)
    assert (cell.published, cell.verdict, cell.seeds) == (None, "", (0,))
    assert table.cells["mean/good", "seconds_per_image"].value == pytest.approx(0.1)
    assert table.cells["mean/good", "seconds_per_image"].low is None
    # Independent images: the variances of the means add up.
    deviations = [values_of(tmp_path, f"{key}-good").std() / np.sqrt(30) for key in "ab"]
    assert cell.low is not None
    assert cell.high is not None
    assert cell.high - cell.low == pytest.approx(2 * 1.96 * np.hypot(*deviations) / 2, rel=0.12)


def test_members_on_the_same_images_are_resampled_together(spec: Path, tmp_path: Path) -> None:
    content = json.loads(spec.read_text())
    for row in content["rows"]:
        for run in row.get("runs", []):
            run["dataset"]["split"] = "same"
    spec.write_text(json.dumps(content))
    table = build_table(spec, tmp_path)
    each = [values_of(tmp_path, f"{key}-good") for key in "ab"]
    ids = [f"img{k:03d}" for k in range(30)]
    resampled = draw_weights(ids) @ np.mean(each, axis=0) / 30
    cell = table.cells["mean/good", "ac"]
    assert (cell.low, cell.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=1e-12)
    assert cell.n_images == 30


def test_a_spread_over_sections(table: Table, tmp_path: Path) -> None:
    cell = table.cells["spread/good", "ac"]
    each = [values_of(tmp_path, f"{key}-good") for key in "ab"]
    assert cell.value == pytest.approx(np.std([values.mean() for values in each], ddof=1), abs=1e-12)
    weights = draw_weights([f"img{k:03d}" for k in range(30)])
    resampled = np.std([weights @ values / 30 for values in each], axis=0, ddof=1)
    assert (cell.low, cell.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=1e-12)


def test_claims_about_means_compare_the_same_draws(table: Table) -> None:
    mean, spread, other = table.claims
    assert (mean.status, mean.paired, mean.n_images) == ("holds", True, 60)
    assert spread.low is not None
    assert not other.paired or other.n_images == 30
    own = table.cells["mean/good", "ac"], table.cells["mean/bad", "ac"]
    width = sum((cell.high or 0) - (cell.low or 0) for cell in own)
    assert mean.low is not None
    assert mean.high is not None
    assert mean.high - mean.low < width


def test_a_missing_member_leaves_the_combined_row_empty(spec: Path, tmp_path: Path) -> None:
    content = json.loads(spec.read_text())
    run = next(row for row in content["rows"] if row["key"] == "b/good")["runs"][0]
    del run["evaluations"]["crispness"]
    spec.write_text(json.dumps(content | {"claims": ["mean/good.ac > mean/bad.ac"]}))
    table = build_table(spec, tmp_path)
    assert table.cells["mean/good", "ac"].value is None
    assert table.cells["mean/good", "ceval_ods"].value is not None
    assert table.claims[0].status == "undecided"


def test_markdown_has_headings_and_footnotes(table: Table) -> None:
    text = to_markdown(table)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {1 + 6}
    headings = [line for line in lines if line.startswith("| **")]
    assert [line.split("**")[1] for line in headings] == list(GROUPS.values())
    assert lines.index(headings[1]) == lines.index(headings[0]) + 3
    assert "0.800<sup>a</sup> (" in lines[3]
    assert "0.500<sup>a, b</sup> (" in lines[3]
    assert "0.200<sup>b</sup> |" in text
    assert "<sup>a</sup> The paper does not say which &lt;E>.  \n<sup>b</sup> 50 % of the images." in text
    assert ("Numbers", "Both: mean of the sections First split, Second & split; its interval resamples images in each "
            "data set by itself.") in facts(table)  # fmt: skip


def test_latex_has_headings_and_footnotes(table: Table) -> None:
    text = to_latex(table)
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    body = re.search(r"\\midrule\n(.*)\\bottomrule", text, re.S)[1].splitlines()  # type: ignore[index]
    assert body[0] == r"\multicolumn{6}{l}{\textbf{First split}} \\"
    assert body.count(r"\midrule") == 3
    assert r"\multicolumn{6}{l}{\textbf{Second \& split}} \\" in body
    assert r"0.500\textsuperscript{a, b} {\scriptsize" in text
    assert r"\textsuperscript{a}The paper does not say which $<$E$>$.\\" in text


def test_latex_scales_wide_tables(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "resizebox" not in to_latex(table)
    monkeypatch.setattr("edgebench.report.write.LATEX_COLUMNS", 5)
    lines = to_latex(table).splitlines()
    first = next(index for index, line in enumerate(lines) if r"\resizebox{\linewidth}{!}{%" in line)
    assert lines[first + 1].startswith(r"\begin{tabular}")
    assert r"\end{tabular}}" in lines


def test_the_words_say_how_images_were_drawn(table: Table) -> None:
    """Sections of other images are resampled each by itself, draws of the noise on the same images together."""
    for row in table.rows:
        row.runs[:] = [replace(run, dataset={"folder": Path("data"), "split": "test"}) for run in row.runs]
    assert any("images for all of them together" in text for _, text in facts(table))


def test_html_has_headings_and_footnotes(table: Table, tmp_path: Path) -> None:
    paths = write_table(table, tmp_path / "t")
    text = next(path for path in paths if path.suffix == ".html").read_text()
    assert '<tr class="section"><th scope="rowgroup" colspan="6">Second &amp; split</th></tr>' in text
    assert "0.500<sup>a, b</sup>" in text
    assert '<p class="footnote"><sup>a</sup> The paper does not say which &lt;E&gt;.</p>' in text
    assert '<div class="eyebrow">First split</div>\n<h2>good</h2>' in text


def test_csv_has_columns_of_sections_and_footnotes_where_there_are_any(
    table: Table, make_table: MakeTable, tmp_path: Path
) -> None:
    lines = list(csv.DictReader(StringIO(to_csv(table))))
    first, mean = lines[1], next(line for line in lines if line["row"] == "mean/good")
    assert [first[name] for name in ("row", "group", "group_title", "combined")] == ["a/good", "a", "First split", ""]
    assert first["footnotes"] == f"{OTHER} | {DOUBT}"
    assert (mean["combined"], mean["group_title"], mean["footnotes"]) == ("mean", "Both", "")
    plain = to_csv(build_table(make_table(), tmp_path)).splitlines()[0]
    assert plain.endswith("stand_ins,overrides,protocol,notes")


def test_the_terminal_shows_headings_and_footnotes(table: Table, tmp_path: Path) -> None:
    paths = write_table(table, tmp_path / "t")
    text = StringIO()
    print_table(paths[0], Console(file=text, width=160))
    shown = text.getvalue()
    places = [shown.index(title) for title in ("First split", "Second & split", "Both", "Spread of both")]
    assert places == sorted(places)
    assert "(0.500)ᵃ,ᵇ" in shown
    assert "ᵃ The paper does not say which <E>." in shown
    assert number(table.cells["spread/good", "ac"].value, "ac", fine=True) in shown


def test_a_row_that_is_the_same_run_as_another_decides_no_claim(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table(claims=[])
    content = json.loads(spec.read_text())
    content["rows"][1]["runs"] = content["rows"][0]["runs"]
    content["claims"] = ["locmax,10.ac > topk,10.ac", "locmax,10.ac < topk,10.ceval_ods"]
    spec.write_text(json.dumps(content))
    same, other = build_table(spec, tmp_path).claims
    assert (same.status, explain(same)) == ("undecided", "both sides are the same runs")
    assert not other.same


def test_names_and_numbers_of_mask_columns(make_table: MakeTable) -> None:
    titles = {
        "weighted_f": "Weighted F",
        "s_measure": "S-measure",
        "standard_max_f": "Standard max F",
        "standard_mae": "Standard MAE",
        "standard_biou": "Standard BIoU",
        "iou": "IoU",
    }
    assert {column: column_title(column) for column in titles} == titles
    assert number(1061.4, "hce") == "1061"
    assert number(1061.4, "standard_hce") == "1061"
    assert number(0.0294, "mae") == "0.029"
    assert number(0.00031, "max_f", fine=True) == "0.00031"
    assert (decimals(0.9, 0.001), decimals(0.0012, 0.0003), decimals(0, 0)) == (3, 4, 3)
    assert [footnote_letter(index) for index in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
    from edgebench.report.collect import read_spec

    spec = read_spec(make_table(scale="paper"))
    for column, expected in (("mae", "differs"), ("s_measure", "match")):
        assert verdict(0.033, None, 0.029, column, spec, complete=True) == expected
