"""`iadsr evaluate`: how well the recommender ranks what users did next."""

from pathlib import Path
from typing import Annotated

import typer

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.options import Force, LogFile, command
from iadsr_cli.cli.views import show_log, show_ranking
from iadsr_cli.config import Config

Model = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="Folder that pretrain or align wrote; else one is pretrained."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for metrics.json.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @command(
        app,
        "evaluate",
        "iadsr evaluate logs.parquet -o report/",
        ("log", "backbone", "pretrain", "loop", "run"),
    )
    def evaluate(
        log: LogFile,
        config: Config,
        face: Face,
        model: Model = None,
        output: Output = None,
        force: Force = False,
    ) -> None:
        """Rank each user's last item among all items, given the ones before (leave-one-out).

        Prints HR@K, NDCG@K and MRR@K; writes metrics.json.
        """
        from iadsr_cli import pipeline
        from iadsr_cli.artifacts import check_folder, manifest_kind, read_manifest
        from iadsr_cli.evaluation import protocols

        if output is not None:
            check_folder(output, force=force)
        if model is not None:
            read_manifest(model, "align" if manifest_kind(model) == "align" else "pretrain")
        workspace = pipeline.open_log(log, None, config, face)
        show_log(face, workspace)
        outcome = protocols.leave_one_out(workspace, model)
        if output is not None:
            protocols.save(outcome, output)
        show_ranking(face, outcome, output)
        face.summary(outcome.metrics)
