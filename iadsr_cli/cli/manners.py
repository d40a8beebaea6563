"""How a command ends: what went wrong becomes two lines on standard error and an exit code."""

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from iadsr_cli.errors import IadsrError, OutputError, UsageError, first_line, reason
from iadsr_cli.settings import check_named

# What Typer raises for a command line that it cannot parse; Typer names only this subclass in public.
_ParseError: type[Any] = typer.BadParameter.__mro__[1]
_WANTED = {
    "integer": "Give a whole number.",
    "number": "Give a number.",
    "boolean": "Give true or false.",
}


# What torch says where no memory is left; of numpy and Arrow it is a MemoryError.
_NO_MEMORY = ("can't allocate memory", "out of memory")
# Errors of writing that say something about the disk and nothing about us.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM)."""


class Interrupted(KeyboardInterrupt):
    """The process was interrupted (Ctrl-C)."""


def end_on_signals() -> None:
    """Let SIGTERM end the process as Ctrl-C does, cleaning up; a second one does not disturb that."""

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Terminated(143)

    def interrupt(*_: object) -> None:
        # Where a plain KeyboardInterrupt passes through `exec`, as when a module with dataclasses is being imported,
        # Python ends by the signal, not with our exit code, even if it is caught.
        raise Interrupted

    signal.signal(signal.SIGTERM, end)
    # Not where interrupts are ignored, as a shell asks of what it runs in the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def stand_in_for_closed_streams() -> None:
    """Put something where a standard stream is closed, or the next file that is opened would be taken for it.

    Nothing comes from standard input then, nothing can be written to standard output, and errors are not heard.
    """
    for name, mode in (("stdin", "r"), ("stdout", "r"), ("stderr", "w")):  # in the order of their numbers
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


class Manners:
    """Turns what a command raises into its printed error, or a line for machines, and its exit code."""

    def __init__(self, *, debug: bool, lines: bool = False) -> None:
        self._debug, self._lines = debug, lines

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        try:
            self._end(error)
        finally:
            let_go_of_closed_streams()

    def _end(self, error: BaseException) -> None:
        stopped = isinstance(error, (KeyboardInterrupt, Terminated))
        if isinstance(error, (typer.Exit, SystemExit)) and not stopped:
            return
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(141) from None
        said, code = _said(error)
        trace_text = "".join(traceback.format_exception(error)) if self._debug and not stopped else None
        if self._lines:
            from iadsr_cli.cli.lines import write_error

            write_error(said, code, trace_text)
        else:
            from iadsr_cli.cli.console import print_error

            print_error(said, trace_text)
        raise typer.Exit(code) from None


def _said(error: BaseException) -> tuple[IadsrError, int]:
    """Return what to say of an error, and the exit code."""
    if isinstance(error, IadsrError):
        return error, error.exit_code
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        word, code = ("Terminated", 143) if isinstance(error, Terminated) else ("Interrupted", 130)
        return IadsrError(
            f"{word}: every output is whole or as it was before.",
            "Run the same command again (pretrain, align: with --resume): what was finished is not made twice.",
        ), code
    if said := _of_the_machine(error):
        return said, 1
    text = first_line(error)
    return IadsrError(
        f"Unexpected {type(error).__name__}{': ' if text else ''}{text}",
        "This is a defect in iadsr. Run again with --debug and report what it prints.",
    ), 1


