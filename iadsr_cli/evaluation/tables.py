"""The tables of the report: figures as they are read, cell by cell."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iadsr_cli.evaluation import wording

_RANKING = {"HR@10": "HR@10", "NDCG@10": "NDCG@10", "MRR@10": "MRR@10", "cold_HR@10": "cold HR@10"}
CHANGES = ["HR@10", "NDCG@10"]
"""Metrics of arms whose changes are told."""
DECISION = ["precision", "recall", "f1", "over_denoising", "under_denoising", "removed_share", "over_denoising_gap"]
"""Figures of what a decision removed of known noise."""
FIFTHS = ["rarest", "2nd", "3rd", "4th", "most frequent"]
"""Of the items, by frequency."""


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, a second and smaller line, and whether it is the best of its column."""

    text: str
    below: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table: each row has a name and one cell per column.

    Attributes:
        label: what the table holds, for those who cannot see it.
        corner: what the rows are.
        columns: name of each column.
        rows: name and cells of each row.
        groups: names over several columns, with how many of them each spans; none if empty.
    """

    label: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    groups: list[tuple[str, int]] = field(default_factory=list)


def of_arms(arms: Sequence[Mapping[str, Any]], heading: str) -> Table | None:
    """Return what a recommender reaches after training on each arm; None where there is no arm."""
    columns = [key for key in (*_RANKING, "coverage") if any(key in arm for arm in arms)]
    rows = [(wording.plain(arm.get("arm")), [_reached(arm, key) for key in columns]) for arm in arms]
    names = [_RANKING.get(key, key) for key in columns]
    return Table(f"Ranking metrics: {heading}", "trained on", names, rows) if rows else None


def of_thresholds(own: Mapping[str, Any], tried: Sequence[Mapping[str, Any]], recommender: Any) -> Table:
    """Return what a recommender reaches with the decision that was set, and with each threshold."""
    places = {"validation": "HR@10, the items before the last", "test": "HR@10, the last items"}
    rows = []
    for name, one in [("as set", own), *((wording.plain(each.get("threshold")), each) for each in tried)]:
        cells = [_reached(one.get(place) or {}, "HR@10") for place in places]
        rows.append((name, [Cell(wording.percent(one.get("removed_share"))), *cells]))
    return Table(f"Thresholds, by {wording.plain(recommender)}", "threshold", ["removed", *places.values()], rows)


def _reached(arm: Mapping[str, Any], key: str) -> Cell:
    text = wording.percent(arm.get(key)) if key == "coverage" else wording.decimal(arm.get(key), 4)
    found = (arm.get("change") or {}).get(key)
    # Intervals of the other metrics are in metrics.json; here they would make the table too wide to be read.
    if not found or key not in CHANGES:
        return Cell(text)
    low, high = (wording.change(found.get(end), "") for end in ("low", "high"))
    return Cell(text, f"{wording.change(found.get('mean'))} ({low} to {high})")


def grouped(results: Iterable[Mapping[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Return the results by the values of `keys`, in order of appearance: those of one group differ in seed."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(tuple(result.get(key) for key in keys), []).append(result)
    return groups


def of_scorers(results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the AUROC of each scorer on each kind and rate of noise, means over seeds."""
    cells = grouped(results, "scorer", "kind", "rate")
    scorers = list(dict.fromkeys(scorer for scorer, _, _ in cells))
    kinds = list(dict.fromkeys(kind for _, kind, _ in cells))
    columns = [(kind, rate) for kind in kinds for rate in dict.fromkeys(r for _, k, r in cells if k == kind)]
    table = []
    for scorer in scorers:
        values = [[run.get("auroc") for run in cells.get((scorer, *column), [])] for column in columns]
        table.append([Cell(wording.decimal(wording.mean(value)), _below(value, wording.decimal)) for value in values])
    for place in range(len(columns)):
        shown = [row[place].text for row in table]
        best = max((text for text in shown if text != wording.DASH), default=None)
        for row in table:
            row[place] = Cell(row[place].text, row[place].below, row[place].text == best)
    groups = [(wording.plain(kind), sum(kind == other for other, _ in columns)) for kind in kinds]
    rates = [rate_of(rate) for _, rate in columns]
    rows = list(zip(map(wording.plain, scorers), table, strict=True))
    return Table("AUROC by scorer and kind of noise", "AUROC", rates, rows, groups)


def rate_of(rate: Any) -> str:
    """Return a rate of noise, which is a number or already in words; labelled noise has none."""
    number = wording.finite(rate)
    if number is not None:
        return f"{100 * number:.4g}%"
    return "" if rate is None else wording.plain(rate)


def of_decisions(results: Sequence[Mapping[str, Any]], own: str) -> Table:
    """Return what the tool's own scorer removed, by kind and rate of noise, means over seeds."""
    names = ["precision", "recall", "F1", "over-denoising", "under-denoising", "removed", "over-denoising gap, points"]
    rows = []
    for (kind, rate), runs in grouped(results, "kind", "rate").items():
        # What was injected may be less than what was asked for.
        cells = [Cell(wording.percent(wording.mean([_noise_share(run) for run in runs])))]
        for key in DECISION:
            show = _points if key == "over_denoising_gap" else wording.percent
            values = [run.get(key) for run in runs]
            cells.append(
                Cell(show(wording.mean(values)), _below(values, lambda half: wording.percent(half).rstrip("%")))
            )
        rows.append((f"{wording.plain(kind)} {rate_of(rate)}".rstrip(), cells))
    return Table(f"What {own} removed, by kind of noise", "noise", ["are noise", *names], rows)


def _noise_share(run: Mapping[str, Any]) -> float | None:
    rows, noise = (wording.finite(run.get(key)) for key in ("rows", "noise"))
    return noise / rows if rows and noise is not None else None


def _below(values: Sequence[Any], show: Callable[[Any], str]) -> str:
    """Return how sure a mean over seeds is, and of how many it is where some have no value."""
    return " ".join(filter(None, (wording.half_interval(values, show), wording.known(values))))


def _points(value: Any) -> str:
    return wording.change(value, "")


def of_fifths(runs: Sequence[Mapping[str, Any]], own: str) -> Table:
    """Return what the tool's own scorer found and removed, by frequency of the items, means over all runs."""
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "rows": ("rows", wording.count),
        "noise": ("noise", wording.count),
        "auroc": ("AUROC", wording.decimal),
        "removed_share": ("removed", wording.percent),
        "over_denoising": ("over-denoising", wording.percent),
        "under_denoising": ("under-denoising", wording.percent),
    }
    rows = []
    for place, name in enumerate(FIFTHS):
        fifths = [run["by_frequency_fifth"][place] for run in runs]
        means = {key: wording.mean([fifth.get(key) for fifth in fifths]) for key in columns}
        rows.append((name, [Cell(show(means[key])) for key, (_, show) in columns.items()]))
    label = f"{own} on known noise by item frequency{f', the mean of {len(runs)} runs' if len(runs) > 1 else ''}"
    return Table(label, "item frequency", [name for name, _ in columns.values()], rows)
