"""The pieces that the sections of a run's page are put together from, in the manner of the calibration report."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from siamese_lab.verification import Estimate
from tessera.report import numbers
from tessera.report.markup import Child, Markup, element, together

STYLE = """
:root { --k0: #0072b2; --k1: #c4560a; --k2: #00805c; --k3: #b0467f; --k4: #a87900; --k5: #3f8fbf; --k6: #7a4fb5;
  --k7: #8a5a2b; --k8: #5b6776; --k9: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --k0: #57a8e0; --k1: #ef8b4a; --k2: #3fc097; --k3: #e189b9;
  --k4: #e0b23f; --k5: #8ccbf0; --k6: #b497ea; --k7: #c99a6b; --k8: #a3aebd; --k9: #f08a7e; } }
svg .curve.second { stroke: var(--other); } svg .band.second { fill: var(--other-wash); }
svg .curve.third { stroke: var(--k0); } svg .band.third { fill: none; } svg .curve.faint { stroke: var(--faint);
  stroke-dasharray: 3 4; stroke-width: 1.25; }
svg .dots { fill: none; stroke-width: 5; stroke-linecap: round; opacity: .72; }
svg .mark.second { fill: var(--other); } svg .mark.third { fill: var(--k0); } svg .mark.first { fill: var(--same); }
svg .bar { fill: var(--same); } svg .bar.against { fill: var(--other); } svg .zero { stroke: var(--faint); }
svg .frame { fill: none; stroke-width: 2.5; } svg .frame.right { stroke: var(--same); }
svg .frame.wrong { stroke: var(--other); stroke-dasharray: 6 4; } svg .frame.query { stroke: var(--mark); }
svg .verdict { fill: var(--ink); } svg .verdict.right { fill: var(--same); font-weight: 650; }
svg .verdict.wrong { fill: var(--other); font-weight: 650; }
svg .heat { fill: var(--same); } svg .heat.off { fill: var(--other); } svg .cell { fill: none; stroke: var(--line); }
svg .count { fill: var(--ink); } svg .count.on { fill: var(--paper); }
svg image { image-rendering: pixelated; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: 18px; margin: 18px 0 0; }
.tiles figure { margin: 0; } .tiles img { display: block; width: 100%; border-radius: 4px;
  border: 1px solid var(--line); image-rendering: pixelated; }
.tiles figcaption { font-size: 12.5px; line-height: 1.45; } .tiles img.smooth { image-rendering: auto; }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 8px 28px; }
.note { margin: 22px 0 0; padding: 11px 16px; border-radius: 8px; background: var(--doubt-wash); color: var(--doubt); }
td.told { text-align: left; color: var(--soft); padding-left: 18px; }
  th.told { text-align: left; padding-left: 18px; } @media print { .tiles figure { break-inside: avoid; } }
"""
CLASS_COLOURS = 10
_OF_WORDS = ("What it counts", "Folds")
"""Columns of words, which begin on the left."""


def section(name: str, title: str, *parts: Child) -> Markup:
    """One section with its heading."""
    heading = element("h2", {"id": f"{name}-heading"}, title)
    return element("section", {"id": name, "aria-labelledby": f"{name}-heading"}, heading, *parts)


def lead(text: str) -> Markup:
    """What a section is about."""
    return element("p", {"class": "lead"}, text)


def figure(picture: Markup, caption: str) -> Markup:
    """A picture and the words under it."""
    return element("figure", None, picture, element("figcaption", None, caption))


def fact(name: str, value: str, *, wide: bool = False) -> Markup:
    """One fact of the head."""
    pair = (element("dt", None, name), element("dd", None, value))
    return element("div", {"class": "wide" if wide else None}, *pair)


def table(caption: str, head: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table that scrolls where the page is narrow."""
    columns = together(
        element("th", {"scope": "col", "class": "told" if title in _OF_WORDS else None}, title) for title in head
    )
    return element(
        "div", {"class": "scroll"},
        element(
            "table", None,
            element("caption", None, caption),
            element("thead", None, element("tr", None, columns)),
            element("tbody", None, *rows),
        ),
    )  # fmt: skip


def row(name: str, *cells: Markup, style: str | None = None) -> Markup:
    """A row that begins with its name."""
    return element("tr", {"class": style}, element("th", {"scope": "row"}, name), *cells)


def told(text: str, columns: int = 1) -> Markup:
    """A cell of words."""
    return element("td", {"class": "told", "colspan": columns if columns > 1 else None}, text)


def rate_cell(rate: Estimate | None) -> Markup:
    """A rate with its interval below it."""
    if rate is None:
        return element("td", None, numbers.NONE)
    bounds = {"class": "within", "data-low": repr(rate.interval.low), "data-high": repr(rate.interval.high)}
    within = element("span", bounds, numbers.percent_between(rate.interval))
    return element("td", {"data-value": repr(rate.value)}, numbers.percent(rate.value), within)


def number_cell(number: Estimate | None) -> Markup:
    """A number that is no rate, with its interval below it."""
    if number is None:
        return element("td", None, numbers.NONE)
    low, high = numbers.score(number.interval.low), numbers.score(number.interval.high)
    bounds = {"class": "within", "data-low": repr(number.interval.low), "data-high": repr(number.interval.high)}
    within = element("span", bounds, f"{low} to {high}")
    return element("td", {"data-value": repr(number.value)}, numbers.score(number.value), within)


def cell(value: float | None, shown: str) -> Markup:
    """A number as it is shown."""
    return element("td", {"data-value": None if value is None else repr(value)}, shown)


def tile(png: bytes, told_to_all: str, caption: Child, *, smooth: bool = False) -> Markup:
    """A picture with a few words."""
    attributes = {"src": data_address(png), "alt": told_to_all, "class": "smooth" if smooth else None}
    # `img` is void: it is closed at once, as the page's parser and XML both like it.
    picture = Markup(str(element("img", attributes)).replace("></img>", "/>"))
    return element("figure", None, picture, element("figcaption", None, caption))


def data_address(png: bytes) -> str:
    """The picture itself as an address, so that the page needs nothing else."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
