"""The HTML report in a browser without network, as somebody who was mailed it opens it."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import CLASSICAL, MASKS, Repository, copy_repository

EDGES = CLASSICAL | {
    "protocol": ["bsds_seval"],
    "matrix": {"predict.sigma": [2]},
    "columns": ["seval_ods", "seconds_per_image"],
    "figures": ["precision_recall", "image_grid"],
}
OTSU = MASKS | {
    "title": "Otsu's threshold",
    "rows": [{"key": "otsu", "label": "Otsu", "recipe": "otsu_dis5k"}],
    "groups": MASKS["groups"][:1],  # type: ignore[index]
}
TITLES = {"memo": "Two detectors that need no training (edges)", "diffdis": "Otsu's threshold (masks)"}


def chromium() -> str:
    """The browser to test with; skips without one."""
    named = os.environ.get("EDGEBENCH_CHROMIUM")
    known = ("chromium", "chromium-browser", "google-chrome")
    found = named or next(filter(None, map(shutil.which, known)), None)
    if not found:
        pytest.skip(f"no {', '.join(known)} here and EDGEBENCH_CHROMIUM not set (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Repository:
    made = copy_repository(root, tmp_path_factory.mktemp("report"), {"edges": EDGES, "masks": OTSU})
    made.snakemake("report", "--quiet", "rules")
    return made


class Browser:
    """A page of a browser that reaches nothing but files, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._listen)
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url[:200]}"))
        page.on("request", self._note)

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"asked the network for {request.url[:200]}")

    def list_of(self, paper: str, kind: str) -> Any:
        """Click from the first page to a list of tables or figures; its rows."""
        self.page.get_by_role("link", name=paper, exact=True).click()
        self.page.get_by_role("link", name=kind, exact=True).click()
        rows = self.page.locator(f"#app table:has(th:text-is('{kind.removesuffix('s')}')):not(.prose table) tbody tr")
        rows.first.wait_for()
        return rows

    def figure_after(self, before: str = "") -> str:
        """Wait until a figure other than the one of source `before` shows its pixels; its source."""
        figure = "img[src^='data:image/png'], img[src^='data:image/webp']"
        self.page.wait_for_function(
            "([figure, before]) => (i => i && i.src != before && i.naturalWidth > 100)(document.querySelector(figure))",
            arg=[figure, before],
        )
        return str(self.page.locator(figure).get_attribute("src"))

    def home(self) -> None:
        """Click back to the first page."""
        self.page.locator(".list-reset a").first.click()
        self.page.get_by_role("link", name="Workflow").click()


@pytest.fixture(scope="module")
def opened(repository: Repository) -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(30_000)
        page.goto((repository.folder / "results/report/demo.html").as_uri())
        yield Browser(page)
        browser.close()


@pytest.fixture
def browser(opened: Browser) -> Iterator[Browser]:
    """The report at its first page; nothing may go wrong in it."""
    opened.problems.clear()
    opened.page.reload()
    opened.page.get_by_text("Statistics").wait_for()
    yield opened
    assert opened.problems == []


def numbers(repository: Repository, paper: str, table: str) -> list[str]:
    """Reproduced quality in a table's csv, with three decimals as the page prints it."""
    with (repository.folder / f"results/tables/demo/{paper}/{table}.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["value"]]
    return [f"{float(line['value']):.3f}" for line in lines if line["column"] in ("seval_ods", "max_f")]


class TestPage:
    def test_is_light_enough_to_mail_and_loads_nothing(self, repository: Repository) -> None:
        path = repository.folder / "results/report/demo.html"
        assert path.stat().st_size < 25e6
        text = path.read_text()
        assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"']https?://", text)
        assert "<title>edgebench demo</title>" in text
        assert "system-message" not in text.split('id="workflow-desc"')[1]

    def test_is_made_once_and_one_paper_by_itself(self, repository: Repository) -> None:
        planned = repository.planned("results/report/demo.html", "results/report/demo-diffdis.html")
        assert planned == {"report_page": 1}

    def test_is_made_with_what_the_command_line_set(self, repository: Repository) -> None:
        planned = repository.snakemake("report", "-n", "-p", "--config", "set={predict.sigma: 3, predict.limit: 2}")
        call = next(line for line in planned.splitlines() if "--report results/report/.part-demo.html" in line)
        assert """'set={"predict.sigma": "3", "predict.limit": "2"}'""" in call
        assert "scale=demo" in call.replace('"', "")


