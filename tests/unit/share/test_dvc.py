"""What DVC prints, in words that say what to do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from edgebench.errors import EdgebenchError
from edgebench.share.dvc import explain, locked


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            "WARNING: x\nERROR: failed to pull data from the cloud - Unable to locate credentials\n\nmore",
            "DVC says: failed to pull data from the cloud - Unable to locate credentials. Give DVC yours: "
            "docs/sharing.md, 'Access'.",
        ),
        (
            "ERROR: failed to push data to the cloud - config file error: no remote specified in /x. Create a default",
            "DVC says: failed to push data to the cloud - config file error: no remote specified in /x. Create a "
            "default. Name one: `dvc remote add --default NAME URL`.",
        ),
        ("ERROR: unexpected error - [Errno 28] No space left on device", "Free some space"),
        ("ERROR: an error occurred (403) when calling HeadObject", "Give DVC credentials that may do this"),
        ("ERROR: something new", "DVC says: something new."),
        ("killed", "DVC says: killed."),
    ],
)
def test_complaints_end_with_what_to_do(printed: str, said: str) -> None:
    assert said in explain(printed)


def test_the_name_of_a_run_is_no_status() -> None:
    assert explain("ERROR: sobel-84031b2c3d.tar went away") == "DVC says: sobel-84031b2c3d.tar went away."


def test_without_dvc_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with locked(tmp_path) as dvc, pytest.raises(EdgebenchError, match=r"pip install 'edgebench\[share\]'"):
        dvc.call("pull", ["a.tar.dvc"])


def test_a_folder_without_dvc_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgebenchError, match=r"holds no \.dvc/config"), locked(tmp_path):
        pass
