from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from iadsr_cli import batches, hardware, loop, training, validation
from iadsr_cli.checkpoints import Checkpoint
from iadsr_cli.config import AlignSettings, BackboneSettings, Config, LoopSettings, PretrainSettings, RunSettings
from iadsr_cli.cosines import score_rows
from iadsr_cli.devices import ALONE
from iadsr_cli.errors import ArtifactError, TrainingError, UsageError
from iadsr_cli.models import BACKBONES, make_backbone
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.models.losses import FullSoftmax, SampledSoftmax
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import Sequences

ITEMS = 30
CONFIG = Config(
    backbone=BackboneSettings(embedding_size=8, hidden_size=12, window=6, dropout=0.0),
    pretrain=PretrainSettings(pretrain_epochs=3, pretrain_learning_rate=0.01),
    align=AlignSettings(align_epochs=3, align_learning_rate=0.01),
    loop=LoopSettings(batch_size=8, patience=9),
    run=RunSettings(device="cpu"),
)


def make_sequences(seed: int = 0, users: int = 40) -> Sequences:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 16, users)
    codes = generator.integers(1, ITEMS + 1, lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(pa.array([str(i) for i in range(ITEMS)]), codes, np.arange(len(codes)), offsets)


def vectors() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    known = np.arange(ITEMS + 1) % 4 > 0
    return generator.normal(size=(ITEMS + 1, 5)).astype(np.float32) * known[:, None], known


def aligned(sequences: Sequences, config: Config = CONFIG) -> tuple[AlignedModel, loop.History]:
    torch.manual_seed(0)
    backbone = make_backbone(config.backbone, ITEMS)
    return training.align(sequences, backbone, *vectors(), 2, config, Silent())


def test_the_masks_of_an_epoch_are_the_input_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = make_sequences()
    seen: list[dict[int, float]] = [{}]
    made: list[dict[int, float]] = [{}]
    flats: list[torch.Tensor] = []
    original_batch, original_losses = loop.make_batch, AlignedModel.losses
    interactions = int(sequences.train_lengths(2).sum())

    def batch(*arguments: object) -> batches.Batch:
        result = original_batch(*arguments)  # type: ignore[arg-type]
        flats.append(result.flat)
        return result

    def losses(self: AlignedModel, items: torch.Tensor, targets: torch.Tensor, keep: torch.Tensor, *rest: object):
        terms, mask = original_losses(self, items, targets, keep, *rest)  # type: ignore[arg-type]
        if len(made[-1]) == interactions:
            seen.append({})
            made.append({})
        valid = items > 0
        places = flats[-1][valid].tolist()
        seen[-1].update(zip(places, keep[valid].tolist(), strict=True))
        made[-1].update(zip(places, mask[valid].tolist(), strict=True))
        return terms, mask

    monkeypatch.setattr(loop, "make_batch", batch)
    monkeypatch.setattr(AlignedModel, "losses", losses)
    aligned(sequences)
    assert len(seen) == 3
    assert set(seen[0].values()) == {1.0}
    for epoch in (1, 2):
        assert len(made[epoch]) == interactions
        assert seen[epoch] == made[epoch - 1]
        assert set(made[epoch].values()) == {0.0, 1.0}


def test_held_out_items_are_never_trained_on() -> None:
    # With one epoch validation chooses nothing: changing held-out items may then change no weight.
    config = replace(CONFIG, pretrain=PretrainSettings(pretrain_epochs=1), align=AlignSettings(align_epochs=1))
    sequences = make_sequences()
    held_out = np.concatenate(
        [
            np.arange(end - 2, end)
            for end, length in zip(sequences.offsets[1:], sequences.lengths, strict=True)
            if length >= 3
        ]
    )
    codes = sequences.codes.copy()
    codes[held_out] = codes[held_out] % ITEMS + 1
    changed = replace(sequences, codes=codes)
    for train in (lambda s: training.pretrain(s, config, Silent())[0], lambda s: aligned(s, config)[0]):
        first, second = train(sequences).state_dict(), train(changed).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_targets_stay_inside_a_users_training_part() -> None:
    sequences = make_sequences(3)
    ends = sequences.train_lengths(2)
    following = batches.next_codes(sequences, ends)
    for user, (start, length) in enumerate(zip(sequences.offsets[:-1], sequences.lengths, strict=True)):
        for place in range(length):
            expected = sequences.codes[start + place + 1] if place + 1 < ends[user] else 0
            assert following[start + place] == expected


def test_the_best_epoch_is_kept_and_patience_ends_training(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.5, 0.2, 0.3, 0.9])
    states = []

    def rank(backbone: torch.nn.Module, *rest: object) -> dict[str, float]:
        states.append({name: value.clone() for name, value in backbone.state_dict().items()})
        value = next(scores)
        return {"validation_NDCG": value, "validation_NDCG@10": value}

    monkeypatch.setattr(validation, "rank", rank)
    config = replace(CONFIG, pretrain=PretrainSettings(pretrain_epochs=5), loop=LoopSettings(batch_size=8, patience=2))
    backbone, history = training.pretrain(make_sequences(), config, Silent())
    assert [record["validation_NDCG"] for record in history] == [0.1, 0.5, 0.2, 0.3]
    assert all(torch.equal(value, states[1][name]) for name, value in backbone.state_dict().items())
    assert not backbone.training


