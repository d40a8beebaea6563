"""Reasons: why each row was kept or removed, in words, and one user's history with all that speaks for its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from iadsr_cli.cosines import TERMS
from iadsr_cli.crossfit.evidence import JOINED, NAMES, SAID, family
from iadsr_cli.decisions import LIKELY, Decisions
from iadsr_cli.errors import InputError, near
from iadsr_cli.pipeline import Denoised, Workspace
from iadsr_cli.scores import Scores, Status

_UNSCORED_REASONS = {
    Status.NO_ID: "unscored: user or item id is missing",
    Status.NO_TIME: "unscored: time is missing",
    Status.UNKNOWN_ITEM: "unscored: the model does not know the item",
    Status.SHORT_HISTORY: "unscored: no other interaction of this user to compare with",
    Status.NO_EVIDENCE: "unscored: the item has no text and no interaction was trained on",
}
# Of what says nearly the same, what moved the score most is named; of what would contradict each other, too.
_ALIKE = (("text", "words"), ("taste", "around", "together", "expected"), ("when", "order"))
_CONTRARY = ("text alone", ("text", "words"))
# A second piece of evidence is named where it moved the score by more than this part of what the first did.
_BESIDE_FIRST = 0.1
# A rank speaks for a reason where so few rows agree no more.
_FEW = 0.25
_UNJUDGED_REASON = "kept: not judged, as its event is not among --events"


@dataclass(frozen=True)
class Whys:
    """What speaks most against rows, in numbers: one or two pieces of what the method compares.

    Attributes:
        said: which, int8 [n, 2]: a place among the cosines of IADSR or what crossfit says; -1 for none.
        below: share of rows that agree no more in it, float32 [n, 2]; NaN where that says nothing.
        value: the cosine of the first, float32 [n]; NaN with crossfit.
    """

    said: np.ndarray
    below: np.ndarray
    value: np.ndarray

    def texts(self) -> list[str]:
        """Return them in words, n strings."""
        return [
            "; ".join(_said(place, share, value) for place, share in zip(places, shares, strict=True) if place >= 0)
            or "nothing speaks against it more than against other rows"
            for places, shares, value in zip(self.said, self.below, self.value, strict=True)
        ]


def _said(place: int, share: float, value: float) -> str:
    if not np.isnan(value):
        return f"{TERMS[place]} (cosine {value:.2f}, lowest {_percent(share)} of rows)"
    rank = "" if np.isnan(share) else f" (lowest {_percent(share)} of rows)"
    return f"{list(SAID.values())[place]}{rank}"


def explain(scores: Scores, decisions: Decisions, rows: np.ndarray, *, against_kept: bool = False) -> list[str]:
    """Return a reason for each of `rows` (int64 [n]): why it was removed, protected, left unscored, or kept.

    With `against_kept`, of a kept row that was scored it says what speaks against it most.
    """
    own = decisions.take(rows)
    found = outcomes(scores.noise[rows], own)
    if against_kept:
        scored = (scores.status[rows] == Status.SCORED) & _judged(own)
        found = {**dict.fromkeys(np.flatnonzero(scored).tolist(), "kept; what speaks most against it"), **found}
    return reasons(scores.status[rows], own, found, whys(scores, rows[list(found)]))


def outcomes(noise: np.ndarray, decisions: Decisions) -> dict[int, str]:
    """Return what became of the rows of which it is told what speaks against them, by their places among all n.

    Those are the rows that go, that are protected, and that stay by the rule alone though they are more likely noise
    than not. `noise` is float32 [n], the decisions are on these rows.
    """
    protections = decisions.protections
    spared = "kept by --budget" if decisions.cutoff is None else f"kept by --threshold {decisions.cutoff:g}"
    told = ~decisions.keep | decisions.protected | ((noise > LIKELY) & _judged(decisions))
    found: dict[int, str] = {}
    for row in map(int, np.flatnonzero(told)):
        if not decisions.keep[row]:
            found[row] = "removed"
        elif not decisions.protected[row]:
            found[row] = spared
        elif protections is None or protections.by[row] < 0:
            found[row] = "protected"
        else:
            found[row] = f"protected by {protections.names[protections.by[row]]}"
    return found


def _judged(decisions: Decisions) -> np.ndarray:
    """Return which rows have an event that may be removed, bool [n]."""
    return np.ones(len(decisions.keep), bool) if decisions.protections is None else decisions.protections.judged


def reasons(status: np.ndarray, decisions: Decisions, found: Mapping[int, str], why: Whys) -> list[str]:
    """Return a reason for each of n rows.

    Args:
        status: `Status` of each, [n].
        decisions: on these rows.
        found: what became of those of which it is told what speaks against them, m of them, by their places.
        why: what speaks against these.
    """
    said = np.full(len(status), "kept: agrees with the user's history", dtype=object)
    for each, reason in _UNSCORED_REASONS.items():
        said[status == each] = reason
    said[~_judged(decisions)] = _UNJUDGED_REASON
    for (place, verdict), text in zip(found.items(), why.texts(), strict=True):
        said[place] = f"{verdict}: {text}"
    return list(said)


def whys(scores: Scores, rows: np.ndarray) -> Whys:
    """Return what speaks most against each of `rows` (int64 [n]), compared with all rows of `scores`."""
    return _iadsr_whys(scores, rows) if scores.parts is None else _crossfit_whys(scores, rows)


def _iadsr_whys(scores: Scores, rows: np.ndarray) -> Whys:
    """Take the cosine of IADSR that is lowest among all rows'."""
    below = np.stack([_share_below(scores, column, rows, "right") for column in range(len(TERMS))], axis=1)
    term = below.argmin(axis=1)
    of_row = np.arange(len(rows))
    return Whys(
        np.stack([term, np.full(len(rows), -1)], axis=1).astype(np.int8),
        np.stack([below[of_row, term], np.full(len(rows), np.nan)], axis=1).astype(np.float32),
        scores.terms[rows, term],
    )


