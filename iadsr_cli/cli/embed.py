"""`iadsr embed`: item texts to semantic vectors."""

import typer

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.options import Force, LogFile, OutputFolder, command
from iadsr_cli.config import Config
from iadsr_cli.remote import Staging


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @command(app, "embed", "iadsr embed items.csv -o vectors/", ("log", "encoder", "run", "engine"))
    def embed(
        log: LogFile, output: OutputFolder, config: Config, face: Face, staging: Staging, force: Force = False
    ) -> None:
        """Embed item texts: from an items file, or from a log's own text column.

        Writes items.parquet, vectors.safetensors and manifest.json.
        """
        from iadsr_cli import pipeline, stages
        from iadsr_cli.encoders import check_batches, described
        from iadsr_cli.engines import work
        from iadsr_cli.logs.folders import check_made_folder

        check_made_folder(output, log, {"the file of --encoder": config.encoder.vectors_file}, force=force)
        if config.engine.engine == "ray":
            check_batches(config.encoder)
        texts = pipeline.open_texts(staging.fetched(log), config, face)
        with work.opened(config.engine) as engine:
            manifest = stages.embed(texts, config, output, face, engine, force)
        face.facts(
            f"Wrote {output}",
            [
                ("items", f"{manifest.facts['items']:,}"),
                ("with a vector", f"{manifest.facts['with_vector']:,}"),
                ("encoder", described(config.encoder, manifest.config["encoder"])),
                ("text from", ", ".join(texts.columns)),
            ],
        )
        face.summary({"output": str(output), **manifest.facts})
