"""Learning little, where it does not matter how good scores are."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FEW_KINDS = ("insert-uniform", "insert-popular", "replace-history")
LITTLE = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from learning import learning_little
from iadsr_cli.cli.app import main
"""
"""A program's beginning: then `with learning_little(): main()` is the command."""


@contextmanager
def learning_little(rounds: int = 20, folds: int = 2, kinds: Collection[str] = FEW_KINDS) -> Iterator[None]:
    """Judge once, inject noise once and, if not told otherwise, of few kinds, in two folds, learning in a tenth of the
    usual rounds.
    """
    from iadsr_cli.crossfit import head, judge, lessons, panel
    from iadsr_cli.crossfit.kinds import KINDS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "FOLDS", folds)
        patch.setattr(judge, "KINDS", {name: kind for name, kind in KINDS.items() if name in kinds})
        patch.setattr(head, "_ROUNDS", rounds)
        patch.setattr(lessons, "_LESSONS", (1, 1))
        patch.setattr(panel, "_MOST", 1)
        yield
