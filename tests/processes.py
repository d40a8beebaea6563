"""What processes are started with that tests look at from without."""

import os
import signal
from functools import partial

INTERRUPTIBLE = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
"""To run before a program: a shell's jobs in the background ignore interrupts, and so would what they start."""


def unset() -> dict[str, str]:
    """The environment, without settings of the command."""
    return {name: value for name, value in os.environ.items() if not name.startswith("IADSR_")}
