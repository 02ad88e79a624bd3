"""Finished runs given to others through DVC, and what happens when something on the way is damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from edgebench.files import sha256_file
from edgebench.plan.catalogue import Artifact, read_catalogue
from tests.workflow.conftest import CLASSICAL, TRAINED, Repository, clean_environment, copy_repository

EXPERIMENT = "config/experiments/memo/classical.yaml"
TABLE = "results/tables/demo/memo/classical"
RUNS = 9  # three predictions, each scored by two protocols


@dataclass
class Sharing(Repository):
    """A repository under git, whose archives go to a DVC remote."""

    def run(self, *command: str, environment: dict[str, str] | None = None, check: bool = True) -> str:
        """Run any command there; returns everything it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=clean_environment() | (environment or {}), capture_output=True, text=True
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        """Run git."""
        return self.run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments)

    def dvc(self, *arguments: str) -> str:
        """Run DVC."""
        return self.run(sys.executable, "-m", "dvc", *arguments, environment={"DVC_NO_ANALYTICS": "1"})

    def kill(self, command: str, until: Callable[[], bool]) -> None:
        """Kill a call of edgebench in the middle; DVC, its child, may go on for a while."""
        began = subprocess.Popen(
            [sys.executable, "-m", "edgebench", command, "memo/classical"],
            cwd=self.folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
        )
        while not until() and began.poll() is None:
            time.sleep(0.005)
        assert began.poll() is None, "it was too fast to be killed"
        began.kill()
        began.wait()

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "all")

    def artifacts(self, role: str) -> list[Artifact]:
        """Shared runs of a role."""
        return [each for each in read_catalogue(self.folder).values() if each.role == role]

    def object(self, artifact: Artifact, store: Path) -> Path:
        """The archive as DVC keeps it, in its cache or in a remote that is a folder."""
        md5 = yaml.safe_load((self.folder / artifact.pointer).read_text())["outs"][0]["md5"]
        return store / "files" / "md5" / md5[:2] / md5[2:]

    def records(self) -> list[str]:
        """Runs that are here."""
        return sorted(path.parent.name for path in self.folder.glob("results/runs/*/*/run.json"))


def damage(file: Path) -> None:
    """Change some bytes of a file in place, as a bad disk does: size, mode and times stay, and DVC sees nothing."""
    before = file.stat()
    file.chmod(0o644)
    with open(file, "r+b") as opened:
        opened.seek(700)
        opened.write(b"damaged!")
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def under_git(root: Path, folder: Path) -> Sharing:
    """Put a copy of the repository under git and DVC as the repository itself is."""
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, folder / name)
    repository = Sharing(folder)
    repository.git("init", "--quiet")
    repository.commit()
    return repository


