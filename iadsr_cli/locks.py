"""One process at a time makes an entry of the cache: by locks of the operating system, which end with a process."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from iadsr_cli.progress import Reporter

_PATIENCE = 1.0  # seconds of waiting before it is said
_POLL = 0.1


@contextmanager
def one_at_a_time(cache: Path, name: str, makes: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock `name` of a cache while another process that wants it waits; `makes` says what it waits for.

    The file of a lock stays, empty: only the hold on it counts. Where a lock cannot be had, on a read-only or network
    file system, all go on at once: what two processes make is made twice, and the later one stays.
    """
    with ExitStack() as held:
        try:
            path = cache / "locks" / f"{name}.lock"
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, poll_interval=_POLL, fallback_to_soft=False)
            try:
                held.enter_context(lock.acquire(timeout=_PATIENCE))
            except Timeout:
                reporter.note(f"waiting for another iadsr that makes {makes}")
                held.enter_context(lock.acquire())
        except OSError:
            pass
        yield
