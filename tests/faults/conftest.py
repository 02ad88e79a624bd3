"""Options, the undisturbed repository and the report of the fault campaign (`make test-faults`)."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgebench.files import write_json
from tests.faults.campaign import MEASURED, FindWork, Tally, calm_repository, printed, read_work
from tests.faults.victims import warm_up

SEED, KILLS = 0, 240
TALLIES = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-seed", type=int, default=SEED, help="Seed of all moments and places of faults.")
    group.addoption("--kills", type=int, default=KILLS, help="Kills of single commands, shared among the stages.")
    group.addoption("--fault-report", type=Path, help="File for the report, JSON.")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("--fault-seed", SEED)


@pytest.fixture(scope="session")
def kills(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("--kills", KILLS)


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    warm_up()


@pytest.fixture(scope="session")
def calm(root: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A repository whose runs were all carried out undisturbed; the processes of pytest share one."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    with (base / "calm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "calm" / MEASURED).exists():
            (base / "calm").mkdir()
            calm_repository(root, base / "calm")
    return base / "calm"


@pytest.fixture
def find_work(calm: Path) -> FindWork:
    """Find a command by its role and its method, data set, protocol or paper."""
    return lambda name: read_work(calm, name)


@pytest.fixture
def tally(record_property: Any) -> Iterator[Tally]:
    """What the test did, for the report."""
    told = Tally()
    yield told
    record_property("tally", asdict(told))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLIES] = []
    config.pluginmanager.register(_Collecting(config))


class _Collecting:
    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            told: list[Any] = [value for name, value in report.user_properties if name == "tally"]
            self.config.stash[TALLIES].extend(told)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    tallies, seed = config.stash[TALLIES], config.getoption("--fault-seed", SEED)
    if not tallies:
        return
    terminalreporter.section("faults")
    for line in printed(tallies, seed):
        terminalreporter.write_line(line)
    if path := config.getoption("--fault-report", None):
        tallies = sorted(tallies, key=lambda each: (each["fault"], each["stage"]))
        write_json(path, {"seed": seed, "losses": sum(len(each["losses"]) for each in tallies), "tests": tallies})
