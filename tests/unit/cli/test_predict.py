"""`edgebench predict`: what a person types and reads."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from typer.main import get_command
from typer.testing import CliRunner, Result

from edgebench.cli.options import find_checkpoint
from edgebench.cli.predict import app
from edgebench.errors import DataError, EdgebenchError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.plan.methods import all_settings
from edgebench.plan.workbench import Workbench
from edgebench.stages.photos import METHODS
from tests.unit.cli.helpers import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.fromarray(data.chelsea()[100:140, 100:150]).save(folder / "cat.png")
    Image.fromarray(data.coffee()[100:130, 100:150]).save(folder / "trip" / "coffee.jpg")
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_method_is_a_subcommand_with_its_settings() -> None:
    """What a method can be told, and its defaults, are the same in the command, in Python and in recipes."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    # Those of objects share one function, and the page does not show them.
    assert commands.keys() == METHODS.keys() | {"tokencut", "maskcut", "promerge"}
    for name, method in METHODS.items():
        recipe = all_settings()["predict", name.replace("-", "_")].model_fields
        options = {option.name: option.default for option in commands[name].params}
        for argument in inspect.signature(method).parameters.values():
            assert argument.name in options, f"{name}: no option for {argument.name}"
            if argument.name == "size":  # by default what the network was trained at, which a recipe states
                assert argument.default is None
                continue
            if argument.name == "scales":  # written with commas
                assert options["scales"] == "1"
                assert argument.default == (1.0,)
            elif argument.default is not inspect.Parameter.empty:
                assert str(options[argument.name]) == str(argument.default)
            # A recipe counts frames, and its weights are another run's.
            if (
                argument.name in recipe.keys() - {"frames", "weights"}
                and argument.default is not inspect.Parameter.empty
            ):
                assert argument.default == recipe[argument.name].default


def test_a_single_photograph(photos: Path, tmp_path: Path) -> None:
    output = run(tmp_path, "predict", "canny", str(photos / "cat.png"), "-o", "out")
    assert "1 edge map made" in output
    assert "out/prediction" in output
    for kind in ("prediction", "binarized"):
        with Image.open(tmp_path / "out" / kind / "cat.png") as image:
            assert image.size == (50, 40)
            assert set(np.unique(np.asarray(image))) == {0, 255}


def test_broken_photographs_are_named_at_the_end(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes((photos / "cat.png").read_bytes()[:300])
    output = run(tmp_path, "predict", "sobel", str(photos), "-o", "out", code=1)
    assert "2 edge maps made" in output
    assert "1 failed:" in output
    assert f"{photos / 'broken.png'}: truncated" in output
    assert (tmp_path / "out" / "prediction" / "trip" / "coffee.png").exists()


def test_pictures_that_are_not_read_are_named_at_the_end(photos: Path, tmp_path: Path) -> None:
    (photos / "phone.heic").write_bytes(b"anything")
    result = invoke("sobel", photos, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "2 edge maps made" in result.output
    assert "phone.heic: not a kind of image that is read; save it as JPEG or PNG" in result.output


def test_a_rerun_says_that_it_made_nothing(photos: Path, tmp_path: Path) -> None:
    assert invoke("sobel", photos, "-o", tmp_path / "out").exit_code == 0
    again = invoke("sobel", photos, "-o", tmp_path / "out")
    assert again.exit_code == 0
    assert "0 edge maps made" in again.output
    assert "2 there already, left as they were (--overwrite" in again.output
    assert "2 edge maps made" in invoke("sobel", photos, "-o", tmp_path / "out", "--overwrite").output


def test_mask_edges(photos: Path, tmp_path: Path) -> None:
    assert invoke("mask-edges", photos / "cat.png", "-o", tmp_path / "out").exit_code == 0
    with Image.open(tmp_path / "out" / "binarized" / "cat.png") as image:
        assert 0 < np.asarray(image).mean() < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["canny", "nowhere.jpg", "-o", "out"], "nowhere.jpg: no such file or folder"),
        (["canny", ".", "-o", "out", "--low", "0.5"], "low 0.5 and high 0.2"),
        (["memo", "a.jpg", "-o", "out"], "--weights"),
        (["memo", "a.jpg", "-o", "out", "--weights", "a.safetensors", "--device", "tpu"], "tpu"),
        (["memo", "a.jpg", "-o", "out", "--weights", "demo"], "--root"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in run(tmp_path, "predict", *arguments, code=2)


def test_weights_that_are_none(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    result = invoke("memo", photos, "-o", tmp_path / "out", "--weights", tmp_path / "a.safetensors")
    assert isinstance(result.exception, EdgebenchError)
    assert "not a readable safetensors file" in str(result.exception)


def test_weights_by_name(photos: Path, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo` is what the demo's main table is made with."""
    shutil.copytree(root / "config", tmp_path / "config")
    table = Workbench(tmp_path).find_table("demo", "memo/main_bsds")
    trained = next(row for row in table.rows if row.key == "memo").runs[0].predict.inputs["weights"]
    weights = tmp_path / trained.folder / "weights.safetensors"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    arguments = ["memo", photos / "cat.png", "-o", "out", "--weights", "demo", "--steps", "5", "--frames"]
    arguments += ["--root", ".."]
    assert trained.folder in str(invoke(*arguments).exception)
    weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    save_file(network.state_dict(), weights, metadata=weight_metadata(network.config))
    (weights.parent / "run.json").write_text("{}")
    output = invoke(*arguments).output
    assert "1 edge map made" in output
    assert "reveal: out/frames" in output
    ways = {"--scales": "1,0.5", "--confidence-threshold": "0.6", "--dino-size": "adaptive"}
    for number, way in enumerate(ways.items()):
        assert invoke(*arguments[:3], number, *arguments[4:], *way).exit_code == 0
    settings = [json.loads(Path(f"{number}/predict.json").read_text())["settings"] for number in range(3)]
    assert settings[0]["scales"] == [1.0, 0.5]
    assert settings[1]["confidence_threshold"] == 0.6
    assert settings[2]["dino_size"] == "adaptive"
    # Numbers come back from the record as they went in, so that a second time finds everything there.
    assert "1 there already" in invoke(*arguments[:3], 0, *arguments[4:], "--scales", "1,0.5").output
    assert "--scales 1;2: give factors" in str(invoke(*arguments, "--scales", "1;2").exception)
    assert "tile and scales" in str(invoke(*arguments, "--scales", "1,2", "--tile", "512").exception)
    assert "guidance inf" in str(invoke(*arguments, "--guidance", "inf").exception)
    with Image.open("out/frames/cat.gif") as animation:
        assert animation.n_frames == 6  # type: ignore[attr-defined]


def test_segmenters_by_name(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that was fetched is found below the repository, wherever the command is typed."""
    shutil.copytree(root / "config", tmp_path / "repository" / "config")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"not here yet.*`edgebench fetch sam2_hiera_large`"):
        find_checkpoint(Path("repository"), "sam2_hiera_large")
    folder = tmp_path / "repository" / Workbench(root).checkpoint_run("sam2_hiera_large").folder
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    assert find_checkpoint(Path("repository"), "sam2_hiera_large").resolve() == folder


def test_help_says_what_options_cost() -> None:
    text = CliRunner().invoke(app, ["memo", "--help"], env={"COLUMNS": "300"}).output
    costs = ("time grows", "two passes", "memory grows", "approximation", "its share of time", "more memory")
    for words in ("Examples", "make demo", "GPU", *costs):
        assert words in text
    assert "Exit status" in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output
