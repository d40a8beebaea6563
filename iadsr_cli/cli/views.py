"""What each command says of its input and its outcome."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from iadsr_cli.cli.console import Face, counted, listed, peak_memory
from iadsr_cli.errors import one_line

if TYPE_CHECKING:
    from iadsr_cli.artifacts import Manifest
    from iadsr_cli.evaluation.protocols import Ranking
    from iadsr_cli.explanations import ExplainedRow
    from iadsr_cli.outputs import OutputPlan
    from iadsr_cli.parted.pipeline import DenoisedParts, PartedWorkspace
    from iadsr_cli.pipeline import Denoised, Workspace

# Columns of a terminal: of a bar or a figure, between those of a table, of a user's history beside titles and bars,
# and of a title at least.
_FIGURE, _BETWEEN, _BESIDE_BARS, _LEAST_TITLE = 5, 3, 23, 16
# An estimate is explained that is more than so many times what looks like noise row by row; and a log is small that has
# fewer rows than so many times those that it is taken to have more.
_MUCH_MORE, _SMALL = 2, 4

_UNWRITTEN = "nothing was written: name a folder with -o for"


def show_log(face: Face, workspace: "Workspace | PartedWorkspace") -> None:
    """Say what was understood: the file, its roles, its counts as far as they are known."""
    from iadsr_cli.logs.files import is_several, passed_over
    from iadsr_cli.logs.schema import perhaps_times

    log, texts = workspace.log, workspace.texts
    with_text = sum(text is not None for text in texts.texts)
    text = ", ".join(texts.columns) or "none"
    if texts.columns and texts.ids:
        text += f" ({with_text:,} of {counted(len(texts.ids), 'item')})"
    files = ""
    if is_several(log.name):
        files = f"{log.num_files:,}"
        if hidden := len(passed_over(log.name)):
            files += f" ({hidden:,} passed over: hidden, or names that begin with _)"
    gap = workspace.config.log.session_gap
    counts = [] if workspace.users is None else [counted(workspace.users, workspace.config.log.whose)]
    users = ", ".join([*counts, *([] if gap is None else [f"pauses {gap}"])])
    items = "" if workspace.items is None else counted(workspace.items, "item")
    if log.time_description:
        order = log.time_description
        if workspace.ties is not None and workspace.ties.of_items:
            order = f"random ({log.roles.time} is the same in all rows of an item)"
        elif workspace.ties is not None:
            order += f", ties in {'random' if workspace.ties else 'file'} order"
    else:
        order, told = "file order", "no time column"
        if workspace.ties:
            order, told = "random", f"{told}, and the file is sorted by item"
        if workspace.config.log.time_column is None:
            if perhaps := log.likely_time():
                told += f"; perhaps --time-column {shlex.quote(perhaps)}"
            elif unread := perhaps_times(log.column_names, log.roles):
                told += f"; --time-column {shlex.quote(unread[0])} if its values are an order"
        order = f"{order} ({told})"
    face.facts(
        f"{log.name} ({log.format})",
        [
            *([("files", files)] if files else []),
            ("rows", f"{log.num_rows:,}"),
            ("user", log.roles.user + (users and f" ({users})")),
            ("item", log.roles.item + (items and f" ({items})")),
            ("order", order),
            ("text", text),
        ],
    )


def show_training(face: Face, folder: Path, manifest: "Manifest") -> None:
    """Say what was trained."""
    rows = [("items", f"{manifest.facts['items']:,}"), ("epochs", f"{manifest.facts['epochs']}")]
    if "with_vector" in manifest.facts:
        rows.append(("with text", counted(manifest.facts["with_vector"], "item")))
    rows.append(("slowest", face.slowest()))
    face.facts(f"Wrote {folder}", rows)
    face.summary({"output": str(folder), **manifest.facts})


def show_denoised(face: Face, denoised: "Denoised | DenoisedParts", plan: "OutputPlan", whose: str) -> None:
    """Print the closing table; `whose` is what each history is of, such as "user"."""
    nothing_written = denoised.refusal is not None or not plan.written
    facts = denoised.summary
    rows = facts["rows"]
    users = {"in the log": facts["users"], **facts["users_by_decision"]}
    items = {"in the log": facts["items"], **facts["items_by_decision"]}
    would = "would be " if nothing_written else ""
    names = {
        "in the log": "in the log",
        "kept": f"{would}kept",
        "protected": "  protected",
        "unscored": "  unscored",
        **({"unjudged": "  not judged"} if facts["unjudged"] else {}),
        "removed": f"{would}removed",
    }
    counts = {"in the log": rows, **facts}
    report = [] if plan.report is None else [str(plan.report)]
    if denoised.refusal is not None:
        title = "Nothing was written"
    elif plan.written:
        title = f"Wrote {listed([*plan.written, *report])}"
    elif report:
        title = f"Dry run: no log was written, and the report is in {plan.report}"
    else:
        title = "Dry run: nothing was written"
    face.table(
        title,
        ["", "rows", "share", f"{whose}s", "items"],
        [
            [label, f"{counts[key]:,}", f"{counts[key] / max(1, rows):.1%}", f"{users[key]:,}", f"{items[key]:,}"]
            for key, label in names.items()
        ],
    )
    fifths = ["rarest fifth", "2nd", "3rd", "4th", "most frequent"]
    if facts["removed"]:
        shares = [f"{value:.1%}" for value in facts["removed_share_by_item_frequency_fifth"]]
        face.table("", ["share of rows removed", *fifths], [["by item frequency", *shares]])
    else:
        face.note(_why_nothing(facts, denoised))
    if facts["users_removed_whole"]:
        gone = counted(facts["users_removed_whole"], whose)
        face.note(f"no row is left of {gone}: see --whole-users and --min-user-rows")
    if facts["estimated_noise_share"] is not None:
        face.note(_estimated(facts, denoised.cutoff))
    memory = peak_memory()
    face.note(f"slowest stage: {face.slowest()}" + (f"; {memory:,} MiB at the peak" if memory else ""))


def show_history(face: Face, user: str, rows: list["ExplainedRow"]) -> None:
    """Print a user's rows with scores, evidence bars and decisions, and why any goes."""
    bars: list[str] = []
    room = face.console.width - _BESIDE_BARS
    for name in rows[0].agreement:
        width = max(_FIGURE, len(name)) + _BETWEEN
        if any(row.agreement[name] is not None for row in rows) and (not bars or room - width >= _LEAST_TITLE):
            bars.append(name)
            room -= width
    room = max(_LEAST_TITLE, room)
    face.table(
        f"user {user}, oldest row first; a bar is the share of the log's rows that agree less",
        ["item", "score", *bars, "decision"],
        [
            [
                _cut(row.title or row.item, room),
                "-" if row.score is None else f"{row.score:.2f}",
                *(_bar(row.agreement[name]) for name in bars),
                _verdict(row),
            ]
            for row in rows
        ],
    )
    for row in rows:
        verdict = _verdict(row)
        if row.reason.startswith(("removed", "protected", "kept by")):
            face.note(f"{_cut(row.title or row.item, 60)}: {row.reason.removeprefix(f'{verdict}: ')}")


