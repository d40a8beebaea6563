"""Who does work that comes in pieces: this process, one after the other, or the actors of Ray."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from iadsr_cli.config import EngineSettings

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Engine(Protocol):
    """Applies a function to pieces of work.

    `bundle` is how many small pieces of work are worth handing over as one.
    """

    bundle: int

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[tuple[int, Result]]:
        """Yield the place of each piece and what the function makes of it, in whatever order they are done.

        The function and what it belongs to, the pieces and the results must be such that they can be pickled.

        Raises:
            Exception: whatever the function raises.
            EngineError: if the pieces cannot be done, whatever they are.
        """


class Local:
    """This process."""

    bundle = 1

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[tuple[int, Result]]:
        """Yield what the function makes of each piece, in their order."""
        yield from enumerate(map(function, pieces))


@contextmanager
def opened(settings: EngineSettings) -> Iterator[Engine]:
    """Yield the engine of the settings.

    Raises:
        UsageError: if it cannot be had.
    """
    if settings.engine == "local":
        yield Local()
        return
    from iadsr_cli.engines import rays

    with rays.cluster(settings) as cluster:
        yield cluster
