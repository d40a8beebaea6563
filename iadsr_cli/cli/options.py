"""Command-line options made from the settings dataclasses, and the manners all commands share."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from iadsr_cli.cli.groups import GROUPS, FaceSettings, classes, value_type
from iadsr_cli.cli.manners import Command, Manners, help_instead_of_a_terminal
from iadsr_cli.cli.settings_file import config_file
from iadsr_cli.cli.sources import (
    ENVIRONMENT,
    Idle,
    keep_one_rule,
    take_lists,
    take_negations,
    telling_sources,
    warn_of_idle,
    warn_of_unknown,
)
from iadsr_cli.config import Config
from iadsr_cli.errors import UsageError
from iadsr_cli.remote import staged
from iadsr_cli.settings import SHARE, Settings, option_name, parse_share
from iadsr_cli.workers import check_launch

if TYPE_CHECKING:
    from iadsr_cli.cli.console import Face

LogFile = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        help="The log: a CSV, TSV, Parquet or JSONL file (also .gz or .zst), a folder or a quoted pattern of such; "
        "an address such as https://... or s3://...; - is stdin.",
    ),
]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on after the last finished epoch of an interrupted run."),
]
ItemsFile = Annotated[
    str | None,
    typer.Option("--items", metavar="FILE", help="File with the items' texts, joined to the log by item id."),
]


def command(
    app: typer.Typer, name: str, example: str, groups: tuple[str, ...], idle: Idle | None = None
) -> Callable[..., Any]:
    """Register a command whose function takes its own arguments and then `config`, `face` and `staging`.

    Its options are those of `groups` (fields of Config), after its own; errors are printed and become exit codes, and
    options that `idle` names are warned of.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name not in {"config", "face", "staging"}
        ]
        made = [_option(item, kind, panel) for kind, panel in classes(groups) for item in fields(kind)]

        def run(**values: Any) -> None:
            values.pop("config_file")
            context: typer.Context = values.pop("context")
            manners = Manners(debug=values["debug"], lines=values["log_format"] == "json")
            with manners, telling_sources(context):
                help_instead_of_a_terminal(context, values)
                keep_one_rule(context, values)
                take_negations(context, values)
                take_lists(context, values)
                shown = FaceSettings(**_split(FaceSettings, values))
                made_groups: dict[str, Any] = {
                    group: GROUPS[group][0](**_split(GROUPS[group][0], values)) for group in groups
                }
                config = Config(**made_groups)
                check_launch(name)
                _check_places(values, config)
                face = _face(shown)
                warn_of_unknown(face)
                if idle is not None:
                    warn_of_idle(context, idle(config, values), face)
                with staged(config.run, face) as staging:
                    face.shown = staging.shown
                    function(**values, config=config, face=face, staging=staging)

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *own, *made, config_file(name)]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name, cls=Command, epilog=f"Example: {example}")(run)
        return function

    return register


def _check_places(values: dict[str, Any], config: Config) -> None:
    """Check that no address stands where a folder has to, nor bytes that are no text, nor a cache in the log.

    Raises:
        UsageError: if an address does, or such bytes.
        OutputError: if the cache lies in the log.
    """
    from iadsr_cli.logs.files import NO_TEXT
    from iadsr_cli.logs.folders import check_cache

    for name, value in {**values, "cache_dir": config.run.cache}.items():
        # Parquet files in such folders cannot be opened.
        if isinstance(value, Path) and NO_TEXT.search(str(value)):
            raise UsageError(f"{option_name(name)} is {value}, which is not UTF-8 text.", "Name a folder by text.")
        # A path has lost one of the two strokes.
        if isinstance(value, Path) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(value)):
            address = str(value).replace(":/", "://", 1)
            raise UsageError(
                f"{option_name(name)} has to be on this machine, and {address} is an address.",
                "Name a folder here. A log, --items, and denoise's --output and --removed may be at addresses.",
            )
    check_cache(config.run.cache, values.get("log", "-"))


def check_items(items: str | None, config: Config) -> None:
    """Check that nothing is said of an items file where there is none.

    Raises:
        UsageError: if it is.
    """
    for name, value in vars(config.items).items():
        if items is None and value is not None:
            raise UsageError(f"{option_name(name)} has no use without --items.", "Name the file, or leave it out.")


def _face(shown: FaceSettings) -> "Face":
    from iadsr_cli.cli.console import Face
    from iadsr_cli.cli.lines import LinesFace

    return (LinesFace if shown.log_format == "json" else Face)(quiet=shown.quiet, json=shown.json)


def _split(kind: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of `kind` out of `values`."""
    taken = {item.name: values.pop(item.name) for item in fields(kind)}
    for item in fields(kind):
        if item.metadata["metavar"] == SHARE and isinstance(item.default, float):
            taken[item.name] = parse_share(taken[item.name], option_name(item.name))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in taken.items()}


def _option(item: "Field[Any]", kind: type[Settings], panel: str) -> inspect.Parameter:
    """Return the parameter from which Typer makes a setting's option."""
    hint = get_type_hints(kind)[item.name]
    assert item.default is not MISSING
    default = item.default
    names = [option_name(item.name)]
    if item.metadata["alias"]:
        names.append(item.metadata["alias"])
    help_text, choices = item.metadata["help"], item.metadata["choices"]
    if hint is bool:
        names[0] += f"/{option_name(f'no_{item.name}')}" if default else ""
    elif len(choices) > 1:
        # A sign that stands alone would be read as the sentence's own.
        shown = [choice if re.search(r"\w", choice) else f"'{choice}'" for choice in choices]
        help_text = f"{help_text.removesuffix('.')} ({', '.join(shown)})."
    if hint == tuple[str, ...]:
        hint, default = list[str], list(default)
    if hint is float and item.metadata["metavar"] == SHARE:
        hint, default = str, str(default)  # a percentage is no number to Typer
    option = typer.Option(
        *names,
        help=help_text,
        metavar=item.metadata["metavar"] or {bool: None, int: "N", float: "X"}.get(value_type(hint), "TEXT"),
        autocompletion=_completion(choices) if choices else None,
        rich_help_panel=panel,
        envvar=ENVIRONMENT + item.name.upper(),
        show_envvar=False,
        show_default=not (default is None or isinstance(default, bool) or default == []),
    )
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete
