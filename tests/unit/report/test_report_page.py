"""The page says what was measured, whole and nothing else, whatever the names in the data are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from math import log10
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.calibration import Calibration, CalibrationData, OperatingPoint
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.group_findings import (
    CrossRate,
    Disparity,
    ErrorKind,
    Finding,
    GroupDifference,
    GroupRate,
    GroupReport,
)
from tessera.domain.ids import CalibrationId, ModelId
from tessera.report import CalibrationReport, EnrolmentFailures, ScoreHistogram, SearchRow, numbers, render

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\x1b"


def points(count: int = 41, strictest: float = 1e-5) -> tuple[OperatingPoint, ...]:
    """From FMR 0.1 down, FNMR rising."""
    steps = [10 ** (-1 - at * (-1 - log10(strictest)) / (count - 1)) for at in range(count)]
    found = []
    for at, fmr in enumerate(steps):
        fnmr = 0.001 + 0.0008 * at
        interval = Interval(fnmr * 0.6, fnmr * 1.5)
        found.append(OperatingPoint(0.1 + at * 0.01, fmr * 0.9999, Interval(fmr * 0.8, fmr * 1.3), fnmr, interval))
    return tuple(found)


def calibration(name: str = "made", non_mated: int = 400_000, data_name: str = "Door 7") -> Calibration:
    """Enough for 1 in 100,000."""
    data = CalibrationData(data_name, "ab" * 32, 300, 900, 1200, non_mated)
    return Calibration(CalibrationId(name), ModelId("face@1"), Modality.FACE, "2026-11-22", data, points())


def group_report(one: str = "day", other: str = "night") -> GroupReport:
    """A difference, and too little data."""
    rates = (
        GroupRate(one, 150, 20_000, 20, 0.001, Interval(0.0006, 0.0016), None),
        GroupRate(other, 150, 21_000, 105, 0.005, Interval(0.0038, 0.0066), None, stands_out=True),
        GroupRate("few", 4, 9, 0, 0.0, Interval(0.0, 0.3), 12_345),
    )
    ratio = Disparity(5.0, Interval(3.1, 8.2))
    found = GroupDifference(
        ErrorKind.FMR, 0.31, rates, Finding.DIFFERENCE, 0.004, ratio, Disparity(2.2, Interval(1.7, 2.9))
    )
    nothing = Disparity(None, None)
    little = GroupDifference(ErrorKind.FNMR, 0.31, rates, Finding.NOT_ENOUGH_DATA, None, nothing, nothing)
    return GroupReport((found, little), (CrossRate(one, other, 0.31, 40_000, 8, 0.0002),), 3, 1)


def whole() -> CalibrationReport:
    """Every part is there."""
    searches = (
        SearchRow(100, 0.34, 0.0098, Interval(0.007, 0.0131), 0.0201, Interval(0.013, 0.0304)),
        SearchRow(1_000, 0.41, 0.0091, Interval(0.004, 0.0172), 0.0333, Interval(0.021, 0.0512), extrapolated=True),
        SearchRow(100_000, None, None, None, None, None, needed=29_850_000),
    )
    return CalibrationReport(
        calibration(),
        "2026-11-23",
        ScoreHistogram((-0.2, 0.0, 0.2, 0.4, 0.6), (0, 3, 40, 300), (900, 300, 5, 0)),
        searches,
        EnrolmentFailures(903, ("a/1.jpg", "b/2.jpg", "c/3.jpg")),
        group_report(),
    )


@dataclass
class Page(HTMLParser):
    """What a browser makes of it: elements that are closed in order, texts, attributes."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    cells: list[tuple[str, str]] = field(default_factory=list)
    """Of each element with a `data-value`: that value, and its first text."""
    open: list[str] = field(default_factory=list)
    waiting: str | None = None

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, text: str) -> Page:
        """Read a page; nothing may stay open."""
        page = cls()
        page.feed(text)
        page.close()
        assert page.open == []
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        self.waiting = dict(attrs).get("data-value", None)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the last that began."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        if data.strip():
            self.texts.append(data)
            if self.waiting is not None:
                self.cells.append((self.waiting, data))
                self.waiting = None

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(self.texts)


