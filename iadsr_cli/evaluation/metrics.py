"""What noise scores and removals are worth where the noise is known, and how sure one can be of a difference."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from iadsr_cli.sequences import frequency_fifths

# Values gathered at once while resampling; bounds memory whatever the number of users.
_DRAWN_AT_ONCE = 4_000_000


def detection(score: np.ndarray, is_noise: np.ndarray, removed: np.ndarray, items: np.ndarray) -> dict[str, Any]:
    """Return how well scores tell noise from genuine rows, and what a decision based on them removed.

    Of N noise rows, C genuine rows and R removed rows: precision |R∩N|/|R|, recall |R∩N|/|N|, F1, over-denoising
    |R∩C|/|C| and under-denoising |N\\R|/|N|. AUROC and average precision are over all rows, see `auroc`. The same by
    fifths of the items, from the rarest to the most frequent; `over_denoising_gap` is over-denoising, which is of
    genuine rows alone, of the first less that of the last.
    What has nothing to be computed from (no noise, nothing removed, one class only) is None.

    Args:
        score: noise score, float [N]; higher is more likely noise, NaN is unscored.
        is_noise: the truth, bool [N].
        removed: the decision, bool [N].
        items: item of each row as integers, int [N]; -1 where missing: such rows are in no fifth.
    """
    known = items >= 0
    _, item, counts = np.unique(items[known], return_inverse=True, return_counts=True)
    fifth_of_item = frequency_fifths(counts)
    fifth = np.full(len(items), -1)
    fifth[known] = fifth_of_item[item]
    fifths = []
    for number in range(5):
        rows = fifth == number
        whole = _detection(score[rows], is_noise[rows], removed[rows])
        frequency = counts[fifth_of_item == number]
        fifths.append(
            {
                "from": int(frequency.min()) if len(frequency) else None,
                "to": int(frequency.max()) if len(frequency) else None,
                **{
                    name: whole[name]
                    for name in ("rows", "noise", "auroc", "removed_share", "over_denoising", "under_denoising")
                },
            }
        )
    cold, hot = fifths[0]["over_denoising"], fifths[-1]["over_denoising"]
    return {
        **_detection(score, is_noise, removed),
        "by_frequency_fifth": fifths,
        "over_denoising_gap": None if cold is None or hot is None else cold - hot,
    }


def _detection(score: np.ndarray, is_noise: np.ndarray, removed: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    told = _is_told(score, is_noise)
    rows, noise, gone = len(score), int(is_noise.sum()), int(removed.sum())
    hits = int((removed & is_noise).sum())
    return {
        "rows": rows,
        "noise": noise,
        "unscored": int(np.isnan(score).sum()),
        "auroc": auroc(score, is_noise),
        "average_precision": float(average_precision_score(is_noise, _unscored_last(score))) if told else None,
        "removed": gone,
        "removed_share": _ratio(gone, rows),
        "precision": _ratio(hits, gone),
        "recall": _ratio(hits, noise),
        "f1": _ratio(2 * hits, gone + noise),
        "over_denoising": _ratio(gone - hits, rows - noise),
        "under_denoising": _ratio(noise - hits, noise),
    }


def auroc(score: np.ndarray, is_noise: np.ndarray) -> float | None:
    """Return the chance that a row of noise scores above a genuine one; ties count half.

    Unscored rows rank below all others: what a scorer says nothing of, it does not find. None where no row is scored,
    or all are of one class.

    Args:
        score: noise score, float [N]; NaN is unscored.
        is_noise: the truth, bool [N].
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_noise, _unscored_last(score))) if _is_told(score, is_noise) else None


def _is_told(score: np.ndarray, is_noise: np.ndarray) -> bool:
    """Return whether there is something to tell apart, and a score to do it by."""
    return bool(is_noise.any() and not is_noise.all() and not np.isnan(score).all())


