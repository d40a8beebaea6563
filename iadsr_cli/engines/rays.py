"""Actors of Ray, on this machine or on those of a cluster, apply to pieces of work what `work.Local` does.

Ray is imported only where it was asked for. What is done where, and again after an actor was lost, is its business.
"""

import logging
import os
import platform
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import Any

from iadsr_cli.config import EngineSettings
from iadsr_cli.engines.work import Piece, Result
from iadsr_cli.errors import EngineError, UsageError, reason

# A piece that brings down so many actors one after the other would bring down all.
_TRIES = 4
_PATIENCE = 10.0  # seconds


@dataclass
class _Parcel:
    """A piece of work on its way to an actor, or what became of it on its way back; Ray takes it as it is."""

    place: int
    content: Any
    failure: Exception | None = None


class _Actor:
    """Applies one function to pieces of work."""

    def __init__(self, function: Any, folder: str) -> None:
        """Take the reference of the function, and the folder that paths are relative to."""
        import ray

        self._reference, self._folder = function, folder
        if not ray.get_gpu_ids():
            # Ray leaves all GPUs visible to actors that were given none, and every one would take the first.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    @cached_property
    def _function(self) -> Callable[[Any], Any]:
        import ray

        try:
            os.chdir(self._folder)
        except OSError as error:
            raise EngineError(
                f"The folder {self._folder} cannot be reached on the machine {platform.node()}: {reason(error)}.",
                "All machines of a cluster need the same files: work in a folder that they share.",
            ) from None
        function: Callable[[Any], Any] = ray.get(self._reference)
        return function

    def __call__(self, row: dict[str, _Parcel]) -> dict[str, _Parcel]:
        """Return what becomes of a piece, or the error."""
        piece = row["item"]
        try:
            return {"item": _Parcel(piece.place, self._function(piece.content))}
        except Exception as error:
            error.add_note(traceback.format_exc())
            return {"item": _Parcel(piece.place, None, error)}


class Cluster:
    """Actors of a cluster; made by `cluster`."""

    bundle = 16

    def __init__(self, actors: int, gpus: float) -> None:
        """Take how many actors work at once, and the GPUs of each."""
        self._actors, self._gpus = actors, gpus

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[tuple[int, Result]]:
        """Yield what the function makes of each piece, as they are done.

        Every actor has the function, made once from a copy of it that all of a machine share.
        """
        import ray.data
        from ray.exceptions import RayError

        if not pieces:
            return
        shared = ray.put(function)
        rows = ray.data.from_items(list(starmap(_Parcel, enumerate(pieces))), override_num_blocks=len(pieces))
        with warnings.catch_warnings():
            # Tries can be limited in no other way, up to the release that pyproject.toml excludes.
            warnings.simplefilter("ignore", DeprecationWarning)
            done = rows.map(
                _Actor,
                fn_constructor_args=(shared, str(Path.cwd())),
                compute=ray.data.ActorPoolStrategy(
                    size=min(self._actors, len(pieces)), max_tasks_in_flight_per_actor=1
                ),
                num_cpus=1,
                num_gpus=self._gpus or None,
                max_task_retries=_TRIES - 1,
            )
        try:
            for row in done.iter_rows():
                parcel = row["item"]
                if parcel.failure is not None:
                    raise parcel.failure
                yield parcel.place, parcel.content
        except RayError as error:
            raise EngineError(
                f"Ray could not do it: {reason(error)}",
                "If its actors ran out of memory, let fewer work at once with --actors. Ray's own logs say more.",
            ) from error


@contextmanager
def cluster(settings: EngineSettings) -> Iterator[Cluster]:
    """Yield the actors of a running cluster, or of one on this machine that ends with the block.

    Raises:
        UsageError: if Ray is not installed, the cluster cannot be reached, or the actors have no room in it.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UsageError(
            f"--engine ray needs Ray, which is not installed ({error}).",
            "Install it: pip install 'iadsr[ray]'. Or leave out --engine ray.",
        ) from None
    with _ray_unheard():
        try:
            _connect(settings.ray_address)
            yield Cluster(_actors(settings, ray.cluster_resources()), settings.num_gpus_per_actor)
        finally:
            _leave()


def _connect(address: str | None) -> None:
    import ray

    # Ray would tell its makers that it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray takes this signal for itself, to end without cleaning up.
    ours = signal.getsignal(signal.SIGTERM)
    try:
        _check_reached(address)
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except SystemExit:
        signal.signal(signal.SIGTERM, ours)
        signal.raise_signal(signal.SIGTERM)
    except (OSError, RuntimeError, ValueError) as error:
        if address is None:
            raise EngineError(f"Ray could not be started: {reason(error)}", "Leave out --engine ray.") from error
        raise UsageError(
            f"There is no Ray cluster at {address} that can be used: {reason(error)}",
            "Start one with ray start --head, or leave out --ray-address for one of this machine.",
        ) from error
    finally:
        signal.signal(signal.SIGTERM, ours)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _leave() -> None:
    """Disconnect, and end a cluster of this machine with all that it has started.

    Ray leaves workers to end by themselves, and now and then one does not: it waits for a lock of its own (Ray 2.60).
    """
    import psutil
    import ray

    workers: list[Any] = []
    with suppress(psutil.Error):  # those that end meanwhile
        for node in psutil.Process().children():
            if node.name() == "raylet":
                workers += node.children(recursive=True)
    ray.shutdown()
    for worker in workers:
        with suppress(psutil.Error):
            worker.kill()


def _check_reached(address: str | None) -> None:
    """Raise the OSError of connecting to an address with a port: Ray itself tries again for many minutes."""
    host, _, port = (address or "").rpartition("//")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), _PATIENCE).close()


def _actors(settings: EngineSettings, resources: dict[str, float]) -> int:
    """Return how many actors to have: what was asked for, or as many as there is room for."""
    cpus, gpus, each = int(resources.get("CPU", 0)), int(resources.get("GPU", 0)), settings.num_gpus_per_actor
    room = cpus
    if each:
        room = min(cpus, int(gpus / each) if each >= 1 else gpus * int(1 / each))
    wanted = settings.actors or max(1, room)
    if wanted > room:
        raise UsageError(
            f"The cluster has {cpus} CPUs and {gpus} GPUs: room for {room} of {wanted} actors.",
            "Every actor takes one CPU and --num-gpus-per-actor GPUs: ask for less, or for fewer --actors.",
        )
    return wanted


@contextmanager
def _ray_unheard() -> Iterator[None]:
    """Keep off standard output and error what Ray logs and prints there, from its threads and from native code.

    Both are for our own lines. Ours on standard error go on to where they went; on standard output there are none.
    """
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    before, descriptor = sys.stderr, os.dup(2)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            before.flush()
            with suppress(OSError):  # a stream that is no file has a way of its own
                if before.fileno() == 2:
                    sys.stderr = os.fdopen(os.dup(2), "w", 1, before.encoding, before.errors)
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            if sys.stderr is not before:
                sys.stderr.close()
                sys.stderr = before
            os.dup2(descriptor, 2)
            os.close(descriptor)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
