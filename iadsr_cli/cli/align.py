"""`iadsr align`: a recommender and semantic vectors to an aligned model."""

from pathlib import Path
from typing import Annotated

import typer

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.options import Force, LogFile, OutputFolder, Resume, command
from iadsr_cli.cli.views import show_log, show_training
from iadsr_cli.config import Config
from iadsr_cli.remote import Staging

Pretrained = Annotated[Path, typer.Option("--pretrained", metavar="DIR", help="Folder that pretrain wrote.")]
Vectors = Annotated[
    Path | None,
    typer.Option("--vectors", metavar="DIR", help="Folder that embed wrote; without it, collaboration alone."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @command(
        app,
        "align",
        "iadsr align logs.parquet --pretrained gru4rec/ --vectors vectors/ -o model/",
        ("log", "align", "loop", "run", "workers"),
    )
    def align(
        log: LogFile,
        pretrained: Pretrained,
        output: OutputFolder,
        config: Config,
        face: Face,
        staging: Staging,
        vectors: Vectors = None,
        resume: Resume = False,
        force: Force = False,
    ) -> None:
        """Align the recommender with the semantic vectors: IADSR's second stage.

        Writes vocabulary.parquet, weights.safetensors, history.jsonl and manifest.json; denoise needs no other folder.
        """
        from iadsr_cli import pipeline, stages
        from iadsr_cli.artifacts import read_manifest
        from iadsr_cli.logs.folders import check_made_folder
        from iadsr_cli.workers import leads

        face.spoken = face.spoken and leads()
        inputs = {"the folder of --pretrained": pretrained, "the folder of --vectors": vectors}
        check_made_folder(output, log, inputs, force=force)
        read_manifest(pretrained, "pretrain")
        if vectors is None:
            face.warn("No --vectors: rows will be judged on collaboration alone, which finds less.")
        else:
            read_manifest(vectors, "embed")
        workspace = pipeline.open_log(staging.fetched(log), None, config, face)
        show_log(face, workspace)
        manifest = stages.align(
            workspace.trainable, pretrained, vectors, config, output, face, stages.Resume.of(resume), force
        )
        show_training(face, output, manifest)
