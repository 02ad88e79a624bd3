from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from edgebench.errors import DataError
from edgebench.report.columns import column_title, number
from edgebench.report.tables import Table, build_table
from edgebench.report.terminal import print_table
from edgebench.report.write import latex_escape, to_html, to_markdown, write_table

MakeTable = Callable[..., Path]
VOID = {"meta", "br", "hr", "img", "link"}


@pytest.fixture
def table(make_table: MakeTable, tmp_path: Path) -> Table:
    return build_table(make_table(seeds=(0, 1)), tmp_path)


@pytest.fixture
def written(table: Table, tmp_path: Path) -> dict[str, Path]:
    paths = write_table(table, tmp_path / "results/tables/demo/memo/steps.v1")
    return {path.name.removeprefix("steps.v1."): path for path in paths}


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_every_cell_in_full_precision(table: Table, written: dict[str, Path]) -> None:
    lines = read_csv(written["csv"])
    assert [(x["row"], x["column"]) for x in lines] == list(table.cells)
    line = next(x for x in lines if (x["row"], x["column"]) == ("locmax,10", "ceval_ods"))
    cell = table.cells["locmax,10", "ceval_ods"]
    for name in ("value", "spread", "low", "high", "difference"):
        assert float(line[name]) == getattr(cell, name)
    assert line["seeds"] == "0;1"
    assert line["run_ids"].split(";") == list(cell.run_ids)
    assert (line["n_images"], line["published"], line["comparable"]) == ("30", "0.836", "no")
    assert line["stand_ins"] == '{"bsds500":"scenes"}'
    empty = next(x for x in lines if (x["row"], x["column"]) == ("DiffEdge", "seconds_per_image"))
    assert (empty["value"], empty["published"]) == ("", "")


def test_claims_csv(table: Table, written: dict[str, Path]) -> None:
    lines = read_csv(written["claims.csv"])
    assert [x["status"] for x in lines] == ["holds", "does not hold", "holds"]
    assert float(lines[1]["margin"]) == 0.02
    assert float(lines[0]["low"]) == table.claims[0].low


@pytest.mark.parametrize("kind", ["md", "tex", "html"])
def test_every_format_states_what_the_numbers_rest_on(written: dict[str, Path], kind: str) -> None:
    text = written[kind].read_text().replace("\\_", "_").replace("&amp;", "&").replace("\\&", "&")
    for part in (
        "Order & number of reveal steps",
        "drawn scenes, small network",
        "not comparable with the published ones",
        "scenes stands in for bsds500",
        "Guidance is 2.",
        "max_distance 0.0075",
        "does not hold",
        "0.836",
    ):
        assert part in text, part


def test_markdown_is_a_table_whatever_the_labels_hold(table: Table) -> None:
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {1 + 8}
    assert r"one-shot \| 50 % &lt;net>" in lines[4]
    cell = table.cells["locmax,10", "seval_ods"]
    assert f"{cell.value:.3f} ±{cell.spread:.3f} [{cell.low:.3f}, {cell.high:.3f}] | 0.854" in lines[2]


def test_latex_is_balanced_and_escaped(written: dict[str, Path]) -> None:
    text = written["tex"].read_text()
    assert text.count("\\begin{") == text.count("\\end{") == 3
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    body = re.search(r"\\midrule\n(.*)\\bottomrule", text, re.S)[1].splitlines()  # type: ignore[index]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [7] * 4
    assert latex_escape("50 %_a & b < c ±1 \\x") == r"50 \%\_a \& b $<$ c $\pm$1 \textbackslash{}x"


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.columns: list[int] = []
        self.named: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.links += [attributes[name] or "" for name in ("href", "src", "srcset") if name in attributes]
        self.named += filter(None, [attributes.get("id")])
        if tag == "tr":
            self.columns.append(0)
        if tag in ("td", "th"):
            self.columns[-1] += int(attributes.get("colspan") or 1)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_parses_and_loads_nothing_from_elsewhere(table: Table, written: dict[str, Path]) -> None:
    text = written["html"].read_text()
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.columns[:6] == [1 + 2 * 3 + 1] * 6
    assert not re.search(r"https?:|//|@import|url\(|<script", text.replace("<!doctype html>", ""))
    assert "{{" not in text
    assert len(set(page.named)) == len(page.named)
    assert {link[1:] for link in page.links} - {"closed"} == set(page.named)
    assert "one-shot | 50 % &lt;net&gt;" in text
    assert "prefers-color-scheme: dark" in text