class TestInABrowser:
    def test_the_first_page_explains_and_leads_to_everything(self, browser: Browser) -> None:
        page = browser.page
        assert page.get_by_role("heading", name="edgebench, scale demo").is_visible()
        assert page.get_by_text("From a number to what made it.").is_visible()
        assert not page.locator("#app #rulegraph").is_visible()
        for title in TITLES.values():
            page.locator(".prose").get_by_role("link", name=title).click()
            page.frame_locator("iframe").get_by_text("scale demo", exact=True).wait_for()
            page.get_by_text("not comparable with the printed numbers.").wait_for()
            browser.home()
        page.locator(".prose").get_by_role("link", name="image grid", exact=True).click()
        browser.figure_after()

    @pytest.mark.parametrize(("paper", "table"), [("1. MEMO", "memo/edges"), ("2. DiffDIS", "diffdis/masks")])
    def test_tables_show_their_numbers_and_caption(
        self, browser: Browser, repository: Repository, paper: str, table: str
    ) -> None:
        folder, name = table.split("/")
        rows = browser.list_of(paper, "Tables")
        assert rows.count() == 1
        assert TITLES[folder] in rows.first.inner_text()
        rows.first.locator("a").first.click()
        frame = browser.page.frame_locator("iframe")
        shown = frame.locator("a.value")
        shown.first.wait_for()
        expected = numbers(repository, folder, name)
        assert expected
        assert set(expected) <= set(shown.all_inner_texts())
        rows.first.locator("a").last.click()
        caption = browser.page.locator(".prose-invert")
        for said in ("Scale:", "Data:", "Recipes:", "Protocols:", "Identity:", "Seeds: 0"):
            assert said in caption.inner_text()

    @pytest.mark.parametrize(("paper", "count"), [("1. MEMO", 2), ("2. DiffDIS", 1)])
    def test_figures_have_pixels(self, browser: Browser, paper: str, count: int) -> None:
        rows = browser.list_of(paper, "Figures")
        assert rows.count() == count
        before = ""
        for index in range(count):
            rows.nth(index).locator("a").first.click()
            before = browser.figure_after(before)

    def test_a_number_leads_to_the_records_of_its_runs(self, browser: Browser) -> None:
        """From the score over the predictions to the data that were drawn."""
        browser.page.locator(".prose").get_by_role("link", name=TITLES["memo"]).click()
        frame = browser.page.frame_locator("iframe")
        panel = frame.locator(".record:visible")
        for index in range(frame.locator("a.value").count()):
            assert panel.count() == 0
            frame.locator("a.value").nth(index).click()
            assert "evaluate: " in panel.inner_text()
            panel.get_by_role("link", name="Close").click()
        frame.locator("a.value").first.click()
        panel.get_by_role("link", name=re.compile("^evaluate: ")).click()
        for said in ("Revision", "Machine", "Cost", "Settings", "Numbers", "SEval ODS"):
            assert said in panel.inner_text()
        panel.get_by_role("link", name=re.compile("^predict: ")).click()
        panel.get_by_role("link", name="fetch: scenes").click()
        panel.get_by_text("The whole record").click()
        assert '"stage": "fetch"' in panel.locator("pre").inner_text()
        panel.get_by_role("link", name="Close").click()
        assert panel.count() == 0

    def test_the_statistics_are_drawn(self, browser: Browser) -> None:
        browser.page.get_by_text("Statistics").click()
        browser.page.locator("#runtimes canvas, #runtimes svg").first.wait_for()

    def test_a_table_opens_by_itself_too(self, browser: Browser, repository: Repository) -> None:
        page = browser.page.context.new_page()
        alone = Browser(page)
        page.goto((repository.folder / "results/tables/demo/diffdis/masks.html").as_uri())
        page.locator("a.value").first.click()
        assert "skeletons" in page.locator(".record:visible").inner_text()
        page.close()
        assert alone.problems == []
