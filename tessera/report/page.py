"""A report as one page of HTML that needs nothing else: no script, no font, no network.

Every name in the data (of the data, of groups, of samples) is hostile until `markup` has escaped it.
"""

from __future__ import annotations

from tessera.domain.group_findings import ErrorKind, Finding, GroupDifference, GroupReport
from tessera.report import numbers
from tessera.report.charts import det_chart, group_chart, histogram_chart, search_chart
from tessera.report.markup import Child, Markup, element, styles, together
from tessera.report.sentences import cannot_say, disparity_text, finding_text, summary
from tessera.report.style import STYLE
from tessera.report.tables import cross_table, group_table, search_table, target_table
from tessera.report.values import CalibrationReport

_NAMES_SHOWN = 40
_NAMES_OPEN = 10
"""So few are shown at once, on paper too."""
_WORDS = (
    ("Score", "How alike two samples are, as the model sees it; higher is more alike. It is no probability."),
    ("FMR", "False match rate: how often two different people match, of all comparisons of different people."),
    ("FNMR", "False non-match rate: how often two samples of the same person do not match."),
    ("FPIR", "False-positive identification rate: how often a search for somebody who is not enrolled names somebody."),
    ("FNIR", "False-negative identification rate: how often a search for somebody who is enrolled finds nobody."),
    ("FTE", "Failure to enrol: samples in which no usable face, signature or person was found."),
    ("Interval", "Where the true rate lies, 95 times in 100, for other people of the same kind."),
)


def render(report: CalibrationReport) -> str:
    """Write the page.

    Args:
        report: what was measured.

    Returns:
        A whole HTML document.
    """
    title = f"Calibration report: {report.calibration.model_id}"
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        # Should anything ever slip through the escaping, the browser still runs and loads nothing.
        element("meta", {
            "http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'",
        }),
        element("title", None, title),
        styles(STYLE),
    )  # fmt: skip
    sections = (_head, _det, _scores, _thresholds, _searches, _enrolment, _groups, _limits, _method)
    body = element("body", None, element("main", None, *(section(report) for section in sections)))
    return "<!doctype html>\n" + element("html", {"lang": "en"}, head, body) + "\n"


def _section(name: str, title: str, *parts: Child) -> Markup:
    heading = element("h2", {"id": f"{name}-heading"}, title)
    return element("section", {"id": name, "aria-labelledby": f"{name}-heading"}, heading, *parts)


def _lead(text: str) -> Markup:
    return element("p", {"class": "lead"}, text)


def _figure(picture: Markup, caption: str) -> Markup:
    return element("figure", None, picture, element("figcaption", None, caption))


def _head(report: CalibrationReport) -> Markup:
    calibration, data = report.calibration, report.calibration.data
    facts = [
        _fact("Data", data.name, wide=len(data.name) > 24),
        _fact("Subjects", numbers.count(data.subjects)),
        _fact("Samples", numbers.count(data.samples)),
        _fact("Comparisons of one person", numbers.count(data.mated)),
        _fact("Comparisons of two people", numbers.count(data.non_mated)),
        _fact("Calibration", calibration.calibration_id),
        _fact("Modality", calibration.modality.value.lower()),
        _fact("Measured", calibration.created),
        _fact("Written", report.written),
        _fact("Data digest, sha256", data.digest, style="hash", wide=True),
    ]
    said = [element("li", None, sentence) for sentence in summary(report)]
    return together([
        element(
            "header", None,
            element("p", {"class": "kind"}, "Calibration report"),
            element("h1", None, calibration.model_id),
            element("dl", {"class": "facts"}, *facts),
        ),
        element("section", {"aria-label": "In short"}, element("ol", {"class": "summary"}, *said)),
    ])  # fmt: skip


def _fact(name: str, value: str, *, style: str | None = None, wide: bool = False) -> Markup:
    pair = (element("dt", None, name), element("dd", {"class": style}, value))
    return element("div", {"class": "wide" if wide else None}, *pair)


def _det(report: CalibrationReport) -> Markup:
    points = report.calibration.points
    if len(points) < 2:
        return _section("trade-off", "What stricter costs", _lead("The data is too small for a curve."))
    return _section(
        "trade-off", "What stricter costs",
        _lead("A stricter threshold lets fewer strangers pass and turns more of the right people away. "
              "Each point of the curve is one threshold; nothing is drawn that was not measured."),
        _figure(det_chart(points, report.target_rows()),
                "DET curve on normal-deviate axes. The band is the 95 % interval of the false non-match rate, "
                "the bars are that of the false match rate; both know that comparisons of one person go together."),
    )  # fmt: skip


def _scores(report: CalibrationReport) -> Markup:
    title = "How scores are spread"
    if report.histogram is None:
        return _section("spread", title, _lead("Not shown: the scores themselves were not kept."))
    return _section(
        "spread", title,
        _figure(histogram_chart(report.histogram, report.target_rows()),
                "Both hills have the same area. The dotted lines are the thresholds of the table below, by their "
                "false match rates."),
    )  # fmt: skip


