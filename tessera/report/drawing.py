"""Pictures of curves as SVG: scales, axes, lines, bands, areas. Colours are left to the page's style sheet.

Knows coordinates and elements and nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from tessera.report.markup import Markup, element, together

_NORMAL = NormalDist()
Point = tuple[float, float]


def normal_deviate(rate: float) -> float:
    """The scale of a DET curve: a normal distribution's quantile, on which two normal score distributions are a line.

    Source: Martin et al., "The DET curve in assessment of detection task performance", Eurospeech (1997).
    """
    return _NORMAL.inv_cdf(min(max(rate, 1e-12), 1.0 - 1e-12))


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to one direction of the picture; what is beyond the ends is drawn at them."""

    low: float
    high: float
    start: float
    """Where `low` is, in units of the picture."""
    end: float
    warp: Callable[[float], float] = float
    """Values to what is drawn evenly: the identity, `log10`, `normal_deviate`."""

    def __call__(self, value: float) -> float:
        """Where a value is."""
        low, high = self.warp(self.low), self.warp(self.high)
        share = (self.warp(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis and what stands beside it; no label is a thin line."""

    value: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A rectangle with two scales."""

    x: Scale
    y: Scale

    def points(self, values: Sequence[Point]) -> list[Point]:
        """Where values are."""
        return [(self.x(x), self.y(y)) for x, y in values]

    def grid(self, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> Markup:
        """Lines and labels, below and on the left."""
        left, right, top, bottom = self._corners()
        parts: list[Markup | None] = []
        for tick in x_ticks:
            at = self.x(tick.value)
            parts.append(element("line", {"class": "grid", "x1": at, "x2": at, "y1": top, "y2": bottom}))
            parts.append(label(tick.label, at, bottom + 18, "middle") if tick.label else None)
        for tick in y_ticks:
            at = self.y(tick.value)
            parts.append(element("line", {"class": "grid", "x1": left, "x2": right, "y1": at, "y2": at}))
            parts.append(label(tick.label, left - 8, at + 4, "end") if tick.label else None)
        frame = {"class": "axis", "d": f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}"}
        return together([*parts, element("path", frame)])

    def titles(self, x_title: str, y_title: str) -> Markup:
        """What the axes are; that of the upright one stands above it, where it can be read."""
        left, right, top, bottom = self._corners()
        return together([
            label(x_title, (left + right) / 2, bottom + 40, "middle", "axis-title"),
            label(y_title, left, top - 12, "start", "axis-title"),
        ])  # fmt: skip

    def _corners(self) -> tuple[float, float, float, float]:
        return self.x.start, self.x.end, min(self.y.start, self.y.end), max(self.y.start, self.y.end)


def curve(points: Sequence[Point], class_: str) -> Markup:
    """A line through points."""
    return element("path", {"class": class_, "d": _path(points)})


def band(upper: Sequence[Point], lower: Sequence[Point], class_: str) -> Markup:
    """What is between two lines."""
    return element("path", {"class": class_, "d": _path([*upper, *reversed(lower)]) + "Z"})


def steps(edges: Sequence[float], heights: Sequence[float], base: float) -> list[Point]:
    """The outline of a histogram, all in units of the picture, from its base to its base."""
    outline: list[Point] = [(edges[0], base)]
    for at, height in enumerate(heights):
        outline += [(edges[at], height), (edges[at + 1], height)]
    return [*outline, (edges[-1], base)]


def dot(at: Point, class_: str, told: str, radius: float = 4.0) -> Markup:
    """A point that says what it is when it is pointed at."""
    return element("circle", {"class": class_, "cx": at[0], "cy": at[1], "r": radius}, element("title", None, told))


def rule(start: Point, end: Point, class_: str) -> Markup:
    """A straight line."""
    return element("line", {"class": class_, "x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]})


def label(text: str, x: float, y: float, anchor: str = "start", class_: str = "tick") -> Markup:
    """Words in a picture."""
    return element("text", {"class": class_, "x": x, "y": y, "text-anchor": anchor}, text)


def picture(name: str, width: float, height: float, title: str, told: str, *parts: Markup) -> Markup:
    """A whole picture.

    Args:
        name: unique on the page.
        width: in units of the picture; the page scales it.
        height: likewise.
        title: what it is.
        told: what it shows, for those who do not see it.
        parts: what is in it, from the back to the front.
    """
    attributes = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-told",
        "xmlns": "http://www.w3.org/2000/svg",
    }
    described = [element("title", {"id": f"{name}-title"}, title), element("desc", {"id": f"{name}-told"}, told)]
    return element("svg", attributes, *described, *parts)


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
