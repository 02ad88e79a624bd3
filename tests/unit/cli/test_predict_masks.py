"""`edgebench predict diffdis` and `otsu`: what a person types, and the masks and cut-outs that come of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from typer.testing import CliRunner, Result

from edgebench.cli.predict import app
from edgebench.data.images import read_image
from edgebench.errors import ConfigError, DataError
from edgebench.methods.diffdis.predictor import Predictor, PredictSettings
from edgebench.methods.diffdis.weights import load_weights
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.plan.workbench import Workbench
from edgebench.stages.photos.folder import LARGE_PIXELS
from tests.unit.cli.helpers import run
from tests.unit.methods.diffdis_models import write_diffdis

torch.set_num_threads(1)
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_diffdis(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Of every kind that people bring: turned, transparent, grey, deep, for print; and some that cannot be taken."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    picture = data.chelsea()[100:150, 100:170]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(picture).save(folder / "turned.jpg", exif=exif, quality=95)
    alpha = np.full((50, 70), 255, np.uint8)
    alpha[:25] = 0
    Image.fromarray(np.dstack([picture, alpha])).save(folder / "clear.png")
    Image.fromarray(picture).convert("L").save(folder / "grey.png")
    Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(picture).convert("CMYK").save(folder / "print.tif")
    Image.fromarray(data.coffee()[100:150, 100:170]).save(folder / "trip" / "coffee.webp", lossless=True)
    return folder


NAMES = ["clear", "deep", "grey", "print", "trip/coffee", "turned"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def pixels(path: Path, mode: str = "L") -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == mode
        return np.asarray(image)


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_every_kind(photos: Path, weights: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "turned.jpg").read_bytes()[:400])
    (photos / "phone.heic").write_bytes(b"anything")
    Image.fromarray(data.coffee()[:30, :30]).save(photos / "grey.webp")  # its mask would be that of grey.png
    shutil.copy(weights, tmp_path / "weights.safetensors")
    typed = ["predict", "diffdis", "photos", "-o", "out", "--weights", "weights.safetensors", "--batch", "3"]
    output = run(tmp_path, *typed, code=1)
    out = tmp_path / "out"
    assert "diffdis: 6 masks made" in output
    assert "cut-out (PNG with alpha): out/cutout" in output
    assert "3 failed:" in output
    assert "photos/broken.jpg: truncated" in output
    assert "photos/phone.heic: not a kind of image that is read" in output
    assert "grey.webp: its map would replace that of photos/grey.png" in output
    assert written(out) == {"predict.json"} | {f"{kind}/{name}.png" for kind in ("mask", "cutout") for name in NAMES}
    for name in NAMES:
        source = next(photos.glob(f"{name}.*"))
        picture, mask, cutout = (
            read_image(source),
            pixels(out / "mask" / f"{name}.png"),
            pixels(out / "cutout" / f"{name}.png", "RGBA"),
        )
        assert mask.shape == picture.shape[:2] == cutout.shape[:2]
        kept = mask >= 128
        if name == "clear":
            kept[:25] = False  # transparent in the photograph
        assert 0 < kept.mean() < 1
        np.testing.assert_array_equal(cutout[..., 3], np.where(kept, 255, 0))
        np.testing.assert_array_equal(cutout[kept][:, :3], picture[kept])
        assert not cutout[~kept].any()
    assert pixels(out / "mask" / "turned.png").shape == (70, 50)
    record = json.loads((out / "predict.json").read_text())
    assert record["method"] == "diffdis"
    assert record["settings"]["size"] == 64  # what the weights were trained at
    assert record["settings"]["tta"] == "none"
    assert record["images"].keys() == set(NAMES)
    assert record["failed"].keys() == {f"photos/{name}" for name in ("broken.jpg", "phone.heic", "grey.webp")}
    share = (pixels(out / "mask" / "grey.png") > 127).mean()
    assert record["images"]["grey"]["foreground"] == pytest.approx(share, abs=0.01)


def test_masks_are_those_of_the_predictor(photos: Path, weights: Path, tmp_path: Path) -> None:
    """Every option reaches the network."""
    network, codec = load_weights(weights)
    settings = PredictSettings(48, resize="aspect", tta="flip", steps=2, sampler="ddim", edges=True)
    expected = Predictor(network, codec, settings, seed=3).predict([read_image(photos / "grey.png")], ["grey"])[0]
    assert expected.edge is not None
    chosen = ["--size", 48, "--resize", "aspect", "--tta", "flip", "--steps", 2, "--sampler", "ddim", "--seed", 3]
    typed = ["diffdis", photos / "grey.png", "-o", tmp_path / "out", "--weights", weights, "--edges", "--matte"]
    done = invoke(*typed, *chosen)
    assert done.exit_code == 0, done.output
    for kind, values in (("mask", expected.mask), ("edges", expected.edge)):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / kind / "grey.png"), np.floor(values * 255))
    soft = pixels(tmp_path / "out" / "cutout" / "grey.png", "RGBA")
    np.testing.assert_array_equal(soft[..., 3], np.floor(expected.mask * 255))
    assert len(np.unique(soft[..., 3])) > 20


def test_tiles_and_precision_are_taken(photos: Path, weights: Path, tmp_path: Path) -> None:
    typed = ["diffdis", photos / "grey.png", "--weights", weights, "--tiled", "--precision", "bf16"]
    assert invoke(*typed, "-o", tmp_path / "out", "--device", "cpu").exit_code == 0
    settings = json.loads((tmp_path / "out" / "predict.json").read_text())["settings"]
    assert (settings["tiled"], settings["precision"], settings["device"]) == (True, "bf16", "cpu")


def test_a_rerun_makes_what_is_missing(photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    typed = ["diffdis", photos, "-o", out, "--weights", weights]
    assert "6 masks made" in invoke(*typed).output
    masks = {name: (out / "mask" / f"{name}.png").read_bytes() for name in NAMES}
    (out / "cutout" / "grey.png").unlink()
    again = invoke(*typed)
    assert "1 mask made" in again.output
    assert "5 there already, left as they were (--overwrite" in again.output
    outlined = invoke(*typed, "--edges")
    assert "6 masks made" in outlined.output
    assert f"outline: {out / 'edges'}" in outlined.output
    assert {name: (out / "mask" / f"{name}.png").read_bytes() for name in NAMES} == masks
    with pytest.raises(ConfigError, match=r"matte False, now True\).*--overwrite"):
        raise invoke(*typed, "--matte").exception or AssertionError("nothing was refused")
    assert "6 masks made" in invoke(*typed, "--matte", "--overwrite").output
    with pytest.raises(ConfigError, match=r"\(method diffdis, now otsu\)"):
        raise invoke("otsu", photos, "-o", out).exception or AssertionError("nothing was refused")


def test_results_beside_the_photographs_are_not_taken_for_photographs(photos: Path, tmp_path: Path) -> None:
    assert "6 masks made" in invoke("otsu", photos, "-o", photos).output
    again = invoke("otsu", photos, "-o", photos)
    assert "6 there already" in again.output
    assert "0 masks made" in again.output


def test_a_large_photograph(weights: Path, tmp_path: Path) -> None:
    """Its mask is made at the network's size, so that it costs little more than a small one."""
    picture = np.repeat(np.repeat(data.chelsea(), 6, 0), 6, 1)[:1500, :1800]
    Image.fromarray(picture).save(tmp_path / "large.jpg", quality=80)
    assert picture.shape[0] * picture.shape[1] > LARGE_PIXELS  # what slow methods warn of
    done = invoke("diffdis", tmp_path / "large.jpg", "-o", tmp_path / "out", "--weights", weights, "--matte")
    assert done.exit_code == 0, done.output
    assert "long and much memory" not in done.output
    assert pixels(tmp_path / "out" / "cutout" / "large.png", "RGBA").shape == (1500, 1800, 4)


