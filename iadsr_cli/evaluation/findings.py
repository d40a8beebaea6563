"""What judging a log comes to: what cleaning takes and from whom, the most suspicious rows, and one sentence.

The outcome of `evaluate`, and the part of it that needs no labels, which `denoise --report` writes.
"""

import json
from collections.abc import Sequence
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
from iadsr_cli.evidence import Scores
from iadsr_cli.explanations import explain
from iadsr_cli.pipeline import Denoised, Workspace
from iadsr_cli.sequences import Sequences, frequency_fifths

SCHEMA_VERSION = 2

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
    part = workspace.sequences
    judged = Judged(part, denoised.scores.take(part.row_ids), denoised.decisions.take(part.row_ids))
    figures = {
        "verdict": f"Cleaning removes {denoised.summary['removed'] / max(1, workspace.log.num_rows):.1%} of rows; "
        "whether that helps a recommender was not measured: iadsr evaluate does",
        "settings": settings(
            workspace.config, "encoder", "decision", "protection", "backbone", "pretrain", "align", "loop"
        ),
        "histogram": histogram(judged.scores.noise),
        "cleaning": {**cleaning(judged), "rows": workspace.log.num_rows, "unscored": denoised.summary["unscored"]},
    }
    return outcome(workspace, judged, figures, denoised.inputs)


def settings(config: Config, *groups: str) -> dict[str, Any]:
    """Return the settings of some groups, by names such as "decision.budget", and the seed."""
    found = {f"{name}.{key}": value for name in groups for key, value in getattr(config, name).record().items()}
    return {**found, "seed": config.run.seed}


def save(outcome: Outcome, folder: Path) -> Manifest:
    """Write `report.html`, `metrics.json`, `rows.parquet`, and `noise.parquet` where any was injected."""
    from iadsr_cli.evaluation import report

    def fill(draft: Path) -> None:
        text = json.dumps(outcome.metrics, indent=2, ensure_ascii=False, allow_nan=False)
        (draft / "metrics.json").write_text(text + "\n", encoding="utf-8")
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
    )


def histogram(score: np.ndarray, is_noise: np.ndarray | None = None) -> dict[str, Any]:
    """Return counts of scores in bins over [0, 1]; where noise is known, clean rows and noise apart."""
    scored = ~np.isnan(score)
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    if is_noise is None:
        return {"edges": edges.tolist(), "clean": np.histogram(score[scored], edges)[0].tolist()}
    clean, injected = (np.histogram(score[scored & which], edges)[0] for which in (~is_noise, is_noise))
    return {"edges": edges.tolist(), "clean": clean.tolist(), "injected": injected.tolist()}


def cleaning(judged: Judged) -> dict[str, Any]:
    """Return what cleaning takes from the log as it is, and from whom."""
    part, removed = judged.part, judged.removed
    counts = part.counts()[1:]
    fifth = frequency_fifths(counts)[part.codes - 1]
    by_fifth = [_share(removed[fifth == number]) for number in range(5)]
    lengths = part.lengths[part.user_index]
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
        "protected": int(judged.decisions.protected.sum()),
        "unscored": int(np.isnan(judged.scores.noise).sum()),
        "users_touched": len(np.unique(part.user_index[removed])),
        "by_frequency_fifth": by_fifth,
        "by_history_length": by_length,
        "cold_gap": by_fifth[0] - by_fifth[-1],
        "estimated_noise_share": judged.scores.share,
    }


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0


def verdict(cleaning: dict[str, Any], ranking: list[dict[str, Any]]) -> dict[str, str]:
    """Return the study in one sentence, and its kind."""
    if not cleaning["removed"]:
        return {
            "verdict": "At these settings cleaning removes no row of this log, so nothing changes; "
            "with --budget 5%, up to 5% of the rows go all the same, the most suspicious that the limits let go.",
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
    cold = "rare items lose no more than others" if gap <= 0.01 else f"rare items lose {100 * gap:.1f} points more"
    return {
        "verdict": f"Cleaning removes {cleaning['removed_share']:.1%} of rows {says}: {'; '.join([*figures, cold])}.",
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
