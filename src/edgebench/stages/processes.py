"""Doing the same to many items in several processes, with results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from edgebench.errors import EdgebenchError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; at most `2 * jobs` items are under way.

    Args:
        function: Picklable; likewise the items and results.
        items: What to work on; drawn from as results are taken.
        jobs: Processes.

    Raises:
        EdgebenchError: a process died. What `function` raises is raised here.
    """
    waiting = iter(items)
    # Spawned, not forked: a fork inherits threads and devices of whoever calls this.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        under_way: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(waiting, 2 * jobs))
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(function, item) for item in islice(waiting, 1))
    except BrokenProcessPool as error:
        raise EdgebenchError(
            f"One of {jobs} processes was ended from outside, most often for lack of memory. Run "
            f'the same command with fewer jobs; a script of your own needs `if __name__ == "__main__":`.'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
