"""Which threshold serves a recommender best? Chosen by the validation items, and read at the last ones.

How much of a log is noise is one question, and what to train without is another: a row that is rather genuine than not
may still do a recommender more harm than good. Item neighbours fit in seconds, so that thresholds can be tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iadsr_cli.config import DecisionSettings
from iadsr_cli.evaluation import arms, metrics
from iadsr_cli.evaluation.neighbours import ItemNeighbours
from iadsr_cli.progress import Reporter
from iadsr_cli.ranking import hit_rate
from iadsr_cli.sequences import Sequences

THRESHOLDS = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Those that are tried; what removes fewer rows comes first."""
PLACES = {"validation": 2, "test": 1}
"""What is ranked, by its place from the end of a history."""
_NO_ADVICE = "By the items before the last, no other threshold serves item neighbours better by more than chance can."
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

    That is the one with the best HR@10 at the validation items, and of equally good ones the highest, if the decision
    that was asked for is worse by more than chance makes it. Else none is.

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
                    known[key] = _Tried(float(removed.mean()), _hits(arms.cleaned(sequences, removed), users))
                outcomes.append(known[key])
                stage.advance(1)
    own, *others = tried
    records = [
        {"threshold": threshold, **_record(outcomes, own, seed)}
        for threshold, outcomes in zip(THRESHOLDS, others, strict=True)
    ]
    best = max(records, key=lambda record: record["validation"]["HR@10"])
    better = (best["validation"]["change"]["HR@10"]["low"] or 0) > 0
    return {
        "recommender": "neighbours",
        "users": len(users),
        "seeds": len(noise),
        "own": _record(own, None, seed),
        "thresholds": records,
        "advised": best["threshold"] if better else None,
        "advice": _advice(best) if better else _NO_ADVICE,
    }


def _advice(record: dict[str, Any]) -> str:
    """Return in a sentence what a threshold is better by, and where that was not looked for, too."""
    changes = {
        place: "unknown"
        if change["mean"] is None
        else f"{change['mean']:+.1%} [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"
        for place in PLACES
        for change in [record[place]["change"]["HR@10"]]
    }
    return (
        f"--threshold {record['threshold']:g} would serve item neighbours better: it removes "
        f"{record['removed_share']:.1%} of the rows, and HR@10 changes by {changes['validation']} at the items before "
        f"the last, by which it was chosen, and by {changes['test']} at the last, which it was not chosen by."
    )


def _record(outcomes: Sequence[_Tried], own: Sequence[_Tried] | None, seed: int) -> dict[str, Any]:
    """Return the figures of one decision, means over seeds, and changes against the own one, if that is given."""
    found: dict[str, Any] = {"removed_share": float(np.mean([one.removed_share for one in outcomes]))}
    for place in PLACES:
        hits = np.stack([one.hits[place] for one in outcomes])
        base = None if own is None else np.stack([one.hits[place] for one in own])
        change = None if base is None else {"HR@10": metrics.relative_bootstrap(base, hits, seed)}
        found[place] = {"HR@10": float(hits.mean()), "change": change}
    return found


def _hits(arm: arms.Arm, users: np.ndarray) -> dict[str, np.ndarray]:
    fitted = ItemNeighbours.fit(arm.training, arm.training.train_lengths(arms.HELD_OUT))
    found = {}
    for place, from_end in PLACES.items():
        ranks = [ranks for _, ranks in fitted.ranks(arm.history, from_end, users)]
        found[place] = hit_rate(np.concatenate(ranks), 10)
    return found
