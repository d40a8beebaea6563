"""Several processes train what one would."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import resource_tracker

import grouped
import numpy as np
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from iadsr_cli import training, workers
from iadsr_cli.cli.app import app
from iadsr_cli.config import (
    AlignSettings,
    BackboneSettings,
    Config,
    LoopSettings,
    PretrainSettings,
    RunSettings,
    WorkerSettings,
)
from iadsr_cli.devices import ALONE
from iadsr_cli.errors import TrainingError, UsageError
from iadsr_cli.models import make_backbone
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import Sequences

ITEMS = 40


def make_sequences() -> Sequences:
    generator = np.random.default_rng(0)
    # Batches of odd sizes, and histories of one: a batch has one window, for two processes, and others no target.
    lengths = np.concatenate([generator.integers(1, 16, 59), [30]])
    codes = generator.integers(1, ITEMS + 1, lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(pa.array([str(item) for item in range(ITEMS)]), codes, np.arange(len(codes)), offsets)


def trainings(loss: str, dropout: float, item_table: str = "device"):
    config = Config(
        backbone=BackboneSettings(embedding_size=8, hidden_size=12, window=20, dropout=dropout),
        pretrain=PretrainSettings(pretrain_epochs=2, pretrain_learning_rate=0.01),
        align=AlignSettings(align_epochs=2, align_learning_rate=0.01),
        loop=LoopSettings(
            batch_size=5, patience=9, loss=loss, negatives=10, precision="float32", item_table=item_table
        ),
        run=RunSettings(device="cpu"),
    )
    sequences, generator = make_sequences(), np.random.default_rng(5)
    known = np.arange(ITEMS + 1) % 4 > 0
    vectors = generator.normal(size=(ITEMS + 1, 5)).astype(np.float32) * known[:, None]
    torch.manual_seed(0)
    backbone = make_backbone(config.backbone, ITEMS)
    pretrain = partial(training.pretrain, sequences, config)
    return [pretrain, partial(training.align, sequences, backbone, vectors, known, 2, config)]


def test_the_curves_of_several_processes_are_those_of_one() -> None:
    arguments = [("full", 0.0), ("sampled", 0.0), ("sampled", 0.0), ("full", 0.2)]
    alone, expected = grouped.each([t for a in arguments for t in trainings(*a)], Silent(), None, ALONE)
    tables = ("device", "device", "host", "device")
    trains = [t for a, table in zip(arguments, tables, strict=True) for t in trainings(*a, table)]
    together, found = workers.run(partial(grouped.each, trains), 2, "cpu", Silent(), None)
    for number, (one, two) in enumerate(zip(expected, found, strict=True)):
        dropped = number >= 6
        assert [list(record) for record in one] == [list(record) for record in two]
        for name in one[0]:
            curves = [record[name] for record in one], [record[name] for record in two]
            if not dropped:
                assert curves[0] == pytest.approx(curves[1], rel=1e-4), (number, name)
            elif name == "loss":
                assert curves[0] == pytest.approx(curves[1], rel=0.05), (number, name)
    states = alone.state_dict(), together.state_dict()
    assert [(name, value.shape) for name, value in states[0].items()] == [
        (name, value.shape) for name, value in states[1].items()
    ]


def test_what_is_said_reaches_the_reporter_and_nothing_else_is(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[object] = []

    class Heard(Silent):
        @contextmanager
        def stage(self, *of: object):
            said.append(of)
            yield self
            said.append("over")

        def advance(self, amount: int = 1) -> None:
            said.append(amount)

        def describe(self, detail: str) -> None:
            said.append(detail)

        def note(self, text: str) -> None:
            said.append(text)

        def warn(self, text: str) -> None:
            said.append(text)

    workers.run(grouped.told, 2, "cpu", Heard(), None)
    assert said == ["0 of 2", ("first", 3, "steps"), 2, "well", "over", "over"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("does", "message"),
    [
        (grouped.refuses, "It cannot be."),
        (grouped.dies, r"One of 2 training processes ended by itself \(signal 9\)\."),
    ],
)
def test_what_goes_wrong_in_any_process_is_said_once(does, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError, match=message):
        workers.run(does, 2, "cpu", Silent(), None)
    assert capfd.readouterr() == ("", "")


def test_interrupts_are_left_to_the_process_that_starts_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As in the first run of a command, when Python has not started its helper.
    for name in ("_fd", "_pid"):
        monkeypatch.setattr(resource_tracker._resource_tracker, name, None)
    workers.run(grouped.interrupted, 2, "cpu", Silent(), None)
    assert capfd.readouterr() == ("", "")


def asking(devices: int, device: str) -> Config:
    return replace(Config(), workers=WorkerSettings(devices=devices), run=RunSettings(device=device))


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_more_devices_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"--devices is 3, and this machine has 1 GPU\.") as caught:
        workers.check_devices(asking(3, device))
    assert caught.value.hint == "Give --devices 1, or processes on the CPU with --device cpu."
    workers.check_devices(asking(1, device))
    workers.check_devices(asking(3, "cpu"))


def launched(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    """Be one of the processes that torchrun has started."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "", "MASTER_PORT": ""}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


def test_another_number_than_torchrun_has_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 1, 2)
    assert not workers.leads()
    with pytest.raises(UsageError, match="--devices is 3, and torchrun has started 2 processes"):
        workers.check_devices(asking(3, "cpu"))
    workers.check_devices(asking(2, "cpu"))
    workers.check_devices(asking(1, "cpu"))


@pytest.mark.parametrize("command", ["embed", "denoise", "evaluate"])
def test_several_processes_do_not_run_a_command_that_one_runs(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    launched(monkeypatch, 0, 1)
    workers.check_launch(command)
    launched(monkeypatch, 0, 2)
    for together in ("pretrain", "align"):
        workers.check_launch(together)
    result = CliRunner().invoke(app, [command, "no.csv", "-o", "out"])
    assert (result.exit_code, result.stdout) == (2, "")
    told = " ".join(result.stderr.split())
    assert f"torchrun has started 2 processes, and {command} is run by one." in told
    assert "Run it without torchrun, which is for pretrain and align;" in told
    launched(monkeypatch, 1, 2)
    result = CliRunner().invoke(app, [command, "no.csv", "-o", "out"])
    assert (result.exit_code, result.output) == (2, ""), "one of them says so"
