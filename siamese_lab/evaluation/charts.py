"""The pictures of a run's page: curves, hills of scores, DET, maps, confusions, retrievals. Measures nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from siamese_lab.evaluation.dimensions import Importance
from siamese_lab.evaluation.maps import EmbeddingMap
from siamese_lab.evaluation.neighbours import NeighbourFigures
from siamese_lab.evaluation.pairs import PairFigures
from siamese_lab.evaluation.parts import CLASS_COLOURS, data_address
from siamese_lab.evaluation.probability import ProbabilityFigures
from siamese_lab.evaluation.values import ShapleyExample, ShownPicture, ShownRetrieval
from siamese_lab.verification import Estimate
from tessera.report import ScoreHistogram, numbers
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
from tessera.report.markup import Markup, element, together

WIDTH, HALF_WIDTH = 760.0, 376.0
LINE_STYLES = ("mated", "second", "third")
_DOT_STYLES = {"mated": "first", "second": "second", "third": "third"}
_RATES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    values: tuple[tuple[float, Estimate | float], ...]
    """(x, y), x rising; where y is an estimate its interval is a band."""
    style: str = "mated"


@dataclass(frozen=True, slots=True)
class Axes:
    """What the two directions of a chart are."""

    x_title: str
    y_title: str
    rates: bool = True
    """y is a rate: from 0 to 100 %, or a part of it."""
    whole: bool = False
    """All of 0 to 100 % is shown."""
    x_whole: bool = False
    """x counts something: no tick lies between two."""


def line_chart(name: str, title: str, lines: Sequence[Line], axes: Axes, width: float = WIDTH) -> Markup:
    """Lines with their bands over one axis.

    Args:
        name: unique on the page.
        title: what it is.
        lines: one or more, each of one or more points.
        axes: what the directions are.
        width: of the picture; half of the page's for two beside each other.
    """
    xs = [x for line in lines for x, _ in line.values]
    low, high = _reach(lines, axes)
    x_high = max(xs) if max(xs) > min(xs) else min(xs) + 1.0
    plot = Plot(Scale(min(xs), x_high, 52.0, width - 14.0), Scale(low, high, 214.0, 44.0))
    x_steps = [x for x in round_steps(min(xs), x_high, 8) if not axes.x_whole or x == round(x)]
    y_ticks = [Tick(y, numbers.percent_tick(y) if axes.rates else _short(y)) for y in round_steps(low, high, 6)]
    return picture(
        name, width, 264.0, title, "; ".join(_line_told(line, rates=axes.rates) for line in lines),
        plot.grid([Tick(x, _short(x)) for x in x_steps], y_ticks),
        plot.titles(axes.x_title, ""),
        label(axes.y_title, 0.0, 14.0, "start", "axis-title"),
        *[_line_band(plot, line) for line in lines],
        *[_line_curve(plot, line, rates=axes.rates) for line in lines],
        _legend(lines, width) if len(lines) > 1 else Markup(""),
    )  # fmt: skip


def _value(y: Estimate | float) -> float:
    return y.value if isinstance(y, Estimate) else y


def _reach(lines: Sequence[Line], axes: Axes) -> tuple[float, float]:
    if axes.rates and axes.whole:
        return 0.0, 1.0
    ys = [y for line in lines for _, value in line.values for y in _bounds(value)]
    low, high = min(ys), max(ys)
    room = 0.06 * (high - low) or 0.05 * max(abs(high), 1.0)
    least, most = (0.0, 1.0) if axes.rates else (0.0 if low >= 0.0 else -math.inf, math.inf)
    return max(low - room, least), min(high + room, most)


def _bounds(value: Estimate | float) -> tuple[float, ...]:
    return (value.interval.low, value.value, value.interval.high) if isinstance(value, Estimate) else (value,)


def _line_band(plot: Plot, line: Line) -> Markup:
    known = [(x, y.interval) for x, y in line.values if isinstance(y, Estimate)]
    if len(known) < 2:
        return Markup("")
    upper, lower = [(x, y.high) for x, y in known], [(x, y.low) for x, y in known]
    return band(plot.points(upper), plot.points(lower), f"band {line.style}")


def _line_curve(plot: Plot, line: Line, *, rates: bool) -> Markup:
    at = plot.points([(x, _value(y)) for x, y in line.values])
    few = len(at) <= 12
    marks = [
        dot(where, f"mark {_DOT_STYLES.get(line.style, 'first')}", f"{line.name}: {_shown(y, rates=rates)}", 3.5)
        for where, (_, y) in zip(at, line.values, strict=True)
    ]
    return together([curve(at, f"curve {line.style}"), *(marks if few else [])])


def _shown(y: Estimate | float, *, rates: bool) -> str:
    if not rates:
        return _short(_value(y))
    within = f" ({numbers.percent_between(y.interval)})" if isinstance(y, Estimate) else ""
    return numbers.percent(_value(y)) + within


def _line_told(line: Line, *, rates: bool) -> str:
    first, last = _value(line.values[0][1]), _value(line.values[-1][1])
    return f"{line.name}: from {_shown(first, rates=rates)} to {_shown(last, rates=rates)}"


def _legend(lines: Sequence[Line], width: float) -> Markup:
    parts, right = [], width - 14.0
    for line in reversed(lines):
        parts.append(label(line.name, right, 14.0, "end", "tick"))
        left = right - (6.2 * len(line.name) + 14.0)
        parts.append(curve([(left - 18.0, 10.0), (left, 10.0)], f"curve {line.style}"))
        right = left - 34.0
    return together(parts)


def round_steps(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most so many.

    Args:
        low: below `high`.
        high: above `low`.
        most: at least 2.
    """
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(one * size for one in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if (high - low) / (one * size) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [0.0 if at == 0 else at * step for at in range(first, last + 1)]


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


# ---- scores


def hills_chart(histogram: ScoreHistogram, threshold: float) -> Markup:
    """Scores of mated and of other pairs, each with the same area, and the threshold."""
    shares = [[one / max(sum(kind), 1) for one in kind] for kind in (histogram.mated, histogram.non_mated)]
    x = Scale(histogram.edges[0], histogram.edges[-1], 20.0, WIDTH - 14.0)
    plot = Plot(x, Scale(0.0, 1.08 * max(max(share) for share in shares), 214.0, 44.0))
    ticks = [Tick(one, _short(one)) for one in round_steps(x.low, x.high, 9)]
    edges = [x(edge) for edge in histogram.edges]
    hills = [
        band(steps(edges, [plot.y(one) for one in share], plot.y(0.0)), [], f"area {style}")
        for share, style in zip(reversed(shares), ("other", "mated"), strict=True)
    ]
    at = x(threshold)
    side, anchor = (6.0, "start") if at < WIDTH / 2 else (-6.0, "end")
    return picture(
        "scores", WIDTH, 264.0, "Scores of pairs of one class and of two",
        f"Two hills; the threshold stands at {numbers.score(threshold)}.",
        plot.grid(ticks, []), plot.titles("Score: higher is more alike", ""), *hills,
        rule((at, 30.0), (at, 214.0), "threshold"),
        label(f"threshold {numbers.score(threshold)}", at + side, 38.0, anchor, "mark-label"),
        *_hills_legend(),
    )  # fmt: skip


def _hills_legend() -> list[Markup]:
    def swatch(left: float, style: str) -> Markup:
        return band([(left, 5.0), (left + 12, 5.0)], [(left, 15.0), (left + 12, 15.0)], f"area {style}")

    return [
        swatch(20.0, "other"), label("two classes", 38.0, 14.0),
        swatch(130.0, "mated"), label("one class", 148.0, 14.0),
    ]  # fmt: skip


def det_chart(figures: PairFigures) -> Markup:
    """The ROC curve on normal-deviate axes, where the corner that matters has room."""
    floor = {True: 0.5 / figures.mated, False: 0.5 / (figures.pairs - figures.mated)}
    x = Scale(min(floor[False], 0.01), 0.6, 58.0, WIDTH - 14.0, normal_deviate)
    plot = Plot(x, Scale(min(floor[True], 0.01), 0.6, 330.0, 36.0, normal_deviate))
    ticks = [[Tick(r, numbers.percent_tick(r)) for r in _RATES if s.low <= r <= s.high] for s in (plot.x, plot.y)]
    at = plot.points([(one.fmr, one.fnmr) for one in figures.curve if max(one.fmr, one.fnmr) <= plot.x.high])
    here = (plot.x(figures.fmr.value), plot.y(figures.fnmr.value))
    side, anchor = (9.0, "start") if here[0] < WIDTH - 160.0 else (-9.0, "end")
    return picture(
        "det", WIDTH, 382.0, "ROC curve on normal-deviate axes (DET)",
        f"Equal error rate {numbers.percent(figures.eer.value)}.",
        plot.grid(*ticks),
        plot.titles("False match rate (FMR): pairs of two classes that match", ""),
        label("False non-match rate (FNMR)", 0.0, 14.0, "start", "axis-title"),
        curve(plot.points([(r, r) for r in (max(plot.x.low, plot.y.low), 0.6)]), "curve faint"),
        curve(_cornered(at), "curve mated"),
        dot(here, "mark", f"threshold {numbers.score(figures.threshold)}", 4.5),
        label("the threshold", here[0] + side, here[1] - 8.0, anchor, "mark-label"),
    )  # fmt: skip


def _cornered(points: Sequence[Point]) -> list[Point]:
    """A curve of steps is drawn as steps: nothing was measured between two points."""
    corners = list(points[:1])
    for (x0, y0), (x1, y1) in pairwise(points):
        corners += [(x1, y0), (x1, y1)] if (x0, y0) != (x1, y1) else []
    return corners


def reliability_chart(figures: Sequence[ProbabilityFigures]) -> Markup:
    """Told against observed probabilities; a point's area is its share of the pairs."""
    plot = Plot(Scale(0.0, 1.0, 58.0, 398.0), Scale(0.0, 1.0, 376.0, 36.0))
    ticks = [Tick(one, numbers.percent_tick(one)) for one in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts: list[Markup] = [curve(plot.points([(0.0, 0.0), (1.0, 1.0)]), "curve faint")]
    for style, one in zip(LINE_STYLES, figures, strict=False):
        at = plot.points([(part.predicted, part.observed) for part in one.bins])
        parts.append(curve(at, f"curve {style}"))
        parts += [
            dot(where, f"mark {_DOT_STYLES[style]}", f"{one.scaling}: told {numbers.percent(part.predicted)}, "
                f"observed {numbers.percent(part.observed)}", 3.0 + 9.0 * math.sqrt(part.weight))
            for where, part in zip(at, one.bins, strict=True)
        ]  # fmt: skip
    names = [
        together([curve([(440.0, 60.0 + 24.0 * at), (464.0, 60.0 + 24.0 * at)], f"curve {style}"),
                  label(one.scaling.value, 472.0, 64.0 + 24.0 * at, "start", "mark-label")])
        for at, (style, one) in enumerate(zip(LINE_STYLES, figures, strict=False))
    ]  # fmt: skip
    return picture(
        "reliability", WIDTH, 428.0, "Probabilities that were told, and what came true",
        "; ".join(f"{one.scaling}: expected calibration error {numbers.percent(one.ece.value)}" for one in figures),
        plot.grid(ticks, ticks), plot.titles("Told probability of a match", ""),
        label("Share that were mated", 0.0, 14.0, "start", "axis-title"), *parts, *names,
    )  # fmt: skip


# ---- classes


def map_chart(name: str, shown: EmbeddingMap, names: Sequence[str]) -> Markup:
    """Points in their class's colour, with its name where its middle is."""
    low, high = shown.points.min(axis=0), shown.points.max(axis=0)
    room = np.maximum(0.03 * (high - low), 1e-9)
    plot = Plot(
        Scale(float(low[0] - room[0]), float(high[0] + room[0]), 4.0, HALF_WIDTH - 4.0),
        Scale(float(low[1] - room[1]), float(high[1] + room[1]), 372.0, 4.0),
    )
    dots, words = [], []
    for which in np.unique(shown.labels):
        own = shown.points[shown.labels == which]
        drawn = "".join(f"M{plot.x(float(x)):.1f} {plot.y(float(y)):.1f}h0" for x, y in own)
        colour = f"stroke: var(--k{int(which) % CLASS_COLOURS})"
        dots.append(element("path", {"class": "dots", "style": colour, "d": drawn}))
        middle = np.median(own, axis=0)
        here = (plot.x(float(middle[0])), plot.y(float(middle[1])))
        words.append(label(names[which], here[0], here[1] + 4.0, "middle", "mark-label"))
    frame = element("rect", {"class": "cell", "x": 0, "y": 0, "width": HALF_WIDTH, "height": 376})
    told = f"{numbers.count(len(shown.points))} pictures of {np.unique(shown.labels).size} classes."
    return picture(name, HALF_WIDTH, 376.0, f"Map: {shown.method}", told, frame, *dots, *words)


def confusion_chart(figures: NeighbourFigures, names: Sequence[str]) -> Markup:
    """Which classes are taken for which: each row is one class's queries."""
    counts = figures.confusion
    classes, left = len(counts), 118.0
    side = min(44.0, (WIDTH - left - 10.0) / classes)
    parts = []
    for row in range(classes):
        total = int(counts[row].sum())
        parts.append(label(_cut(names[row], 15), left - 8.0, 24.0 + (row + 0.5) * side + 4.0, "end", "mark-label"))
        for column in range(classes):
            share = counts[row, column] / max(total, 1)
            parts.append(_heat(left + column * side, 24.0 + row * side, side, float(share), row == column))
    heads = [
        label(_cut(names[at], max(2, int(side / 7))), left + (at + 0.5) * side, 16.0, "middle") for at in range(classes)
    ]
    wrong = int(counts.sum() - np.trace(counts))
    told = f"{numbers.count(wrong)} of {numbers.count(int(counts.sum()))} queries are taken for another class."
    return picture("confusion", WIDTH, 30.0 + classes * side, "Which classes are taken for which", told, *heads, *parts)


def _heat(x: float, y: float, side: float, share: float, own: bool) -> Markup:
    place = {"x": x, "y": y, "width": side, "height": side}
    # The root makes rare confusions visible; the number beside it is the plain share.
    colour = {"class": "heat" if own else "heat off", **place, "fill-opacity": round(0.85 * math.sqrt(share), 3)}
    shown = f"{100.0 * share:.0f}" if share >= 0.005 else "\N{MIDDLE DOT}" if share > 0 else ""
    style = "count on" if share > 0.5 else "count"
    return together([
        element("rect", colour), element("rect", {"class": "cell", **place}),
        label(shown, x + side / 2, y + side / 2 + 4.0, "middle", style) if side >= 18.0 else None,
    ])  # fmt: skip


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def retrieval_chart(name: str, shown: Sequence[ShownRetrieval]) -> Markup:
    """Each query and its nearest in a row; a wrong answer has a broken frame, a cross and the name of its class."""
    side, gap, tall = 92.0, 14.0, 128.0
    parts = []
    for row, one in enumerate(shown):
        top = 22.0 + row * tall
        parts.append(_framed(one.query, 2.0, top, side))
        parts += [_framed(each, 2.0 + (at + 1) * (side + gap) + 26.0, top, side) for at, each in enumerate(one.found)]
    most = max(len(one.found) for one in shown)
    width = max(WIDTH, 4.0 + (most + 1) * (side + gap) + 26.0)
    wrong = sum(not each.right for one in shown for each in one.found)
    told = f"{wrong} of {sum(len(one.found) for one in shown)} answers are of another class."
    heads = [label("Query", 2.0, 12.0), label("Nearest, from left to right", 2.0 + side + gap + 26.0, 12.0)]
    return picture(name, width, 22.0 + tall * len(shown), "Queries and their nearest", told, *heads, *parts)


def _framed(shown: ShownPicture, x: float, y: float, side: float) -> Markup:
    image = element("image", {
        "href": data_address(shown.png), "x": x, "y": y, "width": side, "height": side,
        "preserveAspectRatio": "xMidYMid",
    })  # fmt: skip
    style = "query" if shown.right is None else "right" if shown.right else "wrong"
    sign = {"query": "", "right": "\N{CHECK MARK} ", "wrong": "\N{MULTIPLICATION X} "}[style]
    frame = element("rect", {"class": f"frame {style}", "x": x, "y": y, "width": side, "height": side})
    words = label(sign + _cut(shown.label, 13), x, y + side + 17.0, "start", f"verdict {style}")
    return together([image, frame, words])


# ---- dimensions


def importance_chart(found: Sequence[Importance], most: int = 12) -> Markup:
    """What a figure loses without each dimension, the largest first, with intervals."""
    shown = found[:most]
    low = min(0.0, *(one.fall.interval.low for one in shown))
    high = max(1e-3, *(one.fall.interval.high for one in shown))
    bars = [(f"dimension {one.dimension}", one.fall.value) for one in shown]
    whiskers = [(one.fall.interval.low, one.fall.interval.high) for one in shown]
    return _bars("importance", "Fall of the k-NN accuracy", bars, (low, high), whiskers)


def shapley_chart(example: ShapleyExample, most: int = 12) -> Markup:
    """How dimensions share one answer, the largest in size first."""
    shown = example.values[:most]
    low, high = min(0.0, *(value for _, value in shown)), max(0.0, *(value for _, value in shown))
    bars = [(f"dimension {at}", value) for at, value in shown]
    return _bars("shapley", "Shapley value", bars, (low, high if high > low else low + 1e-6), [])


def _bars(
    name: str,
    title: str,
    bars: Sequence[tuple[str, float]],
    reach: tuple[float, float],
    whiskers: Sequence[tuple[float, float]],
) -> Markup:
    bottom = 14.0 + 26.0 * len(bars)
    plot = Plot(Scale(*reach, 130.0, WIDTH - 14.0), Scale(0.0, 1.0, bottom, 8.0))
    ticks = [Tick(one, _short(one)) for one in round_steps(*reach, 8)]
    zero, parts = plot.x(0.0), []
    for at, (who, value) in enumerate(bars):
        y = 22.0 + 26.0 * at
        end = plot.x(value)
        box = {"x": min(zero, end), "y": y - 7.0, "width": abs(end - zero), "height": 14.0}
        parts.append(element("rect", {"class": "bar" if value >= 0 else "bar against", **box}))
        parts.append(label(who, 120.0, y + 4.0, "end", "mark-label"))
        if whiskers:
            parts.append(rule((plot.x(whiskers[at][0]), y), (plot.x(whiskers[at][1]), y), "whisker"))
    told = "; ".join(f"{who}: {_short(value)}" for who, value in bars)
    line = rule((zero, 8.0), (zero, bottom), "zero")
    return picture(name, WIDTH, bottom + 46.0, title, told, plot.grid(ticks, []), plot.titles(title, ""), *parts, line)
