from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgebench.report.estimate import estimate, megabytes, render, run_cost, work

SCENES = {
    "name": "scenes",
    "title": "Drawn scenes",
    "licence": "CC0",
    "terms": "none",
    "bytes": 2_500_000,
    "images": {"train": 240, "test": 40},
}


def train(id: str, steps: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "stage": "train",
        "role": "pretrain",
        "scale": "mini",
        "settings": {"method": "memo", "steps": steps, "batch": 8, "split": "train"},
        "dataset": SCENES,
        "resources": {"gpus": 2, "vram_gb": 40, "minutes": 90, "disk_mb": 1500},
    } | changes


def predict(id: str, limit: int | None = None, **changes: Any) -> dict[str, Any]:
    settings = {"method": "memo", "split": "test", "limit": limit, "steps": 10}
    return train(id, 0, stage="predict", role="predict", settings=settings) | changes


def test_declared_without_records() -> None:
    found = run_cost(train("a", 1000), [])
    assert (found.hours, found.gpu_hours, found.basis) == (1.5, 3.0, "declared")


def test_measured_is_scaled_by_samples() -> None:
    record = train("old", 500, seconds=600.0, gpu_seconds=1200.0)
    found = run_cost(train("a", 1000), [record])
    assert (found.hours, found.gpu_hours, found.basis) == (
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        "measured",
    )


def test_measured_is_scaled_by_images() -> None:
    record = predict("old", seconds=60.0, gpu_seconds=60.0, n_images=20)
    assert run_cost(predict("a"), [record]).hours == pytest.approx(120 / 3600)
    assert run_cost(predict("b", limit=10), [record]).hours == pytest.approx(30 / 3600)


@pytest.mark.parametrize(
    "other", [{"scale": "paper"}, {"role": "finetune"}, {"settings": {"method": "sobel"}}, {"gpu_seconds": 0.0}]
)
def test_other_runs_say_nothing_about_the_cost(other: dict[str, Any]) -> None:
    record = train("old", 500, seconds=600.0, gpu_seconds=600.0) | other
    assert run_cost(train("a", 1000), [record]).basis == "declared"


def test_one_odd_record_does_not_decide() -> None:
    records = [
        train(f"old{k}", 1000, seconds=seconds, gpu_seconds=seconds) for k, seconds in enumerate((100.0, 110.0, 9000.0))
    ]
    assert run_cost(train("a", 1000), records).hours == pytest.approx(110 / 3600)


def test_work_is_samples_or_images() -> None:
    assert work(train("a", 10)) == 80
    assert work(train("a", 10) | {"settings": {"steps": 10, "batch": 4, "accumulate": 2}}) == 80
    assert work(predict("a")) == 40
    assert work(predict("a", limit=7)) == 7
    assert work({"stage": "fetch", "settings": {}}) is None


def test_roles_count_each_run_once_and_leave_out_what_is_done() -> None:
    specs = [train("a", 1000), train("a", 1000), train("b", 1000), predict("c")]
    found = estimate(specs, [train("b", 500, seconds=3600.0, gpu_seconds=7200.0)])
    pretrain, predicting = found.roles
    assert (pretrain.to_do, pretrain.done, pretrain.basis) == (1, 1, "measured")
    assert (pretrain.gpu_hours, pretrain.disk_mb, pretrain.vram_gb) == (pytest.approx(4), 1500, 40)
    assert (predicting.to_do, predicting.basis, predicting.gpu_hours) == (1, "declared", 3)
    assert found.gpu_hours == pytest.approx(7)
    assert found.disk_mb == 3000
    assert [each.name for each in found.datasets] == ["scenes"]


def test_runs_that_wait_for_one_another_take_their_time_and_jobs_that_share_one_save_some() -> None:
    first, other = train("a", 1000), train("b", 1000)  # 1.5 hours each, side by side
    last = predict("c", input_ids={"weights": "a"})
    assert estimate([first, other, last], []).elapsed_hours == pytest.approx(3)
    shared = last | {"resources": last["resources"] | {"shards": 3}}
    found = estimate([first, other, shared], [])
    assert found.elapsed_hours == pytest.approx(2)
    assert (found.hours, found.gpu_hours) == (pytest.approx(4.5), pytest.approx(9))
    assert estimate([first, other, shared], [first | {"seconds": 5400.0, "gpu_seconds": 10800.0}]).elapsed_hours == 1.5


def test_a_finished_role_costs_nothing() -> None:
    found = estimate([train("a", 1000)], [train("a", 1000, seconds=1.0)])
    assert (found.roles[0].to_do, found.gpu_hours, found.roles[0].basis) == (0, 0, "")


