"""The one training loop, for pretraining and for alignment: batches, losses, seed, early stopping."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iadsr_cli import validation
from iadsr_cli.checkpoints import Checkpoint
from iadsr_cli.config import AlignSettings, Config, LoopSettings
from iadsr_cli.devices import ALONE, Group, Share
from iadsr_cli.errors import TrainingError, UsageError
from iadsr_cli.hardware import pick_device, pick_precision, step_precision
from iadsr_cli.models import Backbone, make_backbone
from iadsr_cli.models.alignment import AlignedModel, Prepared
from iadsr_cli.models.logsumexp import is_fused
from iadsr_cli.models.losses import FullSoftmax, NextItemLoss, SampledSoftmax
from iadsr_cli.progress import Reporter
from iadsr_cli.replays import Replays
from iadsr_cli.sequences import Sequences, Windows, bucketed_batches, training_windows
from iadsr_cli.transfers import ahead, pinned, sent

# Padded places per batch are bounded by this multiple of the batch size, so that long histories do not need more
# memory than short ones; with histories of up to 16 the batch size alone decides.
PLACES_PER_SEQUENCE = 16

# Items up to which the automatic loss goes over the whole catalogue.
_FULL_SOFTMAX_ITEMS = 50_000

# What is kept of item embeddings in training: they, those of the best epoch, and the two moments of Adam.
_TABLES = 4

History = list[dict[str, float]]


@dataclass(frozen=True)
class Batch:
    """The windows of a batch that this process computes.

    Attributes:
        flat: flat indices of their interactions, [B, T].
        items: item codes [B, T].
        targets: codes of the next items [B, T].
        size: windows of the whole batch.
        share: what of it these are.
        prepared: what an aligned model wants to know of the items beforehand.
    """

    flat: Tensor
    items: Tensor
    targets: Tensor
    size: int
    share: Share
    prepared: Prepared | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows and places in each of those that are here: (B, T)."""
        return tuple(self.items.shape)

    def tensors(self) -> list[Tensor]:
        """Return all tensors, in one order."""
        of_items = [] if self.prepared is None else [self.prepared.vectors, self.prepared.places]
        return [self.flat, self.items, self.targets, *(tensor for tensor in of_items if tensor is not None)]

    def sent(self, device: torch.device) -> "Batch":
        """Return it on the device, from the host."""
        flat, items, targets = (sent(tensor, device) for tensor in (self.flat, self.items, self.targets))
        prepared = self.prepared.sent(device) if self.prepared else None
        return replace(self, flat=flat, items=items, targets=targets, prepared=prepared)


def keeps_items_on_host(backbone: Backbone, loop: LoopSettings, device: torch.device) -> bool:
    """Return whether a recommender's item embedding is to stay on the host while it is trained on a device.

    Raises:
        UsageError: if that was asked for with the full softmax, of which each step takes the whole table.
    """
    items, size = backbone.item_embedding.num_embeddings - 1, backbone.item_embedding.embedding_dim
    sampled, asked = _samples(items, loop), loop.item_table
    if asked == "host" and not sampled:
        raise UsageError(
            f"--item-table is host, and the softmax over all {items:,} items takes the whole table at each step.",
            "Add --loss sampled, or leave out --item-table.",
        )
    if asked != "auto":
        return asked == "host"
    return sampled and 4 * _TABLES * items * size > _memory(device) / 2


def _keeps_vectors_on_host(vectors: np.ndarray, device: torch.device) -> bool:
    """Return whether semantic vectors are to stay on the host while a model is aligned on a device."""
    return device.type != "cuda" or vectors.nbytes > _memory(device) / 4


