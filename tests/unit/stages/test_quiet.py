"""What a job's process may do besides its work: use the network when it fetches, and draw bars for people."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from edgebench.files import write_json
from edgebench.stages.run import BARLESS, OFFLINE, keep_quiet


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in (*OFFLINE, *BARLESS):
        monkeypatch.setenv(name, "0")

    def write(stage: str) -> Path:
        content: dict[str, object] = {key: {} for key in ("folder", "settings", "inputs", "label", "seed", "resources")}
        write_json(tmp_path / "spec.json", content | {"stage": stage})
        return tmp_path / "spec.json"

    return write


@pytest.mark.parametrize(("stage", "expected"), [("fetch", "0"), ("train", "1"), ("predict", "1"), ("evaluate", "1")])
def test_only_fetching_may_use_the_network(spec, stage: str, expected: str) -> None:
    keep_quiet(spec(stage))
    assert {os.environ[name] for name in OFFLINE} == {expected}


@pytest.mark.parametrize(("terminal", "expected"), [(True, "0"), (False, "1")])
def test_logs_hold_no_bars(spec, monkeypatch: pytest.MonkeyPatch, terminal: bool, expected: str) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    keep_quiet(spec("predict"))
    assert {os.environ[name] for name in BARLESS} == {expected}