def test_rendering_shows_cost_basis_and_terms() -> None:
    text = StringIO()
    Console(file=text, width=140).print(render(estimate([train("a", 1000), predict("c")], [])))
    for part in ("pretrain", "declared", "40 GiB", "1.5 GB", "3.0 GB", "6.0", "Drawn scenes", "CC0", "2 MB"):
        assert part in text.getvalue(), part


def test_megabytes() -> None:
    assert [megabytes(each) for each in (0, 999, 1500, 2.3e6)] == ["0 MB", "999 MB", "1.5 GB", "2.3 TB"]


def test_the_estimate_needs_nothing_heavy(root: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(root / 'src')!r}); import edgebench.report.estimate;"
        "print([m for m in ('numpy', 'torch', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_checkpoints_are_listed_with_size_terms_and_gate() -> None:
    weights = SCENES | {"name": "weights", "title": "Released weights", "gate": "accept", "bytes": 1_900_000_000}
    weights |= {"source": {"mirrors": ["https://a"]}, "files": {"a.pt": {}}, "format": "file"}
    fetch = train("c", 0, stage="fetch", role="fetch", settings={}, dataset=None, checkpoint=weights)
    found = estimate([fetch, predict("a")], [])
    assert [each.name for each in found.checkpoints] == ["weights"]
    assert [each.name for each in found.datasets] == ["scenes"]
    console = Console(file=StringIO(), width=200)
    console.print(render(found))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "weights: Released weights, 1.9 GB. Licence: CC0." in output
    assert "edgebench fetch weights --accept-terms" in output
    assert output.count("not pinned: its owners may change it") == 1
    weights["files"] = {"a.pt": {"sha256": "ab" * 32}}
    assert estimate([fetch], []).checkpoints[0].pinned


class TestPapers:
    FETCH = {"stage": "fetch", "role": "fetch", "settings": {"dataset": "scenes"}, "resources": {"disk_mb": 3}}
    PAPERS = {"memo": ["fetch", "a", "b"], "trace": ["fetch", "b", "c"]}

    def specs(self) -> list[dict[str, Any]]:
        return [train("fetch", 0, **self.FETCH), train("a", 10), train("b", 10), train("c", 10)]

    def test_what_they_share_counts_once_in_the_total(self) -> None:
        estimated = estimate(self.specs(), [], self.PAPERS)
        by_name = {each.paper: each for each in estimated.papers}
        assert list(by_name) == ["memo", "trace", "all"]
        assert [each.to_do for each in estimated.papers] == [3, 3, 4]
        assert [each.gpu_hours for each in estimated.papers] == [6.0, 6.0, 9.0]
        assert [each.download_mb for each in estimated.papers] == [2.5, 2.5, 2.5]
        assert [each.disk_mb for each in estimated.papers] == [3000, 3000, 4500]
        assert by_name["all"].gpu_hours == estimated.gpu_hours
        assert estimated.shared == 2

    def test_what_is_done_costs_nothing_more(self) -> None:
        records = [train("fetch", 0, **self.FETCH), train("a", 10, seconds=60.0, gpu_seconds=60.0)]
        memo, _, all_papers = estimate(self.specs(), records, self.PAPERS).papers
        assert (memo.to_do, memo.done, memo.download_mb) == (1, 2, 0)
        assert (all_papers.to_do, all_papers.done) == (2, 2)

    def test_what_edgebench_draws_is_no_download_and_an_unknown_size_is_said(self) -> None:
        drawn = SCENES | {"source": {"draw": {"style": "M"}}}
        unknown = {key: value for key, value in SCENES.items() if key != "bytes"} | {"name": "other"}
        specs = [train("a", 0, **self.FETCH | {"dataset": drawn}), train("b", 0, **self.FETCH | {"dataset": unknown})]
        (total,) = estimate(specs, []).papers
        assert (total.download_mb, total.unknown) == (0, 1)

    def test_they_stand_in_the_terminal(self) -> None:
        output = rendered(estimate(self.specs(), [], self.PAPERS))
        assert "2 runs serve more than one paper" in output
        assert "downloads" in output
        alone = rendered(estimate(self.specs(), [], {"memo": ["fetch", "a", "b", "c"]}))
        assert "downloads" not in alone

    def test_gates_are_told_until_the_data_is_here(self) -> None:
        gated = train("fetch", 0, **self.FETCH | {"dataset": SCENES | {"gate": "accept"}})
        assert "You are needed first, to accept terms or to get files: scenes" in rendered(estimate([gated], []))
        output = rendered(estimate([gated], [gated]))
        assert "You are needed" not in output
        assert "here already" in output


def rendered(estimated: Any) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(render(estimated))
    return console.file.getvalue()  # type: ignore[attr-defined]
