"""What is taken for a lack of memory, and what is advised then."""

from __future__ import annotations

import pytest

from edgebench.stages.memory import how_to_save_memory, short_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("Pin memory thread exited unexpectedly"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_a_lack_of_memory(error: Exception, expected: bool) -> None:
    assert short_of_memory(error) is expected


def test_only_what_a_run_has_and_does_not_do_yet_is_advised() -> None:
    settings = {"batch": 4, "accumulate": 1, "gradient_checkpointing": True, "precision": "bf16", "steps": 10}
    assert how_to_save_memory(settings) == "Less is needed with a smaller batch, more accumulate to make up for it."
    assert how_to_save_memory({"steps": 10}) == ""
