from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from edgebench.errors import EdgebenchError
from edgebench.files import sha256_file
from edgebench.training import checkpoint

TENSORS = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.bfloat16), "ä/ö": torch.tensor(7)}
METADATA = {name: f'"{name}" \\ \n ü' for name in "hgfedcba"}


class TestWriteTensors:
    def test_equal_content_gives_equal_bytes(self, tmp_path):
        digests = set()
        for _ in range(8):
            checkpoint.write_tensors(tmp_path / "x.safetensors", TENSORS, METADATA)
            digests.add(sha256_file(tmp_path / "x.safetensors"))
        assert len(digests) == 1

    def test_reads_back(self, tmp_path):
        checkpoint.write_tensors(tmp_path / "x.safetensors", TENSORS, METADATA)
        with safe_open(tmp_path / "x.safetensors", "pt") as file:
            assert file.metadata() == METADATA
            assert set(file.keys()) == set(TENSORS)
            assert all(torch.equal(file.get_tensor(name), TENSORS[name]) for name in TENSORS)

    def test_a_full_disk_is_told_and_leaves_nothing(self, tmp_path):
        code = (
            "import resource, sys, torch; from pathlib import Path;"
            "from edgebench.training.checkpoint import write_tensors;"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
            "write_tensors(Path(sys.argv[1]), {'a': torch.zeros(9999)})"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "x.safetensors")]
        ended = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
        assert "EdgebenchError" in ended.stderr
        assert "could not be written" in ended.stderr
        assert list(tmp_path.iterdir()) == []


class TestNewest:
    def test_none_in_an_empty_or_missing_folder(self, tmp_path):
        assert checkpoint.newest(tmp_path) is None
        assert checkpoint.newest(tmp_path / "missing") is None

    def test_the_two_newest_are_kept(self, tmp_path):
        (tmp_path / "log.csv").write_text("step\n")
        (tmp_path / ".part-x.safetensors").write_text("left by a killed process")
        for step in (1, 2, 30):
            checkpoint.save(tmp_path, step, TENSORS, {"seconds": step / 3})
        found = checkpoint.newest(tmp_path)
        assert found
        assert (found.step, found.state) == (30, {"seconds": 10.0})
        assert checkpoint.steps(tmp_path) == [30, 2]
        assert len(list(tmp_path.iterdir())) == 5

    @pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"step": 2}', b"\xff\xfe"])
    def test_a_broken_record_is_passed_over_aloud(self, tmp_path, capsys, content):
        checkpoint.save(tmp_path, 1, TENSORS, {})
        record = checkpoint.save(tmp_path, 2, TENSORS, {}).with_suffix(".json")
        record.write_bytes(content)
        found = checkpoint.newest(tmp_path)
        assert found
        assert found.step == 1
        assert record.name in capsys.readouterr().err

    def test_a_failed_write_keeps_the_old(self, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        checkpoint.save(tmp_path, 1, TENSORS, {})
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "save_file", fail)
            with pytest.raises(EdgebenchError, match="No space left on device"):
                checkpoint.save(tmp_path, 2, TENSORS, {})
        found = checkpoint.newest(tmp_path)
        assert found
        assert found.step == 1
