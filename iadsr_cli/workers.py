"""The processes that train together: started here, one per device, or found where torchrun has started this one.

They are started with `multiprocessing`, and the process that starts them computes nothing: it passes on what the first
one has to say, and stays able to end them all, whatever library call they hang in. The log is read once. Launchers that
run the command once per process would read it as often, could not read a pipe, and tell of errors in their own way.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from iadsr_cli.config import Config
from iadsr_cli.drafts import sweep
from iadsr_cli.errors import TrainingError, UsageError
from iadsr_cli.progress import Reporter, Silent, SilentStage, Stage

if TYPE_CHECKING:
    from torch import nn

    from iadsr_cli.checkpoints import Checkpoint
    from iadsr_cli.devices import Group

    Model = TypeVar("Model", bound=nn.Module)
    History = list[dict[str, float]]
    Train = Callable[[Reporter, Checkpoint | None, Group], tuple[Model, History]]

# Seconds in which a process that was killed is found to be gone, after others have noticed that it is.
_NOTICED = 1.0
# The commands that several processes can be started with; others write what each of them would wait for.
_TOGETHER = ("pretrain", "align")
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def leads() -> bool:
    """Return whether this process speaks and writes: any but the second and further ones that torchrun starts."""
    return not _launched() or os.environ["RANK"] == "0"


def _launched() -> int:
    """Return how many processes torchrun has started, of which this is one; 0 if it has not."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in _TORCHRUN) else 0


def check_launch(command: str) -> None:
    """Check, before any work, that torchrun has not started several processes of a command that has a use for one.

    Raises:
        UsageError: in the first of them, if it has.
        SystemExit: in the others.
    """
    launched = _launched()
    if launched <= 1 or command in _TOGETHER:
        return
    if not leads():
        raise SystemExit(2)
    raise UsageError(
        f"torchrun has started {launched} processes, and {command} is run by one.",
        f"Run it without torchrun, which is for {' and '.join(_TOGETHER)}; denoise and evaluate train on several "
        "devices with --devices N.",
    )


def check_devices(config: Config) -> None:
    """Check, before any work, that there are as many devices as are to train.

    Raises:
        UsageError: if there are not.
    """
    asked, launched = config.workers.devices, _launched()
    if max(asked, launched) <= 1:
        return
    import torch

    from iadsr_cli.hardware import pick_device

    if launched and asked not in (1, launched):
        raise UsageError(
            f"--devices is {asked}, and torchrun has started {launched} processes.", "Leave out --devices."
        )
    device = pick_device(config.run.device)
    if device.type == "mps":
        raise UsageError(f"--devices is {asked}, and there is one mps device.", "Add --device cpu, or leave it out.")
    there, wanted = torch.cuda.device_count(), max(asked, launched)
    if device.type == "cuda" and wanted > there:
        raise UsageError(
            f"--devices is {wanted}, and this machine has {there} GPU{'' if there == 1 else 's'}.",
            f"Give --devices {there}, or processes on the CPU with --device cpu.",
        )


def train_together(
    train: "Train[Model]", config: Config, reporter: Reporter, checkpoint: "Checkpoint | None"
) -> "tuple[Model, History]":
    """Return what `train` does, called with its reporter, checkpoint and group in as many processes as are to train.

    Raises:
        Exception: whatever `train` raises.
        TrainingError: if a process ends on its own.
        SystemExit: after training, in those that torchrun has started and that have nothing to write.
    """
    from iadsr_cli.devices import ALONE, join, leave
    from iadsr_cli.hardware import pick_device

    check_devices(config)
    if _launched() > 1:
        rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        with _nothing_printed(1):
            group = join(pick_device(config.run.device), rank, _launched(), local)
        trained = train(reporter if leads() else Silent(), checkpoint, group)
        leave()
        if not leads():
            raise SystemExit
        return trained
    if config.workers.devices == 1:
        return train(reporter, checkpoint, ALONE)
    return run(train, config.workers.devices, config.run.device, reporter, checkpoint)