def _unscored_last(score: np.ndarray) -> np.ndarray:
    """Return scores, of which there are some, that rank unscored rows below all others."""
    return np.where(np.isnan(score), np.nanmin(score) - 1, score)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def calibration(probability: np.ndarray, is_noise: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """Return how far probabilities of noise are from its observed share.

    Args:
        probability: float [N], 0 to 1; NaN is unscored and left out.
        is_noise: the truth, bool [N].
        bins: number of bins of equal width over [0, 1]; a bin holds its lower edge, the last one also 1.

    Returns:
        `bins`, a list of the bins that are not empty (from, to, rows, mean predicted and observed share), and
        `expected_calibration_error`, the mean distance of the two over rows; None without a scored row.
    """
    scored = ~np.isnan(probability)
    predicted = probability[scored]
    index = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    rows = np.bincount(index, minlength=bins)
    filled = np.flatnonzero(rows)
    means = np.bincount(index, weights=predicted, minlength=bins)[filled] / rows[filled]
    shares = np.bincount(index, weights=is_noise[scored], minlength=bins)[filled] / rows[filled]
    error = float(np.average(np.abs(means - shares), weights=rows[filled])) if len(predicted) else None
    return {
        "bins": [
            {
                "from": int(number) / bins,
                "to": (int(number) + 1) / bins,
                "rows": int(rows[number]),
                "predicted": float(mean),
                "observed": float(share),
            }
            for number, mean, share in zip(filled, means, shares, strict=True)
        ],
        "expected_calibration_error": error,
    }


def precision_recall(score: np.ndarray, is_noise: np.ndarray, points: int = 100) -> dict[str, list[float]]:
    """Return the precision-recall curve for plotting, in steps, `points` points at most.

    The points are evenly spread over recall, both ends included, and run from recall 1 down to 0. The precision of a
    point is that of all recall down to the next one's. Unscored rows rank last. Both lists are empty where no row is
    scored, or all are of one class.

    Args:
        score: noise score, float [N]; higher is more likely noise, NaN is unscored.
        is_noise: the truth, bool [N].
        points: at least 3.
    """
    from sklearn.metrics import precision_recall_curve

    if not _is_told(score, is_noise):
        return {"recall": [], "precision": []}
    precision, recall, _ = precision_recall_curve(is_noise, _unscored_last(score))
    # At recall 0 there is no precision; scikit-learn says 1, to which many ties at the top would draw a line.
    precision[-1] = precision[-2]
    if len(recall) > points:
        # Of the points that reach a recall, the last has the highest threshold.
        reached = np.searchsorted(-recall, -np.linspace(1, 0, points - 1), side="right") - 1
        chosen = np.unique(np.concatenate([[0], reached]))
        precision, recall = precision[chosen], recall[chosen]
    return {"recall": recall.tolist(), "precision": precision.tolist()}


def most_suspicious(score: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` highest scores, highest first, int64 [count].

    Equal scores go in row order. NaN is never chosen, so that there are fewer where fewer rows are scored.
    """
    scored = np.flatnonzero(~np.isnan(score))
    return scored[np.argsort(-score[scored], kind="stable")[:count]]


def worst(score: np.ndarray, count: int) -> np.ndarray:
    """Return the decision that removes the `count` highest scores, bool [N]; see `most_suspicious`."""
    removed = np.zeros(len(score), dtype=bool)
    removed[most_suspicious(score, count)] = True
    return removed


def relative_bootstrap(base: np.ndarray, other: np.ndarray, seed: int, draws: int = 2000) -> dict[str, float | None]:
    """Return (mean(other) - mean(base)) / mean(base) and its 95% percentile bootstrap interval over users.

    Users are resampled jointly for both; a resample in which the mean of `base` is 0 has no quotient and is left out.

    Args:
        base: one value per user, float [U], or float [seeds, U], which is averaged over seeds first.
        other: values of the same users, of the same shape.
        seed: the same arguments give the same interval.
        draws: number of resamples of the users.

    Returns:
        `mean`, `low` and `high`; None where the mean of `base` is 0 or there are no users.
    """
    both = np.stack([np.atleast_2d(values).mean(axis=0) for values in (base, other)])
    if not both[0].sum():
        return {"mean": None, "low": None, "high": None}
    base_mean, other_mean = both.mean(axis=1)
    base_means, other_means = _resampled_means(both, seed, draws)
    defined = base_means != 0
    quotients = other_means[defined] / base_means[defined] - 1
    low, high = np.quantile(quotients, [0.025, 0.975])
    return {"mean": float(other_mean / base_mean - 1), "low": float(low), "high": float(high)}


def better(base: np.ndarray, others: Sequence[np.ndarray], seed: int, draws: int = 2000) -> np.ndarray:
    """Return which of several have a higher mean than `base` by more than chance can make the best of them; bool [T].

    The best of several looks better than it is. So what one gains has to be more standard errors than the highest of
    all reaches in 97.5% of the resamples of the users where none is better. These are the same users for all of them.

    Args:
        base: one value per user, float [U], or float [seeds, U], which is averaged over seeds first.
        others: T of the same users and shape.
        seed: the same arguments give the same answer.
        draws: number of resamples of the users.

    Source: White, "A reality check for data snooping", 2000, studentised as by Romano and Wolf, 2005.
    """
    gains = np.stack([np.atleast_2d(values).mean(axis=0) for values in others]) - np.atleast_2d(base).mean(axis=0)
    gain, drawn = gains.mean(axis=1), _resampled_means(gains, seed, draws)
    error = drawn.std(axis=1)
    varying = error > 0
    found = gain > 0
    if varying.any():
        gain, drawn, error = gain[varying], drawn[varying], error[varying]
        highest = ((drawn - gain[:, None]) / error[:, None]).max(axis=0)
        found[varying] = gain / error > np.quantile(highest, 0.975)
    return found


def _resampled_means(values: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Return the means of values [m, U] over users drawn with replacement, the same for each m; float [m, draws]."""
    generator = np.random.default_rng(seed)
    users = values.shape[1]
    means = np.empty((len(values), draws))
    size = max(1, _DRAWN_AT_ONCE // users)
    for start in range(0, draws, size):
        chosen = generator.integers(users, size=(min(size, draws - start), users))
        for row, of_row in zip(means, values, strict=True):
            row[start : start + size] = of_row[chosen].mean(axis=1)
    return means


def seed_interval(values: Sequence[float] | np.ndarray) -> dict[str, float | None]:
    """Return the mean of at least one value per seed and the half-width of its 95% Student-t interval.

    `half` is None for a single value, which says nothing about the spread.
    """
    from scipy.stats import t

    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return {"mean": mean, "half": None}
    return {"mean": mean, "half": float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))}
