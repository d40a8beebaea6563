"""Where settings are from: the command line comes over the environment, and that over a file."""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from iadsr_cli.cli.groups import every_setting, settings_of
from iadsr_cli.config import Config
from iadsr_cli.errors import IadsrError, UsageError, near
from iadsr_cli.settings import option_name

if TYPE_CHECKING:
    from iadsr_cli.cli.console import Face

ENVIRONMENT = "IADSR_"
# As Click spells them.
_TRUTH = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}

Idle = Callable[[Config, Mapping[str, Any]], Mapping[str, tuple[str, ...]]]
"""Takes the settings and a command's own arguments; returns why which groups or settings have no effect with them."""


def keep_one_rule(context: typer.Context, values: dict[str, Any]) -> None:
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


def take_negations(context: typer.Context, values: dict[str, Any]) -> None:
    """Take flags from the environment by the names of their negations: IADSR_NO_HEADER=1 for --no-header.

    Raises:
        UsageError: if one is neither true nor false, or the environment says the contrary, too.
    """
    for item, _ in every_setting().values():
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


def take_lists(context: typer.Context, values: dict[str, Any]) -> None:
    """Split what the environment gives a setting of several values as a shell does: at blanks that no quotes hold.

    Raises:
        UsageError: if a quote is never closed.
    """
    for item, hint in every_setting().values():
        if hint != tuple[str, ...] or item.name not in values or _source(context, item.name) != "ENVIRONMENT":
            continue
        variable = ENVIRONMENT + item.name.upper()
        try:
            # Click splits at all blanks.
            values[item.name] = shlex.split(os.environ[variable])
        except ValueError:
            raise UsageError(
                f'{variable} in the environment cannot be "{os.environ[variable]}".',
                "Quote as for a shell: 'item title' \"item's brand\" are two values.",
            ) from None


def warn_of_unknown(face: "Face") -> None:
    """Warn of what looks like a setting in the environment and is none."""
    known = {f"{ENVIRONMENT}CONFIG"}
    for item, _ in every_setting().values():
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


def warn_of_idle(context: typer.Context, idle: Mapping[str, tuple[str, ...]], face: "Face") -> None:
    """Warn of options on the command line that have no effect; a file and the environment may be for other runs."""
    for why, groups in idle.items():
        names = [name for group in groups for name in settings_of(group)]
        given = [name for name in names if _source(context, name) == "COMMANDLINE"]
        if given:
            *others, last = map(option_name, given)
            options = f"{', '.join(others)} and {last} have" if others else f"{last} has"
            face.warn(f"{options} no effect: {why}")


@contextmanager
def telling_sources(context: typer.Context) -> Iterator[None]:
    """Let an error that names options say which of them were given elsewhere than on the command line, and where."""
    try:
        yield
    except IadsrError as error:
        for option in dict.fromkeys(re.findall(r"(?<![\w-])--[a-z][a-z-]*", error.message)):
            name = option.removeprefix("--").replace("-", "_")
            source = _source(context, name)
            if source == "ENVIRONMENT":
                error.hint += f" {option} is {ENVIRONMENT}{name.upper()} in the environment."
            elif source == "DEFAULT_MAP":
                error.hint += f" {option} is set in {context.params['config_file']}."
        raise


def _source(context: typer.Context, name: str) -> str | None:
    """Return what Click calls the source that a parameter's value is from."""
    source = context.get_parameter_source(name)
    return source and source.name
