"""Data sets with instances other than COCO, on small files laid out as their authors do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from edgebench.data.adapters import LAYOUTS, imagenet, open_dataset
from edgebench.data.adapters.voc import CLASSES
from edgebench.data.instances import decode, encode
from edgebench.data.panoptic import Category, Segment
from edgebench.errors import DataError

SIZE = (12, 16)
PERSON, DOG = 15, 12
EMPTY = np.zeros(SIZE, np.uint8)


def picture(path: Path, size: tuple[int, int] = SIZE, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), (10, 20, 30, 255)[: len(mode)]).save(path)


def labels(path: Path, values: np.ndarray) -> None:
    """A palette PNG, or a grey one of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if values.dtype == np.uint8:
        image.putpalette(np.random.default_rng(0).permutation(256).repeat(3).astype(np.uint8).tobytes())
    image.save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def framed(rows: slice, columns: slice, value: int, canvas: np.ndarray, band: int | None = None) -> np.ndarray:
    """`canvas` with a block of `value`, and a band of `band` around it."""
    painted = canvas.copy()
    if band is not None:
        painted[max(rows.start - 1, 0) : rows.stop + 1, max(columns.start - 1, 0) : columns.stop + 1] = band
    painted[rows, columns] = value
    return painted


# VOC


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("2007_000032", "2007_000033", "2008_000002", "2008_000003", "2009_000001"):
        picture(root / "JPEGImages" / f"{name}.jpg")
    text(root / "ImageSets/Segmentation/train.txt", "2007_000032\n")
    text(root / "ImageSets/Segmentation/val.txt", "2007_000033\n2008_000003\n")
    text(root / "ImageSets/Main/train.txt", "2007_000032  1\n2009_000001 -1\n")
    objects = framed(slice(2, 8), slice(2, 6), 1, framed(slice(2, 8), slice(7, 12), 2, EMPTY, 255), 255)
    classes = np.choose(np.minimum(objects, 3), [0, PERSON, DOG, 255]).astype(np.uint8)
    classes[2, 2] = DOG  # the files disagree in single pixels
    for name in ("2007_000032", "2007_000033", "2008_000003"):
        labels(root / "SegmentationObject" / f"{name}.png", objects)
        labels(root / "SegmentationClass" / f"{name}.png", classes)
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    inst, cls = framed(slice(0, 4), slice(0, 5), 1, EMPTY), framed(slice(0, 4), slice(0, 5), DOG, EMPTY)
    for name in ("2007_000032", "2007_000033", "2008_000002"):
        for part in ("inst", "cls"):
            (sbd / part).mkdir(parents=True, exist_ok=True)
        inst_struct = {"Segmentation": inst, "Categories": np.array([[DOG]], np.uint8)}
        savemat(sbd / "inst" / f"{name}.mat", {"GTinst": inst_struct})
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": cls}})
    return tmp_path


def test_voc_objects_leave_the_void_band(voc: Path) -> None:
    dataset = open_dataset("voc", voc, "train")
    assert dataset.ids == ["2007_000032"]
    size, items = dataset.instances("2007_000032")
    assert size == SIZE
    assert [(each.category, int(decode(each.mask).sum())) for each in items] == [(PERSON, 24), (DOG, 30)]
    classes = dataset.semantic("2007_000032")
    assert np.unique(classes).tolist() == [0, DOG, PERSON, 255]
    ids, segments = dataset.panoptic("2007_000032")
    assert segments == {
        1: Segment(PERSON, area=24),
        2: Segment(DOG, area=30),
        256: Segment(0, area=int((classes == 0).sum())),
    }
    assert np.array_equal(ids == 0, classes == 255)
    assert dataset.categories[0] == Category("background", False)
    assert dataset.categories[PERSON] == Category("person", True)
    assert len(dataset.categories) == 21
    assert len(CLASSES) == 20


