"""The TOML file of settings."""

import inspect
import sys
import tomllib
from collections.abc import Collection
from dataclasses import Field
from pathlib import Path
from typing import Annotated, Any

import typer

from iadsr_cli.cli.groups import every_setting, value_type
from iadsr_cli.cli.manners import Manners, asks_for_lines
from iadsr_cli.cli.sources import ENVIRONMENT
from iadsr_cli.errors import InputError, UsageError, near
from iadsr_cli.settings import SHARE, option_name


def config_file(command_name: str) -> inspect.Parameter:
    """Return the parameter from which Typer makes --config, whose file is read before the other options."""

    def load(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            with Manners(debug=False, lines=asks_for_lines(sys.argv)):
                context.default_map = {
                    **(context.default_map or {}),
                    **read_config(path, command_name, _own_options(context)),
                }
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


def _own_options(context: typer.Context) -> set[str]:
    """Return the names of what commands take that is no setting."""
    commands: dict[str, Any] = getattr(context.find_root().command, "commands", {})
    known = every_setting()
    found: set[str] = set()
    for word in (word for command in commands.values() for word in command.params):
        names = {option.removeprefix("--").replace("-", "_") for option in word.opts if option.startswith("--")}
        # Another name of a setting is not what a run reads or writes.
        found |= names if names.isdisjoint(known) else set()
    return found


def read_config(path: Path, command_name: str, own: Collection[str] = ()) -> dict[str, Any]:
    """Return a TOML file's settings for a command: its top level, and over it the table named for the command.

    `own` are the names of what commands take that is no setting.

    Raises:
        InputError: if the file cannot be read.
        UsageError: if it has a setting that no command knows or that can stand in no file, or one of the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.", "Name another file with --config.") from None
    except (OSError, ValueError, RecursionError) as error:  # digits and brackets may be too many
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
    read = {key: _read_table(path, table, own) for key, table in {"": top, **tables}.items()}
    return {**read[""], **read.get(command_name, {})}


def _read_table(path: Path, table: dict[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Return the settings of a table by their names, after checking them; no-header = true is header = false."""
    known = every_setting()
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        positive = name.removeprefix("no_")
        negated = name not in known and positive in known and known[positive][0].default is True
        name = positive if negated else name
        if name in own:
            raise UsageError(
                f'{path} has "{key}", which is no setting: what a run reads and writes, and may replace, is said where '
                "it is started.",
                "Take it out of the file, and say it on the command line.",
            )
        if name not in known:
            meant_by = [setting for setting, (item, _) in known.items() if item.metadata["alias"] == option_name(name)]
            names = meant_by or near(name, known)
            raise UsageError(
                f'{path} has a setting "{key}", which no command knows.',
                f"Did you mean {' or '.join(names)}?" if names else "Settings are named as the options are: seed = 7.",
            )
        _check_type(path, key, value, *known[name])
        meant = not value if negated else value
        if name in found and found[name] != meant:
            raise UsageError(f"{path} sets {option_name(name)} twice, differently.", "Leave one of them out.")
        found[name] = meant
    return found


def _check_type(path: Path, key: str, value: Any, item: "Field[Any]", hint: Any) -> None:
    several, share = hint == tuple[str, ...], item.metadata["metavar"] == SHARE
    kind = str if several else value_type(hint)
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