@pytest.mark.parametrize(
    ("batch_size", "stops_after"), [(1, 5), (8, 13)], ids=["many steps an epoch", "few steps an epoch"]
)
def test_training_is_more_patient_where_epochs_have_few_steps(
    batch_size: int, stops_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = make_sequences()
    assert len(sequences.lengths) == 40
    monkeypatch.setattr(loop, "_STEPS", 40)
    scores = iter([0.9, *[0.1] * 99])
    monkeypatch.setattr(
        validation, "rank", lambda *rest: dict.fromkeys(("validation_NDCG", "validation_NDCG@10"), next(scores))
    )
    config = replace(CONFIG, pretrain=PretrainSettings(), loop=LoopSettings(batch_size=batch_size))
    assert len(training.pretrain(sequences, config, Silent())[1]) == stops_after


def test_a_small_log_is_trained_on_for_more_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter(np.linspace(0, 1, 999))
    monkeypatch.setattr(
        validation, "rank", lambda *rest: dict.fromkeys(("validation_NDCG", "validation_NDCG@10"), next(scores))
    )
    monkeypatch.setattr(loop, "_MOST_EPOCHS", 3)
    config = replace(CONFIG, pretrain=PretrainSettings(), loop=LoopSettings(batch_size=8))
    assert len(training.pretrain(make_sequences(), config, Silent())[1]) == 9
    config = replace(CONFIG, pretrain=PretrainSettings(pretrain_epochs=2), loop=LoopSettings(batch_size=8))
    assert len(training.pretrain(make_sequences(), config, Silent())[1]) == 2


def test_a_resumed_run_keeps_the_best_epoch_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, states = iter([0.1, 0.5, 0.2, None, 0.3, 0.4]), []

    def rank(backbone: torch.nn.Module, *rest: object) -> dict[str, float]:
        states.append({name: value.clone() for name, value in backbone.state_dict().items()})
        value = next(scores)
        if value is None:
            raise KeyboardInterrupt
        return {"validation_NDCG": value, "validation_NDCG@10": value}

    monkeypatch.setattr(validation, "rank", rank)
    config = replace(CONFIG, pretrain=PretrainSettings(pretrain_epochs=5))
    with pytest.raises(KeyboardInterrupt):
        training.pretrain(make_sequences(), config, Silent(), Checkpoint(tmp_path / "checkpoint", "run"))
    resumed = Checkpoint(tmp_path / "checkpoint", "run")
    backbone, history = training.pretrain(make_sequences(), config, Silent(), resumed)
    assert [record["validation_NDCG"] for record in history] == [0.1, 0.5, 0.2, 0.3, 0.4]
    assert all(torch.equal(value, states[1][name]) for name, value in backbone.state_dict().items())


def test_alignment_validates_by_the_loss_at_the_item_before_the_last() -> None:
    sequences = make_sequences()
    model = aligned(sequences)[0].eval()
    users = np.flatnonzero((sequences.lengths >= 3) & (sequences.lengths <= 7))
    items = torch.zeros(len(users), 6, dtype=torch.int64)
    for place, user in enumerate(users):
        history = sequences.codes[sequences.offsets[user] : sequences.offsets[user + 1] - 1]
        items[place, : len(history)] = torch.from_numpy(history)
    config = replace(CONFIG, loop=replace(CONFIG.loop, batch_size=len(users)))
    with torch.no_grad():
        expected = model.held_out_loss(items, torch.from_numpy(sequences.lengths[users] - 2), config.align.temperature)
    found = validation.held_out_loss(model, sequences, 2, users, config, ALONE)
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_the_same_seed_trains_the_same_weights_and_leaves_the_callers_randomness_alone() -> None:
    sequences = make_sequences()
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    first, _ = training.pretrain(sequences, CONFIG, Silent())
    assert torch.equal(torch.rand(3), expected)
    second, _ = training.pretrain(sequences, CONFIG, Silent())
    other, _ = training.pretrain(sequences, replace(CONFIG, run=RunSettings(seed=1, device="cpu")), Silent())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.item_embedding.weight, other.item_embedding.weight)


