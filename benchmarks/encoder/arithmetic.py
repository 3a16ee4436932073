"""The mathematics of the scenarios: when calls arrive, how long they took, how steep a line is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed: a value that really occurred.

    Args:
        values: in any order.
        share: in (0, 1].

    Returns:
        NaN without values.
    """
    if not values:
        return float("nan")
    return float(np.quantile(np.asarray(values, dtype=np.float64), share, method="inverted_cdf"))


def percentile_interval(values: Sequence[float], share: float) -> tuple[float, float]:
    """The 95 % interval of a percentile, from the binomial distribution of its rank (normal approximation).

    Args:
        values: in any order; independent draws.
        share: in (0, 1).

    Returns:
        (low, high): values that occurred; where a rank falls outside, the smallest or largest of them.

    Source: Conover, "Practical Nonparametric Statistics", 3rd ed., section 3.2.
    """
    if not values:
        return float("nan"), float("nan")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    half = 1.96 * np.sqrt(ordered.size * share * (1.0 - share))
    low = int(np.floor(ordered.size * share - half))
    high = int(np.ceil(ordered.size * share + half))
    return float(ordered[max(low - 1, 0)]), float(ordered[min(high, ordered.size - 1)])


def poisson_arrivals(rate_per_s: float, seconds: float, seed: int) -> Floats:
    """Moments at which an open-loop client calls, whatever became of its earlier calls.

    Args:
        rate_per_s: the mean rate.
        seconds: how long.
        seed: the same seed gives the same moments.

    Returns:
        Seconds from the start, rising, all below `seconds`.
    """
    rng = np.random.default_rng(seed)
    # Six standard deviations more than the mean count: the schedule is practically never cut short.
    mean = rate_per_s * seconds
    gaps = rng.exponential(1.0 / rate_per_s, size=int(mean + 6 * np.sqrt(mean)) + 10)
    moments = np.cumsum(gaps)
    return moments[moments < seconds]


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the straight line that fits best (least squares); 0 with fewer than two points."""
    x, y = np.asarray(at, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.size < 2:
        return 0.0
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


def mean_between(at: Sequence[float], values: Sequence[float], first: float, end: float) -> float:
    """The mean of the values whose moment is in [first, end); NaN when there is none."""
    chosen = [value for moment, value in zip(at, values, strict=True) if first <= moment < end]
    return float(np.mean(chosen)) if chosen else float("nan")


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of measurements that were taken in turn: a drift of the machine falls out of each."""
    return float(np.median([mine / other for mine, other in zip(ours, theirs, strict=True)]))
