"""Command-line options made from the settings dataclasses, the TOML file, and the manners all commands share."""

import inspect
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from iadsr_cli.cli.manners import Manners, asks_for_lines, help_instead_of_a_terminal
from iadsr_cli.config import (
    AlignSettings,
    BackboneSettings,
    Config,
    DecisionSettings,
    EncoderSettings,
    EngineSettings,
    ItemsSettings,
    LogSettings,
    LoopSettings,
    PretrainSettings,
    ProtectionSettings,
    RunSettings,
    Settings,
    StudySettings,
    WorkerSettings,
    option_name,
    setting,
)
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.remote import staged

if TYPE_CHECKING:
    from iadsr_cli.cli.console import Face

# Field of Config -> its class and the panel of --help in which its options stand.
GROUPS: dict[str, tuple[type[Settings], str]] = {
    "log": (LogSettings, "Reading the log"),
    "items": (ItemsSettings, "Item text"),
    "encoder": (EncoderSettings, "Item text"),
    "decision": (DecisionSettings, "Deciding"),
    "protection": (ProtectionSettings, "Deciding"),
    "study": (StudySettings, "Comparing"),
    "backbone": (BackboneSettings, "Recommender"),
    "pretrain": (PretrainSettings, "Training"),
    "align": (AlignSettings, "Training"),
    "loop": (LoopSettings, "Training"),
    "run": (RunSettings, "Running"),
    "workers": (WorkerSettings, "Running"),
    "engine": (EngineSettings, "Running"),
}
ENVIRONMENT = "IADSR_"

LogFile = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        help="The log: a CSV, TSV, Parquet or JSONL file (also .gz or .zst), a folder or a quoted pattern of such; "
        "an address such as https://... or s3://...; - is stdin.",
    ),
]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")]
Force = Annotated[bool, typer.Option("--force", metavar="", help="Replace an output that exists.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", metavar="", help="Go on after the last finished epoch of an interrupted run."),
]
ItemsFile = Annotated[
    str | None,
    typer.Option("--items", metavar="FILE", help="File with the items' texts, joined to the log by item id."),
]


LOG_FORMATS = ("text", "json")


@dataclass(frozen=True)
class FaceSettings(Settings):
    """How a run shows itself; never recorded."""

    quiet: bool = setting(False, "Print errors only.", recorded=False, alias="-q")
    json: bool = setting(
        False, "Print one JSON summary, to stdout or, when data goes there, to stderr.", recorded=False
    )
    log_format: str = setting(
        "text",
        "How messages look on stderr: for people, or one JSON object per line.",
        choices=LOG_FORMATS,
        recorded=False,
        metavar="FORMAT",
    )
    debug: bool = setting(False, "Show the traceback of an error.", recorded=False)


def command(app: typer.Typer, name: str, example: str, groups: tuple[str, ...]) -> Callable[..., Any]:
    """Register a command whose function takes its own arguments and then `config`, `face` and `staging`.

    Its options are those of `groups` (fields of Config), after its own; errors are printed and become exit codes.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name not in {"config", "face", "staging"}
        ]
        made = [_option(item, kind, panel) for kind, panel in _classes(groups) for item in fields(kind)]

        def run(**values: Any) -> None:
            values.pop("config_file")
            context: typer.Context = values.pop("context")
            with Manners(debug=values["debug"], lines=values["log_format"] == "json"):
                help_instead_of_a_terminal(context, values)
                _keep_one_rule(context, values)
                shown = FaceSettings(**_split(FaceSettings, values))
                made_groups: dict[str, Any] = {
                    group: GROUPS[group][0](**_split(GROUPS[group][0], values)) for group in groups
                }
                config = Config(**made_groups)
                _check_places(values)
                face = _face(shown)
                with staged(config.run, face) as staging:
                    face.shown = staging.shown
                    function(**values, config=config, face=face, staging=staging)

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *own, *made, _config_file(name)]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name, epilog=f"Example: {example}")(run)
        return function

    return register


def _check_places(values: dict[str, Any]) -> None:
    """Check that no address stands where a folder or file of this machine has to.

    Raises:
        UsageError: if one does.
    """
    for name, value in values.items():
        # A path has lost one of the two strokes.
        if isinstance(value, Path) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(value)):
            address = str(value).replace(":/", "://", 1)
            raise UsageError(
                f"{option_name(name)} has to be on this machine, and {address} is an address.",
                "Name a folder here. A log, --items, and denoise's --output and --removed may be at addresses.",
            )


def check_items(items: str | None, config: Config) -> None:
    """Check that nothing is said of an items file where there is none.

    Raises:
        UsageError: if it is.
    """
    for name, value in vars(config.items).items():
        if items is None and value is not None:
            raise UsageError(f"{option_name(name)} has no use without --items.", "Name the file, or leave it out.")


def _keep_one_rule(context: typer.Context, values: dict[str, Any]) -> None:
    """Drop a budget that a threshold from a later source comes over: an option over the environment over a file.

    Raises:
        UsageError: if one source has both.
    """
    if values.get("budget") is None:
        return
    # By the names of Click's sources, which order them from the command line down to the default.
    ranks = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT")
    sources = (context.get_parameter_source(name) for name in ("threshold", "budget"))
    threshold, budget = (ranks.index(source.name) if source else len(ranks) for source in sources)
    if threshold < budget:
        values["budget"] = None
    elif threshold == budget:
        raise UsageError(
            "Both --threshold and --budget are given, and either says alone which rows go.", "Leave one of them out."
        )


def _face(shown: FaceSettings) -> "Face":
    from iadsr_cli.cli.console import Face
    from iadsr_cli.cli.lines import LinesFace

    return (LinesFace if shown.log_format == "json" else Face)(quiet=shown.quiet, json=shown.json)


def _classes(groups: tuple[str, ...]) -> list[tuple[type[Settings], str]]:
    return [*(GROUPS[group] for group in groups), (FaceSettings, "Running")]


def _split(kind: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of `kind` out of `values`."""
    taken = {item.name: values.pop(item.name) for item in fields(kind)}
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
        help_text = f"{help_text.removesuffix('.')} ({', '.join(choices)})."
    if hint == tuple[str, ...]:
        hint, default = list[str], list(default)
    option = typer.Option(
        *names,
        help=help_text,
        metavar=item.metadata["metavar"] or {bool: "", int: "N", float: "X"}.get(_value_type(hint), "TEXT"),
        autocompletion=_completion(choices) if choices else None,
        rich_help_panel=panel,
        envvar=ENVIRONMENT + item.name.upper(),
        show_envvar=False,
        show_default=not (default is None or isinstance(default, bool) or default == []),
    )
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )


