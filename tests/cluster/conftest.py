"""SLURM for all tests of this folder, brought up once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Slurm, Unavailable, running


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A SLURM of two nodes; tests that need it skip where it cannot run."""
    cluster = running()
    try:
        up = cluster.__enter__()
    except Unavailable as error:
        pytest.skip(f"needs SLURM: {error}")
    try:
        yield up
    finally:
        cluster.__exit__(None, None, None)
