"""What can go wrong, as the user reads it: one line saying what, one line saying what to do, an exit code.

Exit codes: 0 done, 1 could not, 2 wrong usage, 3 a gate that the user asked for, 130 interrupted, 141 the reader of our
output went away, 143 terminated.
"""

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

# Control characters, line ends, what overrides the direction of text, and halves of characters.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class IadsrError(Exception):
    """Something could not be done with this input or on this machine (exit code 1).

    `message` says what is wrong with which value in which file, row or column; `hint` says what to do.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        self.message = one_line(message)
        self.hint = one_line(hint)
        super().__init__(self.message, self.hint)  # by which it is made again in another process

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


def one_line(text: str) -> str:
    """Escape line ends and what would steer a terminal or turn its text around: what a file says stands in messages."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


class UsageError(IadsrError):
    """The command as typed cannot work; changing an option mends it (exit code 2)."""

    exit_code = 2


class InputError(IadsrError):
    """A file that was given cannot be read as what it should be, or a value in it cannot be used."""


class OutputError(IadsrError):
    """The output cannot be written where it was asked for."""


class ArtifactError(IadsrError):
    """A folder is not the artifact that it should be: another kind, another version, incomplete, changed."""


class EngineError(IadsrError):
    """The engine that was asked for cannot do the work."""


class EncoderError(IadsrError):
    """Item texts cannot be embedded with the encoder that was asked for."""


class GateError(IadsrError):
    """The outcome is one that the user asked not to have (exit code 3)."""

    exit_code = 3


class TrainingError(IadsrError):
    """The loss of training stopped being a number, or one of its processes ended by itself."""


class EvaluationError(IadsrError):
    """An evaluation's own checks found it unsound."""


def first_line(error: object) -> str:
    """Return the first line of what an error says; nothing if that is nothing."""
    return next(iter(str(error).strip().splitlines()), "")


def reason(error: Exception) -> str:
    """Return why the system could not do something, as it says so itself: "No space left on device"."""
    in_text = re.search(r"\(os error (\d+)\)", str(error))  # as libraries in Rust spell it
    number = int(in_text[1]) if in_text else getattr(error, "errno", None)
    return os.strerror(number) if number else next(iter(str(error).splitlines()), type(error).__name__)


def near(name: str, candidates: Iterable[str]) -> list[str]:
    """Return the three candidates at most that `name` may have been meant to be, nearest first."""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    return [by_folded[match] for match in get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.6)]


def closest(name: str, candidates: Iterable[str]) -> list[str]:
    """Return what `name` may have been meant to be, nearest first; where none is near all of the few candidates."""
    names = list(candidates)
    return near(name, names) or names
