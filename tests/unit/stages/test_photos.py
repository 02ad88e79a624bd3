"""One's own photographs: what is written, passed over, refused, and what a broken file does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from skimage import data

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.stages.photos import edges as stage
from edgebench.stages.photos import folder as folders
from edgebench.stages.photos.answers import Answer, Detector, EdgeAnswer
from edgebench.stages.photos.folder import predict_photos
from tests.unit.methods.sam_models import MODELS

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Parts of scikit-image's photographs: two of one size, one of another below, and two broken ones."""
    place = tmp_path / "photos"
    (place / "trip").mkdir(parents=True)
    Image.fromarray(data.chelsea()[100:160, 100:180]).save(place / "cat.png")
    Image.fromarray(data.coffee()[100:160, 100:180]).save(place / "coffee.jpg")
    Image.fromarray(data.astronaut()[:50, 200:240]).save(place / "trip" / "astronaut.png")
    (place / "broken.jpg").write_bytes((place / "coffee.jpg").read_bytes()[:700])
    (place / "page.png").write_bytes(b"<html>please log in</html>")
    (place / "notes.txt").write_text("no photograph")
    return place


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    with torch.no_grad():
        network.unet.conv_out.weight.mul_(5)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(network.state_dict(), path, metadata=weight_metadata(network.config))
    return path


