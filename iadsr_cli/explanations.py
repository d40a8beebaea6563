"""Reasons: why each row was kept or removed, in words, and one user's history with all that speaks for its rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from iadsr_cli.cosines import TERMS
from iadsr_cli.crossfit.evidence import NAMES, SAID, family
from iadsr_cli.decisions import Decisions
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
# Of what says nearly the same, what moved the score most is named.
_ALIKE = (("text", "words"), ("taste", "around", "together", "expected"), ("when", "order"))
# A second piece of evidence is named where it moved the score by more than this part of what the first did.
_BESIDE_FIRST = 0.1
_UNJUDGED_REASON = "kept: not judged, as its event is not among --events"


@dataclass(frozen=True)
class Whys:
    """What speaks most against rows, in numbers: one or two pieces of what the method compares.

    Attributes:
        said: which, int8 [n, 2]: a place among the cosines of IADSR or what crossfit says; -1 for no second one.
        below: share of rows that agree no more in it, float32 [n, 2]; NaN where that is not known.
        value: the cosine of the first, float32 [n]; NaN with crossfit.
    """

    said: np.ndarray
    below: np.ndarray
    value: np.ndarray

    def texts(self) -> list[str]:
        """Return them in words, n strings."""
        return [
            "; ".join(_said(place, share, value) for place, share in zip(places, shares, strict=True) if place >= 0)
            for places, shares, value in zip(self.said, self.below, self.value, strict=True)
        ]


def _said(place: int, share: float, value: float) -> str:
    if not np.isnan(value):
        return f"{TERMS[place]} (cosine {value:.2f}, lowest {_percent(share)} of rows)"
    rank = "" if np.isnan(share) else f" (lowest {_percent(share)} of rows)"
    return f"{list(SAID.values())[place][0]}{rank}"


def explain(scores: Scores, decisions: Decisions, rows: np.ndarray, *, against_kept: bool = False) -> list[str]:
    """Return a reason for each of `rows` (int64 [n]): why it was removed, protected, left unscored, or kept.

    With `against_kept`, of a kept row that was scored it says what speaks against it most.
    """
    told = np.flatnonzero(~decisions.keep[rows] | decisions.protected[rows])
    judged = None if decisions.protections is None else decisions.protections.judged[rows]
    if against_kept:
        scored = scores.status[rows] == Status.SCORED
        told = np.flatnonzero(scored if judged is None else scored & judged)
    verdicts = [_verdict(decisions, row) for row in rows[told]]
    return reasons(scores.status[rows], judged, told, verdicts, whys(scores, rows[told]))


def _verdict(decisions: Decisions, row: int) -> str:
    """Return what became of a row."""
    if not decisions.keep[row]:
        return "removed"
    if not decisions.protected[row]:
        return "kept; what speaks most against it"
    protections = decisions.protections
    return "protected" if protections is None else verdict_of(protections.names, protections.by[row])


def verdict_of(names: Sequence[str], by: int) -> str:
    """Return the verdict on a suspicious row that stays, by which of the user's wishes; -1 is by the limits."""
    return "protected" if by < 0 else f"protected by {names[by]}"


def reasons(
    status: np.ndarray, judged: np.ndarray | None, told: np.ndarray, verdicts: Sequence[str], why: Whys
) -> list[str]:
    """Return a reason for each of n rows.

    Args:
        status: `Status` of each, [n].
        judged: whether its event is one that may be removed, bool [n], or None where all are.
        told: places of those of which it is told what speaks against them, int64 [m]: removed or protected, as a rule.
        verdicts: what became of these, m strings.
        why: what speaks against them.
    """
    found = np.full(len(status), "kept: agrees with the user's history", dtype=object)
    for each, reason in _UNSCORED_REASONS.items():
        found[status == each] = reason
    if judged is not None:
        found[~judged] = _UNJUDGED_REASON
    for place, verdict, text in zip(told, verdicts, why.texts(), strict=True):
        found[place] = f"{verdict}: {text}"
    return list(found)


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
    """Take the one or two kinds of evidence that moved the score most towards noise.

    What joint spaces moved is half of one kind and half of the other.
    """
    assert scores.parts is not None
    kinds = [family(name).split(" and ") for name in NAMES]
    moved = scores.parts[rows] @ np.array([[(said in kind) / len(kind) for said in SAID] for kind in kinds])
    for names in _ALIKE:
        alike = [list(SAID).index(name) for name in names]
        together, most = moved[:, alike].sum(axis=1), np.take(alike, moved[:, alike].argmax(axis=1))
        moved[:, alike] = -np.inf
        moved[np.arange(len(rows)), most] = together
    first_two = np.argsort(-moved, axis=1, kind="stable")[:, :2]
    below = np.stack([_share_below(scores, NAMES.index(told), rows, "right") for _, told in SAID.values()], axis=1)
    shares = np.take_along_axis(below, first_two, axis=1).astype(np.float32)
    # The second one counts only where it speaks against the row, beside the first.
    moved = np.take_along_axis(moved, first_two, axis=1)
    said = np.where([True, False] | (moved > np.maximum(0, _BESIDE_FIRST * moved[:, :1])), first_two, -1)
    return Whys(said.astype(np.int8), shares, np.full(len(rows), np.nan, dtype=np.float32))


def _share_below(scores: Scores, column: int, rows: np.ndarray, side: Literal["left", "right"] = "left") -> np.ndarray:
    """Return the share of the log's scored rows whose evidence is lower than that of each of `rows`; NaN if missing.

    With "right", rows with the same evidence count, too.
    """
    values = scores.terms[scores.status == Status.SCORED, column]
    ordered = np.sort(values[~np.isnan(values)])
    own = scores.terms[rows, column]
    return np.where(np.isnan(own), np.nan, np.searchsorted(ordered, own, side) / max(1, len(ordered)))


def _percent(share: float) -> str:
    return "1%" if share < 0.01 else f"{np.ceil(share * 100):.0f}%"


# Columns of a user's history: what each method compares, by the piece of evidence that stands for it.
# Those that a narrow terminal has no room for come last.
_CROSSFIT_BARS = {
    name: NAMES.index(SAID[name][1]) for name in ("text", "words", "taste", "together", "expected", "when")
}
_IADSR_BARS = {"long text": 0, "item text": 1, "both here": 2}


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
    bars = _IADSR_BARS if scores.parts is None else _CROSSFIT_BARS
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
    found = near(user, users)
    shown = ", ".join(f'"{candidate}"' for candidate in found or users[:3])
    such = "Nearest:" if found else f'Its {len(users):,} users, by column "{log.roles.user}", are such as'
    raise InputError(f'{log.name} has no user "{user}".', f"{such} {shown}.")