def test_alignment_lowers_its_losses() -> None:
    config = replace(CONFIG, align=AlignSettings(align_epochs=12, align_learning_rate=0.01))
    _, history = aligned(make_sequences(), config)
    for term in ("next_item", "info_nce_short", "info_nce_long", "reconstruction"):
        assert history[-1][term] < history[0][term], term
    total = [
        sum(record[term] for term in ("next_item", "info_nce_short", "info_nce_long", "reconstruction"))
        for record in history
    ]
    assert total == pytest.approx([record["loss"] for record in history], rel=1e-5)


def test_a_loss_that_is_no_number_stops_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    not_a_number = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(training, "make_next_item_loss", lambda *_: lambda *_: not_a_number)
    with pytest.raises(TrainingError, match="no longer a number in epoch 1 of pretrain") as caught:
        training.pretrain(make_sequences(), CONFIG, Silent())
    assert caught.value.hint == "Lower --pretrain-learning-rate (it is 0.01)."


def test_weights_that_the_last_step_leaves_no_numbers_are_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every loss is a number: what a step does to the weights shows in the loss of the next one only.
    step, steps, last = torch.optim.AdamW.step, [], 0

    def counted(optimizer: torch.optim.AdamW) -> None:
        step(optimizer)
        steps.append(optimizer)
        if len(steps) == last:
            optimizer.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    config = replace(CONFIG, pretrain=PretrainSettings(pretrain_epochs=1))
    training.pretrain(make_sequences(), config, Silent())
    last = len(steps)
    steps.clear()
    with pytest.raises(TrainingError, match="no longer a number in epoch 1 of pretrain"):
        training.pretrain(make_sequences(), config, Silent())
    assert len(steps) == last


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="--device cuda is not available on this machine") as caught:
        hardware.pick_device("cuda")
    assert "cpu" in caught.value.hint


@pytest.mark.parametrize(
    ("stopped", "loss", "tables"),
    [
        (1, "full", ("auto", "auto")),
        (2, "full", ("auto", "auto")),
        (3, "full", ("auto", "auto")),
        (2, "sampled", ("auto", "auto")),
        (2, "sampled", ("host", "host")),
        (2, "sampled", ("host", "device")),
    ],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: int, loss: str, tables: tuple[str, str]
) -> None:
    sequences = make_sequences()
    shared = replace(
        CONFIG,
        loop=replace(CONFIG.loop, loss=loss, negatives=10),
        backbone=replace(CONFIG.backbone, dropout=0.3),
        pretrain=PretrainSettings(pretrain_epochs=4),
        align=AlignSettings(align_epochs=4),
    )

    def both(folder: Path | None, table: str) -> dict[str, torch.Tensor]:
        config = replace(shared, loop=replace(shared.loop, item_table=table))
        points = [Checkpoint(folder / name, "run") if folder else None for name in ("pretrain", "align")]
        backbone, _ = training.pretrain(sequences, config, Silent(), points[0])
        model, history = training.align(sequences, backbone, *vectors(), 2, config, Silent(), points[1])
        assert [record["epoch"] for record in history] == [1, 2, 3, 4]
        return model.state_dict()

    whole = both(None, "device")
    original = loop.Run.end_epoch
    for aligning in (False, True):

        def end_epoch(self: loop.Run, *arguments: object, aligning: bool = aligning) -> None:
            # The interrupt falls in the middle of a stage, when its weights have moved on past the checkpoint.
            if self.epoch == stopped and bool(self._kept) == aligning:
                raise KeyboardInterrupt
            original(self, *arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(loop.Run, "end_epoch", end_epoch)
            with pytest.raises(KeyboardInterrupt):
                both(tmp_path, tables[0])
    resumed = both(tmp_path, tables[1])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    Checkpoint(path, "one").save({"weights": torch.ones(2)}, {"epoch": 1})
    tensors, state = Checkpoint(path, "one").load() or ({}, {})
    assert torch.equal(tensors["weights"], torch.ones(2))
    assert state == {"epoch": 1}
    with pytest.raises(ArtifactError, match="is of another log or other settings"):
        Checkpoint(path, "two").load()
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))]
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="is damaged"):
            Checkpoint(path, "one").load()
        assert Checkpoint(path, "one", strict=False).load() is None
    Checkpoint(path, "one").clear()
    assert Checkpoint(path, "one").load() is None


