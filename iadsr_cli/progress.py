"""How long work tells of itself: stages that advance, notes and warnings.

The library only calls these; the command line draws them (`cli.console`), a program that imports us may ignore
them (`Silent`).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Stage(Protocol):
    """One running stage, such as embedding or an epoch of training."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more of the stage's units are done."""

    def describe(self, detail: str) -> None:
        """Show a short detail beside the stage's name, such as the validation score so far."""


class Reporter(Protocol):
    """Receives what a run has to say."""

    def stage(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Stage]:
        """Open a stage of `total` units (None where the amount is not known)."""

    def note(self, text: str) -> None:
        """Say a fact worth knowing, such as a guess that was made."""

    def warn(self, text: str) -> None:
        """Say something that the user may want to act on."""

    def shown(self, text: str) -> str:
        """Return a text with the names of files as they are to be shown: of a copy, where it comes from."""


class SilentStage:
    """A stage that nobody watches."""

    def advance(self, amount: int = 1) -> None:
        """Ignore."""

    def describe(self, detail: str) -> None:
        """Ignore."""


class Silent:
    """A reporter that says nothing."""

    def stage(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Stage]:
        """Open a stage that nobody watches."""
        return nullcontext(SilentStage())

    def note(self, text: str) -> None:
        """Ignore."""

    def warn(self, text: str) -> None:
        """Ignore."""

    def shown(self, text: str) -> str:
        """Return the text."""
        return text
