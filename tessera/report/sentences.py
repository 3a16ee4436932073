"""What a report says in sentences: three for who is in a hurry, and all that the data cannot say."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.domain.group_findings import Disparity, Finding, GroupDifference
from tessera.report import numbers
from tessera.report.values import CalibrationReport, SearchRow, TargetRow


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that the data cannot say."""

    name: str
    """In a few words."""
    told: str
    """In sentences."""


def summary(report: CalibrationReport) -> list[str]:
    """The three sentences on top of the page."""
    return [_door(report), _search(report), _groups(report)]


def _door(report: CalibrationReport) -> str:
    row = report.summary_row()
    if row is None or row.point is None:
        have = numbers.count(report.calibration.data.non_mated)
        return (
            f"This data is too small to state any false match rate: it has {have} comparisons of different people, "
            f"and a rate of 1 in 10 needs {report.target_rows()[0].needed}."
        )
    point = row.point
    start = "" if row.target_fmr == report.target_fmr else _instead(report)
    return (
        f"{start}At a threshold of {numbers.score(point.threshold)}, {numbers.one_in(row.target_fmr)} strangers who "
        f"try to pass as somebody else succeeds, and {numbers.percent(point.fnmr)} of rightful attempts "
        f"({numbers.percent_between(point.fnmr_interval)}) are turned away."
    )


def _instead(report: CalibrationReport) -> str:
    return f"The data cannot carry a false match rate of {numbers.one_in(report.target_fmr)}. "


def _search(report: CalibrationReport) -> str:
    stated = [row for row in report.searches if row.threshold is not None and row.fnir is not None]
    if not stated:
        return "Nothing is said of searches among many people: " + (
            "the data is too small for them." if report.searches else "they were not measured."
        )
    row = next((one for one in reversed(stated) if not one.extrapolated), stated[-1])
    beyond = ", as far as it can be said of more people than the data has" if row.extrapolated else ""
    return (
        f"Among {numbers.count(row.gallery_size)} enrolled people, {numbers.one_in(report.target_fpir)} searches for a "
        f"stranger names somebody, and {numbers.percent(row.fnir or 0.0)} of searches for an enrolled person find "
        f"nobody{beyond}."
    )


def _groups(report: CalibrationReport) -> str:
    if report.groups is None:
        return "Whether it works equally well for all groups of people is not known: no group labels were given."
    found = [one for one in report.groups.differences if one.finding is Finding.DIFFERENCE]
    if found:
        return _largest(found)
    if all(one.finding is Finding.NOT_ENOUGH_DATA for one in report.groups.differences):
        return "The groups are too small to say whether error rates differ between them."
    return "No difference between the groups was found; the section on groups says how large one could still be."


def _largest(found: list[GroupDifference]) -> str:
    worst = max(found, key=lambda one: one.max_over_min.value or 0.0)
    rated = [one for one in worst.groups if one.rate is not None and one.needed is None]
    highest = max(rated, key=lambda one: one.rate or 0.0)
    lowest = min(rated, key=lambda one: one.rate or 0.0)
    if worst.max_over_min.value is None:
        return (
            f"Error rates differ between groups: {lowest.group} shows no {worst.kind} error, {highest.group} the most."
        )
    return (
        f"Error rates differ between groups: {highest.group} has {numbers.ratio(worst.max_over_min.value)} the "
        f"{worst.kind} of {lowest.group}."
    )


# ---- rows


def not_carried(row: TargetRow, have: int) -> str:
    """Why a row of the table is empty."""
    return f"needs {numbers.count(row.needed)} comparisons of different people; there are {numbers.count(have)}"


def search_not_carried(row: SearchRow, have: int) -> str:
    """Why a row of the searches is empty."""
    if row.needed is None:
        return "not measured"
    return f"needs {numbers.count(row.needed)} comparisons of different people; there are {numbers.count(have)}"


def finding_text(difference: GroupDifference) -> str:
    """What is claimed of groups at one threshold."""
    if difference.finding is Finding.NOT_ENOUGH_DATA:
        small = [one for one in difference.groups if one.needed is not None]
        needed = max((one.needed or 0 for one in small), default=0)
        return (
            f"Not enough data: a group would need about {numbers.count(needed)} comparisons "
            "before a fivefold rate would show."
        )
    p_text = f" ({numbers.p_value(difference.p_value)})" if difference.p_value is not None else ""
    ratio = _ratio_text(difference.max_over_min)
    if difference.finding is Finding.DIFFERENCE:
        return f"{_who_differs(difference)}{p_text}. {ratio}"
    return f"No difference found{p_text}. {ratio}"


