"""How much of a log is noise of each kind.

A head gives the ratio of two densities, that of injected rows over that of the log's rows. Where the injected rows are
that look worst, nearly all rows of the log are noise, and their share there, over that of the injected ones, is that of
the noise (Elkan and Noto, KDD 2008, and Blanchard et al., JMLR 2010: it is at most the lowest ratio of the two
densities). It is read where several parts of the injected rows are, and a line through these followed to none of them.
"""

from collections.abc import Sequence

import numpy as np

from iadsr_cli.crossfit.kinds import Kind, Sort

# Parts of the injected rows, those that look worst, where the share of a kind is read; and of whole histories.
_PARTS, _OF_WHOLE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3), (0.1, 0.2, 0.4, 0.8)
# Of doubtful kinds only what others, plain noise and doubtful kinds before them, do not explain so many times over is
# believed, and so much of a log at most.
_PLAIN_COMPANY, _OTHER_COMPANY, _MOST_DOUBTFUL = 2, 3, 0.1


def estimate(
    of_log: Sequence[np.ndarray],
    of_injected: np.ndarray,
    kind: np.ndarray,
    counted: Sequence[np.ndarray],
    kinds: Sequence[Kind],
) -> np.ndarray:
    """Return the estimated share of each kind of noise in a log, float64 [K], 0 to 1 together.

    Args:
        of_log: for each of K kinds what its head says of the rows of the log that its share is read from, [n] each.
        of_injected: what all heads say of injected rows [m, K].
        kind: of each injected row, int64 [m].
        counted: for each of K kinds the injected rows that it is read from, bool [m].
        kinds: what is known of them.
    """
    from scipy.optimize import nnls

    count = len(kinds)
    seen, mixed = np.zeros(count), np.eye(count)
    present = [number for number in range(count) if len(of_log[number]) and (counted[number] & (kind == number)).any()]
    for number in present:
        own = of_injected[counted[number] & (kind == number), number]
        seen[number] = _read(of_log[number], own, kinds[number])
        # How much of a kind looks like this one. Whole histories are told by other evidence than the rest.
        for other in present:
            if not kinds[number].whole and not kinds[other].whole:
                mixed[number, other] = max(0.0, _read(of_injected[kind == other, number], own, kinds[number]))
    found = np.maximum(0.0, seen)
    first = [number for number, each in enumerate(kinds) if each.sort is Sort.PLAIN]
    if first:
        # They look like each other, and are told apart together.
        found[first] = nnls(mixed[np.ix_(first, first)], seen[first])[0]
    doubted = [number for number, each in enumerate(kinds) if each.sort is Sort.DOUBTFUL]
    for place, number in enumerate(doubted):
        before = doubted[:place]
        by_others = _PLAIN_COMPANY * mixed[number, first] @ found[first]
        by_others += _OTHER_COMPANY * mixed[number, before] @ found[before]
        found[number] = max(0.0, seen[number] - by_others)
    found[doubted] *= min(1.0, _MOST_DOUBTFUL / max(_MOST_DOUBTFUL, found[doubted].sum()))
    return found / max(1.0, found.sum())


def told_apart(of_log: np.ndarray, of_injected: np.ndarray) -> float:
    """Return how surely injected rows are told from the log's by their ratios, [n] and [m]: as an AUROC, 0 to 1.

    1 where there are none of either.
    """
    if not len(of_log) or not len(of_injected):
        return 1.0
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([of_log, of_injected]))[len(of_log) :]
    return float((ranks.mean() - (len(ranks) + 1) / 2) / len(of_log))


def _read(ratio: np.ndarray, of_injected: np.ndarray, kind: Kind) -> float:
    """Return the share of rows that look like injected ones, beyond what genuine rows would: 1 for injected rows.

    It is what is seen where some parts of the injected rows lie. Genuine rows are the fewer the worse the rows look, so
    a straight line through it is followed to where no injected row is, or beyond, though never up. Who is taken for a
    bot may go as a whole, so of whole histories what is seen where most of the injected ones are counts, a standard
    error less, for a few may look like one by chance; but no more than where fewer are, a standard error more.
    """

    def above(part: float) -> tuple[float, float]:
        """Return how many of the rows, and which part of the injected ones, reach the bound of a part.

        Steps make many equal, so that may be more.
        """
        bound = np.quantile(of_injected, 1 - part)
        return float((ratio >= bound).sum()), float((of_injected >= bound).mean())

    if kind.whole:
        counts, parts = np.array([above(part) for part in _OF_WHOLE]).T
        low, high = (counts + sign * np.sqrt(counts) for sign in (-1, 1))
        return float(min(low[-1] / parts[-1], (high / parts).min()) / len(ratio))
    seen = [count / len(ratio) / part for count, part in map(above, _PARTS)]
    slope, level = np.polyfit(_PARTS, seen, 1)
    return min(seen[-1], float(level + slope * kind.end))
