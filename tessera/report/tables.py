"""The tables of a report. Each number stands there as people read it, and whole in its cell's `data-value`."""

from __future__ import annotations

from collections.abc import Sequence

from tessera.domain.error_rates import Interval
from tessera.domain.group_findings import CrossRate, GroupDifference, GroupRate
from tessera.report import numbers
from tessera.report.markup import Child, Markup, element, together
from tessera.report.sentences import not_carried, search_not_carried
from tessera.report.values import SearchRow, TargetRow


def target_table(rows: Sequence[TargetRow], chosen_fmr: float, comparisons: int) -> Markup:
    """Thresholds by target FMR; a row that the data cannot carry says what it would need."""
    head = ("Different people taken for one", "Threshold", "FMR measured", "FNMR")
    return _table("Thresholds by false match rate", head, [_target_row(row, chosen_fmr, comparisons) for row in rows])


def _target_row(row: TargetRow, chosen_fmr: float, comparisons: int) -> Markup:
    name = element("th", {"scope": "row", "data-value": repr(row.target_fmr)}, numbers.one_in(row.target_fmr),
                   element("span", {"class": "also"}, numbers.power_of_ten(row.target_fmr)))  # fmt: skip
    if row.point is None:
        return _missing(name, not_carried(row, comparisons), 3)
    point = row.point
    return element(
        "tr",
        {"class": "chosen" if row.target_fmr == chosen_fmr else None},
        name,
        _cell(point.threshold, numbers.score(point.threshold)),
        _rate_cell(point.fmr, point.fmr_interval),
        _rate_cell(point.fnmr, point.fnmr_interval),
    )


def search_table(rows: Sequence[SearchRow], target_fpir: float, comparisons: int) -> Markup:
    """Thresholds and errors by gallery size."""
    caption = f"Searches by gallery size, thresholds for {numbers.one_in(target_fpir)} (FPIR)"
    head = ("People enrolled", "Threshold", "FPIR measured", "FNIR")
    return _table(caption, head, [_search_row(row, comparisons) for row in rows])


def _search_row(row: SearchRow, comparisons: int) -> Markup:
    tag = element("span", {"class": "tag doubt"}, "beyond the data") if row.extrapolated else None
    name = element("th", {"scope": "row", "data-value": repr(row.gallery_size)}, numbers.count(row.gallery_size), tag)
    if row.threshold is None:
        return _missing(name, search_not_carried(row, comparisons), 3)
    return element(
        "tr",
        None,
        name,
        _cell(row.threshold, numbers.score(row.threshold)),
        _rate_cell(row.fpir, row.fpir_interval),
        _rate_cell(row.fnir, row.fnir_interval),
    )


def group_table(difference: GroupDifference) -> Markup:
    """Rates by group at one threshold."""
    head = ("Group", "Subjects", "Comparisons", "Errors", f"{difference.kind}")
    caption = f"{difference.kind} at threshold {numbers.score(difference.threshold)}"
    return _table(caption, head, [_group_row(one) for one in difference.groups])


def _group_row(one: GroupRate) -> Markup:
    tag = element("span", {"class": "tag alert"}, "stands out") if one.stands_out else None
    needed = None
    if one.needed is not None:
        bounds = {"class": "within", "data-needed": repr(one.needed)}
        needed = element("span", bounds, f"too few: about {numbers.count(one.needed)}")
    return element(
        "tr",
        None,
        element("td", {"class": "name"}, one.group, tag),
        _cell(one.subjects, numbers.count(one.subjects)),
        _cell(one.comparisons, numbers.count(one.comparisons), needed),
        _cell(one.errors, numbers.count(one.errors)),
        _rate_cell(one.rate, one.interval),
    )


def cross_table(rates: Sequence[CrossRate]) -> Markup:
    """FMR of comparisons between two groups."""
    caption = f"FMR between different groups at threshold {numbers.score(rates[0].threshold)}"
    rows = [
        element(
            "tr",
            None,
            element("td", {"class": "name"}, f"{one.first} and {one.second}"),
            _cell(one.comparisons, numbers.count(one.comparisons)),
            _cell(one.errors, numbers.count(one.errors)),
            _rate_cell(one.rate, None),
        )
        for one in rates
    ]
    return _table(caption, ("Groups", "Comparisons", "Errors", "FMR"), rows)


def _table(caption: str, head: Sequence[str], rows: Sequence[Markup]) -> Markup:
    columns = together(element("th", {"scope": "col"}, title) for title in head)
    table = element(
        "table",
        None,
        element("caption", None, caption),
        element("thead", None, element("tr", None, columns)),
        element("tbody", None, *rows),
    )
    return element("div", {"class": "scroll"}, table)


def _missing(name: Markup, why: str, columns: int) -> Markup:
    return element("tr", {"class": "missing"}, name, element("td", {"colspan": columns}, why))


def _rate_cell(rate: float | None, interval: Interval | None) -> Markup:
    if rate is None:
        return _cell(None, numbers.NONE)
    within: Child = None
    if interval is not None:
        bounds = {"class": "within", "data-low": repr(interval.low), "data-high": repr(interval.high)}
        within = element("span", bounds, numbers.percent_between(interval))
    return _cell(rate, numbers.percent(rate), within)


def _cell(value: float | None, shown: str, more: Child = None) -> Markup:
    return element("td", {"data-value": None if value is None else repr(value)}, shown, more)
