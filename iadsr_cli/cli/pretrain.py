"""`iadsr pretrain`: a log to a sequential recommender."""

import typer

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.options import Force, LogFile, OutputFolder, Resume, command
from iadsr_cli.cli.sources import idle_in_training
from iadsr_cli.cli.views import show_log, show_training
from iadsr_cli.config import Config
from iadsr_cli.remote import Staging


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @command(
        app,
        "pretrain",
        "iadsr pretrain logs.parquet -o gru4rec/",
        ("log", "backbone", "pretrain", "loop", "run", "workers"),
        lambda config, _: idle_in_training(config),
    )
    def pretrain(
        log: LogFile,
        output: OutputFolder,
        config: Config,
        face: Face,
        staging: Staging,
        resume: Resume = False,
        force: Force = False,
    ) -> None:
        """Train the sequential recommender on next-item prediction.

        Writes vocabulary.parquet, weights.safetensors, history.jsonl and manifest.json.
        """
        from iadsr_cli import pipeline, stages
        from iadsr_cli.logs.folders import check_made_folder
        from iadsr_cli.workers import leads

        face.spoken = face.spoken and leads()
        check_made_folder(output, log, {}, force=force)
        workspace = pipeline.open_log(staging.fetched(log), None, config, face)
        show_log(face, workspace)
        manifest = stages.pretrain(workspace.trainable, config, output, face, stages.Resume.of(resume), force)
        show_training(face, output, manifest)
