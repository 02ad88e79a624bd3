"""A real SLURM of two nodes on this machine: controller, node daemons, accounting; two fake GPUs each.

Nothing of it is simulated but the GPUs, which are character devices: jobs are scheduled, signalled, requeued and
accounted for as on a cluster. All daemons run in the foreground as children of the test and end with it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    *("munge", "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins"),
    *("slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server"),
)
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "sbatch")
SYSTEM = Path("/etc/slurm")
LINKS = [SYSTEM / name for name in ("slurm.conf", "gres.conf", "cgroup.conf")]
ACCOUNT = "lab"
SQL_PORT, ACCOUNTING_PORT, CONTROL_PORT, NODE_PORT = 23306, 26819, 26817, 26820

SLURM_CONF = """\
ClusterName={account}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={control_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MinJobAge=600
KillWait=30
SlurmctldTimeout=30
SlurmdTimeout=60
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
AccountingStoragePass={folder}/munge.socket
{nodes}
PartitionName=cpu Nodes=ALL Default=YES DefMemPerCPU=100 MaxTime=60 State=UP
PartitionName=gpu Nodes=ALL DefMemPerCPU=100 MaxTime=60 State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL DefMemPerCPU=100 MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""
DBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounts
"""


class Unavailable(Exception):  # noqa: N818 (a reason to skip)
    """SLURM cannot run here; the message says why."""


@dataclass(frozen=True)
class Job:
    """What the accounting says of a job."""

    id: str
    state: str
    partition: str
    account: str
    requested: str
    minutes: str
    submitted: str
    comment: str


@dataclass(frozen=True)
class Slurm:
    """A SLURM that is up.

    Attributes:
        folder: Configuration, state and logs of the daemons.
    """

    folder: Path

    def call(self, *command: str) -> str:
        """Output of a SLURM command."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, *options: str) -> str:
        """Submit a job that does nothing; returns its number."""
        return self.call("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap=true").strip()

    def jobs(self) -> list[Job]:
        """All jobs, the oldest first; each time that one was requeued counts as one."""
        fields = "JobID,State,Partition,Account,ReqTRES,TimelimitRaw,SubmitLine,Comment"
        rows = self.call("sacct", "-X", "-D", "-n", "-P", "-S", "now-1hours", f"--format={fields}").splitlines()
        return [Job(*row.split("|", 7)) for row in rows]

    @staticmethod
    def state_of(jobs: list[Job], number: str) -> str:
        """How it last stood with a job; empty before the accounting knows of it."""
        return next((job.state for job in reversed(jobs) if job.id == number), "")


def install() -> None:
    """Install SLURM where that is possible.

    Raises:
        Unavailable: it is not; says why.
    """
    if os.geteuid() != 0:
        raise Unavailable("SLURM's daemons need root")
    # Links whose daemons are gone are those of a test that was killed.
    if any(path.exists() for path in LINKS) and (not LINKS[0].is_symlink() or _says("UP", "scontrol", "ping")()):
        raise Unavailable(f"{SYSTEM} holds the configuration of another SLURM")
    if all(map(shutil.which, PROGRAMS)):
        return
    if not shutil.which("apt-get"):
        raise Unavailable("SLURM is not installed and there is no apt-get to install it with")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ("-o", "DPkg::Lock::Timeout=300")
    for command in (
        ("apt-get", *wait, "update", "-qq"),
        ("apt-get", *wait, "install", "-y", "-qq", "--no-install-recommends", *PACKAGES),
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise Unavailable(f"{' '.join(command[:5])} failed: {done.stderr.strip()[-300:]}")


def until(what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
    """Wait.

    Raises:
        RuntimeError: it took too long.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.1)


def _works(*command: str) -> Callable[[], bool]:
    return lambda: subprocess.run(command, capture_output=True).returncode == 0


def _says(word: str, *command: str) -> Callable[[], bool]:
    return lambda: bool(re.search(word, subprocess.run(command, capture_output=True, text=True).stdout))


@contextmanager
def running(nodes: int = 2, cpus: int = 8, gpus: int = 2) -> Iterator[Slurm]:
    """Bring SLURM up, and take it down whatever happens.

    Args:
        nodes: Node daemons, all on this machine.
        cpus: Cores that each node claims to have.
        gpus: Fake GPUs of each node.

    Raises:
        Unavailable: SLURM cannot be installed here.
    """
    install()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        _configure(folder, nodes, cpus, gpus, stack)
        _start(folder, nodes, stack)
        stack.callback(subprocess.run, ["scancel", "--user=root"], capture_output=True, timeout=30)
        yield Slurm(folder)


def _configure(folder: Path, nodes: int, cpus: int, gpus: int, stack: ExitStack) -> None:
    host = socket.gethostname().split(".")[0]
    names = [f"node{number}" for number in range(1, nodes + 1)]
    devices = folder / "dev"
    devices.mkdir()
    for number in range(gpus):  # SLURM sets CUDA_VISIBLE_DEVICES only for a character device
        os.mknod(devices / f"nvidia{number}", 0o20666, os.makedev(1, 3))
    values = {
        **{"account": ACCOUNT, "host": host, "folder": folder},
        **{"control_port": CONTROL_PORT, "accounting_port": ACCOUNTING_PORT, "sql_port": SQL_PORT},
        "nodes": "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={NODE_PORT + number} CPUs={cpus} "
            f"RealMemory=64000 Gres=gpu:fake:{gpus} State=UNKNOWN"
            for number, name in enumerate(names)
        ),
    }
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (folder / "gres.conf").write_text(
        f"NodeName={','.join(names)} Name=gpu Type=fake Flags=nvidia_gpu_env File={devices}/nvidia[0-{gpus - 1}]\n"
    )
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    (folder / "slurmdbd.conf").write_text(DBD_CONF.format(**values))
    (folder / "slurmdbd.conf").chmod(0o600)
    # Snakemake's job step drops SLURM_CONF, so the usual place must do.
    SYSTEM.mkdir(exist_ok=True)
    for link in LINKS:
        link.unlink(missing_ok=True)
        link.symlink_to(folder / link.name)
        stack.callback(link.unlink)


def _start(folder: Path, nodes: int, stack: ExitStack) -> None:
    def daemon(name: str, *command: str, environment: dict[str, str] | None = None) -> None:
        log = stack.enter_context((folder / f"{name}.log").open("w"))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],  # a test that is killed leaves nothing behind
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
        stack.callback(_end, process)

    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    socket_file = folder / "munge.socket"
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    daemon("munged", "munged", "--foreground", "--force", f"--log-file={folder}/munge.log", *options)
    until("munged", _works("munge", "-S", str(socket_file), "-n"))

    sql = folder / "sql"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={sql}", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    daemon(
        *("mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={sql}", f"--socket={folder}/sql.socket"),
        *("--bind-address=127.0.0.1", f"--port={SQL_PORT}", f"--pid-file={folder}/sql.pid", "--skip-log-bin"),
        *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0"),
    )
    client = ("mariadb", "--no-defaults", f"--socket={folder}/sql.socket", "-uroot", "-e")
    until("mariadb", _works(*client, "select 1"))
    users = [f"'slurm'@'{host}'" for host in ("127.0.0.1", "localhost")]
    grants = [f"CREATE USER {user} IDENTIFIED BY 'slurm'; GRANT ALL ON accounts.* TO {user};" for user in users]
    subprocess.run([*client, f"CREATE DATABASE accounts; {' '.join(grants)}"], check=True, capture_output=True)

    daemon("slurmdbd", "slurmdbd", "-D", environment={"SLURM_CONF": str(folder / "slurmdbd.conf")})
    until("slurmdbd", _works("sacctmgr", "-n", "list", "cluster"))
    for command in (
        ("cluster", ACCOUNT),
        ("account", ACCOUNT, f"Cluster={ACCOUNT}"),
        ("user", "root", f"Account={ACCOUNT}", f"DefaultAccount={ACCOUNT}"),
    ):
        subprocess.run(["sacctmgr", "-i", "add", *command], check=True, capture_output=True)

    daemon("slurmctld", "slurmctld", "-D")
    until("slurmctld", _says("UP", "scontrol", "ping"))
    for number in range(1, nodes + 1):
        daemon(f"node{number}", "slurmd", "-D", "-N", f"node{number}")
    until("slurmd", _says(rf"^{nodes}$", "sh", "-c", "sinfo -h -N -p cpu -t idle -o %N | wc -l"))


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