def test_otsu(photos: Path, tmp_path: Path) -> None:
    """Drawn: a disc that is brighter than what lies around it is the object."""
    rows, columns = np.mgrid[:60, :80]
    disc = (rows - 30) ** 2 + (columns - 40) ** 2 < 400
    picture = np.where(disc[..., None], (220, 180, 160), (40, 60, 50)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "disc.png")
    output = run(tmp_path, "predict", "otsu", "disc.png", "-o", "out")
    assert "otsu: 1 mask made" in output
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "mask" / "disc.png"), 255 * disc)
    cutout = pixels(tmp_path / "out" / "cutout" / "disc.png", "RGBA")
    np.testing.assert_array_equal(cutout, np.where(disc[..., None], np.dstack([picture, 255 * disc]), 0))


def test_weights_of_another_method(photos: Path, weights: Path, tmp_path: Path) -> None:
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    save_file(network.state_dict(), tmp_path / "memo.safetensors", metadata=weight_metadata(network.config))
    typed = ["diffdis", photos, "-o", tmp_path / "out", "--weights"]
    assert "not DiffDIS weights (the file says method='memo')" in str(
        invoke(*typed, tmp_path / "memo.safetensors").exception
    )
    assert "not MEMO weights (the file says method='diffdis')" in str(
        invoke("memo", photos, "-o", tmp_path / "out", "--weights", weights).exception
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "50"], r"size 50 must be a multiple of 8 here, 48 for example"),
        (["--weights", "gone.safetensors"], "gone.safetensors: no such weight file"),
    ],
)
def test_what_does_not_fit_is_said(
    photos: Path, weights: Path, tmp_path: Path, options: list[str], message: str, root: Path
) -> None:
    done = invoke("diffdis", photos, "-o", tmp_path / "out", "--weights", weights, "--root", root, *options)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_network_without_outlines(photos: Path, tmp_path: Path) -> None:
    from edgebench.methods.diffdis.presets import NetworkConfig as DiffdisConfig
    from tests.unit.methods.diffdis_models import CONFIG

    single = {**CONFIG.to_dict(), "edge": False, "stream_embedding": False, "interaction": "none"}
    weights = write_diffdis(tmp_path / "single", config=DiffdisConfig.from_dict(single))
    typed = ["diffdis", photos / "grey.png", "-o", tmp_path / "out", "--weights", weights]
    assert "trained without edges" in str(invoke(*typed, "--edges").exception)
    assert invoke(*typed).exit_code == 0


