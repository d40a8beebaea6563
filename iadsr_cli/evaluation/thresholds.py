"""Which threshold serves a recommender best? Chosen by the validation items, and read at the last ones.

How much of a log is noise is one question, and what to train without is another: a row that is rather genuine than not
may still do a recommender more harm than good. Item neighbours fit in seconds, so that thresholds can be tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iadsr_cli.config import DecisionSettings
from iadsr_cli.evaluation import arms, metrics, wording
from iadsr_cli.evaluation.neighbours import ItemNeighbours
from iadsr_cli.progress import Reporter
from iadsr_cli.ranking import hit_rate
from iadsr_cli.sequences import Sequences

THRESHOLDS = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Those that are tried; what removes fewer rows comes first."""
PLACES = {"validation": 2, "test": 1}
"""What is ranked, by its place from the end of a history."""
# Of more users intervals are narrow enough.
_MOST_USERS = 20_000


@dataclass(frozen=True)
class _Tried:
    """A decision about the scores of one seed: what it removes of the training part, and who was served well after it.

    Attributes:
        removed_share: of the rows of the training part.
        hits: for each place whether the item there is among the first ten, float64 [n] of n users.
    """

    removed_share: float
    hits: dict[str, np.ndarray]


def compare(
    sequences: Sequences, noise: Sequence[np.ndarray], settings: DecisionSettings, seed: int, reporter: Reporter
) -> dict[str, Any]:
    """Return what item neighbours reach on a log cleaned with each threshold, and which threshold is advised.

    Those that have a better HR@10 at the validation items than the decision that was asked for, by more than chance,
    are candidates (`metrics.better`). The best of them is advised, and of equally good ones the highest, unless the
    last items speak against it.

    Args:
        sequences: whole histories.
        noise: of each seed, the scores of the training part's rows, [N_training].
        settings: of the decision that was asked for.
        seed: of the users who are ranked, where there are many, and of the intervals.
        reporter: told of the progress.
    """
    users = np.flatnonzero(sequences.lengths > arms.HELD_OUT)
    if len(users) > _MOST_USERS:
        users = np.sort(np.random.default_rng(seed).choice(users, _MOST_USERS, replace=False))
    decisions = [settings, *(replace(settings, threshold=threshold, budget=None) for threshold in THRESHOLDS)]
    tried: list[list[_Tried]] = [[] for _ in decisions]
    with reporter.stage("thresholds", len(decisions) * len(noise), "runs") as stage:
        for scores in noise:
            # Where the same rows go, all is the same.
            known: dict[bytes, _Tried] = {}
            for decision, outcomes in zip(decisions, tried, strict=True):
                removed = ~arms.decide_on_training(scores, sequences, decision).keep
                key = removed.tobytes()
                if key not in known:
                    known[key] = _Tried(float(removed.mean()), hits(arms.cleaned(sequences, removed), users))
                outcomes.append(known[key])
                stage.advance(1)
    own, *others = tried
    records = [
        {"threshold": threshold, **_record(outcomes, own, seed)}
        for threshold, outcomes in zip(THRESHOLDS, others, strict=True)
    ]
    base, *several = (np.stack([one.hits["validation"] for one in outcomes]) for outcomes in tried)
    better = metrics.better(base, several, seed)
    candidates = [record for record, is_better in zip(records, better, strict=True) if is_better]
    best = max(candidates, key=lambda record: record["validation"]["HR@10"], default=None)
    advised, advice = _advice(best)
    return {
        "recommender": "neighbours",
        "users": len(users),
        "seeds": len(noise),
        "own": _record(own, None, seed),
        "thresholds": records,
        "advised": advised,
        "advice": advice,
    }


def _advice(best: dict[str, Any] | None) -> tuple[float | None, str]:
    """Return which threshold is advised, if any, and in words what it was chosen by and whether the rest confirm it."""
    if best is None:
        return None, (
            "By the items before the last, none of these thresholds serves item neighbours better than the settings, "
            "by more than chance."
        )
    threshold = best["threshold"]
    before, last = (_told(best[place]) for place in PLACES)
    removes = f"removing {best['removed_share']:.1%} of the rows that train"
    change = best["test"]["change"]["HR@10"]
    if (change["high"] or 0) < 0:
        return None, (
            f"By the items before the last, --threshold {threshold:g} would serve item neighbours better ({before}, "
            f"{removes}), but the last items speak against it: {last}."
        )
    confirmed = "the last items confirm that" if (change["low"] or 0) > 0 else "the last items do not confirm that"
    return threshold, (
        f"By the items before the last, --threshold {threshold:g} serves item neighbours better: {before}, {removes}; "
        f"{confirmed}: {last}."
    )


def _told(found: dict[str, Any]) -> str:
    """Return HR@10 somewhere, and its change and interval."""
    change = found["change"]["HR@10"]
    told = f"HR@10 {found['HR@10']:.4f}"
    return told if change["mean"] is None else f"{told}, {wording.change_within(change)}"


def _record(outcomes: Sequence[_Tried], own: Sequence[_Tried] | None, seed: int) -> dict[str, Any]:
    """Return the figures of one decision, means over seeds, and changes against the own one, if that is given."""
    found: dict[str, Any] = {"removed_share": float(np.mean([one.removed_share for one in outcomes]))}
    for place in PLACES:
        reached = np.stack([one.hits[place] for one in outcomes])
        base = None if own is None else np.stack([one.hits[place] for one in own])
        change = None if base is None else {"HR@10": metrics.relative_bootstrap(base, reached, seed)}
        found[place] = {"HR@10": float(reached.mean()), "change": change}
    return found


def hits(arm: arms.Arm, users: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return for each place whether item neighbours have the item there among the first ten, float64 [n] of n users."""
    fitted = ItemNeighbours.fit(arm.training, arm.training.train_lengths(arms.HELD_OUT))
    found = {}
    for place, from_end in PLACES.items():
        ranks = [ranks for _, ranks in fitted.ranks(arm.history, from_end, users)]
        found[place] = hit_rate(np.concatenate(ranks), 10)
    return found
