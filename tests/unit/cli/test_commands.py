"""What a person types: help that teaches, and mistakes told without a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from edgebench.cli.doctor import doctor, examine
from edgebench.cli.fetch import fetch
from edgebench.errors import ConfigError, DataError
from edgebench.files import sha256_file, write_json
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import preset
from edgebench.methods.memo.weights import load_network
from edgebench.plan.workbench import Workbench
from edgebench.stages.weights import find_weights
from tests.unit.cli.helpers import SOURCE, maps_and_truth, run
from tests.unit.methods.deepspeed import official_name, write_deepspeed


class TestHelp:
    @pytest.mark.parametrize(
        "command",
        [
            [],
            ["doctor"],
            ["fetch"],
            ["plan"],
            ["status"],
            ["show"],
            ["predict", "memo"],
            ["app"],
            ["evaluate", "edges"],
        ],
    )
    def test_every_command_explains_itself(self, tmp_path: Path, command: list[str]) -> None:
        output = run(tmp_path, *command, "--help")
        assert "Usage" in output
        assert len(output.splitlines()) > 8


class TestDoctor:
    def test_names_what_it_looked_at(self, tmp_path: Path) -> None:
        names = {each.name for each in examine(tmp_path)}
        assert {"Python", "libraries", "PyTorch", "processor", "memory", "disk", "write access", "TensorBoard"} <= names

    def test_everything_that_is_not_good_says_what_it_costs(self, tmp_path: Path) -> None:
        assert all(each.cost for each in examine(tmp_path) if each.state != "good")

    def test_what_to_type_is_printed_in_full(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Brackets are markup to Rich, which would print `pip install '.'`."""
        monkeypatch.setattr("edgebench.cli.doctor.importlib.util.find_spec", lambda name: None)
        monkeypatch.setenv("COLUMNS", "200")
        doctor()
        output = capsys.readouterr().out
        for part in ("app", "onnx", "tensorboard", "timm"):
            assert f"`pip install '.[{part}]'`" in output
        assert "limits  ONNX: missing" in output

    def test_an_opencv_that_counts_otherwise_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import cv2

        monkeypatch.setattr(cv2, "__version__", "4.13.0")
        (finding,) = [each for each in examine(tmp_path) if each.name == "OpenCV"]
        assert finding.state == "limits"
        assert "pip install 'opencv-python-headless" in finding.cost

    def test_a_missing_library_is_broken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from importlib import metadata

        from edgebench.cli import doctor

        def version(name: str) -> str:
            if name == "peft":
                raise metadata.PackageNotFoundError(name)
            return "1"

        monkeypatch.setattr(doctor.metadata, "version", version)
        (finding,) = [each for each in examine(tmp_path) if each.name == "libraries"]
        assert finding.state == "broken"
        assert "peft" in finding.what
        assert "make setup" in finding.cost


