from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from iadsr_cli.replays import Replays

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Given:
    values: Tensor
    was_sent: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def tensors(self) -> list[Tensor]:
        return [self.values]

    def sent(self, device: torch.device) -> "Given":
        return Given(self.values.clone(), was_sent=True)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Have graphs be recorded by nothing, and return what was asked of them."""
    told: list[tuple[str, object]] = []

    class Graph:
        def replay(self) -> None:
            told.append(("replay", self))

    @contextmanager
    def graph(graph: Graph, **how: Any) -> Iterator[None]:
        told.append(("begin", how["pool"]))
        yield
        told.append(("end", graph))

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    return told


def test_a_step_is_done_then_recorded_then_replayed_on_what_is_copied_to_its_inputs(recorder: list[Any]) -> None:
    seen: list[Given] = []
    replays = Replays(seen.append, CPU)
    for value in range(4):
        replays(Given(torch.full((2, 3), value)))
        replays(Given(torch.full((5,), value)))
    # The first of each shape, and the second, which was recorded: of them the later ones are replays.
    assert [given.shape for given in seen] == [(2, 3), (5,), (2, 3), (5,)]
    assert all(given.was_sent for given in seen)
    assert [what for what, _ in recorder] == [*["begin", "end", "replay"] * 2, *["replay"] * 4]
    assert {pool for what, pool in recorder if what == "begin"} == {"pool"}
    graphs = [graph for what, graph in recorder if what == "end"]
    assert [graph for what, graph in recorder if what == "replay"] == graphs * 3
    assert [given.values.unique().tolist() for given in seen] == [[0], [0], [3], [3]]