def _memory(device: torch.device) -> float:
    """Return the bytes of a GPU's own memory; other devices have the host's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else np.inf


def _samples(items: int, loop: LoopSettings) -> bool:
    """Return whether the softmax over items is a sampled one; "auto" takes the full one for a small catalogue."""
    return loop.loss == "sampled" or (loop.loss == "auto" and items > _FULL_SOFTMAX_ITEMS)


def make_next_item_loss(backbone: Backbone, sequences: Sequences, hold_out: int, config: Config) -> NextItemLoss:
    """Return the loss that the settings ask for.

    With a sampled softmax, the recommender's item embedding is told to have sparse gradients.
    """
    device = backbone.device
    precision = pick_precision(config.loop.precision, device)
    sampled = _samples(len(sequences.items), config.loop)
    backbone.item_embedding.sparse = sampled
    if not sampled:
        return FullSoftmax(precision)
    counts = torch.from_numpy(sequences.counts(sequences.train_lengths(hold_out))).to(device)
    return SampledSoftmax(counts, config.loop.negatives, precision)


def pretrain(
    sequences: Sequences,
    config: Config,
    reporter: Reporter,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> tuple[Backbone, History]:
    """Train a recommender on next-item prediction, every position of a history being a target.

    All processes of a group have to be called with the same, and return the same.

    Returns:
        The recommender with the weights of its best epoch, and one record per epoch.
    """
    device = pick_device(config.run.device)
    with _randomness(config.run.seed, device):
        backbone = make_backbone(config.backbone, len(sequences.items))
        backbone.item_embedding.stay_on_host(keeps_items_on_host(backbone, config.loop, device))
        backbone.to(device)
        next_item = make_next_item_loss(backbone, sequences, config.pretrain.hold_out, config)

        def losses(batch: Batch) -> dict[str, Tensor]:
            return {"loss": next_item(backbone, batch.items, backbone(batch.items), batch.targets, batch.share)}

        def validate(users: np.ndarray) -> tuple[dict[str, float], float]:
            record = validation.rank(backbone, sequences, config.pretrain.hold_out, users, group)
            return record, record["validation_NDCG"]

        history = _fit(
            backbone,
            backbone,
            losses,
            validate,
            sequences,
            config.loop,
            hold_out=config.pretrain.hold_out,
            epochs=config.pretrain.pretrain_epochs,
            learning_rate=config.pretrain.pretrain_learning_rate,
            seed=config.run.seed,
            stage_name="pretrain",
            reporter=reporter,
            checkpoint=checkpoint,
            group=group,
            replays=_replays(next_item, backbone, config.loop, group),
        )
    return backbone, history


def align(
    sequences: Sequences,
    backbone: Backbone,
    vectors: np.ndarray,
    known: np.ndarray,
    hold_out: int,
    config: Config,
    reporter: Reporter,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> tuple[AlignedModel, History]:
    """Continue from a pretrained recommender with IADSR's four-term loss.

    The mask of an epoch is kept for every interaction and multiplies its input embedding in the next epoch.

    Args:
        sequences: whole histories; those held out are not trained on.
        backbone: the pretrained recommender; it is trained further in place.
        vectors: semantic vector per item code, float32 [V + 1, S].
        known: whether an item code has one, bool [V + 1].
        hold_out: as in pretraining: last interactions of a user that are not trained on.
        config: the settings of alignment, loop and run.
        reporter: told of the progress.
        checkpoint: where the state is kept after each epoch, and taken up from if it is there.
        group: the processes that train together; all have to be called with the same, and return the same.

    Returns:
        The aligned model with the weights of its best epoch, and one record per epoch.
    """
    device = pick_device(config.run.device)
    with _randomness(config.run.seed, device):
        backbone.item_embedding.stay_on_host(keeps_items_on_host(backbone, config.loop, device))
        model = AlignedModel(backbone, torch.from_numpy(vectors), torch.from_numpy(known)).to(device)
        model.keep_vectors_on_host(_keeps_vectors_on_host(vectors, device))
        settings: AlignSettings = config.align
        precision = pick_precision(config.loop.precision, device)
        next_item = make_next_item_loss(backbone, sequences, hold_out, config)
        last_masks = torch.ones(len(sequences.codes), device=device)
        # One more than there are interactions, for padding.
        masks = torch.ones(len(sequences.codes) + 1, device=device)
        whole = _replays(next_item, backbone, config.loop, group)

        def losses(batch: Batch) -> dict[str, Tensor]:
            # Standard Gumbel draws; the clamp keeps log(-log(u)) finite.
            # Drawn for the whole batch, as one process would.
            uniform = torch.rand(batch.size, batch.items.shape[1], device=device)[batch.share.rows]
            uniform.clamp_(1e-20, 1 - 1e-7)
            terms, mask = model.losses(
                batch.items,
                batch.targets,
                last_masks[batch.flat],
                -torch.log(-torch.log(uniform)),
                settings.temperature,
                settings.gumbel_tau,
                next_item,
                precision,
                batch.share,
                batch.prepared,
            )
            if batch.share.keeps:
                masks[batch.flat.masked_fill(batch.items == 0, len(last_masks))] = mask
            return {
                "loss": terms.total(),
                "next_item": terms.next_item,
                "info_nce_short": terms.short,
                "info_nce_long": terms.long,
                "reconstruction": terms.reconstruction,
            }

        def validate(users: np.ndarray) -> tuple[dict[str, float], float]:
            # Ones stay where another process computes, and where nobody does.
            group.take_lowest(masks)
            last_masks.copy_(masks[:-1])
            masks.fill_(1)
            loss = validation.held_out_loss(model, sequences, hold_out, users, config, group)
            record = validation.rank(backbone, sequences, hold_out, users, group)
            return {**record, "validation_loss": loss}, -loss

        history = _fit(
            model,
            backbone,
            losses,
            validate,
            sequences,
            config.loop,
            hold_out=hold_out,
            epochs=settings.align_epochs,
            learning_rate=settings.align_learning_rate,
            seed=config.run.seed,
            stage_name="align",
            reporter=reporter,
            checkpoint=checkpoint,
            group=group,
            kept={"masks": last_masks},
            prepare=partial(model.prepare, whole=whole),
            replays=whole,
        )
        model.keep_vectors_on_host(True)
    return model, history


def _replays(next_item: NextItemLoss, backbone: Backbone, loop: LoopSettings, group: Group) -> bool:
    """Return whether steps can be recorded and replayed: where no part of one has the host wait for the device.

    The sampled softmax does, and its optimizer; so do processes for each other.
    """
    precision = pick_precision(loop.precision, backbone.device)
    size = max(backbone.item_embedding.embedding_dim, backbone.hidden_size)
    return is_fused(backbone.device, precision, size) and isinstance(next_item, FullSoftmax) and group.size == 1


@contextmanager
def _randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Begin random numbers at `seed`, and leave those of the caller as they were."""
    # On this device alone: a look at the others would take memory on each, and a warning.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _fit(
    model: nn.Module,
    backbone: Backbone,
    losses: Callable[[Batch], dict[str, Tensor]],
    validate: Callable[[np.ndarray], tuple[dict[str, float], float]],
    sequences: Sequences,
    loop: LoopSettings,
    *,
    hold_out: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    stage_name: str,
    reporter: Reporter,
    checkpoint: Checkpoint | None,
    group: Group,
    replays: bool,
    kept: dict[str, Tensor] | None = None,
    prepare: Callable[[Tensor], Prepared] | None = None,
) -> History:
    """Train `model` in place, leave the weights of its best epoch in it, and return one record per epoch.

    `validate` is called after each epoch with the users that validate; it returns what to record and the one figure
    that is to be as large as possible. `checkpoint`, if it holds a state, is gone on from, and it gets the state after
    each epoch; `replays` says whether steps are recorded and replayed; `kept` is what beside weights goes from epoch to
    epoch; `prepare` is asked about the items of a batch.
    """
    generator = np.random.default_rng(seed)
    ends = sequences.train_lengths(hold_out)
    windows = training_windows(sequences, ends, backbone.settings.window)
    next_codes = _next_codes(sequences, ends)
    validators = validation.validators(sequences, generator)
    optimizers = _optimizers(model, backbone, learning_rate, capturable=replays)
    run = _Run(model, optimizers, generator, kept or {})
    device = backbone.device

    def made(chosen: np.ndarray) -> Batch:
        return _batch(sequences, next_codes, windows.take(chosen), device, group, prepare)

    automatic = step_precision(pick_precision(loop.precision, device), device)
    # Added to in place, so that a recorded step does so as well.
    sums: dict[str, Tensor] = {}

    def step(batch: Batch) -> None:
        with automatic:
            terms = losses(batch.sent(device))
        model.zero_grad(set_to_none=True)
        terms["loss"].backward()
        group.add_up_gradients(model.parameters())
        for optimizer in optimizers:
            optimizer.step()
        for name, value in terms.items():
            if name not in sums:
                sums[name] = torch.zeros_like(value)
            sums[name].add_(value.detach(), alpha=batch.size)

    do = Replays(step, device) if replays else step
    if checkpoint is not None and (found := checkpoint.load()) is not None:
        run.restore(*found)
        reporter.note(f"Going on with {stage_name} after epoch {run.epoch}.")
    with reporter.stage(stage_name, epochs * len(windows), "sequences") as stage:
        stage.advance(run.epoch * len(windows))
        while run.epoch < epochs and run.epoch - run.best_epoch < loop.patience:
            epoch = run.epoch + 1
            model.train()
            if group.size > 1 and backbone.settings.dropout:
                # Each process drops other units, begun anew with each epoch: a run that is resumed drops the same.
                torch.manual_seed(int(np.random.SeedSequence([seed, epoch, group.rank]).generate_state(1)[0]))
            for value in sums.values():
                value.zero_()
            chosen = bucketed_batches(windows.length, loop.batch_size, loop.batch_size * PLACES_PER_SEQUENCE, generator)
            for batch in ahead(made, chosen, device):
                do(batch)
                stage.advance(batch.size)
            for value in sums.values():
                group.add_up(value)
            record = {name: value.item() / len(windows) for name, value in sums.items()}
            if not np.isfinite([record["loss"], _sum_of_weights(model, group)]).all():
                raise TrainingError(
                    f"The loss is no longer a number in epoch {epoch} of {stage_name}.",
                    f"Lower --{stage_name}-learning-rate (it is {learning_rate:g}).",
                )
            model.eval()
            with backbone.item_embedding.whole_on(device):
                ranked, criterion = validate(validators)
            run.end_epoch({"epoch": epoch, **record, **ranked}, criterion)
            stage.describe(f"epoch {epoch}, NDCG@10 {ranked['validation_NDCG@10']:.4f}")
            if checkpoint is not None and group.rank == 0:
                checkpoint.save(*run.state())
    run.use_best_weights()
    model.eval()
    return run.history


