"""The end of the process: with its exit code, and with all done that is to be done at its end."""

import atexit
import contextlib
import os
from collections.abc import Iterator

_CODES: list[int] = []


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Let the process end with the exit code of the block once all exit functions have run.

    Python would then take the interpreter down, while threads of libraries still run: one of Arrow's that lets go of
    our memory just then aborts the process, with an exit code of its own.
    """
    try:
        yield
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            _CODES.append(error.code or 0)
        raise


# What is registered first is done last, so this module is imported before all others that register anything.
@atexit.register
def _end() -> None:
    if _CODES:
        from iadsr_cli.cli.manners import let_go_of_closed_streams

        let_go_of_closed_streams()
        os._exit(_CODES[0])
