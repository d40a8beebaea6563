"""Reasons: why each row was kept or removed, in words, and one user's history with all that speaks for its rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from iadsr_cli.crossfit.evidence import FAMILIES, NAMES, family
from iadsr_cli.decisions import Decisions
from iadsr_cli.errors import InputError, closest
from iadsr_cli.evidence import TERMS, Scores, Status
from iadsr_cli.pipeline import Denoised, Workspace

_UNSCORED_REASONS = {
    Status.NO_ID: "unscored: user or item id is missing",
    Status.UNKNOWN_ITEM: "unscored: the model does not know the item",
    Status.SHORT_HISTORY: "unscored: no other interaction of this user to compare with",
    Status.NO_EVIDENCE: "unscored: the item has no text and no interaction was trained on",
}
_UNJUDGED_REASON = "kept: not judged, as its event is not among --events"


def explain(scores: Scores, decisions: Decisions, rows: np.ndarray) -> list[str]:
    """Return a reason for each of `rows` (int64 [n]): why it was removed, protected, left unscored, or kept."""
    reasons = np.full(len(rows), "kept: agrees with the user's history", dtype=object)
    for status, reason in _UNSCORED_REASONS.items():
        reasons[scores.status[rows] == status] = reason
    protections = decisions.protections
    if protections is not None:
        reasons[~protections.judged[rows]] = _UNJUDGED_REASON
    told = np.flatnonzero(~decisions.keep[rows] | decisions.protected[rows])
    says = _crossfit_reasons if scores.parts is not None else _iadsr_reasons
    for place, why in zip(told, says(scores, rows[told]), strict=True):
        reasons[place] = f"{_verdict(decisions, rows[place])}: {why}"
    return list(reasons)


def _verdict(decisions: Decisions, row: int) -> str:
    """Return what became of a suspicious row."""
    if not decisions.keep[row]:
        return "removed"
    protections = decisions.protections
    if protections is None or protections.by[row] < 0:
        return "protected"
    return f"protected by {protections.names[protections.by[row]]}"


def _iadsr_reasons(scores: Scores, rows: np.ndarray) -> list[str]:
    """Return what speaks most against each of `rows` (int64 [n]) among the cosines of IADSR."""
    terms = scores.terms[rows]
    below = np.stack([_share_below(scores, column, rows) for column in range(len(TERMS))], axis=1)
    return [
        f"{TERMS[term]} (cosine {cosines[term]:.2f}, lowest {_percent(shares[term])} of rows)"
        for term, cosines, shares in zip(below.argmin(axis=1), terms, below, strict=True)
    ]


def _crossfit_reasons(scores: Scores, rows: np.ndarray) -> list[str]:
    """Return the one or two families of evidence that moved the score of each of `rows` (int64 [n]) most."""
    assert scores.parts is not None
    families = list(FAMILIES)
    member = np.array([[family(name) == each for name in NAMES] for each in families])
    moved = scores.parts[rows] @ member.T
    below = [_share_below(scores, NAMES.index(told), rows) for _, told in FAMILIES.values()]
    reasons = []
    for place, order in enumerate(np.argsort(-moved, axis=1, kind="stable")):
        chosen = [number for number in order[:2] if moved[place, number] > 0] or [order[0]]
        says = []
        for number in chosen:
            share = below[number][place]
            rank = "" if np.isnan(share) else f" (lowest {_percent(share)} of rows)"
            says.append(f"{FAMILIES[families[number]][0]}{rank}")
        reasons.append("; ".join(says))
    return reasons


def _share_below(scores: Scores, column: int, rows: np.ndarray) -> np.ndarray:
    """Return the share of the log's scored rows whose evidence is lower than that of each of `rows`; NaN if missing."""
    values = scores.terms[scores.status == Status.SCORED, column]
    ordered = np.sort(values[~np.isnan(values)])
    own = scores.terms[rows, column]
    return np.where(np.isnan(own), np.nan, np.searchsorted(ordered, own) / max(1, len(ordered)))


def _percent(share: float) -> str:
    return "1%" if share < 0.01 else f"{np.ceil(share * 100):.0f}%"


# Columns of a user's history: what each method compares, by the piece of evidence that stands for it.
_CROSSFIT_BARS = {
    name: NAMES.index(FAMILIES[of][1])
    for name, of in {"text": "text", "words": "words", "taste": "taste", "together": "together"}.items()
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
    """Check, before any work, that the log has a user.

    Raises:
        InputError: if it has not.
    """
    users = workspace.user_ids.to_pylist()
    if user not in set(users):
        near = ", ".join(f'"{candidate}"' for candidate in closest(user, users))
        raise InputError(f'{workspace.log.name} has no user "{user}".', f"Nearest: {near}.")
