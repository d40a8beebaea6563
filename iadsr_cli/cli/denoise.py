"""`iadsr denoise`: a log in, the same log without its noise out."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.groups import GROUPS, TRAINING
from iadsr_cli.cli.options import Force, ItemsFile, LogFile, check_items, command
from iadsr_cli.cli.sources import idle_in_training
from iadsr_cli.cli.views import show_denoised, show_history, show_log
from iadsr_cli.config import FORMATS, Config
from iadsr_cli.errors import UsageError
from iadsr_cli.remote import Staging

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Cleaned log; a folder if the log is one and no extension says otherwise; - or nothing is stdout.",
    ),
]
Removed = Annotated[
    str | None,
    typer.Option("--removed", metavar="FILE", help="Also write the removed rows, with noise_score and reason."),
]
Model = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="Score with the folder that align wrote; train nothing."),
]
Annotate = Annotated[
    bool,
    typer.Option("--annotate", help="Write all rows, each with noise_score, keep and reason."),
]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="DIR", help="Also write report.html on what is removed, and from whom."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Score and print what would happen; write no rows, kept or removed.")
]
ExplainUser = Annotated[
    str | None,
    typer.Option(
        "--explain-user", metavar="ID", help="Show one user's history, row by row; without -o, write no cleaned log."
    ),
]
OutputFormat = Annotated[
    str,
    typer.Option(
        "--output-format",
        metavar="FORMAT",
        help=f"Format of the output; by its extension, else the log's own ({', '.join(FORMATS)}).",
        autocompletion=lambda incomplete: [name for name in FORMATS if name.startswith(incomplete)],
    ),
]

GROUPS_OF_DENOISE = tuple(group for group in GROUPS if group != "study")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    example = "iadsr denoise logs.parquet -o clean.parquet --removed removed.csv"

    @command(app, "denoise", example, GROUPS_OF_DENOISE, _idle)
    def denoise(
        log: LogFile,
        config: Config,
        face: Face,
        staging: Staging,
        output: Output = None,
        removed: Removed = None,
        items: ItemsFile = None,
        model: Model = None,
        annotate: Annotate = False,
        report: Report = None,
        explain_user: ExplainUser = None,
        dry_run: DryRun = False,
        output_format: OutputFormat = "auto",
        force: Force = False,
    ) -> None:
        """Give a log back without the rows that do not belong.

        What is missing (vectors, recommender, alignment) is made and kept in the cache for the next run.
        """
        from iadsr_cli.artifacts import read_manifest
        from iadsr_cli.cleaning import clean
        from iadsr_cli.outputs import OutputPlan

        check_items(items, config)
        only_explain = explain_user is not None and output is None
        plan = OutputPlan(
            # What goes last is looked for by whoever waits for it.
            removed=staging.claimed(None if dry_run else removed, force),
            output=staging.claimed(None if dry_run or only_explain else output or "-", force),
            report=report,
            annotate=annotate,
            explained=annotate or removed is not None,
            format=output_format,
            force=force,
            staging=staging,
        )
        texts = "the file with the items' texts"
        inputs = {"the folder of --model": model, "the file of --encoder": config.encoder.vectors_file}
        plan.check_places(log, {texts: items, **inputs})
        if model is not None:
            if items is not None:
                raise UsageError(
                    "--model brings its own item vectors, so --items has no use.", "Leave one of them out."
                )
            read_manifest(model, "align")
        log, items = staging.fetched(log), items and staging.fetched(items)
        plan.check(log, {texts: items, **inputs}, terminal=sys.stdout.isatty() and output is None)
        denoised, history = clean(
            log, items, model, plan, explain_user, config, face, lambda workspace: show_log(face, workspace)
        )
        show_denoised(face, denoised, plan, config.log.whose)
        output = None if denoised.refusal else plan.target
        summary = {"input": face.shown(log), "output": output, **denoised.summary}
        if explain_user is not None and history is not None:
            with face.answering():
                show_history(face, explain_user, history)
            summary["history"] = [asdict(row) for row in history]
        face.summary(summary, data_on_stdout="-" in (plan.output, plan.removed))
        if denoised.refusal is not None:
            raise denoised.refusal


def _idle(config: Config, values: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """Return what has no effect, see `options.Idle`."""
    if values["model"] is not None:
        return {"--model was trained already, and scores by IADSR.": ("method", "judges", "encoder", *TRAINING)}
    if config.decision.method != "iadsr":
        return {f"--method {config.decision.method} trains no recommender; --method iadsr does.": TRAINING}
    return {f"--method {config.decision.method} judges once.": ("judges",), **idle_in_training(config)}
