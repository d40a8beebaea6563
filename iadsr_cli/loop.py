"""The one training loop, for pretraining and for alignment: steps, validation, early stopping, checkpoints."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iadsr_cli import validation
from iadsr_cli.batches import Batch, make_batch, next_codes
from iadsr_cli.checkpoints import Checkpoint
from iadsr_cli.config import LoopSettings
from iadsr_cli.devices import Group
from iadsr_cli.errors import TrainingError
from iadsr_cli.hardware import pick_precision, random_states, set_random_states, step_precision
from iadsr_cli.models import Backbone
from iadsr_cli.models.alignment import Prepared
from iadsr_cli.progress import Reporter
from iadsr_cli.replays import Replays
from iadsr_cli.sequences import Sequences, bucketed_batches, training_windows
from iadsr_cli.transfers import ahead

# Padded places per batch are bounded by this multiple of the batch size, so that long histories do not need more
# memory than short ones; with histories of up to 16 the batch size alone decides.
PLACES_PER_SEQUENCE = 16

# Where nothing else is asked for, training has so many epochs at most, and so many without a better one end it.
_MOST_EPOCHS, PATIENCE = 40, 4
# Both are so many times as many where an epoch has fewer steps than this: else training on a small log would end by
# chance, or before the recommender has learned what there is.
_STEPS, _TIMES_AS_MANY = 150, 3

History = list[dict[str, float]]


def fit(
    model: nn.Module,
    backbone: Backbone,
    losses: Callable[[Batch], dict[str, Tensor]],
    validate: Callable[[np.ndarray], tuple[dict[str, float], float]],
    sequences: Sequences,
    loop: LoopSettings,
    *,
    hold_out: int,
    epochs: int | None,
    patience: int | None,
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
    that is to be as large as possible. `epochs` and `patience` are the most epochs and those without a larger figure
    that end it; as many as suit the log if None. `checkpoint`, if it holds a state, is gone on from, and it gets the
    state after each epoch; `replays` says whether steps are recorded and replayed; `kept` is what beside weights goes
    from epoch to epoch; `prepare` is asked about the items of a batch.
    """
    generator = np.random.default_rng(seed)
    ends = sequences.train_lengths(hold_out)
    windows = training_windows(sequences, ends, backbone.settings.window)
    following = next_codes(sequences, ends)
    epochs, patience = _limits(epochs, patience, windows.length, loop.batch_size)
    validators = validation.validators(sequences, generator)
    optimizers = _optimizers(model, backbone, learning_rate, capturable=replays)
    device = backbone.device
    run = Run(model, optimizers, generator, kept or {}, device)

    def made(chosen: np.ndarray) -> Batch:
        return make_batch(sequences, following, windows.take(chosen), device, group, prepare)

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
        while run.epoch < epochs and run.epoch - run.best_epoch < patience:
            epoch = run.epoch + 1
            model.train()
            if group.size > 1 and backbone.settings.dropout:
                # Each process drops other units, begun anew with each epoch: a run that is resumed drops the same.
                torch.manual_seed(int(np.random.SeedSequence([seed, epoch, group.rank]).generate_state(1)[0]))
            for value in sums.values():
                value.zero_()
            for batch in ahead(made, _batches(windows.length, loop.batch_size, generator), device):
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


def _batches(lengths: np.ndarray, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    return bucketed_batches(lengths, batch_size, batch_size * PLACES_PER_SEQUENCE, generator)


def _limits(epochs: int | None, patience: int | None, lengths: np.ndarray, batch_size: int) -> tuple[int, int]:
    """Return the most epochs and the patience: what is asked for, or what suits windows of these lengths."""
    steps = max(len(lengths), lengths.sum() / PLACES_PER_SEQUENCE) / batch_size
    longer = int(np.clip(np.ceil(_STEPS / max(1, steps)), 1, _TIMES_AS_MANY))
    return epochs or _MOST_EPOCHS * longer, patience or PATIENCE * longer


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


class Run:
    """What goes from one epoch to the next: weights, optimizer, random states, the best epoch so far, the history."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        generator: np.random.Generator,
        kept: dict[str, Tensor],
        device: torch.device,
    ) -> None:
        # Parameters only: the rest of a model, semantic vectors say, is large and does not change.
        self._weights = {name: parameter.data for name, parameter in model.named_parameters()}
        self._optimizers, self._generator, self._kept, self._device = optimizers, generator, kept, device
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
            **random_states(self._device),
            **{f"model.{name}": value for name, value in self._weights.items()},
            **{f"best.{name}": value for name, value in self._best_weights.items()},
            **{f"kept.{name}": value for name, value in self._kept.items()},
            **moments,
        }
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
        set_random_states(tensors, self._device)
        self.history, self._best, self.best_epoch = state["history"], state["best"], state["best_epoch"]
        self._generator.bit_generator.state = state["generator"]