def _who_differs(difference: GroupDifference) -> str:
    judged = [one for one in difference.groups if one.needed is None]
    out = [one for one in judged if one.stands_out]
    if len(judged) < 3 or len(out) != 1:
        return "The groups differ"
    others = [one.rate or 0.0 for one in judged if one is not out[0]]
    side = (
        "higher" if (out[0].rate or 0.0) > max(others) else "lower" if (out[0].rate or 0.0) < min(others) else "other"
    )
    return f"{out[0].group} has {'an' if side == 'other' else 'a'} {side} rate than the other groups"


def disparity_text(disparity: Disparity) -> str:
    """`5.1 times (3.4 to 7.6)`, or why there is none."""
    if disparity.value is not None and disparity.interval is not None:
        return f"{numbers.ratio(disparity.value)} ({numbers.ratio_between(disparity.interval)})"
    if disparity.at_least is not None:
        return f"at least {numbers.ratio(disparity.at_least)}"
    return "cannot be stated"


def _ratio_text(disparity: Disparity) -> str:
    if disparity.interval is None or disparity.value is None:
        return "A group shows no error at all, so that no ratio can be stated."
    if disparity.interval.low <= 1.0:
        return f"The highest rate may be up to {numbers.ratio(disparity.interval.high)} the lowest."
    return (
        f"The highest rate is {numbers.ratio(disparity.value)} the lowest "
        f"({numbers.ratio_between(disparity.interval)})."
    )


# ---- what the data cannot say


_LABELS = Limit(
    "Errors in its labels.",
    "A wrong label looks like a system's error. One sample in a hundred under the wrong name may make most of what is "
    "counted as false matches at strict thresholds; labels were taken as they are.",
)
_DECEPTION = Limit(
    "People who want to deceive.",
    "All errors here are by chance. A twin, a mask or a photograph held to the camera is another attack, at another "
    "rate.",
)
_DEMOGRAPHICS = Limit(
    "Whom it works for.",
    "No labels of age, sex, origin or site were given, so that a group with several times the errors of the others "
    "would not show. False matches between people who look alike (one family, one age, one origin) are more frequent "
    "than this page says.",
)
_ENROLMENT = Limit(
    "Who cannot be enrolled.",
    "The data came without its pictures, so that samples without a usable face are not counted. They come on top of "
    "the false non-match rate.",
)
_INDEPENDENCE = Limit(
    "Whether its comparisons are independent.",
    "Whoever gave the scores said that no two share a person; if some do, the intervals are too narrow.",
)


def cannot_say(report: CalibrationReport) -> list[Limit]:
    """What a reader may not take from this page."""
    told = [_rarer(report), _other_groups(report), _capture(report), _LABELS, _DECEPTION]
    if report.enrolment is None:
        told.append(_ENROLMENT)
    if any(row.extrapolated for row in report.searches):
        told.append(_larger(report))
    if report.independent_pairs:
        told.append(_INDEPENDENCE)
    return told


def _rarer(report: CalibrationReport) -> Limit:
    have, least = numbers.count(report.calibration.data.non_mated), numbers.one_in(report.strictest_fmr())
    return Limit(
        "Rarer errors than it can carry.",
        f"{have} comparisons of different people prove no false match rate under {least}: if none of them matched, the "
        "rate could still be that high (rule of 3). A stricter threshold has an unknown rate, not a rate of zero.",
    )


def _other_groups(report: CalibrationReport) -> Limit:
    if report.groups is None:
        return _DEMOGRAPHICS
    left_out = report.groups.unlabelled
    unknown = f" {numbers.counted(left_out, 'subject has', 'subjects have')} no label." if left_out else ""
    return Limit(
        "Groups that were not labelled.",
        f"Only the groups above were compared, one label at a time; what lies across them is not known.{unknown}",
    )


def _capture(report: CalibrationReport) -> Limit:
    return Limit(
        "Other cameras, light and distance.",
        f"The rates are those of “{report.calibration.data.name}”. Pictures that are darker, smaller, older or taken "
        "from above have others, mostly higher ones; only a calibration on pictures of your own cameras tells.",
    )


def _larger(report: CalibrationReport) -> Limit:
    people = numbers.counted(report.calibration.data.subjects, "subject", "subjects")
    return Limit(
        "Larger galleries.",
        f"The data has {people}. Rows of galleries that are larger than what was searched are worked out from those "
        "that were, on the safe side, and marked.",
    )