def _verdict(row: "ExplainedRow") -> str:
    """Return the first word of a reason: what becomes of the row."""
    return row.reason.partition(" ")[0].rstrip(":")


def _cut(text: str, most: int) -> str:
    """Return a text, or its beginning where it would take more than `most` columns of a terminal."""
    shown = Text(one_line(text))
    shown.truncate(most, overflow="ellipsis")
    return shown.plain


def _bar(share: float | None) -> str:
    return "-" if share is None else "█" * (filled := min(5, 1 + int(share * 5))) + "░" * (5 - filled)


def _why_nothing(facts: dict[str, Any], denoised: "Denoised | DenoisedParts") -> str:
    """Say why no row is removed, and what to do about it."""
    cutoff, highest = denoised.cutoff, facts["highest_score"]
    if highest is None:
        return "no row that may go could be scored"
    wishes = [*denoised.wishes, *(["--events"] if facts["unjudged"] else [])]
    see = f"see {listed(['--max-user-share', '--min-user-rows', '--min-item-rows', *wishes])}"
    if facts["protected"]:
        rows = counted(facts["protected"], "row")
        return f"{rows} looked like noise and stayed: {see}"
    if cutoff is None:
        return f"the budget comes to no row that may go: {see}"
    return (
        f"no row scored above {cutoff:g}; the highest is {highest:.2g}. "
        "With --budget 5%, up to 5% of the rows go all the same, the most suspicious that the limits let go"
    )


def _estimated(facts: dict[str, Any], cutoff: float | None) -> str:
    """Say how much noise there seems to be and, where much less looks like it row by row, why."""
    from iadsr_cli.crossfit.judge import ROWS_OF_DOUBT
    from iadsr_cli.decisions import LIKELY

    share, scored = facts["estimated_noise_share"], facts["rows"] - facts["unscored"]
    said = f"estimated noise in the log: {share:.1%} of the scored rows"
    if cutoff is None or cutoff > LIKELY or share * scored <= _MUCH_MORE * (facts["removed"] + facts["protected"]):
        return said
    said += "; less goes, as of most of it nothing tells which rows it is"
    if scored < _SMALL * ROWS_OF_DOUBT:
        said += (
            f". So little is known of a small log that it counts as if it had {ROWS_OF_DOUBT:,} rows more, all genuine"
        )
    return said


