"""The layouts of published edge data sets, on small files laid out as their authors do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.adapters.bsds_mat import write_bsds_annotation
from edgebench.data.adapters.listing import smallest_digests
from edgebench.data.fetch import fetch
from edgebench.errors import DataError

SHAPE = (6, 9)


def image(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (SHAPE[1], SHAPE[0]), (10, 20, 30, 128)[: len(mode)]).save(path)


def drawing(path: Path, row: int, level: int = 255, shape: tuple[int, int] = SHAPE) -> None:
    """A grey PNG with one line of `level`, and beside it a line too dark to count."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.zeros(shape, np.uint8)
    levels[row], levels[row + 1] = level, 127
    Image.fromarray(levels).save(path)


def annotation(path: Path, row: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    boundary = np.zeros(SHAPE, bool)
    boundary[row] = True
    write_bsds_annotation(path, [np.ones(SHAPE, int)], [boundary])


def rows_drawn(masks: list[np.ndarray]) -> list[list[int]]:
    """Per annotator the rows that are marked, each of them in full."""
    for mask in masks:
        assert mask.dtype == bool
        assert (mask.all(axis=1) == mask.any(axis=1)).all()
    return [np.flatnonzero(mask.any(axis=1)).tolist() for mask in masks]


@pytest.fixture
def biped(tmp_path: Path) -> Path:
    edges = tmp_path / "BIPEDv2" / "BIPED" / "edges"
    for part, names in {"train/rgbr/real": ["RGB_001", "RGB_002"], "test/rgbr": ["RGB_008"]}.items():
        for k, name in enumerate(names):
            image(edges / "imgs" / part / f"{name}.jpg")
            drawing(edges / "edge_maps" / part / f"{name}.png", row=k, level=128)
    image(edges / "imgs/train/rgbr/aug/p1/RGB_001.jpg")  # what the authors' augmentation leaves there
    (edges / "train_rgb.lst").write_text("x\n")
    return tmp_path


@pytest.fixture
def nyud(tmp_path: Path) -> Path:
    for name in ("img_5003", "img_5004"):
        image(tmp_path / f"train/Images/{name}.png")
        image(tmp_path / f"train/HHA/{name}.png")
        drawing(tmp_path / f"train/GT/{name}.png", row=2)
    image(tmp_path / "test/Images/img_5001.png")
    for k, name in enumerate(("img_5001", "img_5004")):
        annotation(tmp_path / f"groundTruth/{name}.mat", row=k)
    return tmp_path


@pytest.fixture
def multicue(tmp_path: Path) -> Path:
    for k in range(10):
        name = f"45{k:02d}_left_0165"
        image(tmp_path / f"images/{name}.png")
        for kind, annotators in (("edges", 3), ("boundaries", 2)):
            for annotator in range(annotators):
                drawing(tmp_path / f"ground-truth/images/{kind}/{name}.{annotator + 1}.png", row=annotator)
    return tmp_path


@pytest.fixture
def uded(tmp_path: Path) -> Path:
    for k, name in enumerate(("02-0868x4", "10-196062", "30-167062")):
        image(tmp_path / f"imgs/{name}.png", mode="RGBA" if name.startswith("10") else "RGB")
        drawing(tmp_path / f"gt/{name}.png", row=k)
        annotation(tmp_path / f"gt_mat/{name}.mat", row=k)
    return tmp_path


@pytest.mark.parametrize("below", ["", "BIPEDv2", "BIPEDv2/BIPED", "BIPEDv2/BIPED/edges"])
def test_biped_is_found_in_its_nesting(biped: Path, below: str) -> None:
    train, test = (open_dataset("biped", biped / below, split) for split in ("train", "test"))
    assert (train.ids, test.ids) == (["RGB_001", "RGB_002"], ["RGB_008"])
    assert train.image("RGB_001").shape == (*SHAPE, 3)
    assert train.size("RGB_001") == SHAPE
    assert rows_drawn(train.boundaries("RGB_002")) == [[1]]  # level 128 counts, 127 does not


def test_biped_elsewhere_says_what_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BIPEDv2/BIPED/edges/imgs.*--mirror FOLDER"):
        open_dataset("biped", tmp_path, "train")


def test_biped_pairs(biped: Path) -> None:
    next(biped.rglob("edge_maps/train/rgbr/real/RGB_002.png")).unlink()
    with pytest.raises(DataError, match=r"edge_maps/train/rgbr/real: 1 images have no annotation: RGB_002"):
        open_dataset("biped", biped, "train")


def test_nyud_takes_the_benchmarks_annotations_first(nyud: Path) -> None:
    train, test = (open_dataset("nyud", nyud, split) for split in ("train", "test"))
    assert (train.ids, test.ids) == (["img_5003", "img_5004"], ["img_5001"])
    assert rows_drawn(train.boundaries("img_5003")) == [[2]]  # GT/img_5003.png
    assert rows_drawn(train.boundaries("img_5004")) == [[1]]  # groundTruth/img_5004.mat
    assert rows_drawn(test.boundaries("img_5001")) == [[0]]


def test_nyud_without_the_test_annotations(nyud: Path) -> None:
    (nyud / "groundTruth/img_5001.mat").unlink()
    with pytest.raises(DataError, match=r"groundTruth: 1 images have no annotation: img_5001"):
        open_dataset("nyud", nyud, "test")


def test_multicue_has_one_drawing_per_annotator(multicue: Path) -> None:
    parts = {split: open_dataset("multicue", multicue, split) for split in ("edges_train", "boundaries_test")}
    assert [len(each.ids) for each in parts.values()] == [8, 2]
    assert not set(parts["edges_train"].ids) & set(parts["boundaries_test"].ids)
    first = parts["edges_train"].ids[0]
    assert rows_drawn(parts["edges_train"].boundaries(first)) == [[0], [1], [2]]
    tested = parts["boundaries_test"].ids[0]
    assert rows_drawn(parts["boundaries_test"].boundaries(tested)) == [[0], [1]]


def test_multicue_split_is_the_same_for_everybody() -> None:
    ids = [f"45{k:02d}_left_0165" for k in range(10)]
    assert smallest_digests(ids, 2) == smallest_digests(ids[::-1], 2) == {"4502_left_0165", "4505_left_0165"}


def test_multicue_pairs(multicue: Path) -> None:
    for path in multicue.glob("ground-truth/images/edges/4503*"):
        path.unlink()
    with pytest.raises(DataError, match=r"edges: 1 images have no annotation: 4503_left_0165"):
        open_dataset("multicue", multicue, "edges_test")
    open_dataset("multicue", multicue, "boundaries_test")


def test_uded_tests_no_image_that_bsds_trains_on(uded: Path) -> None:
    assert open_dataset("uded", uded, "bsds_trainval").ids == ["30-167062"]
    dataset = open_dataset("uded", uded, "test")
    assert dataset.ids == ["02-0868x4", "10-196062"]
    assert rows_drawn(dataset.boundaries("10-196062")) == [[1]]
    assert dataset.image("10-196062").shape == (*SHAPE, 3)  # RGBA laid on white


@pytest.mark.parametrize("layout", ["biped", "nyud", "multicue", "uded"])
def test_unknown_split_names_the_nearest(layout: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(layout)
    near = {"multicue": ("edges_tets", "edges_test")}.get(layout, ("tets", "test"))
    with pytest.raises(DataError, match=rf"no split '{near[0]}'\. Did you mean '{near[1]}'"):
        open_dataset(layout, folder, near[0])


@pytest.mark.parametrize("layout", ["biped", "nyud", "multicue", "uded"])
def test_annotations_of_another_size_are_refused(layout: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(layout)
    for path in folder.rglob("*.png"):
        if not {"imgs", "images", "Images", "HHA"} & {path.parent.name, path.parts[-4]}:
            drawing(path, row=0, shape=(SHAPE[0] + 1, SHAPE[1]))
    for path in folder.rglob("*.mat"):
        write_bsds_annotation(path, [np.ones((4, 4), int)], [np.ones((4, 4), bool)])
    split = "edges_train" if layout == "multicue" else "test"
    dataset = open_dataset(layout, folder, split)
    with pytest.raises(DataError, match=r"annotations of . x .*6 x 9 \(height x width\)"):
        dataset.boundaries(dataset.ids[0])


@pytest.mark.parametrize(
    ("layout", "images"),
    [
        ("biped", {"train": 2, "test": 1}),
        ("nyud", {"train": 2, "test": 1}),
        ("multicue", {"edges_train": 8, "edges_test": 2}),
    ],
)
def test_own_copy_is_taken_and_counted(
    layout: str, images: dict[str, int], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, target = request.getfixturevalue(layout), tmp_path_factory.mktemp("fetched")
    definition = {"name": layout, "layout": layout, "source": {"local": True}, "images": images, "terms": "Ask."}
    fetch(definition, None, target, [str(folder)])
    for split, count in images.items():
        dataset = open_dataset(layout, target, split)
        assert len(dataset.ids) == count
        assert dataset.boundaries(dataset.ids[0])
    with pytest.raises(DataError, match="but the definition"):
        fetch(definition | {"images": {**images, next(iter(images)): 99}}, None, target, [str(folder)])