def _value_type(hint: Any) -> type:
    """Return the type of a setting's value: `int` of `int | None`."""
    kind: type = (get_args(hint) or (hint,))[0]
    return kind


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _config_file(command_name: str) -> inspect.Parameter:
    def load(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            with Manners(debug=False, lines=asks_for_lines(sys.argv)):
                context.default_map = {**(context.default_map or {}), **read_config(path, command_name)}
        return path

    option = typer.Option(
        "--config",
        metavar="FILE",
        help="Settings from a TOML file; the environment (IADSR_SEED=7) and options come after it.",
        rich_help_panel="Running",
        envvar=ENVIRONMENT + "CONFIG",
        show_envvar=False,
        is_eager=True,
        callback=load,
    )
    return inspect.Parameter(
        "config_file",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, option],
    )


def read_config(path: Path, command_name: str) -> dict[str, Any]:
    """Return a TOML file's settings for a command: its top level, and over it the table named for the command.

    Raises:
        InputError: if the file cannot be read.
        UsageError: if it has a setting that no command knows, or one of the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.", "Name another file with --config.") from None
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}.", "Mend it, or leave out --config.") from None
    hints = {item.name: get_type_hints(kind)[item.name] for kind, _ in _classes(tuple(GROUPS)) for item in fields(kind)}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    merged = {key: value for key, value in content.items() if key not in tables}
    commands = ("embed", "pretrain", "align", "denoise", "evaluate")
    for key in tables:
        if key not in commands:
            raise UsageError(
                f"{path} has a table [{key}], which no command reads.",
                f"Tables are named for commands: {', '.join(commands)}.",
            )
    for table in (merged, *tables.values()):
        for key, value in table.items():
            _check_setting(path, key, value, hints)
    merged.update(tables.get(command_name, {}))
    return {key.replace("-", "_"): value for key, value in merged.items()}


def _check_setting(path: Path, key: str, value: Any, hints: dict[str, Any]) -> None:
    name = key.replace("-", "_")
    if name not in hints:
        near = get_close_matches(name, hints, n=3, cutoff=0.6)
        raise UsageError(
            f'{path} has a setting "{key}", which no command knows.',
            f"Did you mean {' or '.join(near)}?" if near else "Settings are named as the options are: seed = 7.",
        )
    hint = hints[name]
    allowed = get_args(hint) or (hint,)
    if hint == tuple[str, ...]:
        fits = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    else:
        fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        fits = fits or (float in allowed and type(value) is int)
    if not fits:
        names = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
        wanted = 'a list of texts, such as ["title"]' if hint == tuple[str, ...] else names[allowed[0]]
        found = {True: "true", False: "false"}.get(value, repr(value)) if isinstance(value, bool) else repr(value)
        raise UsageError(f"{path} sets {key} to {found}.", f"Give it {wanted}.")