def _crossfit_whys(scores: Scores, rows: np.ndarray) -> Whys:
    """Take the one or two kinds of evidence that moved the score most towards noise, if any did.

    Ranked is how far the kind moved it, among all rows.
    """
    assert scores.parts is not None
    moved = _moved(scores.parts[rows])
    others = _moved(scores.parts[scores.status == Status.SCORED])
    below = np.stack([_share(-theirs, -own, "right") for theirs, own in zip(others.T, moved.T, strict=True)], axis=1)
    places = {name: place for place, name in enumerate(SAID)}
    of_row = np.arange(len(rows))
    for names in _ALIKE:
        alike = [places[name] for name in names]
        together, most = moved[:, alike].sum(axis=1), np.take(alike, moved[:, alike].argmax(axis=1))
        moved[:, alike] = -np.inf
        moved[of_row, most] = together
    one, contrary = places[_CONTRARY[0]], [places[name] for name in _CONTRARY[1]]
    less = moved[:, one] < moved[:, contrary].max(axis=1)
    moved[less, one] = -np.inf
    moved[np.ix_(~less, contrary)] = -np.inf
    first_two = np.argsort(-moved, axis=1, kind="stable")[:, :2]
    below, moved = (np.take_along_axis(array, first_two, axis=1) for array in (below, moved))
    # The second one counts only where it speaks against the row, beside the first.
    counts = moved > np.maximum(0, [0, _BESIDE_FIRST] * moved[:, :1])
    return Whys(
        np.where(counts, first_two, -1).astype(np.int8),
        np.where(below <= _FEW, below, np.nan).astype(np.float32),
        np.full(len(rows), np.nan, dtype=np.float32),
    )


def _moved(parts: np.ndarray) -> np.ndarray:
    """Return how far each kind of evidence that can be said moved scores towards noise, float32 [n, len(SAID)].

    What joint spaces moved counts for the side that moved the score the same way on its own, else half for each.

    Args:
        parts: how much each piece of evidence did, float32 [n, E].
    """
    families = [family(name) for name in NAMES]

    def sums(names: Sequence[str]) -> np.ndarray:
        return np.asarray(parts @ np.array([[own == name for name in names] for own in families], np.float32))

    found, joint = sums(list(SAID)), sums(JOINED)
    own = np.sign(found)
    for name, total in zip(JOINED, joint.T, strict=True):
        one, other = (list(SAID).index(side) for side in name.split(" and "))
        of_one = (1 + np.sign(total) * np.sign(own[:, one] - own[:, other])) / 2
        found[:, one] += of_one * total
        found[:, other] += (1 - of_one) * total
    return found


def _share_below(scores: Scores, column: int, rows: np.ndarray, side: Literal["left", "right"] = "left") -> np.ndarray:
    """Return the share of the log's scored rows whose evidence is lower than that of each of `rows`; NaN if missing.

    With "right", rows with the same evidence count, too.
    """
    return _share(scores.terms[scores.status == Status.SCORED, column], scores.terms[rows, column], side)


