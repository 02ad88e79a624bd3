from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgebench.errors import ConfigError, DataError
from edgebench.files import write_json
from edgebench.report.collect import collect

MakeTable = Callable[..., Path]


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_numbers_come_from_their_runs(make_table: MakeTable, tmp_path: Path) -> None:
    collected = collect(make_table(seeds=(0, 1)), tmp_path)
    row = collected.row("locmax,10")
    stored = json.loads((tmp_path / "results/runs/crispness/locmax10-s1/scores.json").read_text())
    assert row.runs[1].value("ac") == stored["columns"]["ac"]
    assert row.values("seconds_per_image") == [0.12, 0.12]
    assert row.runs[0].run_ids("ac") == ["predict-locmax10-0", "ac-locmax10-0"]
    assert row.runs[0].value("fid") is None
    assert collected.row("DiffEdge").values("ac") == []


@pytest.mark.parametrize("missing", ["results/runs/bsds_seval/topk10-s0", "results/runs/predict/topk10-s0"])
def test_a_missing_run_names_the_command(make_table: MakeTable, tmp_path: Path, missing: str) -> None:
    spec = make_table()
    shutil.rmtree(tmp_path / missing)
    with pytest.raises(DataError, match=rf"row 'topk,10' \(seed 0\).*snakemake {missing}/run\.json"):
        collect(spec, tmp_path)


def test_mixed_metric_versions_name_both_runs(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    change_json(tmp_path / "results/runs/crispness/topk10-s0/scores.json", version=3)
    with pytest.raises(DataError, match=r"'crispness'.*version 2 in .*/locmax10-s0 and by version 3 in .*/topk10-s0"):
        collect(spec, tmp_path)


def test_versions_of_different_protocols_may_differ(make_table: MakeTable, tmp_path: Path) -> None:
    assert {each.version for each in collect(make_table(), tmp_path).evaluations()} == {1, 2}


def test_a_column_with_two_sources_is_refused(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    change_json(tmp_path / "results/runs/crispness/topk10-s0/scores.json", columns={"ac": 0.1, "seval_ods": 0.2})
    with pytest.raises(DataError, match="column 'seval_ods' is given by two evaluations"):
        collect(spec, tmp_path)


def test_damaged_scores_say_what_to_do(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    (tmp_path / "results/runs/crispness/topk10-s0/scores.json").write_text('{"columns": {}}')
    with pytest.raises(DataError, match=r"topk10-s0/scores\.json: not the scores"):
        collect(spec, tmp_path)


def test_a_plan_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"id": "x"}')
    with pytest.raises(ConfigError, match=r"spec\.json: not the plan of a table"):
        collect(tmp_path / "spec.json", tmp_path)


def test_runs_shared_by_seeds_count_once(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    content = json.loads(spec.read_text())
    run = content["rows"][0]["runs"][0]
    content["rows"][0]["runs"] = [run, run | {"seed": 1}]
    change_json(spec, rows=content["rows"], seeds=[0, 1])
    row = collect(spec, tmp_path).row("locmax,10")
    assert [each.seed for each in row.runs] == [0, 1]
    assert [each.seed for each in row.distinct_runs] == [0]


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        # MEMO's default: trained here, and released with its adapters merged
        ({"settings": {"lora_rank": 8}, "trained_parameters": 2_971_648, "parameters": 241_315_554}, [1.2468]),
        ({"settings": {"preset": "default"}, "adapter_parameters": 2_971_648, "parameters": 238_343_906}, [1.2468]),
        ({"settings": {"lora_rank": None}, "trained_parameters": 5, "parameters": 5}, []),
        ({"settings": {"preset": "default"}, "adapter_parameters": 0, "parameters": 238_343_906}, []),
    ],
)
def test_added_parameters_are_those_of_the_training(
    make_table: MakeTable, tmp_path: Path, training: dict[str, object], expected: list[float]
) -> None:
    spec = make_table()
    content = json.loads(spec.read_text())
    write_json(tmp_path / "results/runs/finetune/0/run.json", training)
    content["rows"][0]["runs"][0]["weights"] = "results/runs/finetune/0"
    change_json(spec, rows=content["rows"])
    rows = collect(spec, tmp_path).rows
    assert rows[0].values("added_params_percent") == pytest.approx(expected, abs=5e-5)
    assert all(row.values("added_params_percent") == [] for row in rows[1:])


def test_a_missing_training_names_the_command(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    content = json.loads(spec.read_text())
    content["rows"][0]["runs"][0]["weights"] = "results/runs/finetune/gone"
    change_json(spec, rows=content["rows"])
    with pytest.raises(DataError, match=r"snakemake results/runs/finetune/gone/run\.json"):
        collect(spec, tmp_path)