def _of_the_machine(error: BaseException) -> IadsrError | None:
    """Return what to say of an error that tells something about the machine and nothing about us, else None."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return OutputError(
            f"{error.filename or 'Something'} could not be written: {reason(error)}.",
            "Make room, here and in the cache (--cache-dir), and run the same command again.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return IadsrError(f"{error.filename} is a longer name than this system takes.", "Give a shorter one.")
    if isinstance(error, io.UnsupportedOperation) and not sys.stdout.writable():
        return OutputError("Standard output is closed, and something was to be written there.", "Open it.")
    no_memory = isinstance(error, RuntimeError) and any(map(first_line(error).__contains__, _NO_MEMORY))
    if no_memory or isinstance(error, MemoryError):
        return IadsrError(
            "There is not enough memory for this.",
            "Where a recommender is trained, lower --batch-size, --window or sizes; denoise cleans a log in bounded "
            "memory with --in-parts always.",
        )
    return None


def let_go_of_closed_streams() -> None:
    """Let go of standard output and error where they cannot be written.

    What could not be written Python would try to write again at its end, and end with an exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Flags:
    """A command whose own flags, such as --help, show no type in the help: nothing is given to them."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in found:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return found


class Commands(_Flags, TyperGroup):
    """The root command, whose parsing errors look like all others."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **options: Any) -> Any:
        """Parse the root's own options."""
        self._lines = asks_for_lines(args)
        with _parsing(self._lines):
            return super().make_context(info_name, args, *rest, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the subcommand."""
        with _parsing(self._lines):
            return super().invoke(ctx)


class Command(_Flags, TyperCommand):
    """A subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse its words, none of which may name nothing: Typer makes the current folder of an empty path."""
        if not ctx.resilient_parsing:
            words, *_ = self.make_parser(ctx).parse_args(args=[*args])
            for parameter in self.params:
                name = "LOG" if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
                check_named(name, parameter.metavar, words.get(parameter.name))
        return super().parse_args(ctx, args)


def asks_for_lines(words: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON lines, though it may not be one that can be parsed."""
    asked = "--log-format=json" in words or ("--log-format", "json") in pairwise(words)
    return asked or os.environ.get("IADSR_LOG_FORMAT") == "json"


@contextlib.contextmanager
def _parsing(lines: bool) -> Iterator[None]:
    try:
        yield
    except (IadsrError, OSError) as error:
        if isinstance(error, OSError) and error.filename is None:  # of help that cannot be written
            error.filename = "Standard output"
        with Manners(debug=False, lines=lines):
            raise
    except _ParseError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        with Manners(debug=False, lines=lines):
            raise _as_usage_error(error) from error


def _as_usage_error(error: Any) -> UsageError:
    """Return Typer's error with the value that was given, where it came from, and what to do."""
    help_line = f"See {error.ctx.command_path if error.ctx else 'iadsr'} --help."
    if "unexpected extra argument" in error.format_message():
        # What a shell makes of a pattern that is not quoted.
        help_line = f"Several files are one log as a folder, or as a pattern in quotes: 'logs/*.csv'. {help_line}"
    inputs = getattr(error.__cause__, "errors", None)
    parameter = getattr(error, "param", None)
    if inputs is not None and parameter is not None:
        fault = inputs()[0]
        source = error.ctx.get_parameter_source(parameter.name) if error.ctx else None
        name = max(parameter.opts, key=len)
        if source is not None and source.name == "ENVIRONMENT":
            name = f"{parameter.envvar} in the environment"
        wanted = next((text for word, text in _WANTED.items() if word in fault["msg"]), help_line)
        return UsageError(f'{name} cannot be "{fault["input"]}".', wanted)
    message, _, near = error.format_message().partition(" Did you mean ")
    message = message.partition(" (Possible options:")[0].rstrip(".").replace("\n", " ").replace("\t", "")
    possible = getattr(error, "possibilities", None)
    if possible:
        near = " or ".join(possible) + "?"
    elif not near:
        return UsageError(f"{message}.", help_line)
    return UsageError(f"{message}.", f"Did you mean {near} {help_line}")


def help_instead_of_a_terminal(context: typer.Context, values: Mapping[str, Any]) -> None:
    """Show help where data is to come from a terminal: nobody types a log.

    Raises:
        UsageError: after the help, if it is so; or if two inputs would both be standard input.
    """
    if "-" not in (values.get("log"), values.get("items")):
        return
    if values.get("log") == values.get("items"):
        raise UsageError("Both the log and --items would come from standard input.", "Give one of them as a file.")
    if sys.stdin.isatty():
        with contextlib.redirect_stdout(sys.stderr):
            context.get_help()
        raise UsageError(
            "Data is to come from standard input, which is a terminal.",
            f"Name a file, or pipe one in: zcat logs.csv.gz | {context.command_path} - ...",
        )