@pytest.mark.parametrize("below", ["", "VOCdevkit/VOC2012"])
def test_voc_splits(voc: Path, below: str) -> None:
    assert open_dataset("voc", voc / below, "val").ids == ["2007_000033", "2008_000003"]
    main = open_dataset("voc", voc / below, "main_train")
    assert main.ids == ["2007_000032", "2009_000001"]
    assert len(main.instances("2007_000032").items) == 2
    with pytest.raises(DataError, match=r"2009_000001 has no annotation"):
        main.instances("2009_000001")
    with pytest.raises(DataError, match=r"no split 'trian'.*train"):
        open_dataset("voc", voc / below, "trian")


def test_voc_is_augmented_by_sbd_without_the_val_split(voc: Path) -> None:
    dataset = open_dataset("voc", voc, "trainaug")
    assert dataset.ids == ["2007_000032", "2008_000002"]
    assert len(dataset.instances("2007_000032").items) == 2  # VOC's own annotation
    (item,) = dataset.instances("2008_000002").items
    assert (item.category, int(decode(item.mask).sum())) == (DOG, 20)
    assert np.unique(dataset.semantic("2008_000002")).tolist() == [0, DOG]
    ids, segments = dataset.panoptic("2008_000002")
    assert (ids > 0).all()
    assert segments[1] == Segment(DOG, area=20)
    text(voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt", "2008_000002\n")
    assert open_dataset("voc", voc, "trainaug").ids == ["2008_000002"]


def test_voc_without_sbd(voc: Path) -> None:
    (voc / "benchmark_RELEASE").rename(voc / "elsewhere")
    with pytest.raises(DataError, match=r"split 'trainaug' needs .*trainaug.txt or SBD"):
        open_dataset("voc", voc, "trainaug")


def test_damaged_voc(voc: Path) -> None:
    root = voc / "VOCdevkit/VOC2012"
    labels(root / "SegmentationObject/2007_000032.png", np.ones((3, 4), np.uint8))
    with pytest.raises(DataError, match=r"SegmentationObject/2007_000032\.png: 3 x 4 pixels, but .*12 x 16"):
        open_dataset("voc", voc, "train").instances("2007_000032")
    picture(root / "SegmentationClass/2007_000033.png")
    with pytest.raises(DataError, match="pixels of the kind RGB, where each should be the number of a class"):
        open_dataset("voc", voc, "val").semantic("2007_000033")
    labels(root / "SegmentationClass/2008_000003.png", np.full(SIZE, 30, np.uint8))
    with pytest.raises(DataError, match="an object of class 30; classes are 1 to 20"):
        open_dataset("voc", voc, "val").instances("2008_000003")
    (root / "JPEGImages/2008_000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 images of split 'val' are missing: 2008_000003\.jpg"):
        open_dataset("voc", voc, "val")
    for part in ("inst", "cls"):
        (voc / "benchmark_RELEASE/dataset" / part / "2008_000002.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut")
    with pytest.raises(DataError, match=r"2008_000002\.mat: holds no struct GT"):
        open_dataset("voc", voc, "trainaug").instances("2008_000002")
    with pytest.raises(DataError, match="not the layout of VOC"):
        open_dataset("voc", voc / "benchmark_RELEASE", "train")


# KITTI


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    picture(tmp_path / "training/image_2/000000_10.png")
    picture(tmp_path / "testing/image_2/000001_10.png")
    values = np.full(SIZE, 7 * 256, np.uint16)
    values[2:5, 2:5], values[2:5, 5:8], values[8:, :] = 26 * 256 + 1, 26 * 256 + 2, 26 * 256
    values[0] = 4 * 256
    labels(tmp_path / "training/instance/000000_10.png", values)
    return tmp_path


def test_kitti_numbers_are_class_and_object(kitti: Path) -> None:
    dataset = open_dataset("kitti", kitti, "training")
    items = dataset.instances("000000_10").items
    assert [(each.category, each.crowd, each.area) for each in items] == [
        (26, True, 64),
        (26, False, 9),
        (26, False, 9),
    ]
    ids, segments = dataset.panoptic("000000_10")
    assert (ids[0] == 0).all()
    assert segments[7 * 256] == Segment(7, area=7 * 16 - 18)
    assert segments[26 * 256] == Segment(26, True, 64)
    classes = dataset.semantic("000000_10")
    assert classes.dtype == np.uint8
    assert np.unique(classes).tolist() == [0, 7, 26]
    assert dataset.categories[26] == Category("car", True)


def test_damaged_kitti(kitti: Path) -> None:
    test = open_dataset("kitti", kitti, "testing")
    with pytest.raises(DataError, match=r"testing/instance/000001_10\.png: no such file"):
        test.instances("000001_10")
    path = kitti / "training/instance/000000_10.png"
    for values, says in (
        (np.ones(SIZE, np.uint8), "values up to 1, where each is 256 times"),
        (np.full(SIZE, 40 * 256, np.uint16), "class 40; classes go to 33"),
        (np.full((4, 4), 7 * 256, np.uint16), "4 x 4 pixels, but"),
    ):
        labels(path, values)
        with pytest.raises(DataError, match=says):
            open_dataset("kitti", kitti, "training").instances("000000_10")
    path.unlink()
    with pytest.raises(DataError, match="1 images have no annotation"):
        open_dataset("kitti", kitti, "training")


# Files of COCO's kind


def listing(names: dict[int, str], key: str = "file_name", boxes_only: bool = False) -> str:
    """One block in the first image, as run lengths and as polygon, both without `iscrowd` and `area`."""
    block = framed(slice(2, 6), slice(3, 9), 1, EMPTY) > 0
    first = min(names)
    forms = (encode(block), [[3, 2, 9, 2, 9, 6, 3, 6]])
    annotations = [
        {"id": k, "image_id": first, "category_id": 1, "bbox": [3, 2, 6, 4], "segmentation": form}
        for k, form in enumerate(forms)
    ]
    if boxes_only:
        annotations = [{k: v for k, v in each.items() if k != "segmentation"} for each in annotations]
    images = [{"id": k, key: name, "height": SIZE[0], "width": SIZE[1]} for k, name in names.items()]
    return json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]})


