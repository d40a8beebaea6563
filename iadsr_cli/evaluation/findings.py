"""What judging a log comes to: what cleaning takes and from whom, the most suspicious rows, and one sentence.

The outcome of `evaluate`, and the part of it that needs no labels, which `denoise --report` writes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iadsr_cli import __version__
from iadsr_cli.artifacts import Manifest, write_artifact
from iadsr_cli.config import Config
from iadsr_cli.decisions import Decisions
from iadsr_cli.evaluation import arms, metrics, wording
from iadsr_cli.explanations import explain
from iadsr_cli.pipeline import NO_FIT, Denoised, Workspace
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences, share_by_fifth
from iadsr_cli.stages import row_codes

SCHEMA_VERSION = 3

_SUSPICIOUS, _OTHERS = 20, 12
_HISTORY_LENGTHS = (1, 5, 10, 20, 50)
_HISTOGRAM_BINS = 50
_SAYS = {
    "helps": "and helps {}",
    "does not help": "and makes {} worse",
    "unclear": "and changes {} by no more than chance can",
}


@dataclass(frozen=True)
class Judged:
    """A log, or the training part of one, with the tool's own scores and decisions, all flat-aligned."""

    part: Sequences
    scores: Scores
    decisions: Decisions

    @property
    def removed(self) -> np.ndarray:
        """Which rows of it go, bool [N]."""
        return ~self.decisions.keep


@dataclass(frozen=True)
class Outcome:
    """What `evaluate` and `denoise --report` write.

    Attributes:
        metrics: all figures as JSON values; what `metrics.json` and the report hold.
        rows: the judged rows of the log as it is: row, user_id, item_id, noise_score, removed.
        inputs: digests of what it was made from.
        noise: what was injected, a row each: kind, rate, seed, user_id, position, item_id, replaced (the item that
            stood there, null where inserted), noise_score (null where the tool's own scorer was not asked for); None
            where nothing was.
    """

    metrics: dict[str, Any]
    rows: pa.Table
    inputs: dict[str, str]
    noise: pa.Table | None


def outcome(
    workspace: Workspace,
    judged: Judged,
    figures: dict[str, Any],
    inputs: dict[str, str],
    injected: Sequence[pa.Table] = (),
) -> Outcome:
    """Return the outcome of a run: its figures, the log and its most suspicious rows, and every row judged."""
    metrics: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        **figures,
        "log": {
            "name": workspace.reporter.shown(workspace.log.name),
            "rows": workspace.log.num_rows,
            "users": workspace.users,
            "items": workspace.items,
            "items_with_text": sum(text is not None for text in workspace.texts.texts),
        },
        "suspicious": suspicious(workspace, judged),
    }
    return Outcome(metrics, rows(workspace, judged), inputs, pa.concat_tables(injected) if injected else None)


def of_denoised(workspace: Workspace, denoised: Denoised) -> Outcome:
    """Return what can be said of a cleaned log without labels and without training a recommender on it again."""
    log, part = workspace.log, workspace.sequences
    judged = Judged(part, denoised.scores.take(part.row_ids), denoised.decisions.take(part.row_ids))
    users, items = row_codes(log.user_ids()), row_codes(log.item_ids())
    taken = _taken(users, items, workspace.items, denoised.scores, denoised.decisions)
    figures = {
        "verdict": f"Cleaning removes {wording.part(taken['removed'], taken['removed_share'])} of rows; "
        "whether that helps a recommender was not measured: iadsr evaluate does",
        "notes": notes(denoised.scores),
        "settings": settings(
            workspace.config, "encoder", "decision", "protection", "backbone", "pretrain", "align", "loop"
        ),
        "histogram": histogram({"all scored rows": denoised.scores.noise}),
        "cleaning": {"of": wording.LOG, "seeds": [workspace.config.run.seed], **taken},
        "judged": {"of": wording.LOG, "seed": workspace.config.run.seed},
    }
    return outcome(workspace, judged, figures, denoised.inputs)


def notes(*several: Scores) -> list[str]:
    """Return what the reader of a report has to know of the scores before anything else."""
    return [NO_FIT] if any(scores.shares == {} for scores in several) else []


