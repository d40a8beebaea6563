"""The report: metrics become one page of HTML that needs no other file, no script and no network.

A log's own words (titles, ids, its name) are nobody's to trust. They reach the page through Jinja's escaping alone,
each cut to a length and isolated in its writing direction; charts hold none of them.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iadsr_cli.evaluation import charts, tables, wording

if TYPE_CHECKING:
    from markupsafe import Markup

KINDS = {
    "insert-uniform": "at a random place of a history, an item that the user does not have, every item as likely",
    "insert-popular": "the same, but frequent items are drawn more often",
    "insert-timely": "the same, but among the items that others have at about the time of that place, as far as the "
    "order of histories tells it: misclicks are on what there is then",
    "insert-similar": "an item whose text is near to that of one of the user's own: text alone cannot tell it",
    "insert-burst": "2 to 5 consecutive items of another user, in one place, as where something is bought for others; "
    "the log still has them where they were copied from, so they are easier to find than others",
    "insert-account": "another user's history, in one run or several, as where two share an account; copied, too",
    "replace-uniform": "an item of the history is replaced by one that the user does not have",
    "replace-history": "all items of a history are replaced by random or frequent ones, as those of a bot",
    "labels": "nothing is injected: noise is what the log itself says is noise",
}
_BADGES = {
    "helps": ("▲", "good"),
    "does not help": ("▼", "bad"),
    "unclear": ("◆", "unclear"),
    "mixed": ("◆", "unclear"),
}


@dataclass(frozen=True)
class Chart:
    """A chart with its heading, the key to its colours (empty where there is one only), and a caption."""

    title: str
    svg: "Markup"
    caption: str
    key: list[tuple[str, str]] = field(default_factory=list)


def write(metrics: Mapping[str, Any], path: Path) -> None:
    """Write the report to `path`: the same metrics give the same bytes."""
    path.write_bytes(render(metrics).encode("utf-8", "replace"))


def render(metrics: Mapping[str, Any]) -> str:
    """Return the page. Sections that `metrics` lacks are left out; None and NaN show as a dash."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cut"] = wording.cut
    return environment.get_template("report.html.j2").render(_page(metrics))


def _page(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows, section by section; None where there is nothing to show."""
    draw = _Drawing()
    log = metrics.get("log") or {}
    verdict_kind = metrics.get("verdict_kind")
    return {
        "name": log.get("name"),
        "version": metrics.get("version"),
        "verdict": metrics["verdict"],
        "badge": (verdict_kind, *_BADGES[verdict_kind]) if verdict_kind in _BADGES else None,
        "notes": metrics.get("notes") or [],
        "facts": _facts(log),
        "ranking": [_ranking(study, draw) for study in metrics.get("ranking") or []],
        "thresholds": _thresholds(metrics.get("thresholds")),
        "detection": _detection(metrics, draw),
        "cleaning": _cleaning(metrics, draw),
        "suspicious": [_suspicious(row) for row in metrics.get("suspicious") or []],
        "judged": metrics.get("judged"),
        "training": wording.TRAINING,
        "settings": [(key, wording.plain(value)) for key, value in (metrics.get("settings") or {}).items()],
        "kinds": _kinds(metrics.get("detection") or []),
        "series": charts.SERIES,
    }


class _Drawing:
    """Names charts one after the other, so that no two of them share an id, and marks their SVG as safe."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(
        self, draw: Callable[..., str], title: str, caption: str, *data: Any, key: Iterable[str] = ()
    ) -> Chart:
        from markupsafe import Markup

        # The SVG is matplotlib's, of our own words and of numbers, escaped by its writer.
        svg = Markup(draw(f"chart-{next(self._numbers)}", f"{title}. {caption}", *data))
        return Chart(title, svg, caption, [(_mark(number, draw), text) for number, text in enumerate(key)])


def _mark(number: int, draw: Callable[..., str]) -> str:
    shape = ["dot", "diamond"][number % 2] if draw is charts.relative_changes else f"line-{charts.dashes(number)}"
    return f"series-{number % charts.SERIES + 1} {shape}"