def show_study(face: Face, found: dict[str, Any], output: Path | None) -> None:
    """Print the verdict, who finds noise, and what cleaning does to recommenders."""
    _show_auroc(face, found["detection"])
    wide = face.console.width >= 100
    for record in found["ranking"]:
        noise = f", {record['noise']}" if record["noise"] else ""
        face.table(
            f"{record['recommender']}{noise}: the last item of {counted(record['users'], 'user')}",
            ["", "HR@10", "NDCG@10", "change of HR@10", *(["rare items", "coverage"] if wide else [])],
            [
                [
                    arm["arm"],
                    f"{arm['HR@10']:.4f}",
                    f"{arm['NDCG@10']:.4f}",
                    _change(arm["change"]),
                    *([_figure(arm["cold_HR@10"]), f"{arm['coverage']:.0%}"] if wide else []),
                ]
                for arm in record["arms"]
            ],
        )
        if record["recovered_share"] is not None:
            face.note(f"recovered share of what the noise cost: {record['recovered_share']:.2f}")
        if record["recovered_share_withheld"] is not None:
            face.note(record["recovered_share_withheld"])
    if found["thresholds"]:
        _show_thresholds(face, found["thresholds"])
    face.facts(found["verdict"], [("slowest", face.slowest())])
    if output is None:
        face.note(f"{_UNWRITTEN} report.html, metrics.json, rows.parquet and, where noise was injected, noise.parquet")
    else:
        face.facts(f"Wrote {output}", [("report", str(output / "report.html"))])


def _show_auroc(face: Face, records: list[dict[str, Any]]) -> None:
    """Print who finds which noise: a row for each kind, and as many tables as the terminal needs for all scorers."""
    values: dict[tuple[str, str], list[float]] = {}
    for record in records:
        of_kind = values.setdefault((_noise(record), record["scorer"]), [])
        if record["auroc"] is not None:
            of_kind.append(record["auroc"])
    kinds, scorers = (list(dict.fromkeys(names)) for names in zip(*values, strict=True))
    room = face.console.width - max(map(len, kinds)) - _BETWEEN
    for number, some in enumerate(_fitting(scorers, room)):
        face.table(
            "" if number else "AUROC: how well a score tells noise from the rest (0.5 is chance)",
            ["noise", *some],
            [[kind, *(_mean(values.get((kind, scorer))) for scorer in some)] for kind in kinds],
        )


def _noise(record: dict[str, Any]) -> str:
    """Return "insert-uniform 10%"; labelled noise has no rate."""
    return " ".join(filter(None, (record["kind"], record["rate"])))


def _fitting(names: list[str], room: int) -> list[list[str]]:
    """Return the columns of each table, one at least, that so many columns of a terminal have room for."""
    tables: list[list[str]] = []
    left = 0
    for name in names:
        width = max(_FIGURE, len(name)) + _BETWEEN
        if width > left:
            tables.append([])
            left = room
        tables[-1].append(name)
        left -= width
    return tables


def _show_thresholds(face: Face, found: dict[str, Any]) -> None:
    """Print what each threshold takes and gives, next to the decision that was asked for, and which is advised."""
    places = ("validation", "test")
    own = found["own"]
    face.table(
        f"{found['recommender']} by threshold: what goes of the rows that train, and HR@10 or its change",
        ["threshold", "removed", "before the last", "the last item"],
        [
            ["as set", f"{own['removed_share']:.1%}", *(f"{own[place]['HR@10']:.4f}" for place in places)],
            *(
                [f"{one['threshold']:g}", f"{one['removed_share']:.1%}", *(_change(one[at]["change"]) for at in places)]
                for one in found["thresholds"]
            ),
        ],
    )
    face.note(found["advice"])


def _mean(values: list[float] | None) -> str:
    return f"{sum(values) / len(values):.3f}" if values else "-"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _change(change: dict[str, dict[str, float | None]] | None) -> str:
    from iadsr_cli.evaluation import wording

    return wording.change_within(change["HR@10"]) if change else "-"


def show_ranking(face: Face, outcome: "Ranking", output: Path | None) -> None:
    """Print the table of leave-one-out metrics."""
    metrics = outcome.metrics
    face.table(
        f"{metrics['backbone']}: the last item of {metrics['users']:,} users among {metrics['items']:,} items",
        ["K", "HR@K", "NDCG@K", "MRR@K"],
        [[str(k), *(f"{metrics['test'][f'{name}@{k}']:.4f}" for name in ("HR", "NDCG", "MRR"))] for k in (5, 10, 20)],
    )
    if output is None:
        face.note(f"{_UNWRITTEN} metrics.json and ranks.parquet")
    else:
        face.facts(f"Wrote {output}", [("slowest", face.slowest())])