def test_weights_by_name(photos: Path, weights: Path, tmp_path: Path, root: Path) -> None:
    """Without a name the released weights are taken, if they were fetched, and else what the demo trained."""
    shutil.copytree(root / "config", tmp_path / "config")
    bench = Workbench(tmp_path)
    rows = bench.find_table("demo", "diffdis/main_dis5k").rows
    trained = next(row for row in rows if row.key == "vd/diffdis").runs[0].predict.inputs["weights"]
    typed = ["diffdis", photos / "grey.png", "--root", tmp_path, "-o"]

    def finish(folder: str) -> None:
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(weights, tmp_path / folder / "weights.safetensors")
        (tmp_path / folder / "run.json").write_text("{}")

    refused = invoke(*typed, tmp_path / "0").exception
    assert isinstance(refused, DataError)
    assert trained.record in str(refused)
    assert "`edgebench fetch diffdis_released`" in str(refused)
    finish(trained.folder)
    for number, name in enumerate((["--weights", "demo"], [])):
        done = invoke(*typed, tmp_path / f"{number}", *name)
        assert "1 mask made" in done.output
        assert (f"weights: demo ({tmp_path / trained.folder}" in done.output) == (name == [])
    finish(bench.released_run("diffdis_released").folder)
    assert "weights: diffdis_released (" in invoke(*typed, tmp_path / "2").output
    with pytest.raises(ConfigError, match="memo_bsds_late: not weights of diffdis, which takes diffdis_released"):
        raise invoke(*typed, tmp_path / "3", "--weights", "memo_bsds_late").exception or AssertionError("it was taken")


def test_weights_by_path_need_no_repository(photos: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(weights, tmp_path / "run" / "weights.safetensors")
    typed = ["diffdis", photos / "grey.png", "--root", tmp_path / "nowhere", "-o", tmp_path / "o", "--weights"]
    assert "1 mask made" in invoke(*typed, tmp_path / "run").output
    assert "no such weight file" in str(invoke(*typed, tmp_path / "gone.safetensors").exception)


def test_real_photographs(shared: Path, weights: Path, tmp_path: Path) -> None:
    """A frame of DAVIS and photographs of ECSSD: size, colours and alpha, whatever the network's weights."""
    frame = next((shared / "data/DAVIS/JPEGImages/480p/dance-twirl").glob("*.jpg"))
    pictures = [frame, *sorted((shared / "data/ECSSD/images").iterdir())[:2]]
    (tmp_path / "photos").mkdir()
    for each in pictures:
        shutil.copy(each, tmp_path / "photos")
    for method, options in (("diffdis", ["--weights", weights, "--edges"]), ("otsu", [])):
        out = tmp_path / method
        assert "3 masks made" in invoke(method, tmp_path / "photos", "-o", out, *options).output
        for each in pictures:
            mask, cutout = (
                pixels(out / kind / f"{each.stem}.png", mode) for kind, mode in (("mask", "L"), ("cutout", "RGBA"))
            )
            picture = read_image(each)
            assert mask.shape == picture.shape[:2]
            np.testing.assert_array_equal(cutout[..., 3] > 0, mask >= 128)
            np.testing.assert_array_equal(cutout[mask >= 128][:, :3], picture[mask >= 128])


def test_help_teaches() -> None:
    text = CliRunner().invoke(app, ["diffdis", "--help"], env={"COLUMNS": "300"}).output
    for words in ("Examples", "--weights demo", "multiple of 64", "grows by 40 %", "twice the time", "GPU", "alpha"):
        assert words in text