def test_the_loss_over_all_items_is_left_where_the_catalogue_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, kinds = make_sequences(), {}
    for limit in (ITEMS, ITEMS - 1):
        monkeypatch.setattr(training, "_FULL_SOFTMAX_ITEMS", limit)
        for asked in ("auto", "full", "sampled"):
            config = replace(CONFIG, loop=replace(CONFIG.loop, loss=asked))
            backbone = make_backbone(CONFIG.backbone, ITEMS)
            loss = training.make_next_item_loss(backbone, sequences, 2, config)
            assert backbone.item_embedding.sparse == isinstance(loss, SampledSoftmax)
            kinds[limit, asked] = type(loss)
    assert kinds == {
        (ITEMS, "auto"): FullSoftmax,
        (ITEMS, "full"): FullSoftmax,
        (ITEMS, "sampled"): SampledSoftmax,
        (ITEMS - 1, "auto"): SampledSoftmax,
        (ITEMS - 1, "full"): FullSoftmax,
        (ITEMS - 1, "sampled"): SampledSoftmax,
    }


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_item_embeddings_on_the_host_become_those_on_the_device(name: str) -> None:
    sequences, found = make_sequences(), []
    for table in ("device", "host"):
        config = replace(
            CONFIG,
            backbone=BackboneSettings(backbone=name, embedding_size=8, hidden_size=12, window=6, dropout=0.3),
            loop=replace(CONFIG.loop, loss="sampled", negatives=10, item_table=table),
        )
        backbone, first = training.pretrain(sequences, config, Silent())
        state = {f"pretrain.{key}": value.clone() for key, value in backbone.state_dict().items()}
        model, second = training.align(sequences, backbone, *vectors(), 2, config, Silent())
        assert model.backbone.item_embedding.on_host == (table == "host")
        found.append(({**state, **model.state_dict()}, first + second))
    assert found[0][1] == found[1][1]
    assert list(found[0][0]) == list(found[1][0])
    assert all(torch.equal(value, found[1][0][key]) for key, value in found[0][0].items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_and_scores_what_a_processor_does_wherever_item_embeddings_are_kept() -> None:
    sequences, curves = make_sequences(), []
    for device, table in (("cpu", "device"), ("cuda", "device"), ("cuda", "host")):
        loop = replace(CONFIG.loop, loss="sampled", negatives=10_000, item_table=table, precision="float32")
        config = replace(CONFIG, loop=loop, run=RunSettings(device=device))
        model, history = aligned(sequences, config)
        assert model.semantic.device.type == "cpu"
        assert model.backbone.item_embedding.weight.device.type == ("cpu" if table == "host" else device)
        curves.append([record["next_item"] for record in history])
        model.backbone.item_embedding.stay_on_host(False)
        rows = np.ones(len(sequences.codes), dtype=bool)
        there, here = (
            score_rows(model.to(name), np.ones(ITEMS + 1, np.int64), sequences, rows, Silent())
            for name in (device, "cpu")
        )
        assert there.noise == pytest.approx(here.noise, abs=1e-4, nan_ok=True)
    # Masks and negatives are drawn anew on each kind of device.
    assert curves[1] == pytest.approx(curves[2], rel=1e-3)
    assert curves[0] == pytest.approx(curves[1], rel=0.1)


def test_item_embeddings_go_to_the_host_where_they_would_fill_half_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, cuda = make_backbone(CONFIG.backbone, 1000), torch.device("cuda")
    tables = 4 * 4 * 1000 * 8

    def kept(memory: int, table: str = "auto", loss: str = "sampled", device: torch.device = cuda) -> bool:
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory))
        loop = LoopSettings(loss=loss, item_table=table)
        return training.keeps_items_on_host(backbone, loop, device)

    assert kept(2 * tables - 2)
    assert not kept(2 * tables)
    assert not kept(2 * tables - 2, table="device")
    assert not kept(2 * tables - 2, loss="full")
    assert not kept(1, device=torch.device("cpu"))
    assert kept(2 * tables, table="host")
    # Apple's GPUs have no sparse gradients.
    mps = torch.device("mps")
    assert kept(1, device=mps)
    assert not kept(1, loss="full", device=mps)
    with pytest.raises(UsageError, match="--item-table is device, where mps cannot train it by the sampled loss"):
        kept(1, table="device", device=mps)
    with pytest.raises(UsageError, match=r"--item-table is host, and the softmax over all 1,000 items") as caught:
        kept(2 * tables, table="host", loss="auto")
    assert caught.value.hint == "Add --loss sampled, or leave out --item-table."


