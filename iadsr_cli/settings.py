"""What a setting is: a field of a dataclass with help, bounds and choices, checked when it is made.

No torch here: `iadsr --help` reads this module.
"""

import math
import re
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from iadsr_cli.errors import UsageError, closest


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    recorded: bool = True,
    metavar: str = "",
    alias: str = "",
) -> Any:
    """Declare one setting.

    `low` and `high` are inclusive bounds; `recorded` says whether it can change a result and so belongs in manifests
    and cache keys (a device or a cache folder does not); `metavar` stands for the value in `--help`; `alias` is another
    name of the option.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "choices": choices,
        "recorded": recorded,
        "metavar": metavar,
        "alias": alias,
    }
    return field(default=default, metadata=metadata)


def option_name(name: str) -> str:
    """Return the command-line spelling of a setting: `user_column` is `--user-column`."""
    return "--" + name.replace("_", "-")


def check_named(option: str, metavar: str | None, value: object) -> None:
    """Check that what names a file or folder is not empty, which would stand for the current folder.

    Raises:
        UsageError: if it is.
    """
    if value == "" and metavar in {"LOG", "FILE", "DIR"}:
        raise UsageError(
            f"The name of {option} is empty.",
            "Give one. If a variable of the shell was to give it, that variable is not set.",
        )


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that an option has one of its possible values.

    Raises:
        UsageError: naming the values, and the nearest of them.
    """
    if value not in choices:
        nearest = closest(str(value), choices)[0]
        raise UsageError(f'{option} cannot be "{value}".', f"Allowed: {', '.join(choices)}. Nearest: {nearest}.")


SHARE = "SHARE"
"""The metavar of the settings that are shares: all of them can be given as 5% and as 0.05."""


def parse_share(text: str, option: str) -> float:
    """Return a share of 0 to 1 from "5%" or "0.05".

    Raises:
        UsageError: if it is neither.
    """
    stripped = text.strip()
    try:
        value = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f'{option} cannot be "{text}".', "Give a share such as 5% or 0.05.")
    return value


_PAUSE = re.compile(r"(?P<number>\d+(\.\d+)?) *(?P<unit>s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def parse_pause(text: str, option: str) -> float:
    """Return the seconds of a pause such as "30m".

    Raises:
        UsageError: if it is none.
    """
    match = _PAUSE.fullmatch(text.strip())
    if match is None or not float(match["number"]):
        raise UsageError(f'{option} cannot be "{text}".', "Give a pause such as 90s, 30m, 2h or 1d.")
    return float(match["number"]) * _SECONDS[match["unit"]]


# No count is larger: arrays count in 64 bits, and what they hold has to fit in memory.
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Settings:
    """Base of the settings dataclasses: checks its bounds when made, and knows its record for manifests."""

    def __post_init__(self) -> None:
        """Check every field against its bounds and choices.

        Raises:
            UsageError: naming the option, the value and what is allowed.
        """
        for item in fields(self):
            self._check(item, getattr(self, item.name))

    @staticmethod
    def _check(item: "Field[Any]", value: Any) -> None:
        low, high, choices = (item.metadata[key] for key in ("low", "high", "choices"))
        option = option_name(item.name)
        check_named(option, item.metadata["metavar"], value)
        if choices:
            check_choice(option, value, choices)
        if value is None or isinstance(value, (str, tuple, bool)):
            return
        if high is None and isinstance(value, int) and value > _MOST:
            high = _MOST
        if (
            (isinstance(value, float) and math.isnan(value))
            or (low is not None and value < low)
            or (high is not None and value > high)
        ):
            bounds = " and ".join(
                text
                for text in (
                    f"at least {low}" if low is not None else "",
                    f"at most {high}" if high is not None else "",
                )
                if text
            )
            raise UsageError(f"{option} is {value}.", f"Give a number that is {bounds}.")

    def record(self) -> dict[str, Any]:
        """Return the settings that can change a result, as plain values for a manifest or a cache key."""
        recorded = {item.name for item in fields(self) if item.metadata["recorded"]}
        values = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name in recorded
        }