def lvis(folder: Path) -> tuple[str, str]:
    host = "http://images.cocodataset.org"
    for name in ("train2017/000000000001", "val2017/000000000002", "val2017/000000000003"):
        picture(folder / f"{name}.jpg")
    names = {1: f"{host}/train2017/000000000001.jpg", 2: f"{host}/val2017/000000000002.jpg"}
    text(folder / "annotations/lvis_v1_val.json", listing(names, "coco_url"))
    return "val", "000000000001 000000000002"


def hrsid(folder: Path) -> tuple[str, str]:
    for name in ("P0001_0_800_0_800", "P0002_0_800_0_800"):
        picture(folder / "HRSID_JPG/JPEGImages" / f"{name}.jpg")
    text(folder / "HRSID_JPG/annotations/test2017.json", listing({1: "P0001_0_800_0_800.jpg"}))
    return "test", "P0001_0_800_0_800"


def isaid(folder: Path) -> tuple[str, str]:
    picture(folder / "val/images/P0003.png")
    picture(folder / "val/images/P0003_instance_id_RGB.png")
    text(folder / "val/Annotations/iSAID_val.json", listing({0: "P0003.png"}))
    return "val", "P0003"


def isaid_tiles(folder: Path) -> tuple[str, str]:
    picture(folder / "val/images/P0003_0_800_0_800.png")
    text(folder / "val/instancesonly_filtered_val.json", listing({0: "P0003_0_800_0_800.png"}))
    return "val", "P0003_0_800_0_800"


def objects365(folder: Path) -> tuple[str, str]:
    picture(folder / "images/v2/patch16/objects365_v2_00908726.jpg")
    text(folder / "annotations/objects365_16-40.json", listing({1: "objects365_v2_00908726.jpg"}))
    return "val_16_40", "objects365_v2_00908726"


def objects365_boxes(folder: Path) -> tuple[str, str]:
    picture(folder / "images/v2/patch16/objects365_v2_00908726.jpg")
    names = {1: "images/v2/patch16/objects365_v2_00908726.jpg"}
    text(folder / "annotations/zhiyuan_objv2_val.json", listing(names, boxes_only=True))
    return "val", "objects365_v2_00908726"


def class_agnostic(folder: Path) -> tuple[str, str]:
    for name in ("COCO_train2014_000000000009", "COCO_train2014_000000000025"):
        picture(folder / "train2014" / f"{name}.jpg")
    text(folder / "annotations/coco20k_trainval_gt.json", listing({9: "COCO_train2014_000000000009.jpg"}))
    return "coco20k_trainval_gt", "COCO_train2014_000000000009"