def _thresholds(report: CalibrationReport) -> Markup:
    chosen, have = report.summary_row(), report.calibration.data.non_mated
    return _section(
        "thresholds", "Thresholds: is it the person it claims to be?",
        _lead("Take the row whose rate of strangers you can live with; the last column is what it costs the right "
              "people. Small print: 95 % intervals. Grey: more than this data can prove."),
        target_table(report.target_rows(), chosen.target_fmr if chosen else 0.0, have),
    )  # fmt: skip


def _searches(report: CalibrationReport) -> Markup:
    title = "Searches: who of all these people is it?"
    if not report.searches:
        return _section("search", title, _lead("Not measured."))
    picture = search_chart(report.searches)
    caption = "The band is the 95 % interval. Hollow points lie beyond the data."
    return _section(
        "search", title,
        _lead("Each person more who is enrolled is one more chance to be mistaken, so that the threshold rises with "
              "the gallery, and with it the share of enrolled people who are not found."),
        search_table(report.searches, report.target_fpir, report.calibration.data.non_mated),
        _figure(picture, caption) if picture else None,
    )  # fmt: skip


def _enrolment(report: CalibrationReport) -> Markup:
    failures = report.enrolment
    title = "Failures to enrol"
    if failures is None:
        return _section("enrolment", title, _lead("Not known: the data came without its pictures."))
    if not failures.samples:
        return _section("enrolment", title, _lead("No sample was tried."))
    told = f"{numbers.count(len(failures.unusable))} of {numbers.counted(failures.samples, 'sample', 'samples')}"
    big = element("p", {"class": "big", "data-value": repr(failures.rate())}, numbers.percent(failures.rate()))
    without = "show no usable face, and are in no other figure of this page."
    return _section("enrolment", title, big, _lead(f"{told} {without}"), _names(failures.unusable))


def _names(names: tuple[str, ...]) -> Markup | None:
    if not names:
        return None
    more = len(names) - _NAMES_SHOWN
    shown = [element("li", None, name) for name in names[:_NAMES_SHOWN]]
    rest = element("p", None, f"and {numbers.count(more)} more") if more > 0 else None
    few = "" if len(names) <= _NAMES_OPEN else None
    return element(
        "details", {"open": few}, element("summary", None, "Which"), element("ul", {"class": "names"}, *shown), rest
    )


def _groups(report: CalibrationReport) -> Markup:
    title = "Does it work equally well for everybody?"
    if report.groups is None:
        return _section("groups", title, _lead("Not known: no group labels were given."))
    told = report.groups
    return _section(
        "groups", title,
        _lead("Each group's people are compared with each other, since people are mostly taken for somebody of their "
              "own group. A difference is claimed only where chance alone would show one in fewer than 5 of 100 "
              f"reports, over all of its {numbers.count(told.tests)} looks together."),
        *[_difference(f"group-{at}", one) for at, one in enumerate(told.differences)],
        *_across(told),
    )  # fmt: skip


def _difference(name: str, difference: GroupDifference) -> Markup:
    words = {ErrorKind.FMR: "Taken for somebody else", ErrorKind.FNMR: "Not recognised"}[difference.kind]
    style = {
        Finding.DIFFERENCE: "finding difference",
        Finding.NO_DIFFERENCE_FOUND: "finding none",
        Finding.NOT_ENOUGH_DATA: "finding doubt",
    }[difference.finding]
    picture = group_chart(name, difference)
    ratios = (
        f"Highest over lowest: {disparity_text(difference.max_over_min)}. "
        f"Highest over the geometric mean: {disparity_text(difference.max_over_geometric_mean)}."
    )
    judged = difference.finding is not Finding.NOT_ENOUGH_DATA
    return together([
        element("h3", None, f"{words}, at threshold {numbers.score(difference.threshold)}"),
        element("p", {"class": style}, finding_text(difference)),
        element("figure", None, picture) if picture else None,
        group_table(difference),
        element("figcaption", None, ratios) if judged else None,
    ])  # fmt: skip


def _across(told: GroupReport) -> list[Markup]:
    thresholds = list(dict.fromkeys(one.threshold for one in told.across))
    return [cross_table([one for one in told.across if one.threshold == threshold]) for threshold in thresholds]


def _limits(report: CalibrationReport) -> Markup:
    told = [element("li", None, element("strong", None, one.name), " ", one.told) for one in cannot_say(report)]
    return _section("limits", "What this data cannot say", element("ul", {"class": "limits"}, *told))


def _method(report: CalibrationReport) -> Markup:
    words = together(together([element("dt", None, word), element("dd", None, said)]) for word, said in _WORDS)
    method = (
        "Every sample was compared with every other unless the scores came ready made. Intervals are 95 % and count "
        "people, not comparisons: a person who looks like many others is in many false matches "
        f"({report.calibration.interval_method}). A rate is stated only where three such errors would be expected "
        "(rule of 3). Terms: ISO/IEC 19795-1 and 19795-10."
    )
    version = f"Tessera. Calibration {report.calibration.calibration_id} of {report.calibration.model_id}."
    return together([
        _section("method", "Words and method", element("dl", {"class": "words"}, words),
                 element("p", {"class": "lead", "style": "margin-top:18px"}, method)),
        element("footer", None, version),
    ])  # fmt: skip
