"""What is decided about rows that were judged bucket by bucket: which of them go, and what that amounts to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iadsr_cli.config import Config
from iadsr_cli.decisions import BestOfItems, within_limits
from iadsr_cli.explanations import whys
from iadsr_cli.parted.buckets import Bucket, Split
from iadsr_cli.parted.found import read_found
from iadsr_cli.protections import last_of_users, protected_by
from iadsr_cli.scores import Scores, Status
from iadsr_cli.sequences import share_by_fifth
from iadsr_cli.settings import parse_share

# What a row has that is in no bucket, as it has no user.
MISSING = {"noise": np.nan, "allowed": False, "status": Status.NO_ID, "by": -1, "judged": True}
MISSING_WHY = {"said_0": -1, "said_1": -1, "below_0": np.nan, "below_1": np.nan, "value": np.nan}


@dataclass(frozen=True)
class Rule:
    """Which of the rows that may go do: those above `cutoff`, and at it those up to row `last`.

    A row that may not go is protected if it scores above `least`, as some row does that goes. The rows of `best`,
    ascending, may not go, as items keep them.
    """

    cutoff: float
    last: int
    least: float
    best: np.ndarray

    def decide(self, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows go, and which are suspicious and stay, bool [n] each, of what was `found` about them."""
        allowed = _allowed(found, self.best)
        return self._reached(found) & allowed, (found["noise"] > self.least) & ~allowed & found["judged"]

    def _reached(self, found: dict[str, np.ndarray]) -> np.ndarray:
        return (found["noise"] > self.cutoff) | ((found["noise"] == self.cutoff) & (found["row"] <= self.last))


def _allowed(found: dict[str, np.ndarray], best: np.ndarray) -> np.ndarray:
    """Return which rows may go, bool [n]: their users' limits let them, and their items do not keep them."""
    rows = found["row"]
    # Both ascend: a stretch of the log needs a stretch of the rows that items keep.
    near = best[slice(*np.searchsorted(best, [rows[0], rows[-1] + 1]))] if len(rows) else best[:0]
    allowed: np.ndarray = found["allowed"] & ~np.isin(rows, near, assume_unique=True)
    return allowed


def judged(bucket: Bucket, split: Split, scores: Scores, config: Config, explained: bool) -> dict[str, np.ndarray]:
    """Return what is found about the rows of a bucket of a split log, by column."""
    last = None
    if config.protection.protect_last:
        sequences = bucket.sequences(split.items)
        last = np.zeros(len(bucket.rows), dtype=bool)
        last[sequences.row_ids[last_of_users(sequences, config.protection)]] = True
    by = protected_by(len(bucket.rows), last, None if config.protection.protect is None else bucket.held)
    noise = np.where(bucket.judged, scores.noise, np.nan)
    may_go = ~np.isnan(noise) & (by < 0)
    allowed, best = within_limits(noise, bucket.users, bucket.items, may_go, split.item_rows, config.decision)
    found = {
        "row": bucket.rows,
        "user": bucket.users.astype(np.int32),
        "item": bucket.items.astype(np.int32),
        "noise": scores.noise,
        "allowed": allowed,
        "best": np.isin(np.arange(len(allowed)), best),
        "status": scores.status,
        "by": by,
        "judged": bucket.judged,
    }
    if explained:
        # A bucket's users are a random choice: what is lowest among its rows is so in the log.
        rows = np.flatnonzero(scores.status == Status.SCORED)
        why = whys(scores, rows)
        values = (*why.said.T, *why.below.T, why.value)
        for (name, missing), value in zip(MISSING_WHY.items(), values, strict=True):
            found[name] = np.full(len(bucket.rows), missing, value.dtype)
            found[name][rows] = value
    return found