def run(
    train: "Train[Model]", size: int, device: str, reporter: Reporter, checkpoint: "Checkpoint | None"
) -> "tuple[Model, History]":
    """Call `train` in `size` new processes and return what it returns in the first, its model on the CPU."""
    context = multiprocessing.get_context("spawn")
    content = pickle.dumps((train, device, checkpoint))
    processes: list[SpawnProcess] = []
    connections: list[Connection] = []
    with TemporaryDirectory(prefix="iadsr-") as folder:
        try:
            with _interrupts_held():
                for rank in range(size):
                    ours, theirs = context.Pipe()
                    place = (theirs, rank, size, str(Path(folder) / "store"))
                    process = context.Process(target=_work, args=place, daemon=True)
                    process.start()
                    theirs.close()
                    processes.append(process)
                    connections.append(ours)
            return _followed(connections, content, reporter)
        except (EOFError, OSError, RuntimeError):
            # Where one was killed, it is no news that it cannot be reached, or that the others were cut off from it.
            _check_alive(processes)
            raise
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.join()
            if checkpoint is not None:
                sweep(checkpoint.path)


def _followed(connections: list[Connection], content: bytes, reporter: Reporter) -> Any:
    """Hand each process its work, tell of the first one's progress, and return what it returns in the end."""
    stage: Stage = SilentStage()
    with ExitStack() as opened:
        for connection in connections:
            connection.send_bytes(content)
        while True:
            ready = wait(connections)
            for connection in connections:
                if connection not in ready:
                    continue
                what, *said = connection.recv()
                if what == "done":
                    return pickle.loads(said[0])
                if what == "failed":
                    raise said[0]
                if what == "stage":
                    stage = opened.enter_context(reporter.stage(*said))
                elif what == "stage over":
                    opened.close()
                else:
                    getattr(reporter if what in {"note", "warn"} else stage, what)(*said)


def _check_alive(processes: list[SpawnProcess]) -> None:
    gone = wait([process.sentinel for process in processes], _NOTICED)
    for process in processes:
        if process.sentinel in gone:
            process.join(_NOTICED)  # what it ended with is known a little later
        code = process.exitcode
        if code is not None:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise TrainingError(
                f"One of {len(processes)} training processes ended by itself ({how}).",
                "If memory ran out, give fewer --devices or a smaller --batch-size; --resume goes on after the last "
                "finished epoch.",
            )


def _work(connection: Connection, rank: int, size: int, store: str) -> None:
    """Be one of the processes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    content = connection.recv_bytes()
    with _nothing_printed(1, 2):
        try:
            # Here, because loading what is to be called loads PyTorch.
            train, device, checkpoint = pickle.loads(content)
            import torch
            from torch.distributed import FileStore

            from iadsr_cli.devices import join
            from iadsr_cli.hardware import pick_device

            torch.set_num_threads(max(1, torch.get_num_threads() // size))
            if sys.platform == "linux":  # the name of the machine may stand for an address that it does not have
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            group = join(pick_device(device), rank, size, rank, FileStore(store, size))
            model, history = train(_Told(connection) if rank == 0 else Silent(), checkpoint, group)
            if rank == 0:
                connection.send(("done", pickle.dumps((model.cpu(), history))))
        except Exception as error:
            error.add_note(traceback.format_exc())
            connection.send(("failed", _portable(error)))
        # Whoever leaves cuts off those who still work, and they would tell of that. All are ended at once.
        threading.Event().wait()


def _end_with_parent() -> None:
    """End this process when the one is gone that started it, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error that can be made again in another process: that one, or one with its name."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Told:
    """A reporter that passes on to the process that started this one; also its own stage."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator["_Told"]:
        self._connection.send(("stage", name, total, unit))
        yield self
        self._connection.send(("stage over",))

    def advance(self, amount: int = 1) -> None:
        self._connection.send(("advance", amount))

    def describe(self, detail: str) -> None:
        self._connection.send(("describe", detail))

    def note(self, text: str) -> None:
        self._connection.send(("note", text))

    def warn(self, text: str) -> None:
        self._connection.send(("warn", text))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C, which a terminal sends to all: processes started here never see it, we do afterwards."""
    if sys.platform == "win32":
        yield
        return
    # Python lets interrupts through again when it starts this helper of its own, which it does with the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _nothing_printed(*descriptors: int) -> Iterator[None]:
    """Keep what libraries print, such as that they have met, off standard output or error."""
    kept = [os.dup(descriptor) for descriptor in descriptors]
    try:
        with Path(os.devnull).open("w") as nowhere:
            for descriptor in descriptors:
                os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        for descriptor, before in zip(descriptors, kept, strict=True):
            os.dup2(before, descriptor)
            os.close(before)