def level(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


NAMES = ["cat", "coffee", "trip/astronaut"]


def test_a_mixed_folder_is_finished(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = predict_photos(stage.sobel(threshold=0.1), folder, output, overwrite=False)
    assert sorted(summary.done) == NAMES
    assert {Path(path).name for path in summary.failed} == {"broken.jpg", "page.png"}
    assert "HTML page" in summary.failed[str(folder / "page.png")]
    assert "truncated" in summary.failed[str(folder / "broken.jpg")]
    kinds = ("binarized", "prediction")
    assert files(output) == sorted(["predict.json", *(f"{kind}/{name}.png" for kind in kinds for name in NAMES)])
    soft, hard = (level(output / kind / "cat.png") for kind in ("prediction", "binarized"))
    assert soft.shape == (60, 80)
    assert set(np.unique(hard)) == {0, 255}
    np.testing.assert_array_equal(hard[soft != 25] > 0, soft[soft != 25] > 25)  # 25 = floor(255 x 0.1)
    record = json.loads((output / "predict.json").read_text())
    assert record["method"] == "sobel"
    assert record["settings"] == {"threshold": 0.1}
    assert record["images"]["cat"].keys() >= {"photo", "sha256", "seconds", "height", "width"}
    assert record["failed"].keys() == summary.failed.keys()
    assert record["code"]["libraries"]["torch"]


def test_a_rerun_makes_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    output, detector = tmp_path / "out", stage.canny()
    predict_photos(detector, folder, output, overwrite=False)
    (output / "binarized" / "cat.png").unlink()
    Image.fromarray(data.rocket()[:40, :40]).save(folder / "coffee.jpg")  # another photograph under the old name
    again = predict_photos(detector, folder, output, overwrite=False)
    assert sorted(again.done) == ["cat", "coffee"]
    assert again.there == ["trip/astronaut"]
    assert level(output / "prediction" / "coffee.png").shape == (40, 40)
    assert sorted(predict_photos(detector, folder, output, overwrite=True).done) == NAMES


def test_maps_of_other_settings_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    predict_photos(stage.canny(sigma=1), folder / "cat.png", output, overwrite=False)
    with pytest.raises(ConfigError, match=r"sigma 1, now 2\).*--overwrite"):
        predict_photos(stage.canny(sigma=2), folder, output, overwrite=False)
    with pytest.raises(ConfigError, match="method canny, now sobel"):
        predict_photos(stage.sobel(), folder, output, overwrite=False)
    assert predict_photos(stage.canny(sigma=2), folder / "coffee.jpg", output, overwrite=True).done == ["coffee"]
    # The cat's map is of the settings before, so it is made again now.
    assert predict_photos(stage.canny(sigma=2), folder / "cat.png", output, overwrite=False).done == ["cat"]
    (output / "predict.json").write_text("[]")
    with pytest.raises(DataError, match="not a record"):
        predict_photos(stage.canny(), folder, output, overwrite=False)


def test_an_interrupted_run_goes_on(folder: Path, tmp_path: Path) -> None:
    detector = stage.sobel()

    def interrupted(images: list[np.ndarray], names: list[str]) -> Sequence[Answer]:
        if names == ["coffee"]:
            raise KeyboardInterrupt
        return detector.answer(images, names)

    with pytest.raises(KeyboardInterrupt):
        predict_photos(Detector("sobel", detector.settings, interrupted), folder, tmp_path / "out", overwrite=False)
    assert files(tmp_path / "out") == ["binarized/cat.png", "predict.json", "prediction/cat.png"]
    summary = predict_photos(detector, folder, tmp_path / "out", overwrite=False)
    assert (summary.there, summary.done) == (["cat"], ["coffee", "trip/astronaut"])


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    upright = Image.fromarray(data.chelsea()[100:140, 100:170])
    exif = Image.Exif()
    exif[0x0112] = 6
    ImageOps.exif_transpose(upright).rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    for name in ("turned", "upright"):
        predict_photos(stage.sobel(), tmp_path / f"{name}.png", tmp_path / "out", overwrite=False)
    turned, straight = (level(tmp_path / "out" / "prediction" / f"{name}.png") for name in ("turned", "upright"))
    np.testing.assert_array_equal(turned, straight)


def test_maps_are_no_photographs(folder: Path) -> None:
    """The output below the input folder is not taken for input the next time."""
    first = predict_photos(stage.sobel(), folder, folder / "edges", overwrite=False)
    second = predict_photos(stage.sobel(), folder, folder / "edges", overwrite=False)
    assert second.there == first.done
    assert second.done == []


@pytest.mark.parametrize("output", [".", "..", "../..", "trip", "trip/edges"])
def test_an_output_anywhere_around_the_photographs(folder: Path, output: str) -> None:
    """Above them, among them or below: all photographs are found, and no map is taken for one."""
    (folder / "frames").mkdir()
    Image.fromarray(data.rocket()[:40, :40]).save(folder / "frames" / "film.jpg")  # no map, in spite of its folder
    for again in (False, True):
        summary = predict_photos(stage.sobel(), folder, folder / output, overwrite=False)
        assert sorted(summary.there if again else summary.done) == sorted([*NAMES, "frames/film"])
        assert (summary.done == []) == again


def test_photographs_are_not_replaced_by_their_maps(folder: Path) -> None:
    place = folder.rename(folder.parent / "prediction")
    before = (place / "cat.png").read_bytes()
    with pytest.raises(ConfigError, match="own map would be written"):
        predict_photos(stage.sobel(), place / "cat.png", place.parent, overwrite=True)
    for path in (*place.glob("*.jpg"), place / "page.png"):
        path.unlink()
    with pytest.raises(ConfigError, match="nothing but 2 maps"):
        predict_photos(stage.sobel(), place, place.parent, overwrite=True)
    assert (place / "cat.png").read_bytes() == before


def test_a_map_of_another_photograph_is_not_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, detector = tmp_path / "out", stage.sobel()
    monkeypatch.chdir(folder)
    predict_photos(detector, Path("cat.png"), output, overwrite=False)
    monkeypatch.chdir(tmp_path)  # what was typed there is not what it would mean here
    made = (output / "prediction" / "cat.png").read_bytes()
    other = tmp_path / "cat.jpg"
    Image.fromarray(data.coffee()[:30, :30]).save(other)
    summary = predict_photos(detector, other, output, overwrite=False)
    assert summary.done == []
    assert f"replace that of {folder / 'cat.png'}; give another folder, or --overwrite" in summary.failed[str(other)]
    assert (output / "prediction" / "cat.png").read_bytes() == made
    assert predict_photos(detector, folder / "cat.png", output, overwrite=False).there == ["cat"]
    (folder / "cat.png").rename(tmp_path / "moved.png")
    (tmp_path / "moved.png").rename(tmp_path / "cat.png")  # the same photograph in another place
    assert predict_photos(detector, tmp_path / "cat.png", output, overwrite=False).there == ["cat"]
    assert predict_photos(detector, other, output, overwrite=True).done == ["cat"]
    assert level(output / "prediction" / "cat.png").shape == (30, 30)


def test_pictures_that_are_not_read_are_named(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(data.chelsea()[:20, :20]).save(folder / "anim.gif")
    for name in ("phone.HEIC", "trip/raw.cr2"):
        (folder / name).write_bytes(b"anything")
    summary = predict_photos(stage.sobel(), folder, tmp_path / "out", overwrite=False)
    assert sorted(summary.done) == NAMES
    assert "animations are not read; save" in summary.failed[str(folder / "anim.gif")]
    assert "save it as JPEG or PNG" in summary.failed[str(folder / "phone.HEIC")]
    assert "develop it" in summary.failed[str(folder / "trip/raw.cr2")]
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["failed"] == summary.failed
    alone = predict_photos(stage.sobel(), folder / "phone.HEIC", tmp_path / "out", overwrite=False)
    assert list(alone.failed) == [str(folder / "phone.HEIC")]
    # What `--frames` writes is not taken for a photograph's animation.
    (folder / "frames").mkdir()
    (folder / "anim.gif").rename(folder / "frames" / "anim.gif")
    again = predict_photos(stage.sobel(), folder, folder, overwrite=False)
    assert str(folder / "frames" / "anim.gif") not in again.failed


def test_two_photographs_of_one_name(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(data.coffee()[:30, :30]).save(folder / "cat.jpg")
    summary = predict_photos(stage.sobel(), folder, tmp_path / "out", overwrite=False)
    assert "replace that of" in summary.failed[str(folder / "cat.png")]
    assert level(tmp_path / "out" / "prediction" / "cat.png").shape == (30, 30)


def test_what_cannot_be_begun(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for photos, output, message in (
        (tmp_path / "empty", tmp_path / "out", "holds no image"),
        (tmp_path / "nowhere", tmp_path / "out", "no such file or folder"),
        (folder, folder / "notes.txt", "is a file"),
    ):
        with pytest.raises(EdgebenchError, match=message):
            predict_photos(stage.sobel(), photos, output, overwrite=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stage.canny(low=0.3, high=0.2), "low 0.3"),
        (lambda: stage.canny(sigma=0), "sigma 0"),
        (lambda: stage.canny(sigma=float("inf")), "sigma inf"),
        (lambda: stage.sobel(threshold=2), "threshold 2"),
    ],
)
def test_settings_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def counting(batch: int, seen: list[list[str]]) -> Detector:
    """A method that fails on whatever batch holds a photograph called bad."""

    def answer(images: list[np.ndarray], names: list[str]) -> list[EdgeAnswer]:
        seen.append(names)
        level = np.nan if "bad" in names else 0.5
        return [EdgeAnswer(np.full(image.shape[:2], level), np.zeros(image.shape[:2], bool)) for image in images]

    return Detector("counting", {}, answer, batch=batch)


def photographs(folder: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    folder.mkdir()
    for name, size in sizes.items():
        Image.new("RGB", size).save(folder / f"{name}.png")
    return folder


def test_batches_hold_one_size(tmp_path: Path) -> None:
    sizes = {"a": (8, 9), "b": (9, 8), "c": (8, 9), "d": (8, 9), "e": (9, 8)}
    seen: list[list[str]] = []
    predict_photos(counting(2, seen), photographs(tmp_path / "in", sizes), tmp_path / "out", overwrite=False)
    assert seen == [["a", "c"], ["b", "e"], ["d"]]


def test_few_photographs_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "WAITING_BYTES", 90)
    seen: list[list[str]] = []
    sizes = {"a": (4, 4), "b": (5, 5), "c": (4, 4)}
    predict_photos(counting(2, seen), photographs(tmp_path / "in", sizes), tmp_path / "out", overwrite=False)
    assert seen == [["a"], ["b"], ["c"]]


def test_the_one_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    place = photographs(tmp_path / "in", dict.fromkeys(["a", "bad", "c"], (8, 8)))
    summary = predict_photos(counting(3, []), place, tmp_path / "out", overwrite=False)
    assert summary.done == ["a", "c"]
    assert "not a number" in summary.failed[str(place / "bad.png")]
    assert not (tmp_path / "out" / "prediction" / "bad.png").exists()


def test_memory_is_advised(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(images: list[np.ndarray], names: list[str]) -> list[EdgeAnswer]:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(folders, "LARGE_PIXELS", 50)
    place = photographs(tmp_path / "in", {"a": (8, 8)})
    detector = Detector("greedy", {}, greedy, advice="--long-side 640 makes it smaller first.", slow=True)
    summary = predict_photos(detector, place, tmp_path / "out", overwrite=False)
    assert "not enough memory for 1 of 8 x 8 pixels. --long-side 640" in summary.failed[str(place / "a.png")]
    assert "8 x 8 pixels will take long and much memory; --long-side 640" in capsys.readouterr().err


def test_memo_writes_what_its_predictor_says(folder: Path, tmp_path: Path, weights: Path) -> None:
    from edgebench.methods.memo.predictor import Predictor
    from edgebench.methods.memo.reveal import RevealSettings
    from edgebench.methods.memo.weights import load_network

    detector = stage.memo(weights, steps=3, guidance=1.5, batch=2, device="cpu")
    summary = predict_photos(detector, folder, tmp_path / "out", overwrite=False)
    assert sorted(summary.done) == NAMES
    predictor = Predictor(load_network(weights), RevealSettings("locmax", 3), guidance=1.5)
    expected = predictor.predict([data.astronaut()[:50, 200:240]], ["trip/astronaut"])[0]
    soft, hard = (level(tmp_path / "out" / kind / "trip/astronaut.png") for kind in ("prediction", "binarized"))
    np.testing.assert_array_equal(soft, np.floor(expected.probability * 255))
    np.testing.assert_array_equal(hard, 255 * expected.edges)
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["images"]["cat"]["rounds"] == 3
    assert record["settings"]["guidance"] == 1.5
    assert len(record["weights"]["sha256"]) == 64


def test_the_reveal_of_memo_is_written(folder: Path, tmp_path: Path, weights: Path) -> None:
    """Every step reveals something, the last frame is the map, and asking for frames later makes them."""
    output = tmp_path / "out"
    plain = stage.memo(weights, steps=6, guidance=1, batch=2, device="cpu")
    predict_photos(plain, folder, output, overwrite=False)
    detector = stage.memo(weights, steps=6, guidance=1, batch=2, device="cpu", frames=True)
    summary = predict_photos(detector, folder, output, overwrite=False)
    assert sorted(summary.done) == NAMES
    assert files(output / "frames") == [f"{name}.gif" for name in NAMES]
    with Image.open(output / "frames" / "cat.gif") as animation:
        assert animation.n_frames == 7  # type: ignore[attr-defined]
        animation.seek(6)
        # 80 pixels are shown as 240, in the middle of 256; the palette rounds the greys a little.
        last = np.asarray(animation.convert("RGB"))[: 3 * 60 : 3, 8 : 8 + 3 * 80 : 3, 0]
    assert np.abs(last.astype(int) - level(output / "prediction" / "cat.png")).max() <= 8
    assert predict_photos(detector, folder, output, overwrite=False).done == []


def test_every_setting_reaches_memo(folder: Path, weights: Path) -> None:
    image = data.astronaut()[:100, :140]

    def found(**settings: object) -> np.ndarray:
        detector = stage.memo(weights, device="cpu", **{"steps": 3, "guidance": 1.0, **settings})  # type: ignore[arg-type]
        (answer,) = detector.answer([image], ["a"])
        assert isinstance(answer, EdgeAnswer)
        return answer.probability

    plain = found()
    for settings in ({"confidence_threshold": 0.7}, {"scales": (1, 0.5)}, {"tile": 96}, {"long_side": 64}):
        assert not np.array_equal(found(**settings), plain), settings
    np.testing.assert_array_equal(found(tile=0, long_side=0), plain)


def test_the_official_draws_do_not_depend_on_what_is_left_to_do(folder: Path, tmp_path: Path, weights: Path) -> None:
    detector = stage.memo(weights, steps=3, guidance=1, reveal="random", compat="official", device="cpu")
    predict_photos(detector, folder, tmp_path, overwrite=False)
    coffee = tmp_path / "prediction" / "coffee.png"  # as large as the cat
    before = level(coffee)
    coffee.unlink()
    assert predict_photos(detector, folder, tmp_path, overwrite=False).done == ["coffee"]
    np.testing.assert_array_equal(level(coffee), before)


def test_memo_can_work_on_a_smaller_image(folder: Path, tmp_path: Path, weights: Path) -> None:
    detector = stage.memo(weights, steps="2", long_side=40, guidance=1, device="cpu")
    predict_photos(detector, folder / "cat.png", tmp_path / "out", overwrite=False)
    assert level(tmp_path / "out" / "prediction" / "cat.png").shape == (60, 80)
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert (record["settings"]["steps"], record["settings"]["long_side"]) == (2, 40)
    with pytest.raises(ConfigError, match="steps 'many'"):
        stage.memo(weights, steps="many")
    with pytest.raises(ConfigError, match="tile 50"):
        stage.memo(weights, tile=50)


def test_masks_of_a_released_segmenter(folder: Path, tmp_path: Path) -> None:
    """With the smallest SAM 2 of random weights, which proposes anything."""
    MODELS["sam2"][0]().save_pretrained(tmp_path / "sam2")
    detector = stage.mask_edges(generator="sam2", generator_weights=tmp_path / "sam2", device="cpu")
    summary = predict_photos(detector, folder / "cat.png", tmp_path / "out", overwrite=False)
    assert summary.done == ["cat"]
    assert set(np.unique(level(tmp_path / "out" / "binarized" / "cat.png"))) <= {0, 255}
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["settings"]["generator"] == "sam2"
    assert record["weights"]["file"].endswith("model.safetensors")
    with pytest.raises(ConfigError, match="sam2 needs weights"):
        stage.mask_edges(generator="sam2")
