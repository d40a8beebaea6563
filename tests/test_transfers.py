import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training import CONFIG, aligned, make_sequences

from iadsr_cli import training, transfers
from iadsr_cli.config import BackboneSettings
from iadsr_cli.cosines import _terms
from iadsr_cli.models import BACKBONES, losses, make_backbone
from iadsr_cli.models.alignment import AlignedModel, Projections
from iadsr_cli.models.losses import FullSoftmax
from iadsr_cli.progress import Silent

CPU = torch.device("cpu")
# Tensors there have no values: whatever asks for one, or would have to wait for one on a GPU, is an error.
NOWHERE = torch.device("meta")


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_BESIDE_THE_HOST", ("cpu",))


@pytest.mark.usefixtures("beside")
def test_the_next_thing_is_made_while_one_is_used() -> None:
    made, second = [], threading.Event()

    def make(thing: int) -> int:
        made.append((thing, threading.current_thread() is threading.main_thread()))
        if thing == 1:
            second.set()
        return thing * 10

    found = transfers.ahead(make, range(4), CPU)
    assert next(found) == 0
    assert second.wait(10)
    assert [*found] == [10, 20, 30]
    assert made == [(thing, False) for thing in range(4)]
    assert [*transfers.ahead(make, [], CPU)] == []


@pytest.mark.usefixtures("beside")
def test_an_error_beside_comes_where_the_thing_is_used() -> None:
    def make(thing: int) -> int:
        if thing == 2:
            raise ValueError(thing)
        return thing

    def used() -> Iterator[int]:
        yield from transfers.ahead(make, range(9), CPU)

    found = used()
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(found)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_batches_made_beside_train_the_same_weights(monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    config = replace(
        CONFIG, backbone=replace(CONFIG.backbone, dropout=0.3), loop=replace(CONFIG.loop, loss=loss, negatives=10)
    )
    found = []
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(transfers, "_BESIDE_THE_HOST", devices)
        backbone, first = training.pretrain(make_sequences(), config, Silent())
        model, second = aligned(make_sequences(), config)
        found.append(({**backbone.state_dict(), **model.state_dict()}, first + second))
    assert found[0][1] == found[1][1]
    assert all(torch.equal(value, found[1][0][name]) for name, value in found[0][0].items())


def make_model(name: str) -> AlignedModel:
    backbone = make_backbone(BackboneSettings(backbone=name, embedding_size=8, hidden_size=12, window=6), 30)
    return AlignedModel(backbone, torch.randn(31, 5), torch.arange(31) % 3 > 0)


def test_semantic_vectors_stay_on_the_host_wherever_the_model_goes() -> None:
    model = make_model("gru4rec")
    before, names = model.semantic, list(model.state_dict())
    model.to(NOWHERE)
    assert model.semantic is before
    assert model.device == model.known.device == model.backbone.device == NOWHERE
    assert list(model.state_dict()) == names
    model.keep_vectors_on_host(False)
    assert model.semantic.device == NOWHERE
    assert list(model.state_dict()) == names
    assert model.prepare(torch.tensor([[1, 2]])).vectors is None


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_fused_step_waits_for_the_device_nowhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(losses, "can_fuse", lambda *_: True)
    monkeypatch.setattr(
        losses, "linear_logsumexp", lambda queries, weight, bias, _: queries @ weight.sum(0) + bias.sum()
    )
    model = make_model(name).to(NOWHERE)
    items = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    prepared = model.prepare(items, whole=True)
    assert prepared.places is None
    on_device, noise = items.to(NOWHERE), torch.zeros(2, 4, device=NOWHERE)
    terms, _ = model.losses(
        on_device, on_device, noise, noise, 0.1, 1.0, FullSoftmax(), prepared=prepared.sent(NOWHERE)
    )
    terms.total().backward()
    assert all(parameter.grad is not None for parameter in (model.text_short.weight, model.backbone.item_bias))


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_neither_a_step_of_alignment_nor_scoring_waits_for_the_device(name: str) -> None:
    model = make_model(name).to(NOWHERE)
    items = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    prepared = model.prepare(items).sent(NOWHERE)
    noise = torch.zeros(2, 4, device=NOWHERE)
    # That of the next item alone is left out: it picks the targets by a mask.
    terms, mask = model.losses(
        items.to(NOWHERE), items.to(NOWHERE), noise, noise, 0.1, 1.0, lambda *given: given[2].sum(), prepared=prepared
    )
    terms.total().backward()
    assert mask.shape == items.shape
    assert all(parameter.grad is not None for parameter in (model.text_short.weight, model.decoder.weight))
    with torch.inference_mode():
        projections = Projections(*torch.zeros(2, 30, 12, device=NOWHERE))
        assert _terms(model, projections, np.arange(1, 12), np.arange(11), np.array([8, 3])).shape == (11, 3)
    # What was not prepared has to be asked for.
    with pytest.raises(NotImplementedError, match="no data"):
        model.interests(items.to(NOWHERE))
