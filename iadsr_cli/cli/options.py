"""Command-line options made from the settings dataclasses, the TOML file, and the manners all commands share."""

import inspect
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from iadsr_cli.cli.manners import Command, Manners, asks_for_lines, help_instead_of_a_terminal
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
    StudySettings,
    WorkerSettings,
)
from iadsr_cli.errors import InputError, UsageError, near
from iadsr_cli.remote import staged
from iadsr_cli.settings import SHARE, Settings, option_name, parse_share, setting

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
# As Click spells them.
_TRUTH = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}

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


TRAINING = ("backbone", "pretrain", "align", "loop")
"""The groups of settings that only training takes."""
Idle = Callable[[Config, Mapping[str, Any]], Mapping[str, tuple[str, ...]]]
"""Takes the settings and a command's own arguments; returns why which groups or settings have no effect with them."""


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
        made = [_option(item, kind, panel) for kind, panel in _classes(groups) for item in fields(kind)]

        def run(**values: Any) -> None:
            values.pop("config_file")
            context: typer.Context = values.pop("context")
            with Manners(debug=values["debug"], lines=values["log_format"] == "json"):
                help_instead_of_a_terminal(context, values)
                _keep_one_rule(context, values)
                _take_negations(context, values)
                shown = FaceSettings(**_split(FaceSettings, values))
                made_groups: dict[str, Any] = {
                    group: GROUPS[group][0](**_split(GROUPS[group][0], values)) for group in groups
                }
                config = Config(**made_groups)
                _check_places(values, config)
                face = _face(shown)
                _warn_of_unknown(face)
                if idle is not None:
                    _warn_of_idle(context, idle(config, values), face)
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
        app.command(name, cls=Command, epilog=f"Example: {example}")(run)
        return function

    return register


def _check_places(values: dict[str, Any], config: Config) -> None:
    """Check that no address stands where a folder or file of this machine has to, and no cache in the log.

    Raises:
        UsageError: if an address does.
        OutputError: if the cache lies in the log.
    """
    from iadsr_cli.logs.folders import check_cache

    for name, value in values.items():
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


def _keep_one_rule(context: typer.Context, values: dict[str, Any]) -> None:
    """Drop a budget that a threshold from a later source comes over: an option over the environment over a file.

    Raises:
        UsageError: if one source has both.
    """
    if values.get("budget") is None:
        return
    # By the names of Click's sources, which order them from the command line down to the default.
    ranks = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT")
    sources = (_source(context, name) for name in ("threshold", "budget"))
    threshold, budget = (ranks.index(source) if source else len(ranks) for source in sources)
    if threshold < budget:
        values["budget"] = None
    elif threshold == budget:
        raise UsageError(
            "Both --threshold and --budget are given, and either says alone which rows go.", "Leave one of them out."
        )


def _take_negations(context: typer.Context, values: dict[str, Any]) -> None:
    """Take flags from the environment by the names of their negations: IADSR_NO_HEADER=1 for --no-header.

    Raises:
        UsageError: if one is neither true nor false, or the environment says the contrary, too.
    """
    for item, _ in _settings().values():
        variable = _negation(item.name)
        if item.default is not True or item.name not in values or not os.environ.get(variable):
            continue
        word = os.environ[variable]
        negated = _TRUTH.get(word.strip().lower())
        if negated is None:
            raise UsageError(f'{variable} in the environment cannot be "{word}".', "Give true or false.")
        source = _source(context, item.name)
        if source in {None, "DEFAULT", "DEFAULT_MAP"}:
            values[item.name] = not negated
        elif source == "ENVIRONMENT" and values[item.name] is negated:
            raise UsageError(
                f"{ENVIRONMENT}{item.name.upper()} and {variable} in the environment contradict each other.",
                "Leave one of them out.",
            )


def _negation(name: str) -> str:
    return f"{ENVIRONMENT}NO_{name.upper()}"


def _warn_of_unknown(face: "Face") -> None:
    """Warn of what looks like a setting in the environment and is none."""
    known = {f"{ENVIRONMENT}CONFIG"}
    for item, _ in _settings().values():
        known |= {ENVIRONMENT + item.name.upper(), *([_negation(item.name)] if item.default is True else [])}
    for variable in sorted(name for name in os.environ if name.startswith(ENVIRONMENT)):
        if variable not in known:
            meant = near(variable.removeprefix(ENVIRONMENT), (name.removeprefix(ENVIRONMENT) for name in known))
            hint = f": did you mean {ENVIRONMENT}{meant[0]}?" if meant else "."
            face.warn(f"{variable} in the environment is no setting, and has no effect{hint}")