class TestPlan:
    def test_all_by_paper(self, root: Path) -> None:
        output = run(root, "plan", "all", "--scale", "demo")
        assert output == run(root, "plan", "--scale", "demo")
        for word in ("All tables", "diffdis", "memo", "trace", "downloads", "more than one paper"):
            assert word in output

    def test_says_runs_hours_disk_and_terms(self, root: Path) -> None:
        output = run(root, "plan", "memo/main_bsds", "--scale", "paper")
        for word in ("pretrain", "GPU-hours", "declared", "disk", "bsds500", "non-commercial"):
            assert word in output

    def test_released_checkpoints(self, root: Path) -> None:
        output = run(root, "plan", "memo/main_bsds", "--scale", "paper", "--checkpoints", "pull", "--runs")
        assert "released: memo_bsds_early-" in output
        assert "memo_bsds_early: MEMO fine-tuned on BSDS500 from epoch 79, adapters of rank 8, 1.9 GB" in output
        assert "'puil'" in run(root, "plan", "--checkpoints", "puil", code=2)

    def test_finished_runs_are_those_below_the_root(self, tmp_path: Path, root: Path) -> None:
        shutil.copytree(root / "config", tmp_path / "repository" / "config")
        run_folder = Path(Workbench(tmp_path / "repository").fetch_run("uded").folder)
        write_json(tmp_path / "repository" / run_folder / "run.json", {"id": run_folder.name[-10:]})
        arguments = ["plan", "memo/uded", "--scale", "mini", "--runs", "--root"]
        assert f"done   fetch: {run_folder.name}" in run(tmp_path, *arguments, "repository")
        assert f"to do  fetch: {run_folder.name}" in run(tmp_path / "repository", *arguments, str(root))

    def test_lists_runs(self, root: Path) -> None:
        assert "finetune: memo-scenes-small" in run(root, "plan", "memo", "--scale", "demo", "--runs")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["memo/main_bds"], "Did you mean 'memo/main_bsds'?"),
            (["--scale", "dem"], "Did you mean 'demo'?"),
            (["--set", "finetune.stepps=3", "--scale", "demo"], "Did you mean 'steps'?"),
            (["--set", "finetune"], "RUN.KEY=VALUE"),
        ],
    )
    def test_mistakes(self, root: Path, arguments: list[str], message: str) -> None:
        assert message in run(root, "plan", *arguments, code=2)

    def test_elsewhere_says_where_to_go(self, tmp_path: Path) -> None:
        assert "--root" in run(tmp_path, "plan", code=2)