def rule_of(files: list[Path], rows: int, split: Split, config: Config) -> Rule:
    """Return the rule of the settings; a budget takes the highest scores of rows that may go, earlier rows first."""
    best = _best_of_items(files, split, config.decision.min_item_rows)
    if config.decision.budget is None:
        return Rule(config.decision.threshold, -1, config.decision.threshold, best)
    size = int(np.floor(parse_share(config.decision.budget, "--budget") * rows + 1e-9))

    def allowed() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for file in files:
            for found in read_found(file):
                may_go = _allowed(found, best)
                yield found["noise"][may_go], found["row"][may_go]

    # The bits of floats that are not negative are in their order: the cutoff is found half by half.
    bits, above = 0, 0
    for shift, mask in ((16, 0), (0, 0xFFFF0000)):
        tally = np.zeros(1 << 16, dtype=np.int64)
        for noise, _ in allowed():
            keys = noise.view(np.uint32)
            tally += np.bincount((keys[(keys & mask) == bits] >> shift) & 0xFFFF, minlength=1 << 16)
        from_top = above + np.cumsum(tally[::-1])
        place = int(np.searchsorted(from_top, size))
        if place == 1 << 16:
            # All that may go, go.
            return Rule(
                -1.0, -1, min((float(noise.min(initial=np.inf)) for noise, _ in allowed()), default=np.inf), best
            )
        above = int(from_top[place - 1]) if place else above
        bits |= (0xFFFF - place) << shift
    cutoff = float(np.uint32(bits).view(np.float32))
    ties = np.concatenate([part[noise == np.float32(cutoff)] for noise, part in allowed()])
    wanted = size - above
    return Rule(cutoff, int(np.partition(ties, wanted - 1)[wanted - 1]) if wanted else -1, cutoff, best)


def _best_of_items(files: list[Path], split: Split, least: int) -> np.ndarray:
    """Return the rows that items keep, int64 [n], ascending: of each bucket's those of the whole log."""
    best = BestOfItems(least)
    # Rows without a user are in no bucket, and stay.
    alone = np.repeat(np.arange(len(split.userless)), np.minimum(split.userless, least))
    best.add(np.full(len(alone), -1), alone, np.full(len(alone), np.nan), np.zeros(len(alone), dtype=bool))
    names = ["row", "item", "noise", "allowed", "best"]
    for file in files:
        stretches = [[found[name][found["best"]] for name in names[:-1]] for found in read_found(file, names)]
        best.add(*map(np.concatenate, zip(*stretches, strict=True)))
    return best.rows()


def summary(files: list[Path], rule: Rule, rows: int, split: Split) -> dict[str, Any]:
    """Return what the decisions on all rows of a log amount to: counts, as `pipeline.Denoised` has them."""
    names, item_rows = ("kept", "removed", "protected", "unscored", "unjudged"), split.item_rows
    counted = dict.fromkeys(names, 0)
    users, users_in_all, users_gone = dict.fromkeys(names, 0), 0, 0
    items = {name: np.zeros(len(item_rows), dtype=bool) for name in names}
    gone = np.zeros(len(item_rows), dtype=np.int64)
    highest, in_buckets = -np.inf, 0
    for file in files:
        seen = {name: np.zeros(0, dtype=bool) for name in names}
        for found in read_found(file):
            (removed, protected), unscored = rule.decide(found), np.isnan(found["noise"])
            groups = {
                "kept": ~removed,
                "removed": removed,
                "protected": protected,
                "unscored": unscored,
                "unjudged": ~found["judged"],
            }
            for name, chosen in groups.items():
                counted[name] += int(chosen.sum())
                items[name][found["item"][chosen & (found["item"] >= 0)]] = True
                seen[name] = _marked(seen[name], found["user"], chosen)
            gone += np.bincount(found["item"][removed], minlength=len(gone))
            highest = max(highest, float(np.nanmax(found["noise"][found["judged"]], initial=-np.inf)))
            in_buckets += len(removed)
        users_in_all += int((seen["kept"] | seen["removed"]).sum())
        users_gone += int((seen["removed"] & ~seen["kept"]).sum())
        for name in names:
            users[name] += int(seen[name].sum())
    for name in ("kept", "unscored"):
        counted[name] += rows - in_buckets  # rows without a user
        items[name] |= split.userless > 0
    return {
        "rows": rows,
        "users": users_in_all,
        "items": len(item_rows),
        **counted,
        "users_by_decision": users,
        "users_removed_whole": users_gone,
        "items_by_decision": {name: int(chosen.sum()) for name, chosen in items.items()},
        "highest_score": None if highest == -np.inf else round(highest, 6),
        "removed_share_by_item_frequency_fifth": share_by_fifth(item_rows, gone),
    }


def _marked(seen: np.ndarray, users: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return which users are among the seen or the chosen ones, bool [U], as long as needed."""
    grown = np.zeros(max(len(seen), int(users.max(initial=-1)) + 1), dtype=bool)
    grown[: len(seen)] = seen
    grown[users[chosen]] = True
    return grown