def idle_in_training(config: Config) -> dict[str, tuple[str, ...]]:
    """Return which settings have no effect where a recommender is trained, see `Idle`."""
    backbone = config.backbone.backbone
    found: dict[str, tuple[str, ...]] = {}
    if backbone != "sasrec":
        found[f"{backbone} has no attention."] = ("heads",)
    if backbone == "caser":
        found["caser is one layer of convolutions."] = ("layers",)
    if config.loop.loss == "full":
        found["--loss full draws no items and changes all in a step."] = ("negatives", "item_table")
    return found


def _warn_of_idle(context: typer.Context, idle: Mapping[str, tuple[str, ...]], face: "Face") -> None:
    """Warn of options on the command line that have no effect; a file and the environment may be for other runs."""
    for why, groups in idle.items():
        names = [name for group in groups for name in _names(group)]
        given = [name for name in names if _source(context, name) == "COMMANDLINE"]
        if given:
            *others, last = map(option_name, given)
            options = f"{', '.join(others)} and {last} have" if others else f"{last} has"
            face.warn(f"{options} no effect: {why}")


def _names(group: str) -> list[str]:
    """Return the settings of a group, or the one that has this name."""
    return [item.name for item in fields(GROUPS[group][0])] if group in GROUPS else [group]


def _source(context: typer.Context, name: str) -> str | None:
    """Return what Click calls the source that a parameter's value is from."""
    source = context.get_parameter_source(name)
    return source and source.name


def _face(shown: FaceSettings) -> "Face":
    from iadsr_cli.cli.console import Face
    from iadsr_cli.cli.lines import LinesFace

    return (LinesFace if shown.log_format == "json" else Face)(quiet=shown.quiet, json=shown.json)


def _classes(groups: tuple[str, ...]) -> list[tuple[type[Settings], str]]:
    return [*(GROUPS[group] for group in groups), (FaceSettings, "Running")]


@cache
def _settings() -> "dict[str, tuple[Field[Any], Any]]":
    """Return every setting of any command with its declared type, by name."""
    kinds = [(kind, get_type_hints(kind)) for kind, _ in _classes(tuple(GROUPS))]
    return {item.name: (item, hints[item.name]) for kind, hints in kinds for item in fields(kind)}


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
        help_text = f"{help_text.removesuffix('.')} ({', '.join(choices)})."
    if hint == tuple[str, ...]:
        hint, default = list[str], list(default)
    if hint is float and item.metadata["metavar"] == SHARE:
        hint, default = str, str(default)  # a percentage is no number to Typer
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
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    top = {key: value for key, value in content.items() if key not in tables}
    commands = ("embed", "pretrain", "align", "denoise", "evaluate")
    for key in tables:
        if key not in commands:
            raise UsageError(
                f"{path} has a table [{key}], which no command reads.",
                f"Tables are named for commands: {', '.join(commands)}.",
            )
    read = {key: _read_table(path, table) for key, table in {"": top, **tables}.items()}
    return {**read[""], **read.get(command_name, {})}


def _read_table(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a table by their names, after checking them; no-header = true is header = false."""
    known = _settings()
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        positive = name.removeprefix("no_")
        negated = name not in known and positive in known and known[positive][0].default is True
        name = positive if negated else name
        if name not in known:
            names = near(name, known)
            raise UsageError(
                f'{path} has a setting "{key}", which no command knows.',
                f"Did you mean {' or '.join(names)}?" if names else "Settings are named as the options are: seed = 7.",
            )
        _check_type(path, key, value, *known[name])
        meant = not value if negated else value
        if found.get(name, meant) != meant:
            raise UsageError(f"{path} sets {option_name(name)} twice, differently.", "Leave one of them out.")
        found[name] = meant
    return found


def _check_type(path: Path, key: str, value: Any, item: "Field[Any]", hint: Any) -> None:
    several, share = hint == tuple[str, ...], item.metadata["metavar"] == SHARE
    kind = str if several else _value_type(hint)
    allowed = (str, float, int) if share else (float, int) if kind is float else (kind,)
    entries = value if several and isinstance(value, list) else [value]
    fits = all(isinstance(entry, allowed) and (kind is bool or not isinstance(entry, bool)) for entry in entries)
    if not fits or several != isinstance(value, list):
        names = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
        wanted = 'a list of texts, such as ["title"]' if several else names[kind]
        if share:
            wanted = 'a list of shares, such as ["5%", 0.1]' if several else 'a share, such as "5%" or 0.05'
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise UsageError(f"{path} sets {key} to {shown}.", f"Give it {wanted}.")