def _sum_of_weights(model: nn.Module, group: Group) -> float:
    """Return the sum of all weights of all processes: no number where one is none, as the last step may leave it."""
    sums = [parameter.detach().sum() for parameter in model.parameters()]
    total = torch.stack([each.to(sums[0].device) for each in sums]).sum()
    group.add_up(total)
    return float(total)


def _optimizers(
    model: nn.Module, backbone: Backbone, learning_rate: float, *, capturable: bool
) -> list[torch.optim.Optimizer]:
    """Return AdamW, and, where a step sees few of the items, an Adam that leaves the others alone."""
    embedding = backbone.item_embedding
    sparse = [embedding.weight] if embedding.sparse else []
    dense = [parameter for parameter in model.parameters() if not (embedding.sparse and parameter is embedding.weight)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(dense, learning_rate, fused=True, capturable=capturable)
    ]
    if sparse:
        optimizers.append(torch.optim.SparseAdam(sparse, learning_rate))
    return optimizers


class _Run:
    """What goes from one epoch to the next: weights, optimizer, random states, the best epoch so far, the history."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        generator: np.random.Generator,
        kept: dict[str, Tensor],
    ) -> None:
        # Parameters only: the rest of a model, semantic vectors say, is large and does not change.
        self._weights = {name: parameter.data for name, parameter in model.named_parameters()}
        self._optimizers, self._generator, self._kept = optimizers, generator, kept
        self.history: History = []
        self.best_epoch, self._best = 0, -np.inf
        self._best_weights: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    def end_epoch(self, record: dict[str, float], criterion: float) -> None:
        """Add an epoch's record, and keep its weights if its criterion is the largest so far."""
        self.history.append(record)
        if criterion > self._best:
            self.best_epoch, self._best = self.epoch, criterion
            self._best_weights = {name: weight.clone() for name, weight in self._weights.items()}

    def use_best_weights(self) -> None:
        """Put the weights of the best epoch into the model."""
        for name, weight in self._best_weights.items():
            self._weights[name].copy_(weight)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all of it, as tensors and JSON values."""
        moments = {
            f"optimizer.{which}.{index}.{name}": torch.as_tensor(value)
            for which, optimizer in enumerate(self._optimizers)
            for index, parts in optimizer.state_dict()["state"].items()
            for name, value in parts.items()
        }
        tensors = {
            "random": torch.get_rng_state(),
            **{f"model.{name}": value for name, value in self._weights.items()},
            **{f"best.{name}": value for name, value in self._best_weights.items()},
            **{f"kept.{name}": value for name, value in self._kept.items()},
            **moments,
        }
        if torch.cuda.is_available():
            tensors["random_cuda"] = torch.cuda.get_rng_state()
        return tensors, {
            "history": self.history,
            "best": self._best,
            "best_epoch": self.best_epoch,
            "generator": self._generator.bit_generator.state,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up what `state` returned."""
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            group, _, rest = name.partition(".")
            parts.setdefault(group, {})[rest] = value
        for name, value in parts["model"].items():
            self._weights[name].copy_(value)
        self._best_weights = parts["best"]
        for name, value in parts.get("kept", {}).items():
            self._kept[name].copy_(value)
        moments: list[dict[int, dict[str, Any]]] = [{} for _ in self._optimizers]
        for name, value in parts["optimizer"].items():
            which, index, rest = name.split(".", 2)
            # A whole number of steps is an int to the optimizer that counts so.
            kept = value if value.is_floating_point() else value.item()
            moments[int(which)].setdefault(int(index), {})[rest] = kept
        for optimizer, moment in zip(self._optimizers, moments, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moment, "param_groups": groups})
        torch.set_rng_state(tensors["random"])
        if "random_cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random_cuda"])
        self.history, self._best, self.best_epoch = state["history"], state["best"], state["best_epoch"]
        self._generator.bit_generator.state = state["generator"]


def _batch(
    sequences: Sequences,
    next_codes: np.ndarray,
    windows: Windows,
    device: torch.device,
    group: Group,
    prepare: Callable[[Tensor], Prepared] | None,
) -> Batch:
    """Return a batch on the host, ready to be sent to the device."""
    flat, valid = windows.grid()
    items, targets = sequences.codes[flat] * valid, next_codes[flat] * valid
    share = group.share(items, targets)
    own = [
        pinned(torch.from_numpy(np.ascontiguousarray(array[share.rows])), device) for array in (flat, items, targets)
    ]
    return Batch(own[0], own[1], own[2], len(windows), share, prepare(own[1]).pinned(device) if prepare else None)


def _next_codes(sequences: Sequences, ends: np.ndarray) -> np.ndarray:
    """Return the code of the interaction that follows each in the training part, 0 where none does; int64 [N]."""
    following = np.append(sequences.codes[1:], 0)
    last = sequences.offsets[:-1] + ends - 1
    return following * (np.arange(len(following)) < np.repeat(last, sequences.lengths))