def _share(values: np.ndarray, own: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    ordered = np.sort(values[~np.isnan(values)])
    return np.where(np.isnan(own), np.nan, np.searchsorted(ordered, own, side) / max(1, len(ordered)))


def _percent(share: float) -> str:
    return "1%" if share < 0.01 else f"{np.ceil(share * 100):.0f}%"


# Columns of a user's history: what each method compares, by the piece of evidence that stands for it.
# Those that a narrow terminal has no room for come last.
_CROSSFIT_BARS = {
    "text": NAMES.index("text: mean"),
    "words": NAMES.index("words: mean"),
    "taste": NAMES.index("taste 32: rest"),
    "expected": NAMES.index("expected: likely"),
    "together": NAMES.index("together: mean"),
    "when": NAMES.index("when: nearby"),
}
IADSR_BARS = {"long text": 0, "item text": 1, "both here": 2}
"""What the three cosines of IADSR are called where there is little room, and their places in `agreement`."""


@dataclass(frozen=True)
class ExplainedRow:
    """One row of a user's history.

    Attributes:
        row: of the log, from 0.
        item: id.
        title: of the item, None where it has none.
        score: noise score, None where unscored.
        agreement: for each kind of evidence the share of the log's rows that agree less, 0 to 1; None where missing.
        reason: the decision and why.
    """

    row: int
    item: str
    title: str | None
    score: float | None
    agreement: dict[str, float | None]
    reason: str


def history(workspace: Workspace, denoised: Denoised, user: str) -> list[ExplainedRow]:
    """Return a user's rows, oldest first.

    Raises:
        InputError: if the log has no such user.
    """
    check_user(workspace, user)
    sequences, scores = workspace.sequences, denoised.scores
    theirs = pc.equal(workspace.log.user_ids(), user).fill_null(False).to_numpy(zero_copy_only=False)
    places = theirs[sequences.row_ids]
    owned, codes = sequences.row_ids[places], sequences.codes[places]
    bars = IADSR_BARS if scores.parts is None else _CROSSFIT_BARS
    below = {name: _share_below(scores, column, owned) for name, column in bars.items()}
    found = []
    for place, (row, reason) in enumerate(zip(owned, explain(scores, denoised.decisions, owned), strict=True)):
        code, score = int(codes[place]), float(scores.noise[row])
        found.append(
            ExplainedRow(
                row=int(row),
                item=sequences.items[code - 1].as_py(),
                title=workspace.item_texts[code - 1],
                score=None if np.isnan(score) else score,
                agreement={
                    name: None if np.isnan(shares[place]) else float(shares[place]) for name, shares in below.items()
                },
                reason=reason,
            )
        )
    return found


def check_user(workspace: Workspace, user: str) -> None:
    """Check, before any work, that the log has a user, with a row that has an item.

    Raises:
        InputError: if it has not.
    """
    log = workspace.log
    users = pc.unique(log.user_ids().filter(pc.is_valid(log.item_ids()))).drop_null().to_pylist()
    if user in users:
        return
    if user in workspace.user_ids.to_pylist():
        what, said = "an item", "--null-ids keep says"
        if log.timeless.any():
            what, said = "an item and a time", "--null-ids keep and --null-times keep say"
        raise InputError(
            f'{log.name}: no row of the user "{user}" has {what}, so there is nothing to show.',
            f"Such rows are kept, unscored, as {said}.",
        )
    if workspace.config.log.session_gap is not None and (sessions := _sessions(user, users)):
        shown = ", ".join(f'"{session}"' for session in sessions[:3])
        more = f" and {len(sessions) - 3:,} more" if len(sessions) > 3 else ""
        raise InputError(f'With --session-gap each session of "{user}" is a user.', f"Name one: {shown}{more}.")
    found = near(user, users)
    shown = ", ".join(f'"{candidate}"' for candidate in found or users[:3])
    such = "Nearest:" if found else f'Its {len(users):,} users, by column "{log.roles.user}", are such as'
    raise InputError(f'{log.name} has no user "{user}".', f"{such} {shown}.")


def _sessions(user: str, users: Sequence[str]) -> list[str]:
    """Return the sessions of a user among all, in order."""
    numbers = {int(number): each for each in users for name, _, number in [each.rpartition("#")] if name == user}
    return [numbers[number] for number in sorted(numbers)]
