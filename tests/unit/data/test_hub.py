"""Released checkpoints from a hub of every temper: nothing wrong is put in place, and the reason is named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgebench.data.hub import fetch_checkpoint
from edgebench.errors import DataError
from tests.unit.data.servers import REFUSED, SURVIVED, Hub, hasten

EARLY = "epoch=0079.ckpt/checkpoint/mp_rank_00_model_states.pt"
LATE = "epoch=0279.ckpt/checkpoint/mp_rank_00_model_states.pt"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for path, content in {EARLY: b"early" * 400, LATE: b"late" * 500, "config.json": b"{}" * 20}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def hub(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hasten(monkeypatch)
    server = Hub(repository)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.http.shutdown()
    server.http.server_close()


def definition(*patterns: str, repo: str = Hub.REPO, revision: str = "main", **rest: Any) -> dict[str, Any]:
    hub = {"repo": repo, "revision": revision, "patterns": list(patterns) or ["*0079*/mp_rank_00_model_states.pt"]}
    kind = {"name": "early", "format": "memo_deepspeed", "files": {}}
    return {**kind, "source": {"hub": hub, "mirrors": []}, **rest}


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class TestHub:
    def test_the_matching_file_is_fetched_and_recorded(self, hub: Hub, repository: Path, tmp_path: Path) -> None:
        fetched = fetch_checkpoint(definition(), tmp_path / "out")
        assert [(each.path, each.size) for each in fetched.files] == [(EARLY, 2000)]
        assert fetched.files[0].sha256 == sha256(tmp_path / "out" / EARLY) == sha256(repository / EARLY)
        assert fetched.commit == Hub.COMMIT
        assert not (tmp_path / "out" / LATE).exists()

    def test_small_files_are_checked_by_gits_digest(self, hub: Hub, tmp_path: Path) -> None:
        fetch_checkpoint(definition("config.json", format="transformers"), tmp_path / "out")
        hub.mood["config.json"] = "corrupt"
        with pytest.raises(DataError, match=r"config.json.*SHA-256"):
            fetch_checkpoint(definition("config.json", format="transformers"), tmp_path / "other")

    def test_a_file_that_is_there_is_not_fetched_again(self, hub: Hub, tmp_path: Path) -> None:
        fetch_checkpoint(definition(), tmp_path / "out")
        seen = hub.seen[EARLY]
        assert fetch_checkpoint(definition(), tmp_path / "out").report.n_new == 0
        assert hub.seen[EARLY] == seen

    def test_a_broken_connection_is_resumed(self, hub: Hub, repository: Path, tmp_path: Path) -> None:
        hub.mood[EARLY] = "cut once"
        fetch_checkpoint(definition(), tmp_path / "out")
        assert sha256(tmp_path / "out" / EARLY) == sha256(repository / EARLY)
        assert [path for path, _ in hub.ranges] == [EARLY]

    @pytest.mark.parametrize("mood", SURVIVED)
    def test_hiccups_are_survived(self, hub: Hub, repository: Path, tmp_path: Path, mood: str) -> None:
        hub.mood[EARLY] = mood
        fetch_checkpoint(definition(), tmp_path / "out")
        assert sha256(tmp_path / "out" / EARLY) == sha256(repository / EARLY)

    @pytest.mark.parametrize(("mood", "reason", "quarantined"), REFUSED)
    def test_a_bad_file_is_named_and_not_kept(
        self, hub: Hub, tmp_path: Path, mood: str, reason: str, quarantined: bool
    ) -> None:
        hub.mood[EARLY] = mood
        with pytest.raises(DataError, match=rf"(?s)states.pt: .*({reason}).*edgebench fetch early --mirror"):
            fetch_checkpoint(definition(), tmp_path / "out")
        assert not (tmp_path / "out" / EARLY).exists()
        assert (tmp_path / "out/.quarantine" / EARLY.replace("/", "__")).exists() == quarantined

    def test_a_file_that_the_definition_does_not_mean_is_refused(self, hub: Hub, tmp_path: Path) -> None:
        known = {EARLY: {"sha256": "0123456789abcdef"}}
        with pytest.raises(DataError, match=r"is another file.*early.yaml"):
            fetch_checkpoint(definition(files=known), tmp_path / "out")
        assert hub.seen[EARLY] == 0

    def test_a_pinned_commit_is_insisted_on(self, hub: Hub, tmp_path: Path) -> None:
        assert fetch_checkpoint(definition(revision=Hub.COMMIT), tmp_path / "out").commit == Hub.COMMIT
        with pytest.raises(DataError, match=f"gave commit {Hub.COMMIT} instead of {Hub.OTHER}"):
            fetch_checkpoint(definition(revision=Hub.OTHER), tmp_path / "other")

    def test_a_wrong_digest_of_the_hub_is_found(self, hub: Hub, tmp_path: Path) -> None:
        hub.mood["sha256"] = "ab" * 32
        with pytest.raises(DataError, match="expected abababababab"):
            fetch_checkpoint(definition(), tmp_path / "out")

    @pytest.mark.parametrize(
        ("changes", "mood", "reason"),
        [
            ({"repo": "someone/nothing"}, "", "someone/nothing: no such repository"),
            ({"revision": "v9"}, "", "has no revision 'v9'"),
            ({}, "gated", "access on request"),
            ({}, "page", "the hub could not be asked"),
        ],
    )
    def test_what_is_wrong_with_the_repository(
        self, hub: Hub, tmp_path: Path, changes: dict[str, str], mood: str, reason: str
    ) -> None:
        hub.mood["api"] = mood
        with pytest.raises(DataError, match=f"{reason}.*edgebench fetch early --mirror FILE_OR_FOLDER"):
            fetch_checkpoint(definition(**changes), tmp_path / "out")

    def test_no_match_lists_what_there_is(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no file \*0500\*, but config.json, epoch=0079"):
            fetch_checkpoint(definition("*0500*"), tmp_path / "out")

    def test_several_matches_of_one_checkpoint_are_refused(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="2 files could be early"):
            fetch_checkpoint(definition("*/mp_rank_00_model_states.pt"), tmp_path / "out")

    def test_without_a_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(DataError, match=r"127.0.0.1:9/someone/model: the hub could not be asked.*--mirror"):
            fetch_checkpoint(definition(), tmp_path / "out")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.usefixtures("offline")
class TestMirror:
    def test_a_file(self, repository: Path, tmp_path: Path) -> None:
        fetched = fetch_checkpoint(definition(), tmp_path / "out", [str(repository / LATE)])
        assert sha256(tmp_path / "out" / "mp_rank_00_model_states.pt") == sha256(repository / LATE)
        assert fetched.commit is None

    @pytest.mark.parametrize("below", [".", "epoch=0079.ckpt/checkpoint"])
    def test_a_folder(self, repository: Path, tmp_path: Path, below: str) -> None:
        fetched = fetch_checkpoint(definition(), tmp_path / "out", [str(repository / below)])
        assert [each.sha256 for each in fetched.files] == [sha256(repository / EARLY)]

    def test_the_definitions_digest_is_checked(self, repository: Path, tmp_path: Path) -> None:
        known = {EARLY: {"sha256": sha256(repository / EARLY), "bytes": 2000}}
        fetch_checkpoint(definition(files=known), tmp_path / "out", [str(repository / EARLY)])
        with pytest.raises(DataError, match="is another file"):
            fetch_checkpoint(definition(files=known), tmp_path / "other", [str(repository / LATE)])
        mine = (repository / LATE).rename(tmp_path / "mine.pt")
        with pytest.raises(DataError, match=r"mine\.pt is another file"):
            fetch_checkpoint(definition(files=known), tmp_path / "other", [str(mine)])

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file or folder"):
            fetch_checkpoint(definition(), tmp_path / "out", [str(tmp_path / "nothing")])
        with pytest.raises(DataError, match="holds no file"):
            fetch_checkpoint(definition(), tmp_path / "out", [str(tmp_path)])

    def test_an_address_serves_without_the_hub(self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        url = f"{hub.url}/{Hub.REPO}/resolve/{Hub.COMMIT}"
        fetched = fetch_checkpoint(definition(EARLY), tmp_path / "out", [url])
        assert fetched.files[0].size == 2000
        with pytest.raises(DataError, match="the hub could not be asked"):
            fetch_checkpoint(definition(), tmp_path / "other", [url])


def test_files_below_plain_addresses(hub: Hub, repository: Path, tmp_path: Path) -> None:
    base = f"{hub.url}/{Hub.REPO}/resolve/{Hub.COMMIT}"
    source = {"mirrors": [f"{hub.url}/elsewhere", base]}
    files = {EARLY: {"sha256": sha256(repository / EARLY)[:8]}, "config.json": {"bytes": 40}}
    plain = {"name": "plain", "format": "file", "source": source, "files": files}
    fetched = fetch_checkpoint(plain, tmp_path / "out", source["mirrors"])
    assert {each.path: each.sha256 for each in fetched.files} == {
        path: sha256(repository / path) for path in (EARLY, "config.json")
    }
    files[EARLY] = {"sha256": "01234567"}
    with pytest.raises(DataError, match="SHA-256"):
        fetch_checkpoint(plain, tmp_path / "other", source["mirrors"])