class TestRecordsInHtml:
    def test_every_number_leads_to_the_runs_of_its_row(self, table: Table, written: dict[str, Path]) -> None:
        text = written["html"].read_text()
        numbers = [cell for cell in table.cells.values() if cell.value is not None]
        assert len(re.findall(r'<a class="value" href="#row-\d+">', text)) == len(numbers)
        first = text.split('id="row-0"')[1].split("</section>")[0]
        assert set(re.findall(r'href="#run-([^"]+)"', first)) == {
            run_id for (row, _), cell in table.cells.items() if row == table.rows[0].key for run_id in cell.run_ids
        }

    def test_printed_rows_lead_nowhere(self, table: Table, written: dict[str, Path]) -> None:
        text = written["html"].read_text()
        for row in table.rows:
            label = re.escape(row.label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
            assert bool(re.search(rf'<th scope="row">{label}</th>', text)) == row.published_only

    def test_runs_before_the_scored_one_are_there_as_far_as_their_records_are(
        self, make_table: MakeTable, tmp_path: Path
    ) -> None:
        spec = make_table()
        predict = next(tmp_path.glob("results/runs/predict/*/run.json"))
        record = json.loads(predict.read_text())
        record["inputs"] = {"weights": "0123456789", "start": "abcdefabcd"}
        predict.write_text(json.dumps(record))
        training = tmp_path / "results/runs/train/memo-x-0123456789/run.json"
        training.parent.mkdir(parents=True)
        settings = {"steps": 300, "lora": None, "crop": [64, 64]}
        code = {"git": "f" * 40, "uncommitted": "1", "libraries": {"torch": "2.13.0"}}
        machine = {"host": "node7", "gpu": "H100", "cpu": "EPYC", "cores": 16}
        more = {"settings": settings, "code": code, "machine": machine, "seconds": 12.34, "gpu_seconds": 12.34}
        training.write_text(json.dumps({"id": "0123456789", "role": "train", "label": "memo-x", "seed": 0} | more))
        text = to_html(build_table(spec, tmp_path))
        panel = text.split('id="run-0123456789"')[1].split("</section>")[0]
        for shown in (
            "train: memo-x",
            "300",
            "f" * 40 + ", with uncommitted changes",
            "node7, H100",
            "12.3 GPU-seconds",
        ):
            assert shown in panel
        assert "results/runs/train/memo-x-0123456789/run.json" in panel
        assert '<a href="#run-0123456789">train: memo-x</a>' in text
        assert "<code>abcdefabcd</code>, whose record does not lie here" in text


def test_html_shows_verdicts_at_the_papers_scale(make_table: MakeTable, tmp_path: Path) -> None:
    paths = write_table(build_table(make_table(scale="paper"), tmp_path), tmp_path / "t")
    text = next(path for path in paths if path.suffix == ".html").read_text()
    assert 'class="small verdict differs">differs' in text
    assert "not comparable" not in text


def test_writing_twice_gives_the_same_bytes(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    first, second = (
        [path.read_bytes() for path in write_table(build_table(spec, tmp_path), tmp_path / "t")] for _ in range(2)
    )
    assert first == second


def test_terminal_table(written: dict[str, Path]) -> None:
    text = StringIO()
    print_table(written["csv"], Console(file=text, width=160))
    shown = text.getvalue()
    for part in (
        "locmax, 10 steps",
        "(0.854)",
        "AC (paper)",
        "DiffEdge",
        "does not hold",
        "30 images, seeds 0, 1",
        "not comparable",
    ):
        assert part in shown, part


def test_narrow_terminals_break_no_number(written: dict[str, Path]) -> None:
    wide, narrow = StringIO(), StringIO()
    print_table(written["csv"], Console(file=wide, width=200))
    print_table(written["csv"], Console(file=narrow, width=60))
    assert "Further columns" not in wide.getvalue()
    assert narrow.getvalue().count("Further columns") >= 1
    assert "…" not in narrow.getvalue()
    assert max(map(len, narrow.getvalue().splitlines())) <= 60
    with open(written["csv"], newline="") as file:
        cells = list(csv.DictReader(file))
    for cell in cells:
        if cell["published"]:
            assert f"({number(float(cell['published']), cell['column'])})" in narrow.getvalue()
    for column in {cell["column"] for cell in cells}:
        assert all(word in narrow.getvalue() for word in column_title(column).split())


def test_terminal_table_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such table"):
        print_table(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not a table of edgebench"):
        print_table(tmp_path / "other.csv")
