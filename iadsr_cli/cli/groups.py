"""The groups of settings that commands take their options from."""

from dataclasses import Field, dataclass, fields
from functools import cache
from typing import Any, get_args, get_type_hints

from iadsr_cli.config import (
    AlignSettings,
    BackboneSettings,
    DecisionSettings,
    EncoderSettings,
    EngineSettings,
    ItemsSettings,
    LogSettings,
    LoopSettings,
    PartsSettings,
    PretrainSettings,
    ProtectionSettings,
    RunSettings,
    StudySettings,
    WorkerSettings,
)
from iadsr_cli.settings import Settings, setting

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
    "parts": (PartsSettings, "Running"),
    "workers": (WorkerSettings, "Running"),
    "engine": (EngineSettings, "Running"),
}
TRAINING = ("backbone", "pretrain", "align", "loop", "workers")
"""The groups of settings that only training takes."""


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


def classes(groups: tuple[str, ...]) -> list[tuple[type[Settings], str]]:
    """Return the classes of the groups, and of how a run shows itself, each with its panel of --help."""
    return [*(GROUPS[group] for group in groups), (FaceSettings, "Running")]


@cache
def every_setting() -> "dict[str, tuple[Field[Any], Any]]":
    """Return every setting of any command with its declared type, by name."""
    kinds = [(kind, get_type_hints(kind)) for kind, _ in classes(tuple(GROUPS))]
    return {item.name: (item, hints[item.name]) for kind, hints in kinds for item in fields(kind)}


def settings_of(group: str) -> list[str]:
    """Return the settings of a group, or the one that has this name."""
    return [item.name for item in fields(GROUPS[group][0])] if group in GROUPS else [group]


def value_type(hint: Any) -> type:
    """Return the type of a setting's value: `int` of `int | None`."""
    kind: type = (get_args(hint) or (hint,))[0]
    return kind