def test_semantic_vectors_go_to_a_gpu_of_which_they_fill_no_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.zeros((10, 5), dtype=np.float32)
    for memory, on_host in ((800, False), (799, True)):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, memory=memory: SimpleNamespace(total_memory=memory)
        )
        assert training._keeps_vectors_on_host(vectors, torch.device("cuda")) == on_host
    assert training._keeps_vectors_on_host(vectors, torch.device("cpu"))


def test_a_gpu_that_only_imitates_bfloat16_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert hardware.pick_precision("auto", torch.device("cuda")) == torch.float32


@pytest.mark.parametrize(("told", "precision"), [(None, torch.float32), (False, torch.float32), (True, torch.bfloat16)])
def test_a_processor_computes_in_bfloat16_where_pytorch_says_that_it_has_it(
    monkeypatch: pytest.MonkeyPatch, told: bool | None, precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: told, raising=False)
    if told is None:  # as before 2.6
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert hardware.pick_precision("auto", torch.device("cpu")) == precision


def test_random_numbers_of_an_apple_gpu_go_on_with_a_run_and_stay_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    mps, state = torch.device("mps"), [1]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.tensor(state[-1:], dtype=torch.uint8))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda new: state.append(int(new)))
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1)).backward()
    optimizer.step()
    run = loop.Run(model, [optimizer], np.random.default_rng(0), {}, mps)
    run.end_epoch({"epoch": 1}, 0.0)
    with hardware.randomness(0, mps):
        kept = run.state()
        state.append(2)
        run.restore(*kept)
        assert state[-1] == 1
        state.append(3)
    assert state[-1] == 1


def test_negatives_are_drawn_by_the_popularity_of_the_training_part() -> None:
    sequences = make_sequences()
    config = replace(CONFIG, loop=replace(CONFIG.loop, loss="sampled", negatives=100_000))
    loss = training.make_next_item_loss(make_backbone(CONFIG.backbone, ITEMS), sequences, 2, config)
    assert isinstance(loss, SampledSoftmax)
    torch.manual_seed(0)
    codes, _ = loss.draw(torch.tensor([1]))
    counts = np.zeros(ITEMS)
    for user, end in enumerate(sequences.train_lengths(2)):
        for code in sequences.codes[sequences.offsets[user] : sequences.offsets[user] + end]:
            counts[code - 1] += 1
    expected = 0.5 / ITEMS + 0.5 * counts / counts.sum()
    assert np.bincount(codes, minlength=ITEMS + 1)[1:] / 100_000 == pytest.approx(expected, abs=0.004)


def test_validation_takes_fewer_users_the_more_items_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = make_sequences(users=400)
    monkeypatch.setattr(validation, "_VALIDATION_SCORES", 100 * ITEMS)
    monkeypatch.setattr(validation, "_FEWEST_VALIDATION_USERS", 7)
    assert len(validation.validators(sequences, np.random.default_rng(0))) == 100
    monkeypatch.setattr(validation, "_VALIDATION_SCORES", ITEMS)
    assert len(validation.validators(sequences, np.random.default_rng(0))) == 7


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_step_computed_in_bfloat16_as_on_a_gpu_trains_as_well(
    monkeypatch: pytest.MonkeyPatch, name: str, loss: str
) -> None:
    sequences, losses = make_sequences(), {}
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(hardware, "_AUTOCAST_DEVICES", devices)
        config = replace(
            CONFIG,
            backbone=BackboneSettings(backbone=name, embedding_size=8, hidden_size=12, window=6, dropout=0.0),
            loop=replace(CONFIG.loop, precision="bfloat16", loss=loss, negatives=20),
        )
        backbone, first = training.pretrain(sequences, config, Silent())
        model, second = training.align(sequences, backbone, *vectors(), 2, config, Silent())
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        losses[devices] = [record["loss"] for record in first + second]
    assert losses["cpu",] != losses[()]
    assert losses["cpu",] == pytest.approx(losses[()], rel=0.02)
