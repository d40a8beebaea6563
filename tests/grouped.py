"""What test_workers has processes do; a module of its own, because they import it by its name."""

import os
import signal

import torch

from iadsr_cli.checkpoints import Checkpoint
from iadsr_cli.devices import Group
from iadsr_cli.errors import TrainingError
from iadsr_cli.loop import History
from iadsr_cli.progress import Reporter


def each(trains, reporter: Reporter, checkpoint: Checkpoint | None, group: Group):
    """Return what several trainings return, in one model."""
    done = [train(reporter, checkpoint, group) for train in trains]
    return torch.nn.ModuleList([model for model, _ in done]), [history for _, history in done]


def told(reporter: Reporter, checkpoint: Checkpoint | None, group: Group) -> tuple[torch.nn.Module, History]:
    reporter.note(f"{group.rank} of {group.size}")
    with reporter.stage("first", 3, "steps") as stage:
        stage.advance(2)
        stage.describe("well")
    reporter.warn("over")
    print("not for anybody")
    return torch.nn.Linear(1, 1), []


def interrupted(reporter: Reporter, checkpoint: Checkpoint | None, group: Group) -> tuple[torch.nn.Module, History]:
    """Get what a terminal sends to all processes at Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    group.add_up(torch.ones(1))
    return torch.nn.Linear(1, 1), []


def refuses(reporter: Reporter, checkpoint: Checkpoint | None, group: Group) -> tuple[torch.nn.Module, History]:
    if group.rank:
        raise TrainingError("It cannot be.", "Do otherwise.")
    return waits(reporter, checkpoint, group)


def dies(reporter: Reporter, checkpoint: Checkpoint | None, group: Group) -> tuple[torch.nn.Module, History]:
    if group.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    return waits(reporter, checkpoint, group)


def waits(reporter: Reporter, checkpoint: Checkpoint | None, group: Group) -> tuple[torch.nn.Module, History]:
    group.add_up(torch.ones(1))
    raise AssertionError("the others did not take part")
