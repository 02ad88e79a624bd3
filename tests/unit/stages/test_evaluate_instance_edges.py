"""Edges between instances, from COCO's files to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgebench.cli.evaluate import app
from edgebench.data.instances import Instances, from_masks
from edgebench.data.panoptic import read_ids
from edgebench.errors import ConfigError, DataError
from edgebench.metrics.cldice import cldice
from edgebench.metrics.edges import count_image, dollar_nms, edge_scores
from edgebench.metrics.instance_edges import segment_edges
from edgebench.stages.evaluate_instance_edges import (
    BACKGROUND,
    evaluate_folder,
    segments_of,
    write_counts,
)
from tests.unit.panoptic_files import random_drawn, write_panoptic

SHAPE = (60, 80)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Three images, and maps that hold their edges, moved by a pixel and blurred, with noise."""
    drawn = {key: random_drawn(key) for key in (3, 5, 8)}
    listing, folder = write_panoptic(tmp_path, "truth", drawn)
    maps = tmp_path / "maps"
    maps.mkdir()
    for key, image in drawn.items():
        rng = np.random.default_rng(key)
        edges = np.roll(segment_edges(image.ids), 1, axis=1) * rng.uniform(0.3, 1, SHAPE)
        soft = np.clip(edges + 0.2 * rng.random(SHAPE) ** 6, 0, 1)
        Image.fromarray((255 * soft).round().astype(np.uint8)).save(maps / f"{key}.png")
    return maps, listing, folder


@pytest.mark.parametrize("void", [False, True])
def test_equals_the_metrics_called_one_by_one(files: tuple[Path, Path, Path], void: bool) -> None:
    evaluation = evaluate_folder(*files, max_distance=0.02, thresholds=9, void=void)
    maps, _, folder = files
    counts, suppressed, truths = [], [], []
    for key in ("3", "5", "8"):
        suppressed.append(dollar_nms(np.asarray(Image.open(maps / f"{key}.png")) / 255, 1, 5, 1.01))
        truths.append(segment_edges(read_ids(folder / f"{key}.png"), void))
        counts.append(count_image(suppressed[-1], [truths[-1]], 9, 0.02))
    fields = [np.stack([getattr(each, name) for each in counts]) for name in ("cntR", "sumR", "cntP", "sumP")]
    expected = edge_scores(counts[0].thresholds, *fields)
    scores = evaluation.scores()
    assert {name: scores[name] for name in ("ods", "ois", "ap")} == {
        name: expected[name] for name in ("ods", "ois", "ap")
    }
    cut = [each >= expected["ods"]["threshold"] for each in suppressed]
    near = [cldice(*pair, 0.02 * np.hypot(*SHAPE)).value for pair in zip(cut, truths, strict=True)]
    plain = [cldice(*pair).value for pair in zip(cut, truths, strict=True)]
    assert evaluation.cldice.tolist() == near
    assert evaluation.cldice_plain.tolist() == plain
    assert scores["cldice"]["value"] == pytest.approx(np.mean([each for each in near if each is not None]))
    assert all(a is not None and b is not None and a > b for a, b in zip(near, plain, strict=True))


