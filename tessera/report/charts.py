"""The pictures of a report: DET, score histograms, errors by gallery size, rates by group."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tessera.domain.calibration import OperatingPoint
from tessera.domain.group_findings import GroupDifference, GroupRate
from tessera.report import numbers
from tessera.report.drawing import (
    Plot,
    Point,
    Scale,
    Tick,
    band,
    curve,
    dot,
    label,
    normal_deviate,
    picture,
    rule,
    steps,
)
from tessera.report.markup import Markup, together
from tessera.report.values import ScoreHistogram, SearchRow, TargetRow

WIDTH = 760.0
_LEFT, _RIGHT = 64.0, 740.0
_FNIR_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_LABEL_HEIGHT, _LABEL_WIDTH = 17.0, 36.0
_FMR_TICKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_FNMR_TICKS = (
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    0.9,
    0.95,
    0.98,
    0.99,
    0.999,
)


def det_chart(points: Sequence[OperatingPoint], rows: Sequence[TargetRow]) -> Markup:
    """FNMR over FMR on normal-deviate axes, with the interval of FNMR as a band and of FMR as bars at the targets."""
    plot = _det_plot(points)
    x_ticks = [Tick(rate, numbers.power_of_ten(rate)) for rate in _FMR_TICKS if plot.x.low <= rate <= plot.x.high]
    y_ticks = _uncrowded(plot.y, [rate for rate in _FNMR_TICKS if plot.y.low <= rate <= plot.y.high])
    upper = plot.points([(p.fmr, p.fnmr_interval.high) for p in points])
    lower = plot.points([(p.fmr, p.fnmr_interval.low) for p in points])
    marks = [_det_mark(plot, row.target_fmr, row.point) for row in rows if row.point is not None]
    return picture(
        "det", WIDTH, 440.0, "DET curve", _det_told(points),
        plot.grid(x_ticks, y_ticks),
        plot.titles("False match rate (FMR): different people taken for one", "False non-match rate (FNMR)"),
        band(upper, lower, "band"),
        curve(plot.points([(p.fmr, p.fnmr) for p in points]), "curve mated"),
        *marks,
    )  # fmt: skip


def _det_plot(points: Sequence[OperatingPoint]) -> Plot:
    lowest = min(p.fmr_interval.low or p.fmr for p in points)
    highest = max(p.fmr_interval.high for p in points)
    fnmr = [rate for p in points for rate in (p.fnmr, p.fnmr_interval.low, p.fnmr_interval.high) if rate > 0]
    below = max((tick for tick in _FNMR_TICKS if tick <= min(fnmr, default=0.001)), default=_FNMR_TICKS[0])
    above = min((tick for tick in _FNMR_TICKS if tick > max(fnmr, default=0.01)), default=_FNMR_TICKS[-1])
    fmr_low, fmr_high = max(lowest * 0.8, 1e-8), min(highest * 1.25, 0.5)
    x = Scale(fmr_low, max(fmr_high, 2 * fmr_low), _LEFT, _RIGHT, normal_deviate)
    return Plot(x, Scale(below, above, 380.0, 36.0, normal_deviate))


def _uncrowded(scale: Scale, rates: Sequence[float]) -> list[Tick]:
    """A tick for each, and a label where there is room for it."""
    ticks: list[Tick] = []
    last = math.inf
    for rate in rates:
        room = abs(scale(rate) - last) >= _LABEL_HEIGHT
        ticks.append(Tick(rate, numbers.percent_tick(rate) if room else ""))
        last = scale(rate) if room else last
    return ticks


def _det_mark(plot: Plot, target: float, point: OperatingPoint) -> Markup:
    at = (plot.x(point.fmr), plot.y(point.fnmr))
    left, right = plot.x(point.fmr_interval.low), plot.x(point.fmr_interval.high)
    # At the right end the words stand to the left of the point, and there above the curve.
    side, rise, anchor = (8.0, 10.0, "start") if plot.x.end - at[0] >= 80.0 else (-8.0, 22.0, "end")
    told = (
        f"Threshold {numbers.score(point.threshold)}: FMR {numbers.percent(point.fmr)}, "
        f"FNMR {numbers.percent(point.fnmr)} ({numbers.percent_between(point.fnmr_interval)})"
    )
    return together([
        rule((left, at[1]), (right, at[1]), "whisker"),
        dot(at, "mark", told),
        label(numbers.one_in(target), at[0] + side, at[1] - rise, anchor, "mark-label"),
    ])  # fmt: skip


def _det_told(points: Sequence[OperatingPoint]) -> str:
    loosest, strictest = points[0], points[-1]
    return (
        f"From FNMR {numbers.percent(loosest.fnmr)} at FMR {numbers.percent(loosest.fmr)} "
        f"to FNMR {numbers.percent(strictest.fnmr)} at FMR {numbers.percent(strictest.fmr)}."
    )


# ---- scores


def histogram_chart(histogram: ScoreHistogram, rows: Sequence[TargetRow]) -> Markup:
    """Scores of the same and of different people: as they are, and below it on a scale that shows the rare ones."""
    low, high = _shown_scores(histogram)
    x = Scale(low, high, _LEFT, _RIGHT)
    shares = [_shares(histogram.mated), _shares(histogram.non_mated)]
    highest = max(max(share) for share in shares) * 1.06
    smallest = min((one for share in shares for one in share if one > 0), default=1e-3)
    upper = Plot(x, Scale(0.0, highest, 210.0, 64.0))
    floor = 10.0 ** math.floor(math.log10(smallest))
    lower = Plot(x, Scale(floor, 1.0, 390.0, 246.0, math.log10))
    scores = [Tick(one, numbers.score(one)[:-1]) for one in _round_steps(low, high)]
    decades = [Tick(10.0**-at, numbers.power_of_ten(10.0**-at)) for at in range(0, -round(math.log10(floor)) + 1, 2)]
    return picture(
        "scores", WIDTH, 440.0, "Scores of the same person and of different people",
        "Two hills: different people on the left, the same person on the right. Thresholds are upright lines.",
        upper.grid([Tick(tick.value) for tick in scores], []),
        lower.grid(scores, decades),
        lower.titles("Score: higher is more alike", ""),
        label("Share of comparisons", _LEFT + 8, 58, "start", "axis-title"),
        label("The same on a logarithmic scale: the rare ones", _LEFT + 8, 240, "start", "axis-title"),
        *[_hill(plot, histogram.edges, share, name) for plot in (upper, lower)
          for share, name in zip(shares, ("area mated", "area other"), strict=True)],
        *_threshold_lines(x, rows),
        *_legend(),
    )  # fmt: skip


def _hill(plot: Plot, edges: Sequence[float], shares: Sequence[float], class_: str) -> Markup:
    used = [at for at, share in enumerate(shares) if share > 0]
    first, last = used[0], used[-1]
    at = [plot.x(edge) for edge in edges[first : last + 2]]
    return band(steps(at, [plot.y(share) for share in shares[first : last + 1]], plot.y(plot.y.low)), [], class_)


def _shares(counts: Sequence[int]) -> list[float]:
    total = max(sum(counts), 1)
    return [one / total for one in counts]


def _shown_scores(histogram: ScoreHistogram) -> tuple[float, float]:
    used = [at for at, both in enumerate(zip(histogram.mated, histogram.non_mated, strict=True)) if any(both)]
    return histogram.edges[used[0]], histogram.edges[used[-1] + 1]


def _round_steps(low: float, high: float) -> list[float]:
    step = next((one for one in (0.05, 0.1, 0.2, 0.25, 0.5, 1.0) if (high - low) / one <= 10), (high - low) / 8)
    return [at * step for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _threshold_lines(x: Scale, rows: Sequence[TargetRow]) -> list[Markup]:
    shown = [(row.target_fmr, x(row.point.threshold)) for row in rows if row.point is not None]
    lines = [rule((at, 46.0), (at, 390.0), "threshold") for _, at in shown]
    words: list[Markup] = []
    last, raised = -math.inf, False
    for target, at in shown:
        raised = at - last < _LABEL_WIDTH and not raised  # two that are close stand at two heights
        words.append(label(numbers.power_of_ten(target), at, 26.0 if raised else 40.0, "middle", "mark-label"))
        last = at
    return [*lines, *words, label("FMR", shown[0][1] - 22, 40.0, "end", "tick")] if shown else []


def _legend() -> list[Markup]:
    top = 14.0
    return [
        band([(_LEFT, top - 9), (_LEFT + 12, top - 9)], [(_LEFT, top + 1), (_LEFT + 12, top + 1)], "area other"),
        label("different people", _LEFT + 18, top, "start", "tick"),
        band([(_LEFT + 134, top - 9), (_LEFT + 146, top - 9)], [(_LEFT + 134, top + 1), (_LEFT + 146, top + 1)],
             "area mated"),
        label("the same person", _LEFT + 152, top, "start", "tick"),
    ]  # fmt: skip


# ---- searches


def search_chart(rows: Sequence[SearchRow]) -> Markup:
    """FNIR over gallery size, with its interval; empty where fewer than two sizes are known."""
    known = [row for row in rows if row.fnir is not None and row.fnir_interval is not None]
    if len(known) < 2:
        return Markup("")
    highest = max(row.fnir_interval.high for row in known if row.fnir_interval is not None)
    step = next(one for one in _FNIR_STEPS if one * 5 >= min(1.0, highest))
    ticks = [step * at for at in range(math.ceil(min(1.0, highest) / step - 1e-9) + 1)]
    plot = Plot(
        Scale(known[0].gallery_size, known[-1].gallery_size, _LEFT + 20, _RIGHT - 20, math.log10),
        Scale(0.0, ticks[-1], 210.0, 36.0),
    )
    lower: list[Point] = [(row.gallery_size, row.fnir_interval.low) for row in known if row.fnir_interval is not None]
    upper: list[Point] = [(row.gallery_size, row.fnir_interval.high) for row in known if row.fnir_interval is not None]
    return picture(
        "searches", WIDTH, 262.0, "False-negative identification rate by gallery size",
        f"From {numbers.percent(known[0].fnir or 0.0)} among {numbers.count(known[0].gallery_size)} "
        f"to {numbers.percent(known[-1].fnir or 0.0)} among {numbers.count(known[-1].gallery_size)} people.",
        plot.grid([Tick(row.gallery_size, numbers.count(row.gallery_size)) for row in known],
                  [Tick(rate, numbers.percent_tick(rate)) for rate in ticks]),
        plot.titles("People enrolled", "Enrolled people who are not found (FNIR)"),
        band(plot.points(upper), plot.points(lower), "band"),
        curve(plot.points([(row.gallery_size, row.fnir or 0.0) for row in known]), "curve mated"),
        *[_search_dot(plot, row) for row in known],
    )  # fmt: skip


def _search_dot(plot: Plot, row: SearchRow) -> Markup:
    told = f"{numbers.count(row.gallery_size)} people: FNIR {numbers.percent(row.fnir or 0.0)}"
    at = (plot.x(row.gallery_size), plot.y(row.fnir or 0.0))
    return dot(
        at, "mark hollow" if row.extrapolated else "mark", told + (", beyond the data" if row.extrapolated else "")
    )


# ---- groups


def group_chart(name: str, difference: GroupDifference) -> Markup:
    """Each group's rate with its interval, one line each, on a logarithmic scale; empty where no group has an error."""
    rates = [one for one in difference.groups if one.rate is not None and one.interval is not None]
    bounds = [
        bound for one in rates if one.interval for bound in (one.interval.low, one.rate or 0.0, one.interval.high)
    ]
    seen = [bound for bound in bounds if bound > 0]
    if not any(one.errors for one in rates):
        return Markup("")
    low, high = min(seen) / 1.3, min(1.0, max(seen) * 1.3)
    bottom = 22.0 + 26.0 * len(rates)
    plot = Plot(Scale(low, high, 190.0, _RIGHT, math.log10), Scale(0.0, 1.0, bottom, 12.0))
    ticks = [Tick(rate, numbers.percent_tick(rate)) for rate in _log_ticks(low, high)]
    return picture(
        name, WIDTH, bottom + 30.0, f"{difference.kind} by group",
        "; ".join(f"{one.group}: {numbers.percent(one.rate or 0.0)}" for one in rates),
        plot.grid(ticks, []),
        *[_group_line(plot, one, 30.0 + 26.0 * at) for at, one in enumerate(rates)],
    )  # fmt: skip


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = (1, 2, 5) if math.log10(high / low) < 2.2 else (1,)
    return [m * 10.0**d for d in decades for m in fine if low <= m * 10.0**d <= high]


def _group_line(plot: Plot, one: GroupRate, y: float) -> Markup:
    interval = one.interval
    whisker = rule((plot.x(interval.low), y), (plot.x(interval.high), y), "whisker") if interval is not None else None
    style = "mark out" if one.stands_out else "mark hollow" if one.needed is not None else "mark"
    told = f"{one.group}: {numbers.percent(one.rate or 0.0)}"
    shown = one.group if len(one.group) <= 22 else f"{one.group[:21]}…"
    return together([
        label(shown, 176.0, y + 4, "end", "mark-label"),
        whisker,
        dot((plot.x(one.rate or 0.0), y), style, told, 5.0),
    ])  # fmt: skip