Maker = Callable[[Path], tuple[str, str]]


@pytest.mark.parametrize("make", [lvis, hrsid, isaid, isaid_tiles, objects365, class_agnostic])
def test_listed_images_and_their_objects(tmp_path: Path, make: Maker) -> None:
    split, ids = make(tmp_path)
    layout = make.__name__.removesuffix("_tiles")
    dataset = open_dataset(layout, tmp_path, split)
    assert dataset.ids == ids.split()
    first = dataset.ids[0]
    assert dataset.image(first).shape == (*SIZE, 3)
    items = dataset.instances(first).items
    assert [(each.category, each.crowd, each.area, int(decode(each.mask).sum())) for each in items] == [
        (1, False, None, 24),
        (1, False, None, 24),
    ]
    assert all(dataset.instances(other).items == [] for other in dataset.ids[1:])
    assert dataset.categories == {1: Category("fg", True)}
    assert int((dataset.semantic(first) == 1).sum()) == 24
    with pytest.raises(DataError, match="has no panoptic maps"):
        dataset.panoptic(first)
    with pytest.raises(DataError, match="no split 'vall'"):
        open_dataset(layout, tmp_path, "vall")
    next(tmp_path.rglob(f"{first}.*")).unlink()
    with pytest.raises(DataError, match=rf"1 of the {len(dataset.ids)} images that .* lists are missing: {first}"):
        open_dataset(layout, tmp_path, split)


def test_boxes_are_no_masks(tmp_path: Path) -> None:
    split, image_id = objects365_boxes(tmp_path)
    dataset = open_dataset("objects365", tmp_path, split)
    assert dataset.ids == [image_id]
    with pytest.raises(
        DataError, match=r"annotations\[0\], image 1: has a box but no mask.*put annotations with masks"
    ):
        dataset.instances(image_id)


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    split, _ = class_agnostic(tmp_path)
    picture(tmp_path / "copy" / "COCO_train2014_000000000009.jpg")
    with pytest.raises(DataError, match="is there 2 times"):
        open_dataset("class_agnostic", tmp_path, split)


def test_a_missing_list(tmp_path: Path) -> None:
    isaid(tmp_path)
    with pytest.raises(DataError, match=r"iSAID_train\.json: no such file, nor .*instancesonly_filtered_train\.json"):
        open_dataset("isaid", tmp_path, "train")


# SA-1B


@pytest.fixture
def sa1b(tmp_path: Path) -> Path:
    picture(tmp_path / "sa_000000/sa_1.jpg")
    block = framed(slice(2, 6), slice(3, 9), 1, EMPTY) > 0
    content = {
        "image": {"image_id": 1, "width": SIZE[1], "height": SIZE[0], "file_name": "sa_1.jpg"},
        "annotations": [
            {"id": 5, "bbox": [3, 2, 6, 4], "area": 24, "segmentation": encode(block), "predicted_iou": 0.9},
            {"id": 6, "bbox": [0, 0, 1, 1], "area": 192, "segmentation": encode(np.ones(SIZE, bool))},
        ],
    }
    text(tmp_path / "sa_000000/sa_1.json", json.dumps(content))
    return tmp_path


def test_sa1b(sa1b: Path) -> None:
    dataset = open_dataset("sa1b", sa1b, "sa_000000")
    assert dataset.ids == ["sa_1"]
    items = dataset.instances("sa_1").items
    assert [(each.score, each.area, each.category) for each in items] == [(0.9, 24, 1), (1, 192, 1)]
    assert dataset.categories == {1: Category("object", True)}
    with pytest.raises(DataError, match="no split 'sa_000001'"):
        open_dataset("sa1b", sa1b, "sa_000001")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": {"width": 4, "height": 4}}, "4 x 4 pixels, but"),
        ({"image": {}}, "not annotations of SA-1B"),
        ({"annotations": [7]}, r"annotations\[0\]: 7 is not an object"),
        ({"annotations": [{"segmentation": {"size": list(SIZE), "counts": "00"}}]}, "run lengths are damaged"),
    ],
)
def test_damaged_sa1b(sa1b: Path, change: dict[str, Any], says: str) -> None:
    path = sa1b / "sa_000000/sa_1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=says):
        open_dataset("sa1b", sa1b, "sa_000000").instances("sa_1")
    path.unlink()
    with pytest.raises(DataError, match="1 images have no annotation: sa_1"):
        open_dataset("sa1b", sa1b, "sa_000000")


