"""What a job asks of a cluster: the neutral resources of its run in the words of SLURM or Kubernetes.

A run says how many GPUs and cores and how much memory and time it needs. `config/cluster.yaml` says what only the
cluster's users know: partitions, accounts, longest times. The profile says which words the cluster takes.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from edgebench.errors import ConfigError
from edgebench.plan.settings import PositiveInt, Resources, Strict

Words = Literal["slurm", "slurm-gres", "kubernetes"]
Asked = dict[str, int | str | None]
Factor = Annotated[float, Field(gt=0)]

# Everything that `request` may ask for; None asks for nothing.
NAMES = (
    *("runtime", "mem_mb", "gpu", "gpu_model", "gres", "nodes", "tasks", "tasks_per_gpu", "mpi"),
    *("slurm_partition", "slurm_account", "qos", "constraint", "slurm_extra"),
    "machine_type",
)
# What a table or a figure asks for.
OF_REPORTS = Resources(minutes=30).model_dump()


class Share(Strict):
    """What some of the jobs ask for.

    Attributes:
        partition: SLURM's partition.
        account: Who pays.
        qos: SLURM's quality of service.
        constraint: Features that the node must have; on Kubernetes its machine type.
        gpu_type: Kind of GPU, such as `a100`.
        minutes: Run time instead of the plan's.
        minutes_factor: Times the plan's run time, for slower or faster machines.
        max_minutes: The longest that may be asked for; later attempts ask for no more.
        mem_gb: Main memory of each node instead of the plan's, GiB.
        mem_factor: Times the plan's memory.
        max_mem_gb: The most memory that may be asked for, GiB.
        sbatch: More words for sbatch, such as `--exclude=node7`.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpu_type: Annotated[str, Field(pattern=r"^[\w.]+$")] | None = None
    minutes: PositiveInt | None = None
    minutes_factor: Factor = 1
    max_minutes: PositiveInt | None = None
    mem_gb: PositiveInt | None = None
    mem_factor: Factor = 1
    max_mem_gb: PositiveInt | None = None
    sbatch: str | None = None

    @field_validator("partition", "account", "qos", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def over(self, below: Share) -> Share:
        """This share, with what it does not say taken from `below`."""
        return below.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class Stages(Strict):
    """What the jobs of a stage ask for."""

    train: Share = Share()
    predict: Share = Share()
    evaluate: Share = Share()
    table: Share = Share()
    figure: Share = Share()


class Cluster(Strict):
    """The cluster's ways: `config/cluster.yaml`. What is said of fewer jobs wins.

    Attributes:
        all: Every job.
        cpu: Jobs without a GPU.
        gpu: Jobs with GPUs.
        stages: Jobs by stage.
        roles: Jobs by the role of their run, such as `pretrain`.
        warn_seconds: How long before its end SLURM tells a training to save and stop.
    """

    all: Share = Share()
    cpu: Share = Share()
    gpu: Share = Share()
    stages: Stages = Stages()
    roles: dict[str, Share] = {}
    warn_seconds: PositiveInt = 120

    def share(self, stage: str, role: str, on_gpu: bool) -> Share:
        """What a job asks for."""
        share = (self.gpu if on_gpu else self.cpu).over(self.all)
        share = getattr(self.stages, stage).over(share)
        return self.roles[role].over(share) if role in self.roles else share


def request(
    words: Words | None, cluster: Cluster, stage: str, role: str, resources: dict[str, Any], attempt: int = 1
) -> Asked:
    """Snakemake's resources of a job.

    Args:
        words: How the cluster is asked; None is this machine.
        cluster: The cluster's ways.
        stage: Stage of the run, or `table` or `figure`.
        role: Role of the run; empty for tables and figures.
        resources: As `Resources` of the run.
        attempt: 1, and one more each time that the job is tried again. Time grows with it; memory to three times at
            most, since a long training may be tried often for want of time alone.

    Returns:
        Resources by `NAMES`; None is not asked for.

    Raises:
        ConfigError: the run wants several nodes, which only SLURM gives.
    """
    gpus, nodes = resources["gpus"], resources["nodes"]
    if nodes > 1 and words not in ("slurm", "slurm-gres"):
        raise ConfigError(
            f"run '{role}' asks for resources.nodes = {nodes}, which only SLURM gives: add --profile slurm, or set "
            f"resources: {{nodes: 1}} (its result does not depend on it)."
        )
    share = cluster.share(stage, role, gpus > 0) if words else Share()
    minutes = _limited((share.minutes or resources["minutes"] * share.minutes_factor) * attempt, share.max_minutes)
    mem_gb = (share.mem_gb or resources["mem_gb"] * share.mem_factor) * min(attempt, 3)
    memory = _limited(mem_gb * 1024, share.max_mem_gb, 1024)
    asked: Asked = dict.fromkeys(NAMES) | {"runtime": minutes, "mem_mb": memory}
    if words is None:
        return asked | {"gpu": gpus}
    if words == "kubernetes":
        return asked | {"gpu": gpus, "machine_type": share.constraint}
    asked |= {
        "slurm_partition": share.partition,
        "slurm_account": share.account,
        "qos": share.qos,
        "constraint": share.constraint,
    }
    extra = [share.sbatch] if share.sbatch else []
    if stage == "train":  # before the end, so that a checkpoint is saved; a quarter of short times at most
        extra.append(f"--signal=TERM@{min(cluster.warn_seconds, 15 * minutes)}")
    if gpus and words == "slurm-gres":
        asked["gres"] = ":".join(filter(None, ["gpu", share.gpu_type, str(gpus)]))
    elif gpus:
        asked |= {"gpu": gpus * nodes, "gpu_model": share.gpu_type}
    if nodes == 1 and gpus > 1:  # else SLURM may take them from several
        asked["nodes"] = 1
    if nodes > 1:
        asked |= {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"}
        extra.append("--ntasks-per-node=1")
        if gpus and words == "slurm":
            extra.append("--gpus-per-node=" + ":".join(filter(None, [share.gpu_type, str(gpus)])))
    return asked | {"slurm_extra": " ".join(extra) or None}


def _limited(amount: float, limit: int | None, unit: int = 1) -> int:
    whole = max(1, ceil(amount - 1e-9))
    return whole if limit is None else min(whole, limit * unit)


def launch(command: str, resources: dict[str, Any], warn_seconds: int) -> str:
    """How a training is started, as words of a shell: one process, or one for each GPU on every node.

    On several nodes `srun` starts one agent each, and these find one another through the first node. Its
    address and the job's number, which makes the port, are known only there.

    Args:
        command: `PYTHON -m MODULE`, the interpreter quoted.
        resources: As `Resources` of the run.
        warn_seconds: What processes have to save a checkpoint when the job is told to end.
    """
    gpus, nodes = resources["gpus"], resources["nodes"]
    if nodes == 1 and gpus < 2:
        return command
    python, module = command.rsplit(" -m ", 1)
    run = f"{python} -m torch.distributed.run --shutdown-timeout={warn_seconds}"
    if nodes == 1:
        return f"{run} --standalone --nproc-per-node={gpus} -m {module}"
    return (
        f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpus-per-task={resources['cpus']} "
        f"--kill-on-bad-exit=1 {run} --nnodes={nodes} --nproc-per-node={max(1, gpus)} "
        f"--rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID "
        f"--rdzv-endpoint=$(hostname):$((20000 + SLURM_JOB_ID % 10000)) -m {module}"
    )