@pytest.fixture(scope="module")
def published(finished: Repository, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Sharing:
    """A repository whose table was published to the folder `remote` beside it; not to be changed."""
    folder = tmp_path_factory.mktemp("published") / "repository"
    shutil.copytree(finished.folder, folder, symlinks=True)
    repository = under_git(root, folder)
    repository.dvc("remote", "add", "--default", "store", str(folder.parent / "remote"))
    said = repository.edgebench("publish", "memo/classical")
    assert f"{RUNS} runs are new" in said
    assert "not shared: results/runs/fetch/scenes-" in said
    assert "Pushed." in said
    repository.commit()
    return repository


@pytest.fixture
def remote(published: Sharing, tmp_path: Path) -> Path:
    """A copy of the remote, free to change."""
    return Path(shutil.copytree(published.folder.parent / "remote", tmp_path / "remote"))


@pytest.fixture
def clone(published: Sharing, remote: Path, tmp_path: Path) -> Sharing:
    """A fresh clone elsewhere, of which nothing was pulled yet."""
    published.git("clone", "--quiet", str(published.folder), str(tmp_path / "clone"))
    repository = Sharing(tmp_path / "clone")
    repository.dvc("remote", "modify", "--local", "store", "url", str(remote))
    return repository


class TestPublishing:
    def test_git_gets_manifests_pointers_and_numbers_alone(self, published: Sharing) -> None:
        files = published.git("ls-files", "artifacts", "dvc.yaml").split()
        assert not [name for name in files if name.endswith(".tar")]
        assert sum(name.endswith(".tar.dvc") for name in files) == RUNS
        assert "artifacts/tables/demo/memo/classical.metrics.json" in files
        assert not [name for name in files if "/fetch/" in name]

    def test_a_manifest_says_what_others_must_know(self, published: Sharing) -> None:
        artifact = next(each for each in published.artifacts("predict") if "sobel" in each.name)
        manifest = json.loads((published.folder / artifact.manifest).read_text())
        record = published.folder / artifact.folder / "run.json"
        assert manifest["id"] == artifact.id
        assert manifest["files"]["run.json"] == f"{sha256_file(record)} {record.stat().st_size}"
        assert manifest["archive"]["sha256"] == sha256_file(published.folder / artifact.archive)
        assert manifest["code"]["fingerprint"] == json.loads(record.read_text())["code"]["fingerprint"]
        assert [(each["name"], each["licence"]) for each in manifest["derived_from"]] == [("scenes", "Apache-2.0")]

    def test_dvc_reads_the_catalogue(self, published: Sharing) -> None:
        shown = json.loads(published.dvc("metrics", "show", "--json"))[""]["data"]
        numbers = shown["artifacts/tables/demo/memo/classical.metrics.json"]["data"]
        assert 0 < numbers["sobel"]["seval_ods"] < 1
        assert "bar_horizontal" in (published.folder / "dvc.yaml").read_text()
        assert "up to date" in published.dvc("status")

    def test_twice_changes_nothing(self, published: Sharing) -> None:
        before = {path: path.stat().st_mtime_ns for path in published.folder.glob("artifacts/*/*.tar")}
        said = published.edgebench("publish", "memo/classical")
        assert f"0 runs are new in the catalogue (0 MB), {RUNS} were in it." in said
        assert published.git("status", "--porcelain") == ""
        assert {path: path.stat().st_mtime_ns for path in published.folder.glob("artifacts/*/*.tar")} == before

    def test_after_damage_or_a_conflict_it_repairs(self, published: Sharing, tmp_path: Path) -> None:
        shutil.copytree(published.folder, tmp_path / "copy", symlinks=True)
        copy = Sharing(tmp_path / "copy")
        artifact = copy.artifacts("predict")[0]
        archive = copy.folder / artifact.archive
        good = archive.read_bytes()
        for each in (archive, copy.object(artifact, copy.folder / ".dvc/cache")):
            damage(each)  # which often are one file
        catalogue = (copy.folder / "dvc.yaml").read_text()
        (copy.folder / "dvc.yaml").write_text(f"<<<<<<< HEAD\n{catalogue}=======\n>>>>>>> other\n")
        copy.edgebench("publish", "memo/classical")
        assert copy.git("status", "--porcelain") == ""
        assert archive.read_bytes() == copy.object(artifact, copy.folder / ".dvc/cache").read_bytes() == good

    def test_unfinished_runs_are_refused(self, published: Sharing, tmp_path: Path) -> None:
        shutil.copytree(published.folder, tmp_path / "copy", symlinks=True)
        copy = Sharing(tmp_path / "copy")
        shutil.rmtree(copy.folder / "artifacts")
        sobel = next(copy.folder.glob("results/runs/predict/sobel-*"))
        (sobel / ".unfinished").touch()
        said = copy.edgebench("publish", "memo/classical", "--no-push", code=2)
        assert f"results/runs/predict/{sobel.name}: not finished" in said
        assert not (copy.folder / "artifacts").exists()

    def test_a_run_made_again_is_no_silent_replacement(self, published: Sharing, tmp_path: Path) -> None:
        shutil.copytree(published.folder, tmp_path / "copy", symlinks=True)
        copy = Sharing(tmp_path / "copy")
        sobel = next(copy.folder.glob("results/runs/predict/sobel-*"))
        record = json.loads((sobel / "run.json").read_text())
        (sobel / "run.json").write_text(json.dumps(record | {"seconds": 1.5}))
        said = copy.edgebench("publish", sobel.name, code=2)
        assert f"mismatch: results/runs/predict/{sobel.name} was shared with other bytes (run.json differs)" in said
        assert copy.git("status", "--porcelain") == ""
        assert f"made here  predict/{sobel.name}" in copy.edgebench("pull", sobel.name)
        shutil.rmtree(copy.folder / "results/tables")
        assert f"not pulled the table {TABLE}" in copy.edgebench("pull", "memo/classical")
        assert not (copy.folder / "results/tables").exists()
        assert json.loads((sobel / "run.json").read_text())["seconds"] == 1.5
        copy.run("sh", "-c", said.split("`")[3])  # what it says to type to share this one instead
        assert "1 runs are new" in copy.edgebench("publish", sobel.name, "--no-push")

    def test_without_a_remote_it_says_how_to_name_one(self, published: Sharing, tmp_path: Path) -> None:
        shutil.copytree(published.folder, tmp_path / "copy", symlinks=True)
        copy = Sharing(tmp_path / "copy")
        copy.dvc("remote", "remove", "store")
        said = copy.edgebench("publish", copy.artifacts("evaluate")[0].id, code=2)
        assert "dvc remote add --default NAME URL" in said

    @pytest.mark.parametrize("until", ["repository/artifacts/*/*.json", "remote/files/md5/*/*"])
    def test_a_killed_one_goes_on(self, finished: Repository, root: Path, tmp_path: Path, until: str) -> None:
        shutil.copytree(finished.folder, tmp_path / "repository", symlinks=True)
        repository = under_git(root, tmp_path / "repository")
        repository.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
        repository.kill("publish", until=lambda: any(tmp_path.glob(until)))
        assert f"{RUNS} " in repository.edgebench("publish", "memo/classical")
        assert len(list(tmp_path.glob("remote/files/md5/*/*"))) == RUNS
        assert len(read_catalogue(repository.folder)) == RUNS
        assert not list(tmp_path.glob("repository/artifacts/*/.part-*"))


class TestPulling:
    def test_a_fresh_clone_has_nothing_to_do_and_changes_run_alone(self, clone: Sharing) -> None:
        said = clone.edgebench("pull", "memo/classical")
        assert said.count("pulled     ") == RUNS + 1  # and the table
        assert "missing    fetch/scenes-" in said
        assert clone.planned("tables") == {}
        assert clone.planned("figures") == {"fetch": 1, "figure": 3}
        rng = random.Random(0)
        for path in sorted(clone.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                os.utime(path, (age := time.time() + rng.uniform(-1e7, 1e7), age))
        assert clone.planned("tables") == {}
        clone.write(EXPERIMENT, CLASSICAL | {"matrix": {"predict.sigma": [1, 2, 3]}})
        assert clone.planned("tables") == {"fetch": 1, "predict": 1, "evaluate": 2, "table": 1}

    def test_what_a_bare_dvc_pull_brought_needs_no_network(self, clone: Sharing, remote: Path) -> None:
        clone.dvc("pull")
        assert len(list(clone.folder.glob("artifacts/*/*.tar"))) == RUNS
        shutil.rmtree(remote)
        clone.edgebench("pull", "memo/classical")
        assert len(clone.records()) == RUNS

    def test_the_workflow_pulls_what_it_needs(self, clone: Sharing) -> None:
        automatic = ("--config", "checkpoints=auto")
        assert clone.planned("tables", *automatic) == {"pull": RUNS, "table": 1}
        (sobel,) = [each for each in clone.artifacts("predict") if "sobel" in each.name]
        clone.snakemake(f"{sobel.folder}/run.json", "--quiet", "rules", *automatic)
        assert clone.records() == [sobel.name]
        clone.write(EXPERIMENT, CLASSICAL | {"matrix": {"predict.sigma": [1, 3]}, "claims": []})
        output = clone.snakemake("tables", "-n", *automatic)
        assert output.count("It is not shared.") == 3
        assert output.count(": Pulling ") == 5

    def test_an_unfinished_attempt_gives_way_and_is_named(self, clone: Sharing) -> None:
        one, other = clone.artifacts("predict")[:2]
        (clone.folder / one.folder).mkdir(parents=True)
        (clone.folder / one.folder / ".unfinished").touch()
        assert "an unfinished attempt that lay there was replaced" in clone.edgebench("pull", one.id)
        assert not (clone.folder / one.folder / ".unfinished").exists()
        assert "unfinished" not in clone.edgebench("pull", other.id)

    def test_two_at_once_wait_for_one_another(self, clone: Sharing) -> None:
        command = [sys.executable, "-m", "edgebench", "pull", "memo/classical"]
        both = [
            subprocess.Popen(command, cwd=clone.folder, env=clean_environment(), text=True, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        said = [each.communicate(timeout=120)[0] for each in both]
        assert [each.returncode for each in both] == [0, 0]
        assert sorted(each.count("here       ") for each in said) == [0, RUNS]

    def test_a_killed_one_goes_on(self, clone: Sharing) -> None:
        clone.kill("pull", until=lambda: any(clone.folder.glob(".dvc/cache/files/md5/*/*")))
        clone.edgebench("pull", "memo/classical")
        assert len(clone.records()) == RUNS
        assert not list(clone.folder.glob("results/runs/.part-*"))


class TestDamage:
    """A damaged archive is called by its name and never used."""

    def test_in_the_remote(self, clone: Sharing, remote: Path) -> None:
        bad, good = clone.artifacts("predict")[:2]
        damage(clone.object(bad, remote))
        said = clone.edgebench("pull", "memo/classical", code=2)
        assert f"mismatch   predict/{bad.name}" in said
        assert f"pulled     predict/{good.name}" in said
        assert bad.name not in clone.records()
        assert len(clone.records()) == RUNS - 1
        assert clone.object(bad, remote).is_file()  # a remote is not ours to clean
        # Nor does the workflow make it here unless it is told so.
        failed = clone.snakemake("tables", "--quiet", "rules", "--config", "checkpoints=auto", check=False)
        assert f"mismatch   predict/{bad.name}" in failed
        assert bad.name not in clone.records()
        assert clone.planned("tables")["predict"] == 1
        # Once the remote is whole again, what the message says to remove brings it.
        shutil.copy(clone.object(good, remote), clone.object(bad, remote))
        advice = next(line for line in said.splitlines() if bad.name in line).split("`")[1]
        assert advice.startswith("rm -f artifacts/")

    def test_in_the_cache_and_in_the_workspace(self, clone: Sharing) -> None:
        bad, good = clone.artifacts("predict")[:2]
        clone.dvc("pull", bad.pointer, good.pointer)
        (clone.folder / bad.archive).unlink()
        damage(clone.object(bad, clone.folder / ".dvc/cache"))
        damage(clone.folder / good.archive)
        said = [clone.edgebench("pull", each.id, code=2) for each in (bad, good)]
        for each, output in zip((bad, good), said, strict=True):
            assert f"mismatch   predict/{each.name}" in output
            clone.run("sh", "-c", output.split("`")[1])  # what it says to type
        assert clone.records() == []
        assert [clone.edgebench("pull", each.id).split()[0] for each in (bad, good)] == ["pulled", "pulled"]

    def test_after_it_was_unpacked(self, clone: Sharing) -> None:
        artifact = clone.artifacts("predict")[0]
        clone.edgebench("pull", artifact.name)
        first, second, *_ = sorted((clone.folder / artifact.folder / "maps").iterdir())
        second.write_bytes(first.read_bytes())
        assert f"maps/{second.name} differs" in clone.edgebench("pull", artifact.name, code=2)

    def test_what_is_missing_from_the_remote_is_named(self, clone: Sharing, remote: Path) -> None:
        artifact = clone.artifacts("evaluate")[0]
        clone.object(artifact, remote).unlink()
        said = clone.edgebench("pull", artifact.folder, code=2)
        assert f"missing    evaluate/{artifact.name}: the remote lacks it" in said

    def test_a_pointer_to_another_archive_is_not_followed(self, clone: Sharing) -> None:
        one, other = clone.artifacts("predict")[:2]
        shutil.copy(clone.folder / other.pointer, clone.folder / one.pointer)
        assert "were not committed together" in clone.edgebench("pull", one.id, code=2)


class TestModes:
    def test_pull_starts_no_training(self, tmp_path: Path, root: Path) -> None:
        repository = under_git(root, copy_repository(root, tmp_path / "repository", {"steps": TRAINED}).folder)
        recipe = repository.read("config/recipes/memo_bsds.yaml")
        for role in ("pretrain", "finetune"):
            recipe["runs"][role].pop("released")
        repository.write("config/recipes/memo_bsds.yaml", recipe)
        output = repository.snakemake("tables", "-n", "--config", "checkpoints=pull", check=False)
        assert "checkpoints: pull starts no training" in output
        assert "results/runs/finetune/memo-scenes-small" in output
        assert "checkpoints=auto" in output
        assert "Traceback (most recent call last)" not in output
        planned = repository.edgebench("plan", "memo/steps", "--checkpoints", "pull", "--runs")
        assert "error  finetune: memo-scenes" in planned
        assert repository.planned("tables", "--config", "checkpoints=auto")["train"] == 2


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server on this machine, with a bucket `store`."""
    boto3 = pytest.importorskip("boto3", reason="needs boto3, which dvc[s3] brings")
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = server(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    address = f"http://127.0.0.1:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="store")
    yield address
    running.stop()


def test_all_of_it_with_s3(published: Sharing, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published to S3, pulled by a clone, a damaged object named, and no credentials explained."""
    import boto3

    shutil.copytree(published.folder, tmp_path / "copy", symlinks=True)
    copy = Sharing(tmp_path / "copy")
    copy.dvc("remote", "modify", "store", "url", "s3://store/edgebench")
    copy.dvc("remote", "modify", "store", "endpointurl", s3)
    copy.edgebench("publish", "memo/classical")
    copy.commit()
    copy.git("clone", "--quiet", str(copy.folder), str(tmp_path / "clone"))
    clone = Sharing(tmp_path / "clone")
    bad = clone.artifacts("predict")[0]
    key = "edgebench/" + clone.object(bad, Path("/")).as_posix().lstrip("/")
    client = boto3.client("s3", endpoint_url=s3)
    body = client.get_object(Bucket="store", Key=key)["Body"].read()
    client.put_object(Bucket="store", Key=key, Body=body[:-1] + b"!")
    said = clone.edgebench("pull", "memo/classical", code=2)
    assert f"mismatch   predict/{bad.name}" in said
    assert said.count("pulled     ") == RUNS - 1
    client.put_object(Bucket="store", Key=key, Body=body)
    clone.run("sh", "-c", next(line for line in said.splitlines() if "mismatch" in line).split("`")[1])
    clone.edgebench("pull", "memo/classical")
    assert clone.planned("tables") == {}
    for path in clone.folder.glob("artifacts/predict/*.tar"):
        path.unlink()
    shutil.rmtree(clone.folder / ".dvc/cache")
    shutil.rmtree(clone.folder / bad.folder)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "docs/sharing.md, 'Access'" in clone.edgebench("pull", bad.id, code=2)
