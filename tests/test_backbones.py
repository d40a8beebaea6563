from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from iadsr_cli.artifacts import write_artifact
from iadsr_cli.config import BackboneSettings, Config, LoopSettings, PretrainSettings, RunSettings
from iadsr_cli.models import BACKBONES, make_backbone
from iadsr_cli.models.store import Vocabulary, load_backbone, save_model
from iadsr_cli.progress import Silent
from iadsr_cli.ranking import held_out_ranks, hit_rate
from iadsr_cli.sequences import Sequences
from iadsr_cli.training import pretrain

EVERY = pytest.mark.parametrize("name", sorted(BACKBONES))


def small(name: str) -> BackboneSettings:
    return BackboneSettings(backbone=name, embedding_size=16, hidden_size=24, layers=2, dropout=0.0, window=20)


def markov_sequences(users: int, states: int, follow: float, seed: int) -> Sequences:
    """Return walks on a ring of items: the next item is the ring's next with probability `follow`, else any."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(5, 15, users)
    walks = []
    for length in lengths:
        walk = [generator.integers(states)]
        while len(walk) < length:
            stays = generator.random() < follow
            walk.append((walk[-1] * 7 + 3) % states if stays else generator.integers(states))
        walks.append(np.array(walk) + 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.concatenate(walks).astype(np.int64)
    return Sequences(pa.array([f"i{i}" for i in range(states)]), codes, np.arange(len(codes)), offsets)


@pytest.mark.parametrize(("name", "loss"), [*((name, "full") for name in sorted(BACKBONES)), ("gru4rec", "sampled")])
def test_learns_a_markov_chain_of_known_predictability(name: str, loss: str) -> None:
    sequences = markov_sequences(users=800, states=50, follow=0.8, seed=1)
    config = Config(
        backbone=small(name),
        pretrain=PretrainSettings(pretrain_epochs=12, pretrain_learning_rate=0.01),
        loop=LoopSettings(batch_size=64, patience=12, loss=loss, negatives=10),
        run=RunSettings(device="cpu"),
    )
    backbone, history = pretrain(sequences, config, Silent())
    ranks = np.concatenate([ranks for _, ranks in held_out_ranks(backbone, sequences, 1)])
    # The best possible HR@1 is 0.8 + 0.2 / 50; a random one is 0.02.
    assert 0.72 <= hit_rate(ranks, 1).mean() <= 0.90
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_learns_from_the_log_whether_items_come_again(again: bool, loss: str) -> None:
    generator = np.random.default_rng(0)
    # Six items each: of three that come again and again, or of thirty that do not.
    histories = [
        generator.choice(generator.choice(30, 3, replace=False), 6) if again else generator.choice(30, 6, replace=False)
        for _ in range(300)
    ]
    sequences = Sequences(
        pa.array([f"i{i}" for i in range(30)]), np.concatenate(histories) + 1, np.arange(1800), np.arange(0, 1801, 6)
    )
    config = Config(
        backbone=small("sasrec"),
        pretrain=PretrainSettings(pretrain_epochs=1, pretrain_learning_rate=0.02),
        loop=LoopSettings(batch_size=8, loss=loss, negatives=10),
        run=RunSettings(device="cpu"),
    )
    backbone, _ = pretrain(sequences, config, Silent())
    assert (backbone.repeat.item() > 0.3) if again else (backbone.repeat.item() < -0.3)


@EVERY
def test_changing_the_future_changes_no_earlier_state(name: str) -> None:
    torch.manual_seed(0)
    backbone = make_backbone(small(name), 30).eval()
    items = torch.randint(1, 31, (4, 12))
    changed = items.clone()
    changed[:, 7:] = torch.randint(1, 31, (4, 5))
    before, after = backbone(items), backbone(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@EVERY
@pytest.mark.parametrize("left", [True, False])
def test_padding_changes_nothing(name: str, left: bool) -> None:
    torch.manual_seed(0)
    backbone = make_backbone(small(name), 30).eval()
    items = torch.randint(1, 31, (3, 8))
    blank = torch.zeros(3, 5, dtype=torch.long)
    padded = torch.cat([blank, items] if left else [items, blank], dim=1)
    states = backbone(padded)
    assert torch.isfinite(states).all()
    torch.testing.assert_close(states[:, 5:] if left else states[:, :8], backbone(items), atol=1e-6, rtol=1e-5)


@EVERY
def test_a_mask_of_zero_hides_an_item(name: str) -> None:
    torch.manual_seed(0)
    backbone = make_backbone(small(name), 30).eval()
    items = torch.tensor([[1, 2, 3, 4]])
    other = torch.tensor([[1, 9, 3, 4]])
    hidden = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert torch.equal(backbone(items, hidden), backbone(other, hidden))
    assert not torch.allclose(backbone(items), backbone(other))


@EVERY
def test_saving_and_loading_keeps_every_state(name: str, tmp_path) -> None:
    torch.manual_seed(0)
    settings = small(name)
    backbone = make_backbone(settings, 30).eval()
    vocabulary = Vocabulary(pa.array([f"i{i}" for i in range(30)]), np.arange(31))
    write_artifact(
        tmp_path / "model",
        "pretrain",
        lambda draft: save_model(draft, backbone, vocabulary, [{"epoch": 1}]),
        config={"backbone": settings.record()},
        inputs={},
        facts={},
    )
    loaded, again, _ = load_backbone(tmp_path / "model", torch.device("cpu"))
    items = torch.randint(0, 31, (5, 9))
    assert torch.equal(loaded(items), backbone(items))
    assert again.items.equals(vocabulary.items)
    assert np.array_equal(again.trained, vocabulary.trained)
    assert loaded.settings == replace(settings)