def _facts(log: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {"rows": "rows", "users": "users", "items": "items", "items_with_text": "items with text"}
    return [(label, wording.count(log[key])) for key, label in names.items() if key in log]


def _ranking(study: Mapping[str, Any], draw: _Drawing) -> dict[str, Any]:
    """Return one recommender on one log: a chart of changes against raw, and the table."""
    arms = study.get("arms") or []
    changes = {arm["arm"]: [_interval(arm, metric) for metric in tables.CHANGES] for arm in arms if arm.get("change")}
    # An arm without any number would be an empty line.
    changes = {arm: values for arm, values in changes.items() if not np.isnan([value[0] for value in values]).all()}
    heading = f"{wording.plain(study.get('recommender'))}, {study.get('noise') or 'the log as it is'}"
    chart = None
    if changes:
        caption = "HR@10 against raw: " + wording.listed(
            [f"{arm} {_verbal(values[0])}" for arm, values in changes.items()]
        )
        chart = draw(charts.relative_changes, "Change against raw", caption, changes, key=tables.CHANGES)
    facts = [wording.counted(study.get("users"), "user"), wording.counted(study.get("seeds"), "seed")]
    if wording.finite(study.get("recovered_share")) is not None:
        facts.append(("of the loss to noise recovered", wording.percent(study["recovered_share"])))
    return {
        "heading": heading,
        "facts": facts,
        "withheld": study.get("recovered_share_withheld"),
        "chart": chart,
        "table": tables.of_arms(arms, heading),
    }


def _thresholds(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what each threshold takes and gives, and which is advised."""
    tried = (found or {}).get("thresholds") or []
    if not found or not tried:
        return None
    facts = [wording.counted(found.get("users"), "user"), wording.counted(found.get("seeds"), "seed")]
    return {
        "facts": facts,
        "table": tables.of_thresholds(found.get("own") or {}, tried, found.get("recommender")),
        "advice": found.get("advice"),
    }


def _interval(arm: Mapping[str, Any], metric: str) -> tuple[float, float, float]:
    found = arm["change"].get(metric) or {}
    mean, low, high = wording.numbers([found.get("mean"), found.get("low"), found.get("high")])
    return mean, low, high


def _verbal(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    if np.isnan([low, high]).any():
        return wording.change(mean)
    side = "above zero" if low > 0 else "below zero" if high < 0 else "the interval includes zero"
    return f"{wording.change(mean)} ({side})"


def _detection(metrics: Mapping[str, Any], draw: _Drawing) -> dict[str, Any] | None:
    """Return how well noise is found that is known: by scorer and kind of noise, then by the tool's own scorer."""
    results = metrics.get("detection") or []
    own = _own_scorer(metrics)
    drawn = [
        *_distributions(metrics.get("histogram"), draw),
        *_precision_recall(metrics.get("precision_recall"), own, draw),
        *_calibration(metrics.get("calibration"), draw),
    ]
    if not results and not drawn:
        return None
    mine = [result for result in results if result.get("scorer") == own]
    decided = [result for result in mine if any(wording.finite(result.get(key)) is not None for key in tables.DECISION)]
    return {
        "own": own,
        "scorers": tables.of_scorers(results) if results else None,
        "decisions": tables.of_decisions(decided, own) if decided else None,
        "charts": drawn,
        "injected": any(result.get("kind") != "labels" for result in results),
    }


def _own_scorer(metrics: Mapping[str, Any]) -> str:
    """Return the scorer that the report is about, which `--scorer` may have left out: the method."""
    return str((metrics.get("settings") or {}).get("decision.method"))


def _drawn_from(found: Mapping[str, Any]) -> str:
    """Return which noise a chart shows, and which seed, as the end of its caption; nothing where none is known."""
    if found.get("kind") is None:
        return ""
    kind = " ".join(filter(None, (wording.plain(found["kind"]), tables.rate_of(found.get("rate")))))
    return f" Noise: {kind}, seed {wording.count(found.get('seed'))}."


def _distributions(histogram: Mapping[str, Any] | None, draw: _Drawing) -> list[Chart]:
    if not histogram:
        return []
    edges = wording.numbers(histogram["edges"])
    parts = {part["name"]: wording.numbers(part["counts"]) for part in histogram["parts"]}
    if not np.isfinite(edges).all() or not any(np.nansum(counts) for counts in parts.values()):
        return []
    medians = [f"{wording.decimal(part['median'])} ({part['name']})" for part in histogram["parts"]]
    caption = f"The median is {' and '.join(medians)}.{_drawn_from(histogram)}"
    if len(parts) > 1:
        caption += " Both are drawn as if they had the same number of rows."
    key = parts if len(parts) > 1 else ()
    return [draw(charts.distributions, "Distribution of scores", caption, edges, list(parts.values()), key=key)]


def _precision_recall(found: Mapping[str, Any] | None, own: str, draw: _Drawing) -> list[Chart]:
    """Return the chart of all scorers, the tool's own first."""
    results = [result for result in (found or {}).get("curves") or [] if result["recall"] and result["precision"]]
    if not found or not results:
        return []
    ordered = sorted(results, key=lambda result: result.get("scorer") != own)
    curves = [(wording.numbers(result["recall"]), wording.numbers(result["precision"])) for result in ordered]
    share = wording.finite(found.get("share"))
    names = [wording.plain(result.get("scorer")) for result in ordered]
    parts = [f"{name} {wording.percent(_at_half(*curve))}" for name, curve in zip(names, curves, strict=True)]
    random = f" The level grey line is a random choice: {wording.percent(share)}." if share is not None else ""
    caption = f"Precision where half of the noise is found: {wording.listed(parts)}{random}{_drawn_from(found)}"
    return [draw(charts.precision_recall, "Precision and recall", caption, curves, share, key=names)]


def _at_half(recall: np.ndarray, precision: np.ndarray) -> float | None:
    """Return the best precision at which at least half of the noise is found."""
    enough = precision[recall >= 0.5]
    return wording.finite(np.nanmax(enough)) if np.isfinite(enough).any() else None


def _calibration(found: Mapping[str, Any] | None, draw: _Drawing) -> list[Chart]:
    if not found or not found.get("bins"):
        return []
    columns = [wording.numbers(each.get(key) for each in found["bins"]) for key in ("predicted", "observed", "rows")]
    above = int((columns[0] > columns[1]).sum())
    caption = (
        f"Expected calibration error {wording.decimal(found.get('expected_calibration_error'))}. "
        f"More noise is predicted than there is in {above} of {len(columns[0])} bins, "
        f"those below the dotted line; a dot's area grows with its rows.{_drawn_from(found)}"
    )
    return [draw(charts.calibration, "Calibration of the scores", caption, *columns)]


def _cleaning(metrics: Mapping[str, Any], draw: _Drawing) -> dict[str, Any] | None:
    """Return what was removed, and from whom: by item frequency and by length of history."""
    found = metrics.get("cleaning")
    own = _own_scorer(metrics)
    mine = [run for run in metrics.get("detection") or [] if run.get("scorer") == own and run.get("by_frequency_fifth")]
    if not found:
        return None
    return {
        "of": found["of"],
        "facts": _taken(found),
        "charts": [_by_frequency(found, draw), *([_by_history(found, draw)] if found["by_history_length"] else [])],
        "known": tables.of_fifths(mine, own) if mine else None,
    }


def _taken(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [(found["of"], wording.count(found["rows"]))]
    facts += [(key, wording.count(found[key])) for key in ("removed", "protected", "unscored")]
    facts.append((f"of all {found['of']} removed", wording.percent(found["removed_share"])))
    if wording.finite(found.get("estimated_noise_share")) is not None:
        share = wording.percent(found["estimated_noise_share"])
        facts.append((f"of the scored {found['of']} estimated to be noise", share))
    facts += [
        ("users who lose a row", wording.count(found["users_touched"])),
        ("cold gap", wording.change(found["cold_gap"], " points")),
    ]
    if len(found["seeds"]) > 1:
        facts.append(("seeds, of which all this is the mean", wording.count(len(found["seeds"]))))
    return facts


def _by_frequency(found: Mapping[str, Any], draw: _Drawing) -> Chart:
    values = wording.numbers(found["by_frequency_fifth"])
    caption = (
        f"Of the {found['of']} of the rarest fifth of items {wording.percent(values[0])} are removed, "
        f"of those of the most frequent fifth {wording.percent(values[-1])}.{_dashed(found)}"
    )
    title = "Removed share by item frequency"
    overall = wording.finite(found["removed_share"])
    return draw(charts.shares, title, caption, tables.FIFTHS, values, overall, "fifths of the items, by frequency")


def _by_history(found: Mapping[str, Any], draw: _Drawing) -> Chart:
    groups = found["by_history_length"]
    values = wording.numbers(group["share"] for group in groups)
    names = [_range(group["from"], group["to"]) for group in groups]
    caption = f"Users with {names[0]} {found['of']} lose {wording.percent(values[0])} of them"
    if len(groups) > 1:
        caption += f", those with {names[-1]} lose {wording.percent(values[-1])}"
    title = "Removed share by length of history"
    overall = wording.finite(found["removed_share"])
    return draw(
        charts.shares, title, f"{caption}.{_dashed(found)}", names, values, overall, f"{found['of']} of the user"
    )


def _dashed(found: Mapping[str, Any]) -> str:
    return f" The dashed line is all {found['of']}: {wording.percent(found['removed_share'])}."


def _range(start: Any, end: Any) -> str:
    return wording.count(start) if start == end else f"{wording.count(start)}–{wording.count(end)}"


def _suspicious(row: Mapping[str, Any]) -> dict[str, Any]:
    others = [wording.cut(title, 200) for title in row.get("others") or []]
    total = wording.finite(row.get("others_count"))
    more = int(total) - len(others) if total is not None else 0
    return {
        "user": wording.cut(row.get("user"), 200),
        "item": wording.cut(row.get("item"), 200),
        "title": wording.cut(row["title"]) if row.get("title") else None,
        "score": wording.decimal(row.get("score")),
        "removed": bool(row.get("removed")),
        "reason": wording.cut(row["reason"]) if row.get("reason") else None,
        "others": others,
        "more": wording.count(more) if more > 0 else None,
    }


def _kinds(results: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what the kinds of noise are that were injected."""
    injected = dict.fromkeys(result.get("kind") for result in results)
    return [(kind, KINDS[kind]) for kind in injected if kind in KINDS]