class TestFetch:
    def test_a_local_mirror(self, tmp_path: Path, root: Path) -> None:
        """A plain folder of one's own photographs stands in for a data set that nobody can download."""
        photos = tmp_path / "photos"
        photos.mkdir()
        for number in range(3):
            Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(photos / f"{number}.png")
        config = repository_with_photos(tmp_path, root)
        output = run(tmp_path, "fetch", "photos", "--mirror", "photos", "--root", "repository")
        assert "complete and checked, in repository/results/runs/fetch/photos-" in output
        assert "complete and checked" in output
        assert len(list(config.glob("results/runs/fetch/photos-*/*.png"))) == 3
        assert list(config.glob("results/runs/fetch/photos-*/run.json"))
        assert not (tmp_path / "results").exists()

    def test_a_damaged_image_is_named(self, tmp_path: Path, root: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        for number in range(3):
            Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(photos / f"{number}.png")
        (photos / "1.png").write_bytes(b"<html>")
        config = repository_with_photos(tmp_path, root)
        assert "1.png" in run(tmp_path, "fetch", "photos", "--mirror", str(photos), "--root", str(config), code=2)
        assert not list(config.glob("results/runs/fetch/photos-*/run.json"))

    def test_a_large_folder_is_packed_without_its_bad_files(self, tmp_path: Path, root: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        for number in range(3):
            Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(photos / f"{number}.png")
        (photos / "1.png").write_bytes(b"<html>")
        config = repository_with_photos(tmp_path, root, layout="shards")
        output = run(tmp_path, "fetch", "photos", "--mirror", str(photos), "--root", str(config))
        assert "photos: 2 images checked" in output
        assert "1 failed, see failures.jsonl" in output
        (folder,) = config.glob("results/runs/fetch/photos-*")
        assert sorted(path.name for path in folder.glob("*.*") if path.name[0] != ".") == [
            "00000.tar",
            "failures.jsonl",
            "run.json",
        ]

    def test_archives_are_pinned_by_what_is_printed(self, tmp_path: Path, root: Path) -> None:
        """Unpacked from a folder that holds them; the pinned definition takes them from where they are then."""
        config = tmp_path / "repository"
        shutil.copytree(root / "config", config / "config")
        (tmp_path / "mine").mkdir()
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, "PNG")
        with zipfile.ZipFile(tmp_path / "mine" / "photos.zip", "w") as archive:
            archive.writestr("photos/1.png", buffer.getvalue())
        definition = config / "config/datasets/photos.yaml"
        address = "http://127.0.0.1:9/photos.zip"
        content = {
            **{"name": "photos", "title": "Photos", "layout": "folder", "images": {"all": 1}, "gate": "accept"},
            **{"licence": "mine", "terms": "Ask me.", "citation": "none"},
            "source": {"archives": [{"file": "photos.zip", "urls": [address], "unpinned": "nobody says"}]},
        }
        definition.write_text(yaml.safe_dump(content))
        command = ["fetch", "photos", "--root", str(config), "--mirror"]
        assert "must be accepted first: Ask me." in run(tmp_path, *command, str(tmp_path / "mine"), code=2)
        printed = run(tmp_path, *command, str(tmp_path / "mine"), "--accept-terms")
        (first,) = config.glob("results/runs/fetch/photos-*")
        lines = printed.partition("photos.yaml\n\n")[2].partition("and type")[0]
        assert f"--mirror {first}" in printed
        assert "was fetched already" in run(tmp_path, *command, str(tmp_path / "mine"), "--accept-terms", code=2)
        definition.write_text(yaml.safe_dump(content | yaml.safe_load(lines)))
        archive_file = tmp_path / "mine" / "photos.zip"
        sha256 = sha256_file(archive_file)
        assert f"sha256: {sha256}" in lines
        archive_file.unlink()
        assert "not pinned" not in run(tmp_path, *command, str(first), "--accept-terms")
        (second,) = set(config.glob("results/runs/fetch/photos-*")) - {first}
        assert (second / "photos/1.png").samefile(first / "photos/1.png")
        assert json.loads((second / "run.json").read_text())["archives"][0]["sha256"] == sha256
        listed = run(tmp_path, "fetch", "--list", "--root", str(config))
        assert re.search(r"photos +\? +yes +pinned +accept +mine", listed)
        for line in (r"dis5k .* no +your folder +get it", r"duts .* not pinned +accept", r"sd15 .* not pinned +accept"):
            assert re.search(line, listed)

    def test_a_name_is_needed(self, root: Path) -> None:
        assert "`edgebench fetch --list` " in run(root, "fetch", code=2)

    def test_a_released_checkpoint_from_a_file(
        self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Fetched, converted, and then found by its name; a file of another network is refused with its name."""
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            monkeypatch.setenv(name, "1")  # the command sets them, for its own process
        monkeypatch.chdir(tmp_path)
        shutil.copytree(root / "config", "repository/config")
        definition = Path("repository/config/checkpoints/memo_laion_tiny.yaml")
        definition.write_text(definition.read_text().replace("preset: tiny", "preset: small"))
        torch.manual_seed(0)
        weights = {official_name(name): value for name, value in MemoNetwork(preset("small")).state_dict().items()}
        source = write_deepspeed(tmp_path / "mp_rank_00_model_states.pt", weights)
        arguments: dict[str, Any] = {
            "mirror": str(source),
            "accept_terms": False,
            "jobs": 1,
            "root": Path("repository"),
        }
        fetch("memo_laion_tiny", **arguments)
        output = capsys.readouterr().out
        assert "complete and checked" in output
        assert "converted, in repository/results/runs/released/memo_laion_tiny-" in output
        found = find_weights(Workbench(Path("repository")), "memo_laion_tiny", "memo")
        content = json.loads((found.parent / "run.json").read_text())
        assert (content["averaged_updates"], content["merged_lora_rank"]) == (9, None)
        assert load_network(found).config == preset("small")

        definition.write_text(definition.read_text().replace("preset: small", "preset: tiny"))
        with pytest.raises(ConfigError, match="preset is 'tiny', but the weights are those of 'small'"):
            fetch("memo_laion_tiny", **arguments | {"mirror": None})
        with pytest.raises(DataError, match="was fetched already"):
            fetch("memo_laion_tiny", **arguments)

    def test_a_file_that_cannot_be_converted_is_not_fetched(
        self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            monkeypatch.setenv(name, "1")
        repository = tmp_path / "repository"
        shutil.copytree(root / "config", repository / "config")
        (tmp_path / "wrong.pt").write_bytes(np.random.default_rng(0).bytes(5000))
        torch.manual_seed(0)
        weights = {official_name(name): value for name, value in MemoNetwork(preset("small")).state_dict().items()}
        right = write_deepspeed(tmp_path / "right.pt", weights)
        arguments: dict[str, Any] = {"accept_terms": False, "jobs": 1, "root": repository}
        with pytest.raises(DataError, match=r"wrong\.pt: not a whole PyTorch file .*--mirror"):
            fetch("memo_laion_tiny", mirror=str(tmp_path / "wrong.pt"), **arguments)
        with pytest.raises(ConfigError, match="preset is 'tiny', but the weights are those of 'small'"):
            fetch("memo_laion_tiny", mirror=str(right), **arguments)
        assert not list(repository.glob("results/runs/fetch/*/run.json"))
        definition = repository / "config/checkpoints/memo_laion_tiny.yaml"
        definition.write_text(definition.read_text().replace("preset: tiny", "preset: small"))
        capsys.readouterr()
        fetch("memo_laion_tiny", mirror=str(right), **arguments)
        assert load_network(find_weights(Workbench(repository), "memo_laion_tiny", "memo")).config == preset("small")
        assert (tmp_path / "wrong.pt").stat().st_size == 5000

        # What it prints to pin the checkpoint is taken, found sufficient, and enforced.
        printed = capsys.readouterr().out.partition("memo_laion_tiny.yaml\n\n")[2].partition("and type")
        pinned = yaml.safe_load(definition.read_text()) | yaml.safe_load(printed[0])
        definition.write_text(yaml.safe_dump(pinned))
        assert pinned["files"] == {"right.pt": {"sha256": sha256_file(right), "bytes": right.stat().st_size}}
        other = write_deepspeed(tmp_path / "other.pt", weights, updates=10)
        with pytest.raises(DataError, match=r"other\.pt is another file"):
            fetch("memo_laion_tiny", mirror=str(other), **arguments)
        fetch("memo_laion_tiny", mirror=str(right), **arguments)
        assert "not pinned" not in capsys.readouterr().out

    def test_unknown_data_set(self, root: Path) -> None:
        assert "Did you mean 'bsds500'?" in run(root, "fetch", "bsd500", code=2)

    def test_terms_must_be_accepted(self, tmp_path: Path, root: Path) -> None:
        config = repository_with_photos(tmp_path, root, gate="accept")
        output = run(tmp_path, "fetch", "photos", "--mirror", str(tmp_path), "--root", str(config), code=2)
        assert "--accept-terms" in output


def repository_with_photos(folder: Path, root: Path, gate: str = "none", layout: str = "folder") -> Path:
    shutil.copytree(root / "config", folder / "repository" / "config")
    (folder / "repository" / "config" / "datasets" / "photos.yaml").write_text(
        f"name: photos\ntitle: Mine\nlayout: {layout}\nsource: {{local: true}}\nimages: {{train: 3}}\n"
        f"licence: mine\nterms: none\ncitation: none\ngate: {gate}\n"
    )
    return folder / "repository"


class TestDiskFull:
    def test_scores_are_whole_or_not_there(self, tmp_path: Path) -> None:
        """A limit on file sizes stands for a full disk: the write fails half way."""
        maps, truth = maps_and_truth(tmp_path)
        arguments = ["evaluate", "edges", "--predictions", str(maps), "--ground-truth", str(truth)]
        arguments += ["--protocol", "seval", "--output", "scores.json", "--counts", "counts.npz"]
        environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        run(tmp_path, *arguments, environment=environment)  # compiles, which writes files of its own
        before = {name: (tmp_path / name).read_bytes() for name in ("scores.json", "counts.npz")}
        code = (
            "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "sys.argv = ['edgebench', *sys.argv[1:]]; from edgebench.cli import main; "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, **environment, "PYTHONPATH": SOURCE, "EDGEBENCH_QUIET": "1"},
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert "could not be written" in done.stderr
        assert "Traceback" not in done.stderr
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