def drawings(text: str) -> list[ET.Element]:
    """The pictures of a page, each of them well-formed by itself."""
    found = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    return [ET.fromstring(picture) for picture in found]  # noqa: S314 - our own page, which has no entities


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    """No script, no link, no address but the name of a namespace; every id is there once, and every reference leads."""
    page = Page.of(render(whole()))
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    assert {value for _, value in page.attributes if "//" in value} == {"http://www.w3.org/2000/svg"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"href", "src"}]
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    referred = {one for name, value in page.attributes if name == "aria-labelledby" for one in value.split()}
    assert referred <= set(ids)


def test_pictures_are_told_to_those_who_do_not_see_them() -> None:
    """Each has a role, a title and a description; and is well-formed by itself."""
    pictures = drawings(render(whole()))
    assert len(pictures) >= 4
    for root in pictures:
        assert root.get("role") == "img"
        title, told = root[0], root[1]
        assert title.text
        assert told.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {told.get('id')}"


def test_every_number_of_the_tables_is_the_data_s() -> None:
    """The whole value stands in the cell, and what is shown is that value as people read it."""
    report = whole()
    page = Page.of(render(report))
    shown = set(page.cells)
    for row in report.target_rows():
        assert (repr(row.target_fmr), numbers.one_in(row.target_fmr)) in shown
        if row.point is not None:
            assert (repr(row.point.threshold), numbers.score(row.point.threshold)) in shown
            assert (repr(row.point.fmr), numbers.percent(row.point.fmr)) in shown
            assert (repr(row.point.fnmr), numbers.percent(row.point.fnmr)) in shown
            assert numbers.percent_between(row.point.fnmr_interval) in page.texts
    for search in report.searches:
        for value in (search.fpir, search.fnir):
            assert value is None or (repr(value), numbers.percent(value)) in shown
    assert report.groups is not None
    for rate in report.groups.differences[0].groups:
        assert (repr(rate.comparisons), numbers.count(rate.comparisons)) in shown
        assert rate.rate is None or (repr(rate.rate), numbers.percent(rate.rate)) in shown
    low = {value for name, value in page.attributes if name == "data-low"}
    assert repr(report.searches[0].fnir_interval.low if report.searches[0].fnir_interval else 0.0) in low


def test_no_cell_holds_a_number_that_is_not_in_the_data() -> None:
    """The other way round: each value of a cell is one of the report's own."""
    report = whole()
    own = {repr(value) for value in _values(report)}
    assert {value for value, _ in Page.of(render(report)).cells} <= own


def _values(value: object) -> list[object]:
    """Every number in nested dataclasses and tuples, and the few that are looked up in them."""
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, tuple | list):
        return [one for member in value for one in _values(member)]
    if hasattr(value, "__dataclass_fields__"):
        found = [one for name in value.__dataclass_fields__ for one in _values(getattr(value, name))]
        extra = [row.target_fmr for row in value.target_rows()] if isinstance(value, CalibrationReport) else []
        rate = [value.rate()] if isinstance(value, EnrolmentFailures) else []
        return [*found, *extra, *rate]
    return []


def test_hostile_names_are_text() -> None:
    """In the data's name, ids, groups and samples: no element and no attribute comes out of a name."""
    report = whole()
    bad = replace(
        report,
        calibration=replace(
            calibration(HOSTILE, data_name=HOSTILE), model_id=ModelId(HOSTILE), interval_method=HOSTILE
        ),
        enrolment=EnrolmentFailures(9, (HOSTILE, f"{HOSTILE}/2.jpg")),
        groups=group_report(HOSTILE, f"{HOSTILE}2"),
        written=HOSTILE,
    )
    good, page = Page.of(render(report)), Page.of(render(bad))
    assert set(page.tags) == set(good.tags)
    assert {name for name, _ in page.attributes} == {name for name, _ in good.attributes}
    assert "<script>alert(1)</script>" in page.text
    assert "\x00" not in render(bad)
    assert len(drawings(render(bad))) == len(drawings(render(report)))


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=30))
def test_any_name_is_text(name: str) -> None:
    """Whatever Unicode has, lone surrogates too: the page parses and can be written."""
    report = replace(whole(), calibration=calibration(data_name=name), groups=group_report(name + "1", name + "2"))
    text = render(report)
    Page.of(text)
    text.encode("utf-8")
    assert drawings(text)


