"""`iadsr` and `python -m iadsr_cli` are the same command."""

import os
import signal


def main() -> None:
    """Load the command line, and run it."""
    usual = signal.getsignal(signal.SIGINT)
    # Not where interrupts are ignored, as a shell asks of what it runs in the background.
    if usual is signal.default_int_handler:
        # Until it is loaded there is nothing to clean up, and Python would print a traceback.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from iadsr_cli.cli.app import main as run

    signal.signal(signal.SIGINT, usual)
    run()


if __name__ == "__main__":
    main()