# ImageNet


@pytest.mark.parametrize("below", ["", "ILSVRC/Data/CLS-LOC"])
def test_imagenet_names(tmp_path: Path, below: str) -> None:
    root = tmp_path / "ILSVRC/Data/CLS-LOC"
    for name in ("train/n01440764/n01440764_2", "train/n01440764/n01440764_10", "train/n02/n02_1", "val/ILSVRC_val_1"):
        picture((root / name).with_suffix(".JPEG"))
    train, val = (open_dataset("imagenet", tmp_path / below, split) for split in ("train", "val"))
    assert train.ids == ["n01440764_10", "n01440764_2", "n02_1"]
    assert val.ids == ["ILSVRC_val_1"]
    for dataset in (train, val):
        for image_id in dataset.ids:
            assert dataset.image(image_id).shape == (*SIZE, 3)
            assert dataset.size(image_id) == SIZE
    with pytest.raises(DataError, match="no image with the id 'n02_2' among 3"):
        train.image("n02_2")
    with pytest.raises(DataError, match="has no instances"):
        train.instances("n02_1")
    picture(root / "train/n03/n02_1.JPEG")
    with pytest.raises(DataError, match="two images have the id 'n02_1'"):
        open_dataset("imagenet", tmp_path / below, "train")
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset("imagenet", tmp_path, "test")


def test_a_sample_of_imagenet_is_the_same_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{k % 3:02d}_{k}" for k in range(9)]
    for name in names:
        picture(tmp_path / "train" / name[:3] / f"{name}.JPEG")
    monkeypatch.setattr(imagenet, "SAMPLE", 4)
    chosen = sorted(names, key=lambda each: hashlib.sha256(each.encode()).hexdigest())[:4]
    assert open_dataset("imagenet", tmp_path, "train_sample").ids == sorted(chosen)


# Nuclei


def regions(*corners: Sequence[tuple[float, float]]) -> str:
    inner = "".join(
        f'<Region Id="{k}"><Vertices>' + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in each)
        + "</Vertices></Region>"
        for k, each in enumerate(corners, 1)
    )  # fmt: skip
    return (
        f'<Annotations MicronsPerPixel="0.25"><Annotation Id="1"><Regions>{inner}</Regions></Annotation></Annotations>'
    )


@pytest.fixture
def monuseg(tmp_path: Path) -> Path:
    large, small = [(1, 1), (11, 1), (11, 9), (1, 9)], [(3.0, 3.0), (6.0, 3.0), (6.0, 6.0), (3.0, 6.0)]
    outlines = regions(small, [(2, 2), (3, 3)], large)
    training = tmp_path / "MoNuSeg 2018 Training Data" / "MoNuSeg 2018 Training Data"
    picture(training / "Tissue Images/TCGA-18.tif")
    text(training / "Annotations/TCGA-18.xml", outlines)
    picture(tmp_path / "MoNuSegTestData/TCGA-2Z.tif")
    text(tmp_path / "MoNuSegTestData/TCGA-2Z.xml", outlines)
    return tmp_path


@pytest.mark.parametrize(("split", "image_id"), [("train", "TCGA-18"), ("test", "TCGA-2Z")])
def test_monuseg_regions_become_nuclei(monuseg: Path, split: str, image_id: str) -> None:
    dataset = open_dataset("monuseg", monuseg, split)
    assert dataset.ids == [image_id]
    items = dataset.instances(image_id).items
    assert [int(decode(each.mask).sum()) for each in items] == [9, 80]
    ids, segments = dataset.panoptic(image_id)
    assert segments == {1: Segment(2, area=192 - 80), 2: Segment(1, area=71), 3: Segment(1, area=9)}
    assert (ids > 0).all()
    assert np.array_equal(dataset.semantic(image_id), np.where(ids == 1, 2, 1))


