"""What jobs ask of clusters, and how trainings are started there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgebench.errors import ConfigError
from edgebench.plan.cluster import NAMES, Asked, Cluster, Words, launch, request
from edgebench.plan.settings import Resources
from edgebench.plan.workbench import Workbench

TRAINING = Resources(gpus=4, cpus=8, mem_gb=32, minutes=600).model_dump()
SCORING = Resources(minutes=0.4, mem_gb=3).model_dump()


def asked(
    words: Words | None, content: dict, resources: dict = TRAINING, stage: str = "train", attempt: int = 1
) -> Asked:
    request_ = request(words, Cluster.model_validate(content), stage, "pretrain", resources, attempt)
    assert set(request_) == set(NAMES)
    return {name: value for name, value in request_.items() if value is not None}


class TestSlurm:
    def test_gpus_by_gpus(self) -> None:
        request = asked("slurm", {})
        assert request["gpu"] == 4
        assert "gres" not in request
        assert asked("slurm", {"gpu": {"gpu_type": "a100"}})["gpu_model"] == "a100"

    def test_gpus_by_gres(self) -> None:
        request = asked("slurm-gres", {})
        assert request["gres"] == "gpu:4"
        assert "gpu" not in request
        assert asked("slurm-gres", {"gpu": {"gpu_type": "a100"}})["gres"] == "gpu:a100:4"

    @pytest.mark.parametrize("words", ["slurm", "slurm-gres"])
    def test_several_gpus_are_of_one_node(self, words: Words) -> None:
        assert asked(words, {})["nodes"] == 1
        assert "nodes" not in asked(words, {}, SCORING, "evaluate")

    def test_partition_and_the_like(self) -> None:
        content = {
            "all": {"account": 1234, "partition": "any", "sbatch": "--exclude=node7"},
            "gpu": {"partition": "gpu", "constraint": "a100&80g"},
            "stages": {"train": {"qos": "long"}},
        }
        request = asked("slurm", content)
        assert request["slurm_account"] == "1234"
        assert request["slurm_partition"] == "gpu"
        assert request["constraint"] == "a100&80g"
        assert request["qos"] == "long"
        assert str(request["slurm_extra"]).startswith("--exclude=node7 ")
        scoring = asked("slurm", content, SCORING, "evaluate")
        assert scoring["slurm_partition"] == "any"
        assert scoring["slurm_extra"] == "--exclude=node7"
        assert "qos" not in scoring
        assert "gpu" not in scoring

    def test_fewer_jobs_win_and_null_takes_back(self) -> None:
        content = {
            "all": {"qos": "low"},
            "cpu": {"qos": "cpu"},
            "gpu": {"qos": "gpu"},
            "stages": {"train": {"qos": "t"}},
        }
        assert asked("slurm", content | {"roles": {"pretrain": {"qos": "role"}}})["qos"] == "role"
        assert "qos" not in asked("slurm", content | {"roles": {"pretrain": {"qos": None}}})
        assert asked("slurm", content)["qos"] == "t"
        assert asked("slurm", content, stage="predict")["qos"] == "gpu"
        assert asked("slurm", content, SCORING, "evaluate")["qos"] == "cpu"

    def test_time_and_memory_grow_with_the_attempt_up_to_a_limit(self) -> None:
        assert [asked("slurm", {}, attempt=n)["runtime"] for n in (1, 2, 3)] == [600, 1200, 1800]
        limited = {"gpu": {"max_minutes": 1440, "minutes_factor": 1.5, "mem_factor": 0.5, "max_mem_gb": 40}}
        assert [asked("slurm", limited, attempt=n)["runtime"] for n in (1, 2, 3)] == [900, 1440, 1440]
        assert [asked("slurm", limited, attempt=n)["mem_mb"] for n in (1, 2, 3)] == [16384, 32768, 40960]
        assert asked("slurm", {}, attempt=20)["mem_mb"] == 3 * 32768  # by then it was for want of time
        assert asked("slurm", {"stages": {"train": {"minutes": 90, "mem_gb": 7}}}, attempt=2)["runtime"] == 180
        assert asked("slurm", {}, SCORING, "evaluate")["runtime"] == 1

    def test_training_is_told_before_its_end(self) -> None:
        assert asked("slurm", {})["slurm_extra"] == "--signal=TERM@120"
        assert asked("slurm", {"warn_seconds": 600})["slurm_extra"] == "--signal=TERM@600"
        short = Resources(minutes=2).model_dump()
        assert asked("slurm", {}, short)["slurm_extra"] == "--signal=TERM@30"
        assert "slurm_extra" not in asked("slurm", {}, stage="predict")

    def test_several_nodes(self) -> None:
        resources = TRAINING | {"nodes": 2}
        request = asked("slurm", {"gpu": {"gpu_type": "h100"}}, resources)
        assert [request[name] for name in ("gpu", "nodes", "tasks", "tasks_per_gpu", "mpi")] == [8, 2, 2, 0, "srun"]
        assert str(request["slurm_extra"]).endswith("--ntasks-per-node=1 --gpus-per-node=h100:4")
        request = asked("slurm-gres", {}, resources)
        assert request["gres"] == "gpu:4"  # which SLURM counts by node
        assert "--gpus-per-node" not in str(request["slurm_extra"])


class TestElsewhere:
    def test_kubernetes(self) -> None:
        request = asked("kubernetes", {"gpu": {"constraint": "n1-standard-16", "partition": "gpu"}})
        assert (request["gpu"], request["machine_type"]) == (4, "n1-standard-16")
        assert not any(name.startswith("slurm") for name in request)
        assert asked("kubernetes", {}, SCORING, "evaluate")["gpu"] == 0

    def test_this_machine_knows_nothing_of_the_cluster(self) -> None:
        request = asked(None, {"all": {"partition": "gpu", "minutes": 3, "mem_gb": 1}})
        assert request == {"runtime": 600, "mem_mb": 32768, "gpu": 4}

    @pytest.mark.parametrize("words", [None, "kubernetes"])
    def test_several_nodes_need_slurm(self, words: Words | None) -> None:
        with pytest.raises(ConfigError, match=r"'pretrain' asks for resources.nodes = 2.*--profile slurm"):
            asked(words, {}, TRAINING | {"nodes": 2})


class TestLaunch:
    def test_one_process(self) -> None:
        assert launch("python -m edgebench", SCORING, 120) == "python -m edgebench"

    def test_one_per_gpu(self) -> None:
        command = launch("'/my env/python' -m edgebench", TRAINING, 300)
        agent = "'/my env/python' -m torch.distributed.run --shutdown-timeout=300"
        assert command == f"{agent} --standalone --nproc-per-node=4 -m edgebench"

    def test_one_agent_per_node(self) -> None:
        command = launch("python -m edgebench", TRAINING | {"nodes": 2}, 120)
        assert command.startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=8 ")
        assert (
            "torch.distributed.run --shutdown-timeout=120 --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d" in command
        )
        assert command.endswith(" -m edgebench")


class TestFile:
    @pytest.fixture
    def written(self, root: Path, tmp_path: Path):
        """Write `config/cluster.yaml` of a workbench that has the repository's other definitions."""
        (tmp_path / "config").mkdir()
        for each in (root / "config").iterdir():
            if each.name != "cluster.yaml":
                (tmp_path / "config" / each.name).symlink_to(each)

        def write(content: dict) -> Workbench:
            (tmp_path / "config" / "cluster.yaml").write_text(yaml.safe_dump(content))
            return Workbench(tmp_path)

        return write

    def test_that_ships_asks_for_nothing_special(self, root: Path) -> None:
        assert Workbench(root).cluster == Cluster.model_validate({})

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"gpus": {}}, "config/cluster.yaml: unknown key 'gpus'. Did you mean 'gpu'?"),
            ({"gpu": {"partion": "a"}}, "unknown key 'gpu.partion'. Did you mean 'partition'?"),
            ({"stages": {"trian": {}}}, "unknown key 'stages.trian'. Did you mean 'train'?"),
            ({"roles": {"pretrian": {}}}, "unknown run 'roles.pretrian'. Did you mean 'pretrain'?"),
            ({"roles": {"pretrain": {"minute": 5}}}, "unknown key 'roles.pretrain.minute'. Did you mean 'minutes'?"),
            ({"gpu": {"gpu_type": "a100:2"}}, "key 'gpu.gpu_type' is 'a100:2'"),
        ],
    )
    def test_mistakes_name_file_key_and_the_nearest(self, written, content: dict, message: str) -> None:
        with pytest.raises(ConfigError) as error:
            _ = written(content).cluster
        assert message in str(error.value)

    def test_roles_are_those_of_the_recipes(self, written) -> None:
        assert written({"roles": {"finetune": {"max_minutes": 60}}}).cluster.roles["finetune"].max_minutes == 60