def test_processes_change_nothing(files: tuple[Path, Path, Path]) -> None:
    one, two = (evaluate_folder(*files, thresholds=5, jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.cldice, two.cldice)
    np.testing.assert_array_equal(one.edges.cntP, two.edges.cntP)


def test_an_image_without_any_line_has_no_cldice(tmp_path: Path) -> None:
    drawn = {key: random_drawn(key) for key in (1, 2)}
    drawn[2].ids = np.full(SHAPE, 9, np.uint32)
    drawn[2].classes, drawn[2].crowds = {9: 1}, set()
    truth = write_panoptic(tmp_path, "truth", drawn)
    (tmp_path / "maps").mkdir()
    for key, level in ((1, 255 * segment_edges(drawn[1].ids)), (2, np.zeros(SHAPE))):
        Image.fromarray(level.astype(np.uint8)).save(tmp_path / "maps" / f"{key}.png")
    evaluation = evaluate_folder(tmp_path / "maps", *truth, nms="none")
    assert np.isnan(evaluation.cldice).tolist() == [False, True]
    assert evaluation.scores()["cldice_plain"]["value"] == pytest.approx(1)


def test_maps_may_be_called_like_the_images(files: tuple[Path, Path, Path]) -> None:
    """The images of 2014 carry a prefix that the PNG files of their segments have not."""
    maps, listing, folder = files
    expected = evaluate_folder(*files, thresholds=5).scores()
    content = json.loads(listing.read_text())
    content["images"] = [{"id": key, "file_name": f"COCO_val2014_{key:012}.jpg"} for key in (3, 5, 8)]
    listing.write_text(json.dumps(content))
    for key in (3, 5, 8):
        (maps / f"{key}.png").rename(maps / f"COCO_val2014_{key:012}.png")
    evaluation = evaluate_folder(maps, listing, folder, thresholds=5)
    assert evaluation.scores() == expected
    assert evaluation.edges.ids[0] == "COCO_val2014_000000000003"


def test_a_missing_map_is_named_and_one_too_many_passed_over(files: tuple[Path, Path, Path]) -> None:
    maps, listing, folder = files
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(maps / "extra.png")
    assert evaluate_folder(maps, listing, folder, thresholds=3).without_truth == ("extra",)
    (maps / "5.png").unlink()
    with pytest.raises(DataError, match=r"no edge map for 1 of 3 images \(5\)"):
        evaluate_folder(maps, listing, folder)


def test_a_map_of_another_size_is_named(files: tuple[Path, Path, Path]) -> None:
    maps, listing, folder = files
    Image.fromarray(np.zeros((60, 81), np.uint8)).save(maps / "5.png")
    with pytest.raises(DataError, match=r"5\.png: 60 x 81 pixels"):
        evaluate_folder(maps, listing, folder)


def test_options_out_of_range(files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(ConfigError, match="max-distance"):
        evaluate_folder(*files, max_distance=0.5)
    with pytest.raises(ConfigError, match="jobs"):
        evaluate_folder(*files, jobs=0)


def test_instances_become_segments() -> None:
    """Small ones lie above large ones, crowds below all, and the background is a segment."""
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 2:6, 2:6] = True
    masks[1, 1:12, 1:12] = True
    masks[2, 4:8, 4:20] = True
    instances = from_masks(masks, (20, 30))
    instances = Instances(instances.size, [*instances.items[:2], instances.items[2]._replace(crowd=True)])
    ids = segments_of(instances)
    assert (ids[3, 3], ids[10, 10], ids[6, 7], ids[6, 15], ids[15, 15]) == (2, 3, 3, 4, BACKGROUND)
    assert (segments_of(Instances((4, 5), [])) == BACKGROUND).all()
    assert segment_edges(ids).any()


def test_the_command_writes_scores_and_counts(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    maps, listing, folder = files
    output, counts = tmp_path / "out" / "scores.json", tmp_path / "out" / "counts.npz"
    arguments = ["instance-edges", "--predictions", str(maps), "--ground-truth", str(listing)]
    arguments += ["--ground-truth-dir", str(folder), "--max-distance", "0.02", "--thresholds", "9"]
    result = CliRunner().invoke(
        app, [*arguments, "--output", str(output), "--counts", str(counts)], catch_exceptions=False
    )
    assert result.exit_code == 0
    evaluation = evaluate_folder(*files, max_distance=0.02, thresholds=9)
    scores = json.loads(output.read_text())
    assert {name: scores[name] for name in evaluation.scores()} == evaluation.scores()
    assert scores["nms"] == {"name": "dollar", "radius": 1, "border": 5, "multiplier": 1.01, "smoothing": 1}
    assert {name: scores[name] for name in ("thin", "max_distance", "thresholds", "void", "n_images", "truth")} == {
        "thin": True,
        "max_distance": 0.02,
        "thresholds": 9,
        "void": False,
        "n_images": 3,
        "truth": "panoptic",
    }
    assert "protocol" not in scores
    for word in ("instance edges, 3 images", f"{evaluation.scores()['ods']['f']:.4f}", "max distance 0.02"):
        assert word in result.stdout
    write_counts(tmp_path / "again.npz", evaluation)
    with np.load(counts, allow_pickle=False) as file, np.load(tmp_path / "again.npz", allow_pickle=False) as again:
        assert set(file.files) == set(again.files) >= {"ids", "cntR", "cldice", "cldice_plain"}
        np.testing.assert_array_equal(file["cldice"], evaluation.cldice)


def test_the_command_does_not_write_over_its_input(files: tuple[Path, Path, Path]) -> None:
    maps, listing, folder = files
    arguments = ["instance-edges", "--predictions", str(maps), "--ground-truth", str(listing)]
    arguments += ["--ground-truth-dir", str(folder), "--output", str(listing)]
    with pytest.raises(ConfigError, match="as input and as output"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