def test_damaged_monuseg(monuseg: Path) -> None:
    path = monuseg / "MoNuSegTestData/TCGA-2Z.xml"
    for content, says in (
        ("<Annotations><Reg", "not an annotation of ImageScope"),
        ('<A><Region><Vertex X="1"/></Region></A>', "not an annotation of ImageScope"),
        (regions([(0, 0), (900, 0), (900, 900)]), "region 0, image 0: a polygon reaches from 0 to 900"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=says):
            open_dataset("monuseg", monuseg, "test").instances("TCGA-2Z")
    path.unlink()
    with pytest.raises(DataError, match="1 images have no annotation: TCGA-2Z"):
        open_dataset("monuseg", monuseg, "test")


@pytest.fixture
def dsb2018(tmp_path: Path) -> Path:
    for name in ("0d36", "2046"):
        picture(tmp_path / f"stage1_train/{name}/images/{name}.png", mode="RGBA")
        for k, rows in enumerate((slice(1, 4), slice(4, 9))):
            path = tmp_path / f"stage1_train/{name}/masks/{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(framed(rows, slice(2, 7), 255, EMPTY)).save(path)
    return tmp_path


def test_dsb2018(dsb2018: Path) -> None:
    dataset = open_dataset("dsb2018", dsb2018, "stage1_train")
    assert dataset.ids == ["0d36", "2046"]
    assert [int(decode(each.mask).sum()) for each in dataset.instances("2046").items] == [15, 25]
    ids, segments = dataset.panoptic("2046")
    assert np.array_equal(dataset.semantic("2046"), np.where(ids == 1, 2, 1))
    assert segments == {1: Segment(2, area=192 - 40), 2: Segment(1, area=25), 3: Segment(1, area=15)}
    assert ids.dtype == np.uint32


def test_damaged_dsb2018(dsb2018: Path) -> None:
    mask = dsb2018 / "stage1_train/2046/masks/1.png"
    for values, says in ((EMPTY, "an empty mask"), (np.full((3, 3), 255, np.uint8), "3 x 3 pixels, but")):
        Image.fromarray(values).save(mask)
        with pytest.raises(DataError, match=says):
            open_dataset("dsb2018", dsb2018, "stage1_train").instances("2046")
    (dsb2018 / "stage1_train/2046/images/2046.png").unlink()
    with pytest.raises(DataError, match="1 of 2 folders have no image: 2046"):
        open_dataset("dsb2018", dsb2018, "stage1_train")
    with pytest.raises(DataError, match="no split 'stage1'"):
        open_dataset("dsb2018", dsb2018, "stage1")


def test_real_nuclei(shared: Path) -> None:
    dataset = open_dataset("dsb2018", shared / "data" / "DSB2018", "stage1_train")
    assert len(dataset.ids) == 30
    assert sum(len(dataset.instances(image_id).items) for image_id in dataset.ids) == 722
    ids, segments = dataset.panoptic(dataset.ids[0])
    assert len(segments) == len(np.unique(ids)) == len(dataset.instances(dataset.ids[0]).items) + 1


def test_real_panoptic_sample(shared: Path) -> None:
    dataset: Any = open_dataset("coco_panoptic_sample", shared / "data" / "coco_panoptic_sample", "val")
    assert [dataset.numeric_id(each) for each in dataset.ids] == [142238, 439180]
    known = [segment for image_id in dataset.ids for segment in dataset.panoptic(image_id)[1].values()]
    assert (len(known), sum(segment.crowd for segment in known)) == (50, 3)
    items = [item for image_id in dataset.ids for item in dataset.instances(image_id).items]
    assert [item.area for item in items] == [int(decode(item.mask).sum()) for item in items]
    assert len(items) == sum(dataset.categories[segment.category].thing for segment in known)
    assert {each.category for each in known} | {0} >= set(np.unique(dataset.semantic("000000142238")).tolist())


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_says_what_is_missing(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DataError, match=r"no such folder|holds no"):
        open_dataset(layout, tmp_path / "nowhere", "train")
