"""Does cleaning help a recommender? The same targets, ranked after training on the log raw, cleaned, and controls.

Leave-one-out in time: the last item of a user is the target, the one before validates, the rest is the training part.
Noise is judged, and rows are removed, in the training part only.
"""

from dataclasses import dataclass, replace

import numpy as np

from iadsr_cli.config import DecisionSettings
from iadsr_cli.decisions import Decisions, decide
from iadsr_cli.errors import EvaluationError
from iadsr_cli.evaluation import metrics
from iadsr_cli.sequences import Sequences, positions
from iadsr_cli.settings import parse_share

HELD_OUT = 2

RAW, CLEANED, CLEANED_HISTORY = "raw", "cleaned training", "cleaned training and history"
RANDOM, ORACLE = "random removal", "oracle"


@dataclass(frozen=True)
class Arm:
    """What a recommender is trained on and what it is shown before the target.

    Attributes:
        name: of the arm.
        training: the training part that is left, and validation and target; sequences as `pretrain` takes them.
        history: what stands before the target, and the target.
    """

    name: str
    training: Sequences
    history: Sequences


@dataclass(frozen=True)
class Outcome:
    """How an arm ranked.

    Attributes:
        ranks: rank of the target of each user with three or more interactions, 1 is best, int64 [U].
        shown: item codes among anyone's first ten, bool [V + 1].
        rows: how many interactions it trained on.
    """

    ranks: np.ndarray
    shown: np.ndarray
    rows: int


def held_out(sequences: Sequences) -> np.ndarray:
    """Return which interactions are a user's validation item or target, bool [N]."""
    return positions(sequences.lengths) >= sequences.train_lengths(HELD_OUT)[sequences.user_index]


def training_part(sequences: Sequences) -> Sequences:
    """Return the sequences without validation items and targets: all that a noise model may see."""
    return sequences.where(~held_out(sequences))


def decide_on_training(noise: np.ndarray, sequences: Sequences, settings: DecisionSettings) -> Decisions:
    """Decide on the rows of the training part as `denoise` does on those of a whole log.

    A budget is a share of the training part. For the limit of each user all their rows count; of an item those of the
    training part alone, or what is a target would have a say in what is trained on.

    Args:
        noise: noise score of the training part's rows, [N_training]; NaN where unscored.
        sequences: whole histories.
        settings: of the decision.
    """
    judged = ~held_out(sequences)
    if settings.budget is not None:
        share = parse_share(settings.budget, "--budget") * judged.mean() if len(judged) else 0
        settings = replace(settings, budget=repr(float(share)))
    whole = np.full(len(judged), np.nan)
    whole[judged] = noise
    items = np.where(judged, sequences.codes, -1)
    return decide(whole, sequences.user_index, items, settings).take(np.flatnonzero(judged))


def check_hidden(arm: Arm, sequences: Sequences) -> None:
    """Check that an arm trains on no target and changes none.

    Raises:
        EvaluationError: if a held-out interaction would be trained on, or is not where it was.
    """
    kept = arm.training.train_lengths(HELD_OUT)
    trained = arm.training.row_ids[positions(arm.training.lengths) < kept[arm.training.user_index]]
    leaked = np.isin(trained, sequences.row_ids[held_out(sequences)])
    ranked = sequences.lengths >= HELD_OUT + 1
    moved = any(
        not np.array_equal(
            part.codes[part.offsets[1:][ranked] - step], sequences.codes[sequences.offsets[1:][ranked] - step]
        )
        for part in (arm.training, arm.history)
        for step in range(1, HELD_OUT + 1)
    )
    if leaked.any() or moved:
        raise EvaluationError(
            f'The arm "{arm.name}" would train on {leaked.sum():,} held-out interactions'
            + (", and its targets are not the log's." if moved else "."),
            "This is a fault of the evaluation, not of the log; please report it.",
        )


def make_arms(
    sequences: Sequences,
    removed: np.ndarray,
    settings: DecisionSettings,
    seed: int,
    is_noise: np.ndarray | None = None,
) -> list[Arm]:
    """Return the arms of a log whose training part was judged.

    Args:
        sequences: whole histories.
        removed: rows of the training part that cleaning removes, bool [N_training]. Of a bot that goes whole one stays.
        settings: of the decision: random removal keeps to the same limits, as far as as many rows can go then.
        seed: of random removal.
        is_noise: where noise was injected, which interactions of the training part it is, bool [N_training].
    """
    part = training_part(sequences)
    removed = _sparing(part, removed)
    random = _random_removal(sequences, part, int(removed.sum()), settings, seed)
    masks = {
        RAW: (None, None),
        CLEANED: (removed, None),
        CLEANED_HISTORY: (removed, removed),
        RANDOM: (random, random),
    }
    if is_noise is not None:
        masks[ORACLE] = (_sparing(part, is_noise),) * 2
    return [_arm(name, sequences, *gone) for name, gone in masks.items()]


def cleaned(sequences: Sequences, removed: np.ndarray) -> Arm:
    """Return the arm "cleaned training and history" alone, as `make_arms` does."""
    removed = _sparing(training_part(sequences), removed)
    return _arm(CLEANED_HISTORY, sequences, removed, removed)


def _arm(name: str, sequences: Sequences, trained: np.ndarray | None, shown: np.ndarray | None) -> Arm:
    """Return an arm without some rows of the training part in what is trained on and in what is shown."""
    training, history = (sequences if mask is None else _without(sequences, mask) for mask in (trained, shown))
    arm = Arm(name, training, history)
    check_hidden(arm, sequences)
    return arm


def _sparing(part: Sequences, removed: np.ndarray) -> np.ndarray:
    """Return what is removed of a training part less the last row of whoever would lose all: something to rank by."""
    left = np.bincount(part.user_index[~removed], minlength=len(part.lengths))
    last = part.offsets[1:][(left == 0) & (part.lengths > 0)] - 1
    spared = removed.copy()
    spared[last] = False
    return spared


def _without(sequences: Sequences, removed: np.ndarray) -> Sequences:
    """Return the sequences without what is removed of their training part."""
    keep = np.ones(len(sequences.codes), dtype=bool)
    keep[~held_out(sequences)] = ~removed
    return sequences.where(keep)


def _random_removal(
    sequences: Sequences, part: Sequences, count: int, settings: DecisionSettings, seed: int
) -> np.ndarray:
    """Return so many rows of the training part, drawn at random, bool [N_training]; of everyone's one stays.

    Where the limits let fewer go, as bots went whole, users may lose any share; where that is not enough, no limit
    counts but that there is something to rank by.
    """
    drawn = np.random.default_rng(seed).random(len(part.codes))
    by_user = np.lexsort((drawn, part.user_index))
    drawn[by_user[part.offsets[:-1][part.lengths > 0]]] = np.nan
    limits = replace(settings, budget=repr(min(1.0, (count + 0.5) / max(1, len(drawn)))))
    for lifted in (limits, replace(limits, max_user_share=1.0)):
        removed = ~decide_on_training(drawn, sequences, lifted).keep
        if removed.sum() == count:
            return removed
    return metrics.worst(drawn, count)
