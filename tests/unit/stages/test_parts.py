"""Runs that several jobs share: they end with the files of one job, go on after a kill, and hide no loss."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgebench.data.scenes import draw_dataset
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.files import read_json, write_json
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.plan.attempts import read_attempt
from edgebench.plan.methods import settings_class
from edgebench.stages import predict, synthesise
from edgebench.stages.parts import Part
from edgebench.stages.run import UNFINISHED, begin, carry_out, carry_out_part, gather_parts

torch.set_num_threads(1)
VARIES = {"run.json", "timing.json"}
"""Files that say how long things took."""
SIZES = {"a": (40, 60), "b": (64, 33), "c": (64, 64), "d": (33, 50), "e": (70, 30), "f": (50, 50), "g": (48, 40)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, images with masks, and a small MEMO."""
    folder = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        mask = np.zeros(size, np.uint8)
        mask[8:25, 8:24] = 0 if name in "bf" else 255  # two masks are blank, and so have one skeleton
        picture = rng.integers(0, 120, (*size, 3), dtype=np.uint8)
        picture[mask > 0] += np.uint8(120)
        for place in ("photos", "pairs/images", "pairs/masks"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask if place == "pairs/masks" else picture).save(folder / place / f"{name}.png")
    torch.manual_seed(0)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    (folder / "train").mkdir()
    save_file(network.state_dict(), folder / "train/weights.safetensors", metadata=weight_metadata(network.config))
    draw_dataset(folder / "scenes", splits={"train": 8}, size=32, layout="folder")
    (folder / "scenes" / "train00003.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    for each in ("photos", "pairs", "train", "scenes"):
        write_json(folder / each / "run.json", {})
    return folder


@pytest.fixture
def plan(drawn: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the plan file of a run."""

    def planned(method: str, folder: str = "run", on: str = "photos", **settings: Any) -> Path:
        weights = {"weights": "train"} if method == "memo" else {}
        given = {"stage": "predict", "method": method, "dataset": on, "split": "all", **weights, **settings}
        chosen = settings_class("predict", method, "test").model_validate(given)
        write_json(
            tmp_path / f"{folder}.json",
            {
                **{"id": "0123456789", "stage": "predict", "role": "predict", "label": folder, "version": 1},
                **{"scale": "demo", "seed": 0, "protocol": None, "resources": {"gpus": 0}},
                "folder": str(tmp_path / folder),
                "settings": chosen.model_dump(mode="json"),
                "inputs": {"dataset": str(drawn / on), **{key: str(drawn / name) for key, name in weights.items()}},
                "dataset": {"name": on, "layout": "pairs" if on == "pairs" else "folder"},
            },
        )
        return tmp_path / f"{folder}.json"

    return planned


def shared(plan_file: Path, of: int = 3) -> Path:
    """Carry out a run in parts, the last one first."""
    begin(plan_file)
    for number in range(of, 0, -1):
        carry_out_part(plan_file, Part(number, of))
    return gather_parts(plan_file)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name not in VARIES}


MEMO: dict[str, Any] = {"steps": 3, "batch": 2, "frames": 3, "device": "cpu"}
MASKCUT: dict[str, Any] = {"dino": None, "size": 48, "patch": 8, "crf": False, "batch": 2}


@pytest.mark.parametrize(
    ("method", "on", "settings", "said"),
    [
        ("sobel", "photos", {}, "seconds_per_image"),
        ("memo", "photos", MEMO, "rounds"),
        ("memo", "photos", {**MEMO, "reveal": "random"}, "rounds"),
        ("maskcut", "photos", MASKCUT, "masks_per_image"),
        ("mask_contours", "pairs", {}, "n_images"),
        ("mask_skeletons", "pairs", {}, "n_images"),
        ("mask_edges", "scenes", {}, "n_failed"),
    ],
)
def test_parts_end_with_the_files_of_one_job(
    plan: Callable[..., Path], method: str, on: str, settings: dict[str, Any], said: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(synthesise, "IMAGES_PER_SHARD", 2)
    one, several = (plan(method, folder, on, **settings) for folder in ("one", "several"))
    alone, together = carry_out(one), shared(several)
    assert len(files(alone)) > 3
    assert files(together) == files(alone)
    records = [read_json(folder / "run.json") for folder in (alone, together)]
    same = records[0].keys() - {"seconds", "start", "peak_memory_mb", "label", "seconds_per_image"}
    assert {key: records[1][key] for key in same} == {key: records[0][key] for key in same}
    assert all(record[said] is not None for record in records)
    assert set(read_json(together / "timing.json")) == set(read_json(alone / "timing.json")) if on == "photos" else True


def test_what_parts_cost_adds_up(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    begin(plan_file)
    for number, seconds in ((1, 100.0), (2, 20.0)):
        folder = carry_out_part(plan_file, Part(number, 2))
        path = folder / "work" / f"{number}of2.json"
        told = read_json(path)
        assert told["seconds"] > 0
        costs = {"seconds": seconds, "gpu_seconds": 4 * seconds, "peak_memory_mb": 9000 * number}
        write_json(
            path, told | costs | {"start": f"2020-01-0{number}T00:00:00+00:00", "machine": {"host": "n1", "gpu": "G"}}
        )
    record = read_json(gather_parts(plan_file) / "run.json")
    assert 120 < record["seconds"] < 180
    assert record["gpu_seconds"] == 480
    assert record["peak_memory_mb"] == 18000
    assert record["start"] == "2020-01-01T00:00:00+00:00"
    assert record["machine"]["gpu"] == "G"
    assert [(each["part"], each["seconds"], each["host"]) for each in record["parts"]] == [
        ("1of2", 100.0, "n1"),
        ("2of2", 20.0, "n1"),
    ]
    assert not (Path(plan_file).with_suffix("") / "work").exists()


def test_a_killed_part_goes_on_where_it_stood(plan: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = files(carry_out(plan("memo", "whole", **MEMO)))
    plan_file = plan("memo", **MEMO)
    begin(plan_file)
    real, seen = predict.prepare, []

    def killed(*given: Any) -> Any:
        prepared = real(*given)

        def answers(images: Any, ids: list[str]) -> Any:
            seen.append(ids)
            if len(seen) == 2:
                raise KeyboardInterrupt
            return prepared.answers(images, ids)

        return predict.Prepared(answers, prepared.note, prepared.sees, prepared.group)

    monkeypatch.setattr(predict, "prepare", killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out_part(plan_file, Part(1, 2))
    folder = plan_file.with_suffix("")
    assert not (folder / "work/1of2.json").exists()
    spent = folder / "work/1of2/.seconds.json"
    write_json(spent, {"seconds": 1000.0})
    carry_out_part(plan_file, Part(2, 2))
    carry_out_part(plan_file, Part(1, 2))
    assert sum(ids == seen[0] for ids in seen) == 1  # what was done is kept
    assert not spent.exists()
    gather_parts(plan_file)
    assert files(folder) == expected
    record = read_json(folder / "run.json")
    assert record["parts"][0]["seconds"] > 1000
    assert len(read_json(folder / "timing.json")) == len(SIZES)


def test_a_finished_run_is_begun_anew_and_an_interrupted_one_kept(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    folder = shared(plan_file)
    (folder / "maps/old.png").write_bytes(b"")
    begin(plan_file)
    assert not (folder / "maps").exists()
    carry_out_part(plan_file, Part(1, 2))
    begin(plan_file)
    assert len(list((folder / "maps").iterdir())) == 4
    assert (folder / "work/1of2.json").exists()


def test_a_missing_file_is_found_and_made_by_the_next_call(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    begin(plan_file)
    for number in (1, 2):
        folder = carry_out_part(plan_file, Part(number, 2))
    (folder / "maps/c.png").unlink()
    with pytest.raises(
        EdgebenchError, match=r"1 of 7 files are missing, the first is that of 'c'.*same snakemake comm"
    ):
        gather_parts(plan_file)
    assert not (folder / "run.json").exists()
    assert not list((folder / "work").glob("*of2.json"))  # so that snakemake asks for the parts again
    carry_out_part(plan_file, Part(1, 2))
    carry_out_part(plan_file, Part(2, 2))
    gather_parts(plan_file)
    assert (folder / "maps/c.png").exists()


def test_one_job_may_finish_what_parts_began(plan: Callable[..., Path]) -> None:
    expected = files(carry_out(plan("sobel", "whole")))
    plan_file = plan("sobel")
    begin(plan_file)
    folder = carry_out_part(plan_file, Part(1, 3))
    write_json(folder / "work/1of3.json", read_json(folder / "work/1of3.json") | {"seconds": 500.0})
    carry_out(plan_file)
    assert files(folder) == expected
    assert read_json(folder / "run.json")["seconds"] > 500
    assert len(read_json(folder / "timing.json")) == len(SIZES)


def test_another_number_of_parts_keeps_the_files(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    begin(plan_file)
    folder = carry_out_part(plan_file, Part(1, 3))
    (folder / "maps/a.png").write_bytes(b"kept")
    for number in (1, 2):
        carry_out_part(plan_file, Part(number, 2))
    gather_parts(plan_file)
    assert (folder / "maps/a.png").read_bytes() == b"kept"
    assert [each["part"] for each in read_json(folder / "run.json")["parts"]] == ["1of2", "1of3", "2of2"]


def test_more_parts_than_images_do_nothing(plan: Callable[..., Path]) -> None:
    assert read_json(shared(plan("sobel", limit=2), of=4) / "run.json")["n_images"] == 2


def test_what_was_not_begun_is_refused(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    with pytest.raises(EdgebenchError, match=r"was not begun.*run\.json --part begin` first"):
        carry_out_part(plan_file, Part(1, 2))
    folder = carry_out(plan_file)
    before = files(folder)
    with pytest.raises(EdgebenchError, match="was not begun"):
        gather_parts(plan_file)
    assert files(folder) == before


def test_what_a_kill_at_the_very_end_left_is_not_taken_for_done(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    begin(plan_file)
    for number in (1, 2):
        folder = carry_out_part(plan_file, Part(number, 2))
    (folder / UNFINISHED).unlink()  # as the last job does, before it deletes the markers
    with pytest.raises(EdgebenchError, match="was not begun"):
        gather_parts(plan_file)
    assert not (folder / "work").exists()  # so that snakemake begins again


def test_a_failed_part_says_why(plan: Callable[..., Path], drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn / "photos", tmp_path / "photos")
    (tmp_path / "photos/a.png").write_bytes(b"<html>")
    plan_file = plan("sobel")
    content = read_json(plan_file)
    write_json(plan_file, content | {"inputs": {"dataset": str(tmp_path / "photos")}})
    folder = begin(plan_file)
    with pytest.raises(DataError, match=r"a\.png"):
        carry_out_part(plan_file, Part(1, 2))
    found = read_attempt(folder)
    assert found is not None
    assert "a.png" in found.reason
    assert not (folder / "work/1of2.json").exists()
    carry_out_part(plan_file, Part(2, 2))  # the others are not concerned
    assert (folder / UNFINISHED).exists()


def test_only_predictions_are_shared(plan: Callable[..., Path]) -> None:
    plan_file = plan("sobel")
    write_json(plan_file, read_json(plan_file) | {"stage": "train"})
    for work in (begin, gather_parts, lambda path: carry_out_part(path, Part(1, 2))):
        with pytest.raises(EdgebenchError, match=r"only a run of stage predict, not of stage train\. Leave out --part"):
            work(plan_file)


@pytest.mark.parametrize("name", ["0of3", "4of3", "1", "1of", "1of3.json", "last"])
def test_wrong_names_of_parts_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--part {name}: a part is called 3of8"):
        Part.read(name)


def test_parts_share_out_everything_once() -> None:
    assert str(Part.read("2of3")) == "2of3"
    items = list(range(11))
    assert sorted(each for number in (1, 2, 3) for each in Part(number, 3).share(items)) == items
    assert Part(2, 3).share(items) == [1, 4, 7, 10]
