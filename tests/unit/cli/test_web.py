"""`edgebench app`: the page's function, and, where Gradio is installed, the page itself on a port of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from edgebench.cli import web
from edgebench.cli.controls import all_controls, arguments, chosen_values, titles_of
from edgebench.errors import EdgebenchError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.stages.photos import EDGE_METHODS, MASK_METHODS, METHODS
from edgebench.stages.photos.cutout import on_checkerboard
from edgebench.stages.weights import trained_weights
from tests.unit.cli.helpers import run
from tests.unit.cli.test_predict_trace import distilled
from tests.unit.methods.diffdis_models import write_diffdis
from tests.unit.methods.test_trace_small import TINY
from tests.unit.methods.test_trace_small import backbone as small_backbone

torch.set_num_threads(1)
PATHS = {"PYTHONPATH": os.pathsep.join([str(Path(web.__file__).parents[2]), *sys.path])}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(data.chelsea()[100:140, 100:150]).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


@pytest.fixture
def diffdis_weights(tmp_path: Path) -> Path:
    return write_diffdis(tmp_path / "results" / "runs" / "train" / "diffdis-1")


@pytest.fixture
def trace_weights(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "runs" / "distil" / "trace-1"
    folder.mkdir(parents=True)
    return distilled(folder / "weights.safetensors", small_backbone(TINY))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    folder = tmp_path / "results" / "runs" / "finetune" / "memo-1"
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "weights.safetensors", metadata=weight_metadata(network.config))
    return folder / "weights.safetensors"


def test_memo_answers_with_its_reveal(photo: Path, weights: Path, tmp_path: Path) -> None:
    # The page sends all its controls, those of other methods too.
    choices = {"weights": str(weights), "steps": "5", "guidance": 1.4, "long_side": 0, "tile": 0, "sigma": 2}
    choices["frames"] = True
    reply = web.respond(photo, "memo", choices, tmp_path)
    probability, edges, reveal = reply.pictures
    assert isinstance(probability, np.ndarray)
    assert isinstance(edges, np.ndarray)
    assert isinstance(reveal, Path)
    assert probability.shape == edges.shape == (40, 50)
    with Image.open(reveal) as animation:
        assert animation.n_frames == 6  # type: ignore[attr-defined]
    assert re.match(r"memo: 50 x 40 pixels, 5 rounds, \d+\.\d\d s", reply.text)
    choices["frames"] = False
    assert web.respond(photo, "memo", choices, tmp_path).pictures[2] is None


def test_diffdis_answers_with_a_cut_out(photo: Path, diffdis_weights: Path, tmp_path: Path) -> None:
    choices = {"weights": str(diffdis_weights), "size": 0, "steps": 1, "edges": True, "matte": True, "tiled": False}
    reply = web.respond(photo, "diffdis", choices, tmp_path)
    mask, shown, outline = reply.pictures
    assert isinstance(mask, np.ndarray)
    assert isinstance(outline, Path)
    assert reply.cutout is not None
    with Image.open(outline) as image:
        assert image.size == (50, 40)
    with Image.open(reply.cutout) as image:
        assert (image.mode, image.filename) == ("RGBA", str(tmp_path / "cat-cutout.png"))
        cutout = np.asarray(image)
    np.testing.assert_array_equal(cutout[..., 3], mask)
    np.testing.assert_array_equal(np.asarray(shown), on_checkerboard(cutout))
    assert re.match(r"diffdis: 50 x 40 pixels, \d+\.\d\d s", reply.text)
    plain = web.respond(photo, "diffdis", {**choices, "edges": False}, tmp_path)
    assert plain.pictures[2] is None


def test_a_network_is_kept_until_its_file_changes(photo: Path, weights: Path, tmp_path: Path) -> None:
    choices = {"weights": str(weights), "steps": "1", "guidance": 1.0}
    before = np.asarray(web.respond(photo, "memo", choices, tmp_path).pictures[0], int)
    torch.manual_seed(1)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    save_file(network.state_dict(), weights, metadata=weight_metadata(network.config))
    os.utime(weights, (time.time() + 5, time.time() + 5))
    after = np.asarray(web.respond(photo, "memo", choices, tmp_path).pictures[0], int)
    assert np.abs(before - after).max() > 1


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"memo", "diffdis", "trace"}))
def test_other_methods_answer(photo: Path, tmp_path: Path, method: str) -> None:
    reply = web.respond(photo, method, {"weights": "nowhere", "threshold": 0.1}, tmp_path)
    assert np.asarray(reply.pictures[1]).any()
    assert reply.pictures[2] is None
    assert reply.text.startswith(f"{method}: 50 x 40 pixels")
    assert (reply.cutout is None) == (method in EDGE_METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_the_page_as_it_opens_can_be_used(
    photo: Path, weights: Path, diffdis_weights: Path, trace_weights: Path, tmp_path: Path, method: str
) -> None:
    """Every method takes what its controls hold at first, and no control is for nothing."""
    controls = all_controls(trained_weights(tmp_path))
    values = [each.settings["value"] for each in controls]
    choices = chosen_values(method, controls, values)
    assert choices.keys() <= set(arguments(method))
    reply = web.respond(photo, method, choices, tmp_path)
    titles, (third, takeaway) = titles_of(method)
    assert len(titles) == len(reply.pictures)
    assert takeaway == (reply.cutout is not None) == (method in MASK_METHODS)
    assert third or reply.pictures[2] is None
    if "weights" in choices:
        assert choices["weights"] == str({"memo": weights, "diffdis": diffdis_weights, "trace": trace_weights}[method])


def test_every_control_serves_a_method_and_none_twice() -> None:
    controls = all_controls({})
    for each in controls:
        assert any(each.serves(method) for method in METHODS)
    for method in METHODS:
        served = [each.argument for each in controls if each.serves(method)]
        assert len(served) == len(set(served))
    assert {each.argument for each in controls if each.serves("diffdis")} >= {"weights", "steps", "matte", "edges"}


@pytest.mark.parametrize(
    ("name", "method", "choices", "message"),
    [
        (None, "canny", {}, "Choose a photograph"),
        ("cat.png", "cany", {}, "no such method"),
        ("cat.png", "memo", {"weights": None}, "make demo"),
        ("cat.png", "diffdis", {"weights": None}, "`edgebench fetch diffdis_released`"),
        ("cat.png", "memo", {"weights": "gone.safetensors"}, "no such weight file"),
        ("cat.png", "canny", {"low": 0.5, "high": 0.1}, "low 0.5"),
        ("page.jpg", "canny", {}, "HTML page"),
    ],
)
def test_mistakes_are_told(photo: Path, name: str, method: str, choices: dict[str, object], message: str) -> None:
    (photo.parent / "page.jpg").write_text("<html></html>")
    with pytest.raises(EdgebenchError, match=message):
        web.respond(photo.parent / name if name else None, method, choices, photo.parent)


def test_without_gradio_the_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text("raise ImportError('No module named gradio')")
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(web.__file__).parents[2]}"}
    output = run(tmp_path, "app", code=2, environment=environment)
    assert "pip install '.[app]'" in output


@pytest.fixture
def address(tmp_path: Path, weights: Path, diffdis_weights: Path) -> Iterator[str]:
    """The page, served by the command as people start it."""
    pytest.importorskip("gradio", reason="the page needs Gradio: pip install '.[app]'")
    with open(tmp_path / "log", "w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "edgebench", "app", "--port", "0", "--root", str(tmp_path)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **PATHS},
        )
        try:
            end = time.monotonic() + 60
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "log").read_text())):
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < end, "the page did not come up"
                time.sleep(0.2)
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def test_the_page(address: str, photo: Path, weights: Path, diffdis_weights: Path) -> None:
    client = pytest.importorskip("gradio_client")
    with urllib.request.urlopen(address) as answer:
        page = answer.read().decode()
    assert web.TITLE in page
    # What a browser would load on its own: nothing from another machine.
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=.https?://(?!127\.)", page)
    ask = client.Client(address, verbose=False)
    controls = all_controls(trained_weights(photo.parent))

    def find(path: Path, method: str) -> list[str]:
        values = [each.settings["value"] for each in controls]
        steps = next(index for index, each in enumerate(controls) if (each.argument, each.method) == ("steps", "memo"))
        edges = next(index for index, each in enumerate(controls) if each.argument == "edges")
        values[steps], values[edges] = "5", True
        return ask.predict(client.handle_file(str(path)), method, *values, api_name="/find")

    probability, edges, animation, _, text = find(photo, "memo")
    assert text.startswith("memo: 50 x 40 pixels, 5 rounds")
    for path, frames in ((probability, 1), (edges, 1), (animation, 6)):
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == frames
    mask, _, outline, cutout, text = find(photo, "diffdis")
    assert text.startswith("diffdis: 50 x 40 pixels")
    for path, mode in ((mask, "L"), (outline, "L"), (cutout, "RGBA")):
        with Image.open(path) as image:
            assert (image.mode, image.size) == (mode, (50, 40))
    port = address.rsplit(":", 1)[1]
    assert "--port 0" in run(
        photo.parent, "app", "--port", port, "--root", str(photo.parent), code=2, environment=PATHS
    )
    shutil.copy(photo.parent / "log", photo.parent / "page.png")  # any text will do
    with pytest.raises(Exception, match=r"^page\.png: not an image"):
        find(photo.parent / "page.png", "canny")