def test_the_det_curve_falls_from_left_to_right() -> None:
    """Stricter costs more: along the curve x only falls and y, which points down, only falls with it."""
    path = re.search(r'class="curve mated" d="M([^"]+)"', render(whole()))
    assert path is not None
    places = [tuple(map(float, pair.split())) for pair in path.group(1).split("L")]
    assert len(places) == len(whole().calibration.points)
    assert all(one[0] > two[0] and one[1] >= two[1] for one, two in pairwise(places))


def test_what_the_data_cannot_carry_is_grey_and_says_what_it_needs() -> None:
    """1 in a million needs three million comparisons; no number stands there."""
    page = Page.of(render(whole()))
    assert "needs 3,000,000 comparisons of different people; there are 400,000" in page.texts
    assert "needs 29,850,000 comparisons of different people; there are 400,000" in page.texts


def test_missing_parts_are_told() -> None:
    """No histogram, no searches, no pictures, no labels: each is said, and none is left out silently."""
    bare = CalibrationReport(calibration(), "2026-11-23")
    page = Page.of(render(bare))
    for sentence in (
        "Not shown: the scores themselves were not kept.",
        "Not measured.",
        "Not known: the data came without its pictures.",
        "Not known: no group labels were given.",
        "Nothing is said of searches among many people: they were not measured.",
    ):
        assert sentence in page.texts
    for limit in ("Rarer errors than it can carry.", "Whom it works for.", "Who cannot be enrolled."):
        assert limit in page.texts


def test_data_that_carries_nothing_says_so() -> None:
    """Twenty comparisons prove no rate; the page still says what would."""
    tiny = replace(calibration(non_mated=20), points=points()[:1])
    page = Page.of(render(CalibrationReport(tiny, "2026-11-23")))
    assert "This data is too small to state any false match rate" in page.text
    assert "The data is too small for a curve." in page.texts


@pytest.mark.parametrize(
    ("non_mated", "expected"),
    [
        (400_000, "At a threshold of 0.400, 1 in 10,000 strangers who try to pass as somebody else succeeds"),
        (2_000, "The data cannot carry a false match rate of 1 in 10,000. At a threshold of 0.200, 1 in 100 strangers"),
    ],
)
def test_the_summary_speaks_of_the_target_or_of_what_the_data_carries(non_mated: int, expected: str) -> None:
    """Instead of a rate that cannot be proved, the strictest one that can, and it is said."""
    page = Page.of(render(CalibrationReport(calibration(non_mated=non_mated), "2026-11-23")))
    assert expected in page.text


def test_the_summary_names_the_difference_between_groups() -> None:
    """Who, how many times whom; and the section says with what interval."""
    page = Page.of(render(whole()))
    assert "Error rates differ between groups: night has 5.0 times the FMR of day." in page.texts
    assert "The groups differ (p = 0.004). The highest rate is 5.0 times the lowest (3.1 to 8.2)." in page.texts
    assert (
        "Not enough data: a group would need about 12,345 comparisons before a fivefold rate would show." in page.texts
    )


def test_light_dark_and_paper_have_their_colours() -> None:
    """One style sheet for all three; every colour that is used is defined in each."""
    style = re.search(r"<style>(.*?)</style>", render(whole()), re.DOTALL)
    assert style is not None
    used = set(re.findall(r"var\((--[a-z-]+)\)", style.group(1)))
    blocks = re.findall(r":root \{(.*?)\}", style.group(1), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        assert used <= set(re.findall(r"(--[a-z-]+):", block))


def test_the_style_sheet_knows_every_class_of_the_page() -> None:
    """Nothing is left to the browser's taste, and every rule that is opened is closed."""
    text = render(whole())
    style = text[text.index("<style>") : text.index("</style>")]
    assert style.count("{") == style.count("}")
    used = {one for name, value in Page.of(text).attributes if name == "class" for one in value.split()}
    assert used <= set(re.findall(r"\.([a-z-]+)", style))
    assert {"svg text", "table", "figcaption", "dl.words", "details"} <= set(
        re.findall(r"^([a-z. ]+) \{", style, re.MULTILINE)
    )
