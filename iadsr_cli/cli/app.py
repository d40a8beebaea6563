"""The `iadsr` command and its five subcommands. Nothing heavy is imported here: `--help` has to be quick."""

import os
import sys

import typer

from iadsr_cli import __version__
from iadsr_cli.cli import align, denoise, embed, evaluate, pretrain
from iadsr_cli.cli.ending import ending_at_once
from iadsr_cli.cli.manners import Commands, end_on_signals, stand_in_for_closed_streams

app = typer.Typer(
    name="iadsr",
    cls=Commands,
    help="Clean user-item interaction logs: find the rows that do not belong (misclicks, gifts, shared accounts) "
    "and give the log back without them.",
    epilog="Example: iadsr denoise logs.parquet -o clean.parquet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iadsr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    pass


for module in (denoise, embed, pretrain, align, evaluate):
    module.register(app)


def main() -> None:
    """Run the command line."""
    # PyTorch's threads wait for each other by spinning, which on a machine that is busy with other work makes training
    # many times slower. A short spin costs nothing on an idle one. Read when PyTorch is loaded, so it is set here.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    with ending_at_once():
        try:
            end_on_signals()
            stand_in_for_closed_streams()
            app(prog_name="iadsr")
        except KeyboardInterrupt:  # before there is a command that says so, or anything to clean up
            sys.exit(130)
