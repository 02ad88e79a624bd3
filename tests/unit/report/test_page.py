"""Pages of the HTML report become light without losing what they show."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.errors import EdgebenchError
from edgebench.report import page as module
from edgebench.report.page import finish_page

LONGEST, FIGURE_MB = 300, 0.02


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that are reached in no time."""
    monkeypatch.setattr(module, "LONGEST", LONGEST)
    monkeypatch.setattr(module, "FIGURE_MB", FIGURE_MB)


def png(width: int, height: int, noise: bool) -> bytes:
    pixels = np.zeros((height, width, 3), np.uint8)
    if noise:
        pixels = np.random.default_rng(0).integers(0, 255, pixels.shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def page(folder: Path, content: bytes) -> Path:
    uri = f"data:image/png;charset=utf8;filename=a.png;base64,{base64.b64encode(content).decode()}"
    path = folder / ".part-demo.html"
    path.write_text(f'<title>Snakemake Report</title><script>var results = {{"a": "{uri}"}};</script>')
    return path


def test_a_large_picture_is_recompressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collected, path = page(tmp_path, png(LONGEST + 100, 200, noise=True)), tmp_path / "demo.html"
    before = collected.stat().st_size
    finish_page(collected, path)
    assert not collected.exists()
    text = path.read_text()
    assert text.startswith('<title>edgebench demo</title><script>var results = {"a": "data:image/webp;base64,')
    assert text.endswith('"};</script>')
    with Image.open(io.BytesIO(base64.b64decode(text.split("base64,")[1].split('"')[0]))) as picture:
        assert picture.format == "WEBP"
        assert picture.size == (LONGEST, 200 * LONGEST // (LONGEST + 100))
    assert path.stat().st_size < before / 2
    assert f"{path.stat().st_size / 1e6:.1f} MB" in capsys.readouterr().out


def test_smooth_pictures_come_below_the_limit(tmp_path: Path) -> None:
    rough = np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rough).resize((300, 225), Image.Resampling.BICUBIC).save(buffer, "PNG")
    path = tmp_path / "demo.html"
    assert len(buffer.getvalue()) > 2 * FIGURE_MB * 1e6
    finish_page(page(tmp_path, buffer.getvalue()), path)
    assert path.stat().st_size <= FIGURE_MB * 1e6 + 200


def test_a_small_one_stays_as_it_is(tmp_path: Path) -> None:
    collected, path = page(tmp_path, png(30, 20, noise=False)), tmp_path / "demo.html"
    before = collected.read_text()
    finish_page(collected, path)
    assert path.read_text() == before.replace("Snakemake Report", "edgebench demo")


def test_a_page_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EdgebenchError, match=r"demo\.html: no such page. Make it with: snakemake"):
        finish_page(tmp_path / ".part-demo.html", tmp_path / "demo.html")