def settings(config: Config, *groups: str) -> dict[str, Any]:
    """Return the settings of some groups, by names such as "decision.budget", and the seed."""
    found = {f"{name}.{key}": value for name in groups for key, value in getattr(config, name).record().items()}
    return {**found, "seed": config.run.seed}


def save(outcome: Outcome, folder: Path, *, force: bool) -> Manifest:
    """Write `report.html`, `metrics.json`, `rows.parquet`, and `noise.parquet` where any was injected."""
    from iadsr_cli.evaluation import report

    def fill(draft: Path) -> None:
        text = json.dumps(outcome.metrics, indent=2, ensure_ascii=False, allow_nan=False)
        (draft / "metrics.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        pq.write_table(outcome.rows, draft / "rows.parquet", compression="zstd")
        if outcome.noise is not None:
            pq.write_table(outcome.noise, draft / "noise.parquet", compression="zstd")
        report.write(outcome.metrics, draft / "report.html")

    return write_artifact(
        folder,
        "study",
        fill,
        config=outcome.metrics["settings"],
        inputs=outcome.inputs,
        facts={"verdict": outcome.metrics["verdict"]},
        force=force,
    )


def histogram(parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return counts of scores in bins over [0, 1], and their median, for parts of the rows by name; NaN is left out."""
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    scored = {name: score[~np.isnan(score)] for name, score in parts.items()}
    return {
        "edges": edges.tolist(),
        "parts": [
            {
                "name": name,
                "counts": np.histogram(score, edges)[0].tolist(),
                "median": float(np.median(score)) if len(score) else None,
            }
            for name, score in scored.items()
        ],
    }


def cleaning(by_seed: Mapping[int, Judged]) -> dict[str, Any]:
    """Return what cleaning takes from the rows that train, and from whom: means over seeds.

    `removed_share` and the like are shares of these rows. `cold_gap` is the removed share of the rarest fifth of the
    items less that of the most frequent, noise or not.
    """
    found = [
        _taken(judged.part.user_index, judged.part.codes - 1, len(judged.part.items), judged.scores, judged.decisions)
        for judged in by_seed.values()
    ]
    return {"of": wording.TRAINING, "seeds": list(by_seed), **_mean(found)}


def _taken(
    users: np.ndarray, items: np.ndarray, catalogue: int, scores: Scores, decisions: Decisions
) -> dict[str, Any]:
    """Return what decisions take from rows, and from whom.

    Args:
        users: user of each row as integers, int [rows]; -1 where missing: such rows are of no length of history.
        items: item of each row as integers, int [rows]; -1 where missing: such rows are of no fifth.
        catalogue: how many items there are.
        scores: of the rows.
        decisions: on the rows.
    """
    removed = ~decisions.keep
    known = items >= 0
    rows, gone = (np.bincount(items[which], minlength=catalogue) for which in (known, known & removed))
    by_fifth = share_by_fifth(rows, gone)
    lengths = np.append(np.bincount(users[users >= 0]), 0)[users]
    bounds = [*_HISTORY_LENGTHS, int(max(lengths.max(initial=0), _HISTORY_LENGTHS[-1])) + 1]
    by_length = [
        {"from": low, "to": high - 1, "rows": int(inside.sum()), "share": _share(removed[inside])}
        for low, high in pairwise(bounds)
        if (inside := (lengths >= low) & (lengths < high)).any()
    ]
    return {
        "rows": len(removed),
        "removed": int(removed.sum()),
        "removed_share": _share(removed),
        "protected": int(decisions.protected.sum()),
        "unscored": int(np.isnan(scores.noise).sum()),
        "users_touched": len(np.unique(users[removed])),
        "by_frequency_fifth": by_fifth,
        "by_history_length": by_length,
        "cold_gap": by_fifth[0] - by_fifth[-1],
        "estimated_noise_share": scores.share,
    }


def _mean(found: Sequence[Any]) -> Any:
    """Return the mean of the same figures of several runs; what is equal in all stays as it is."""
    first = found[0]
    if isinstance(first, dict):
        return {key: _mean([one[key] for one in found]) for key in first}
    if isinstance(first, list):
        return [_mean(several) for several in zip(*found, strict=True)]
    if all(one == first for one in found):
        return first
    return None if None in found else float(np.mean(found))


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0


def verdict(cleaning: dict[str, Any], ranking: list[dict[str, Any]]) -> dict[str, str]:
    """Return the study in one sentence, and its kind."""
    if not cleaning["removed"]:
        return {
            "verdict": "At these settings cleaning removes none of the rows that train, all but the last two of each "
            "user, so nothing changes; with --budget 5%, up to 5% of them go all the same, the most suspicious that "
            "the limits let go.",
            "verdict_kind": "unclear",
        }
    changes = {
        record["recommender"]: next(
            arm["change"]["HR@10"] for arm in record["arms"] if arm["arm"] == arms.CLEANED_HISTORY
        )
        for record in ranking
        if record["noise"] is None
    }
    # Of a recommender that hits nothing there is no change to speak of.
    known = {name: change for name, change in changes.items() if change["mean"] is not None}
    by_effect: dict[str, list[str]] = {}
    for name, change in known.items():
        by_effect.setdefault(_effect(change), []).append(name)
    if not by_effect:
        kind, says = "unclear", "and nothing can be said of recommendations"
    elif len(by_effect) == 1:
        (kind,) = by_effect
        says = _SAYS[kind].format("recommendations")
    else:
        kind = "mixed"
        says = ", ".join(_SAYS[effect].format(" and ".join(names)) for effect, names in by_effect.items())
    figures = [f"{name} HR@10 {wording.change_within(change)}" for name, change in known.items()]
    figures += [f"{name} hit nothing" for name in changes if name not in known]
    gap = cleaning["cold_gap"]
    fair = "no more than others" if gap <= 0.01 else f"{100 * gap:.1f} points more of their rows"
    gone = wording.part(cleaning["removed"], cleaning["removed_share"])
    removes = f"Cleaning removes {gone} of the rows that train"
    return {
        "verdict": f"{removes} {says}: {'; '.join([*figures, f'rare items lose {fair}'])}.",
        "verdict_kind": kind,
    }


def _effect(change: dict[str, float]) -> str:
    return "helps" if change["low"] > 0 else "does not help" if change["high"] < 0 else "unclear"


def suspicious(workspace: Workspace, judged: Judged) -> list[dict[str, Any]]:
    """Return the most suspicious rows, each with other titles of its user."""
    users, titles = workspace.log.user_ids(), [None, *workspace.item_texts]
    whole = workspace.sequences
    worst = metrics.most_suspicious(judged.scores.noise, _SUSPICIOUS)
    found = []
    reasons = explain(judged.scores, judged.decisions, worst, against_kept=True)
    for place, reason in zip(worst, reasons, strict=True):
        code, user = int(judged.part.codes[place]), int(judged.part.user_index[place])
        row = int(judged.part.row_ids[place])
        rows, codes = (array[whole.offsets[user] : whole.offsets[user + 1]] for array in (whole.row_ids, whole.codes))
        others = codes[rows != row]
        found.append(
            {
                "user": users[row].as_py(),
                "item": whole.items[code - 1].as_py(),
                "title": titles[code],
                "score": float(judged.scores.noise[place]),
                "removed": bool(judged.removed[place]),
                "reason": reason,
                "others": [titles[other] or whole.items[int(other) - 1].as_py() for other in others[:_OTHERS]],
                "others_count": len(others),
            }
        )
    return found


def rows(workspace: Workspace, judged: Judged) -> pa.Table:
    """Return the judged rows in the log's order: row, user_id, item_id, noise_score, removed."""
    order = np.argsort(judged.part.row_ids)
    rows = judged.part.row_ids[order]
    return pa.table(
        {
            "row": rows,
            "user_id": workspace.log.user_ids().take(pa.array(rows)),
            "item_id": workspace.log.item_ids().take(pa.array(rows)),
            "noise_score": pa.array(judged.scores.noise[order], from_pandas=True),
            "removed": judged.removed[order],
        }
    )
