"""Threads that work side by side, each of which computes alone.

Libraries that share one small step among their threads let these wait for each other, on a busy machine many times
longer than they work, and the last bits of a sum depend on how many there are. So what takes long is done whole by one
thread, beside others.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

T = TypeVar("T")

alone = threadpool_limits.wrap(limits=1, user_api="blas")
"""Lets a function compute with one thread of BLAS, for the same bits wherever it runs."""


def side_by_side(work: Callable[..., T], *arguments: Iterable[Any], at_once: int) -> list[T]:
    """Return what `work` makes of each of some arguments, as `map` does, by so many threads of Python at most.

    No more than OpenMP would use, which follows `OMP_NUM_THREADS` and the processors that this process may run on.
    """
    threads = min(at_once, _allowed())
    # OpenMP keeps a number for each thread that calls it, and BLAS one for all.
    workers = ThreadPoolExecutor(threads, initializer=threadpool_limits, initargs=(1, "openmp"))
    with threadpool_limits(1, "blas"), workers as pool:
        return list(pool.map(work, *arguments))


@cache
def _allowed() -> int:
    import sklearn  # noqa: F401  for it brings OpenMP

    return min((library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp"), default=1)
