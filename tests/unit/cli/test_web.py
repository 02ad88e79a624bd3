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
from edgebench.errors import EdgebenchError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.stages.photos import METHODS
from tests.unit.cli.helpers import run

torch.set_num_threads(1)
PATHS = {"PYTHONPATH": os.pathsep.join([str(Path(web.__file__).parents[2]), *sys.path])}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(data.chelsea()[100:140, 100:150]).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


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
    assert reply.probability.shape == reply.edges.shape == (40, 50)
    assert reply.animation is not None
    with Image.open(reply.animation) as animation:
        assert animation.n_frames == 6  # type: ignore[attr-defined]
    assert re.match(r"memo: 50 x 40 pixels, 5 rounds, \d+\.\d\d s", reply.text)
    choices["frames"] = False
    assert web.respond(photo, "memo", choices, tmp_path).animation is None


def test_a_network_is_kept_until_its_file_changes(photo: Path, weights: Path, tmp_path: Path) -> None:
    choices = {"weights": str(weights), "steps": "1", "guidance": 1.0}
    before = web.respond(photo, "memo", choices, tmp_path)
    torch.manual_seed(1)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    save_file(network.state_dict(), weights, metadata=weight_metadata(network.config))
    os.utime(weights, (time.time() + 5, time.time() + 5))
    after = web.respond(photo, "memo", choices, tmp_path)
    assert np.abs(before.probability - after.probability).max() > 1e-3


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"memo"}))
def test_other_methods_answer(photo: Path, tmp_path: Path, method: str) -> None:
    reply = web.respond(photo, method, {"weights": "nowhere", "threshold": 0.1}, tmp_path)
    assert reply.edges.any()
    assert reply.animation is None
    assert reply.text.startswith(f"{method}: 50 x 40 pixels")


@pytest.mark.parametrize(
    ("name", "method", "choices", "message"),
    [
        (None, "canny", {}, "Choose a photograph"),
        ("cat.png", "cany", {}, "no such method"),
        ("cat.png", "memo", {"weights": None}, "make demo"),
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
def address(tmp_path: Path, weights: Path) -> Iterator[str]:
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


def test_the_page(address: str, photo: Path, weights: Path) -> None:
    client = pytest.importorskip("gradio_client")
    with urllib.request.urlopen(address) as answer:
        page = answer.read().decode()
    assert web.TITLE in page
    # What a browser would load on its own: nothing from another machine.
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=.https?://(?!127\.)", page)
    # A browser's other controls are those of the other methods.
    others = (1.4, "locmax", 0, 512, "cpu", True, 1.0, 0.1, 0.2, 0.1)
    ask = client.Client(address, verbose=False)
    probability, edges, animation, text = ask.predict(
        client.handle_file(str(photo)), "memo", str(weights), "5", *others, api_name="/find"
    )
    assert text.startswith("memo: 50 x 40 pixels, 5 rounds")
    for path, frames in ((probability, 1), (edges, 1), (animation, 6)):
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == frames
    port = address.rsplit(":", 1)[1]
    assert "--port 0" in run(
        photo.parent, "app", "--port", port, "--root", str(photo.parent), code=2, environment=PATHS
    )
    shutil.copy(photo.parent / "log", photo.parent / "page.png")  # any text will do
    with pytest.raises(Exception, match=r"^page\.png: not an image"):
        ask.predict(
            client.handle_file(str(photo.parent / "page.png")), "canny", str(weights), "5", *others, api_name="/find"
        )
