"""`iadsr evaluate`: does the score find noise in this log, does cleaning help, and whom does it hurt?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.groups import GROUPS, TRAINING
from iadsr_cli.cli.options import Force, ItemsFile, LogFile, check_items, command
from iadsr_cli.cli.sources import idle_in_training
from iadsr_cli.cli.views import show_log, show_ranking, show_study
from iadsr_cli.config import Config
from iadsr_cli.remote import Staging

Model = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="DIR", help="Only rank last items with the recommender that pretrain or align wrote."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for report.html, metrics.json, rows.parquet and noise.parquet; with --model, metrics and ranks.",
    ),
]
GROUPS_OF_EVALUATE = tuple(group for group in GROUPS if group not in {"protection", "parts", "engine"})


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @command(app, "evaluate", "iadsr evaluate logs.parquet -o report/ --quick", GROUPS_OF_EVALUATE, _idle)
    def evaluate(
        log: LogFile,
        config: Config,
        face: Face,
        staging: Staging,
        output: Output = None,
        items: ItemsFile = None,
        model: Model = None,
        force: Force = False,
    ) -> None:
        """Find out whether cleaning helps on this log, before anything is cleaned.

        Injects noise and looks who finds it; ranks last items after training on the log raw, cleaned, and thinned.

        An interrupted study, run again, trains and judges nothing twice.
        """
        from iadsr_cli import pipeline
        from iadsr_cli.artifacts import manifest_kind, read_manifest
        from iadsr_cli.evaluation import protocols
        from iadsr_cli.logs.folders import check_made_folder

        check_items(items, config)
        if output is not None:
            inputs = {
                "the file with the items' texts": items,
                "the folder of --model": model,
                "the file of --encoder": config.encoder.vectors_file,
            }
            check_made_folder(output, log, inputs, force=force)
        if model is not None:
            read_manifest(model, "align" if manifest_kind(model) == "align" else "pretrain")
        workspace = pipeline.open_log(staging.fetched(log), items and staging.fetched(items), config, face)
        show_log(face, workspace)
        if model is not None:
            outcome = protocols.leave_one_out(workspace, model)
            if output is not None:
                protocols.save(outcome, output, force=force)
            show_ranking(face, outcome, output)
            face.summary(outcome.metrics)
            return
        from iadsr_cli.evaluation import findings, study

        found = study.study(workspace)
        if output is not None:
            findings.save(found, output, force=force)
        show_study(face, found.metrics, output)
        face.summary(found.metrics)


def _idle(config: Config, values: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """Return what has no effect, see `options.Idle`."""
    if values["model"] is not None:
        return {"--model is only ranked with.": ("decision", "study", "encoder", *TRAINING)}
    found = idle_in_training(config)
    if not config.study.trains(config.decision.method):
        found = {"nothing here trains a recommender; --recommender backbone does, and so do some scorers.": TRAINING}
    if config.study.label is not None:
        found["with --label no noise is injected to be found."] = ("noise", "noise_share")
    return found
