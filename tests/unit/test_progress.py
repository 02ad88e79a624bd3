"""How far work has come, where there is no terminal."""

from __future__ import annotations

import pytest

from edgebench import progress
from edgebench.progress import Display


def test_lines_of_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    monkeypatch.delenv("EDGEBENCH_QUIET", raising=False)
    with Display("fetching it", 8, done=2) as display:
        display.update(2, "1.0 of 9.0 MB")  # nothing is finished, so nothing can be said of the time left
        display.update(4)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "fetching it: 2 of 8, 1.0 of 9.0 MB"
    assert second.startswith("fetching it: 4 of 8, about ")
