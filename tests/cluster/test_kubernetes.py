"""The profile for Kubernetes with a kubectl that starts pods as processes; no cluster has seen it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.training import pretraining, with_trace

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="needs pip install '.[kubernetes]'")
PROFILE = ("--profile", "profiles/kubernetes", "--latency-wait", "5", "--seconds-between-status-checks", "2")


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in for kubectl keeps its pods."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "kubectl").write_text(f"#!{sys.executable}\n" + Path(__file__).with_name("kubectl.py").read_text())
    (tools / "kubectl").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    (tmp_path / "pods").mkdir()
    monkeypatch.setenv("PODS", str(tmp_path / "pods"))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tmp_path / "pods"


def test_a_training_whose_pod_is_ended_goes_on(pods: Path, root: Path, tmp_path: Path) -> None:
    """The first process of a pod is told to end; the training saves, and the next pod goes on."""
    repository = with_trace(root, tmp_path, "repository")
    repository.write("config/cluster.yaml", {"gpu": {"constraint": "a2-highgpu-1g", "max_mem_gb": 3}})
    run, arguments = pretraining(repository, steps=60, resources={"gpus": 1, "minutes": 7, "mem_gb": 2, "cpus": 1})
    first = _ended_once_it_trains(pods, repository.folder / run.folder / "work" / "log.csv")
    printed = repository.snakemake(*PROFILE, *arguments)
    first.join()
    record = json.loads((repository.folder / run.record).read_text())
    assert record["resumed_from_step"] > 0
    assert "it was told to (SIGTERM" in (pods / "edgebench-0.log").read_text()
    assert "job.batch/edgebench-1" in printed
    one, two = (json.loads((pods / f"edgebench-{n}.json").read_text())["spec"]["template"]["spec"] for n in (0, 1))
    container = one["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "2048Mi", "nvidia.com/gpu": "1"}
    assert one["nodeSelector"] == {"node.kubernetes.io/instance-type": "a2-highgpu-1g"}
    assert (one["activeDeadlineSeconds"], two["activeDeadlineSeconds"]) == (420, 840)
    assert two["containers"][0]["resources"]["limits"]["memory"] == "3072Mi"


def _ended_once_it_trains(pods: Path, log: Path):
    import threading

    from tests.cluster.slurm import until

    def end() -> None:
        until("training", lambda: log.exists() and log.read_text().count("\n") > 2, 300)
        os.kill(int((pods / "edgebench-0.pid").read_text()), 15)

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    return thread


def test_what_a_pod_is_made_of_is_yaml(root: Path) -> None:
    content = yaml.safe_load((root / "profiles/kubernetes/pod.yaml").read_text())
    volumes = {each["name"] for each in content["spec"]["template"]["spec"]["volumes"]}
    assert volumes == {m["name"] for m in content["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert os.access(root / "profiles/kubernetes/cancel", os.X_OK)
    assert shutil.which("sh")
