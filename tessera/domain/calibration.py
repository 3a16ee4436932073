"""A calibration turns a target error rate into a threshold, for one model, on stated data, and refuses all else.

It is a table of what was measured: FMR and FNMR of one comparison, and FPIR of searches of several sizes. Nothing in it
is fitted to a shape. A rate that lies beyond the data is refused, with how many comparisons it would need; who asks for
it to be extrapolated all the same gets a threshold that says so, two decades beyond the data at most.

A search of more subjects than the table has is bounded, not guessed: probes differ in how many strangers they are like,
and by Jensen's inequality a gallery of n subjects then finds at most 1 - (1 - FPIR of m)^(n / m), of which
1 - (1 - FMR)^n is the case m = 1. Both are on the safe side.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval, comparisons_needed, fmr_for_fpir
from tessera.domain.errors import (
    ArtifactError,
    CalibrationTooSmallError,
    InvalidInputError,
    ModelMismatchError,
)
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.rate_lines import MeasuredRate, between, beyond, of_one, share_of_way

SCHEMA = 2
"""What is written. Schema 1, which has no searches, is still read."""

DEFAULT_TARGET_FMR = 1e-4
"""Against random impostors."""
DEFAULT_SKILLED_FMR = 5e-2
"""Against skilled ones: who has practised a signature is told from its owner far less surely than a stranger is."""
DEFAULT_TARGET_FPIR = 1e-2

PERSON_TARGET_FMR = 1e-2
"""Of looks at other people: what cameras see of a body is mostly clothes, and at 1e-4 next to nobody would be found."""
PERSON_TRACKLET_FRAMES = 5
"""A person is decided after so many: the first looks show half of somebody who walks in."""

DEPENDENCE_ADJUSTED = "Wilson of the effective number of comparisons; jackknife over subjects"
SUBJECT_BOOTSTRAP = "subject bootstrap"
"""How the intervals of schema 1 were made."""

EXTRAPOLATED_DECADES = 2.0
"""So far below the strictest rate that the data can carry, and no further."""
_TAIL_DECADES = 2.0
"""The points that an extrapolation goes through: those of so many decades above the strictest."""


class Impostors(StrEnum):
    """Whose false matches an error rate counts."""

    RANDOM = "RANDOM"
    """Other people as they are: nobody tries to look like somebody else."""
    SKILLED = "SKILLED"
    """People who imitate: forgers of a signature, who have seen it and have practised."""

    @property
    def default_target_fmr(self) -> float:
        """The rate of a verification where nobody says another."""
        return DEFAULT_TARGET_FMR if self is Impostors.RANDOM else DEFAULT_SKILLED_FMR


USUAL_IMPOSTORS: Mapping[Modality, Impostors] = {
    Modality.FACE: Impostors.RANDOM,
    Modality.SIGNATURE: Impostors.SKILLED,
    Modality.PERSON: Impostors.RANDOM,
}
"""Against whom a claim is decided where nobody says otherwise: whoever signs as somebody else imitates (ADR 0020)."""


class RateKind(StrEnum):
    """Which error rate a threshold stands for."""

    FMR = "FMR"
    FPIR = "FPIR"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score, and the error rate that it stands for."""

    score: float
    """A comparison matches when its score is at least this."""
    kind: RateKind
    """FMR for one comparison, FPIR for a search."""
    target_rate: float
    """The rate that was asked for."""
    fmr: float
    """The FMR of one comparison at this score, or of the best of several templates, where those were asked for."""
    fmr_interval: Interval
    """Its 95 % interval."""
    gallery_size: int
    """Samples searched, the templates of all subjects; 1 for a verification."""
    model_id: ModelId
    calibration_id: CalibrationId
    fpir: float | None = None
    """Of a search: its FPIR at this score, as measured or bounded from above. None for a verification."""
    fpir_interval: Interval | None = None
    """Its 95 % interval."""
    extrapolated: bool = False
    """True: no data carries these rates; a straight line was drawn through those that it does carry."""
    templates: int = 1
    """Of one subject: the best score of so many comparisons is held against it, and the rates are those of the best."""
    impostors: Impostors = Impostors.RANDOM
    """Whose false matches the rates count."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One row of a calibration: a score and the error rates that were measured at it."""

    threshold: float
    fmr: float
    fmr_interval: Interval
    fnmr: float
    """1, with the interval 0 to 1, where there were no mated comparisons: it is not known."""
    fnmr_interval: Interval


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """A score, and how often a search at it finds somebody who is not enrolled."""

    gallery_size: int
    """Subjects searched, one sample of each."""
    threshold: float
    fpir: float
    fpir_interval: Interval


@dataclass(frozen=True, slots=True)
class CalibrationData:
    """What a calibration was measured on."""

    name: str
    digest: str
    """sha256 over the names and digests of the samples that were compared."""
    subjects: int
    samples: int
    mated: int
    """Mated comparisons."""
    non_mated: int
    """Non-mated comparisons."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured operating points of one model, from the loosest to the strictest."""

    calibration_id: CalibrationId
    model_id: ModelId
    modality: Modality
    created: str
    """Date, ISO 8601."""
    data: CalibrationData
    points: tuple[OperatingPoint, ...]
    searches: tuple[SearchPoint, ...] = ()
    """By gallery size, and within one from the loosest to the strictest. Empty: only comparisons were measured."""
    interval_method: str = DEPENDENCE_ADJUSTED
    impostors: Impostors = Impostors.RANDOM
    """Whose comparisons with a subject are the non-mated ones."""

    def require_model(self, model_id: ModelId) -> None:
        """Refuse any model but the one this was measured on.

        Raises:
            ModelMismatchError: `model_id` is another.
        """
        if model_id != self.model_id:
            raise ModelMismatchError(self.model_id, model_id, "calibration")

    def threshold_for_fmr(
        self, target_fmr: float = DEFAULT_TARGET_FMR, *, templates: int = 1, allow_extrapolation: bool = False
    ) -> Threshold:
        """The loosest measured threshold whose FMR is at most the target.

        Args:
            target_fmr: in (0, 1), of the whole claim.
            templates: the sample is compared with so many, and the best score decides. Each comparison gets its share,
                1 - (1 - FMR)^(1/templates): an upper bound, since templates of one subject err together.
            allow_extrapolation: beyond the data go on along a straight line; the threshold says that it did.

        Raises:
            InvalidInputError: the target is no rate, or there is no template.
            CalibrationTooSmallError: the data cannot carry it (rule of 3), and may not be extrapolated or not so far.
        """
        if not 0.0 < target_fmr < 1.0:
            raise InvalidInputError("target_fmr", target_fmr, "a rate in (0, 1)")
        if templates < 1:
            raise InvalidInputError("templates", templates, "at least 1")
        found = self._comparison(of_one(target_fmr, templates), allow_extrapolation=allow_extrapolation)
        claim = self._threshold(found.of_any(templates), RateKind.FMR, target_fmr, gallery_size=1)
        return replace(claim, templates=templates)

    def threshold_for_fpir(
        self, target_fpir: float, gallery_size: int, *, allow_extrapolation: bool = False
    ) -> Threshold:
        """The threshold that keeps a search of `gallery_size` subjects at the target FPIR.

        It is the measured one where searches were measured. Between two measured sizes it lies on the straight line
        over the logarithm of the size; above the largest, and where no search of that target was measured, it comes
        from the bounds that the module tells of.

        Args:
            target_fpir: in (0, 1), for a search by somebody who is not enrolled.
            gallery_size: subjects searched; at least 1.
            allow_extrapolation: beyond the data go on along a straight line; the threshold says that it did.

        Raises:
            InvalidInputError: the target is no rate, or the gallery is empty.
            CalibrationTooSmallError: the data cannot carry so low a rate, and may not be extrapolated or not so far.
        """
        needed = fmr_for_fpir(target_fpir, gallery_size)
        search = self._search(target_fpir, gallery_size)
        if search is None:
            one = self._comparison(needed, allow_extrapolation=allow_extrapolation)
            search = one.of_any(gallery_size)
        else:
            one = self._at(search.score)
        return self._threshold(one, RateKind.FPIR, target_fpir, gallery_size, search)

    def fmr_at(self, score: float) -> float:
        """FMR of one comparison at any score: between two measured points on the line of its logarithm, beyond them
        that of the nearest."""
        return self._at(score).rate

    # ---- one comparison

    def _comparison(self, fmr: float, *, allow_extrapolation: bool) -> MeasuredRate:
        needed = comparisons_needed(fmr)
        at = bisect.bisect_left(self.points, -fmr, key=lambda point: -point.fmr)
        if needed <= self.data.non_mated and at < len(self.points):
            return _measured(self.points[at])
        found = self._beyond(fmr) if allow_extrapolation else None
        if found is None:
            raise CalibrationTooSmallError(fmr, needed, self.data.non_mated, self.points[-1].fmr)
        return found

    def _beyond(self, fmr: float) -> MeasuredRate | None:
        """Along the line through the strictest points; None: too far, or too few points for a line."""
        strictest = self.points[-1].fmr
        tail = [_measured(point) for point in self.points if point.fmr <= strictest * 10.0**_TAIL_DECADES * (1 + 1e-9)]
        if fmr < strictest * 10.0**-EXTRAPOLATED_DECADES * (1 - 1e-9) or len(tail) < 3:
            return None
        return beyond(tail, fmr)

    def _at(self, score: float) -> MeasuredRate:
        """FMR at a score: between two measured points on the line of its logarithm; beyond them that of the nearest."""
        at = bisect.bisect_left(self.points, score, key=lambda point: point.threshold)
        before, after = self.points[max(at - 1, 0)], self.points[min(at, len(self.points) - 1)]
        return between(_measured(before), _measured(after), share_of_way(before.threshold, after.threshold, score))

    # ---- a search

    def _search(self, target_fpir: float, gallery_size: int) -> MeasuredRate | None:
        """From the table of searches; None: it does not say."""
        at = bisect.bisect_left(self.searches, gallery_size, key=lambda point: point.gallery_size)
        if at == len(self.searches):
            return self._larger_search(target_fpir, gallery_size)
        larger = self.searches[at].gallery_size
        if larger != gallery_size and at == 0:
            return None
        smaller = larger if larger == gallery_size else self.searches[at - 1].gallery_size
        one, other = self._search_point(target_fpir, smaller), self._search_point(target_fpir, larger)
        if one is None or other is None:
            return None
        share = share_of_way(math.log(smaller), math.log(larger), math.log(gallery_size))
        return between(one, other, share)

    def _larger_search(self, target_fpir: float, gallery_size: int) -> MeasuredRate | None:
        if not self.searches:
            return None
        times = gallery_size / self.searches[-1].gallery_size
        largest = self._search_point(of_one(target_fpir, times), self.searches[-1].gallery_size)
        return largest.of_any(times) if largest else None

    def _search_point(self, fpir: float, size: int) -> MeasuredRate | None:
        start = bisect.bisect_left(self.searches, size, key=lambda point: point.gallery_size)
        end = bisect.bisect_right(self.searches, size, key=lambda point: point.gallery_size)
        at = bisect.bisect_left(self.searches, -fpir * (1 + 1e-9), start, end, key=lambda point: -point.fpir)
        if at == end:
            return None
        point = self.searches[at]
        return MeasuredRate(point.threshold, point.fpir, point.fpir_interval)

    def _threshold(
        self,
        one: MeasuredRate,
        kind: RateKind,
        target_rate: float,
        gallery_size: int,
        search: MeasuredRate | None = None,
    ) -> Threshold:
        return Threshold(
            score=one.score,
            kind=kind,
            target_rate=target_rate,
            fmr=one.rate,
            fmr_interval=one.interval,
            gallery_size=gallery_size,
            model_id=self.model_id,
            calibration_id=self.calibration_id,
            fpir=search.rate if search else None,
            fpir_interval=search.interval if search else None,
            extrapolated=one.extrapolated,
            impostors=self.impostors,
        )


def _measured(point: OperatingPoint) -> MeasuredRate:
    return MeasuredRate(point.threshold, point.fmr, point.fmr_interval)


def dump_calibration(calibration: Calibration) -> str:
    """Write a calibration as JSON that `load_calibration` reads."""
    c = calibration
    rows = [
        [
            p.threshold,
            p.fmr,
            p.fmr_interval.low,
            p.fmr_interval.high,
            p.fnmr,
            p.fnmr_interval.low,
            p.fnmr_interval.high,
        ]
        for p in c.points
    ]
    searches = [[p.gallery_size, p.threshold, p.fpir, p.fpir_interval.low, p.fpir_interval.high] for p in c.searches]
    head = {
        "schema": SCHEMA,
        "calibration_id": c.calibration_id,
        "model_id": c.model_id,
        "modality": c.modality.value,
        "impostors": c.impostors.value,
        "created": c.created,
        "data": {
            "name": c.data.name,
            "digest": c.data.digest,
            "subjects": c.data.subjects,
            "samples": c.data.samples,
            "mated": c.data.mated,
            "non_mated": c.data.non_mated,
        },
        "interval_method": c.interval_method,
        "columns": ["threshold", "fmr", "fmr_low", "fmr_high", "fnmr", "fnmr_low", "fnmr_high"],
        "search_columns": ["gallery_size", "threshold", "fpir", "fpir_low", "fpir_high"],
    }
    tables = {"points": rows, "searches": searches}
    told = ",\n".join(f' "{name}": [{_lines(table)}]' for name, table in tables.items())
    return json.dumps(head, indent=1)[:-2] + f",\n{told}\n}}\n"


def _lines(table: Sequence[Sequence[float]]) -> str:
    return "\n  " + ",\n  ".join(json.dumps(row) for row in table) + "\n " if table else ""


def load_calibration(text: str, source: str) -> Calibration:
    """Read a calibration.

    Args:
        text: what `dump_calibration` wrote.
        source: the file it came from, for the error.

    Raises:
        ArtifactError: it is not a calibration, a number in it is no rate, or its points are out of order.
    """
    try:
        return _parse(json.loads(text))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ArtifactError(source, f"not a calibration of schema 1 or {SCHEMA}: {error}") from error


def _parse(raw: Mapping[str, Any]) -> Calibration:
    if raw["schema"] not in (1, SCHEMA):
        raise ValueError(f"schema {raw['schema']!r}")
    points = tuple(_parse_point(row) for row in raw["points"])
    if not points:
        raise ValueError("no points")
    _check_order([(point.threshold, point.fmr) for point in points], "points")
    first = raw["schema"] == 1
    return Calibration(
        calibration_id=CalibrationId(str(raw["calibration_id"])),
        model_id=ModelId(str(raw["model_id"])),
        modality=Modality(raw["modality"]),
        created=str(raw["created"]),
        data=CalibrationData(**{key: raw["data"][key] for key in CalibrationData.__dataclass_fields__}),
        points=points,
        searches=() if first else _parse_searches(raw["searches"]),
        interval_method=SUBJECT_BOOTSTRAP if first else str(raw["interval_method"]),
        impostors=Impostors(raw.get("impostors", Impostors.RANDOM)),
    )


def _check_order(rows: Sequence[tuple[float, float]], what: str) -> None:
    for earlier, later in itertools.pairwise(rows):
        if not (earlier[0] < later[0] and earlier[1] > later[1]):
            raise ValueError(f"{what} must go from the loosest to the strictest")


def _parse_point(row: Sequence[float]) -> OperatingPoint:
    threshold, fmr, fmr_low, fmr_high, fnmr, fnmr_low, fnmr_high = (float(value) for value in row)
    return OperatingPoint(
        _finite(threshold), fmr, _around_rate(fmr_low, fmr, fmr_high), fnmr, _around_rate(fnmr_low, fnmr, fnmr_high)
    )


def _parse_searches(rows: Sequence[Sequence[float]]) -> tuple[SearchPoint, ...]:
    points = tuple(_parse_search(row) for row in rows)
    if any(earlier.gallery_size > later.gallery_size for earlier, later in itertools.pairwise(points)):
        raise ValueError("searches must go from the smallest gallery to the largest")
    for size, of_size in itertools.groupby(points, key=lambda point: point.gallery_size):
        _check_order([(point.threshold, point.fpir) for point in of_size], f"searches of {size}")
    return points


def _parse_search(row: Sequence[float]) -> SearchPoint:
    size, threshold, fpir, low, high = row
    if int(size) != size or size < 1:
        raise ValueError(f"a gallery of {size!r}")
    return SearchPoint(int(size), _finite(float(threshold)), float(fpir), _around_rate(float(low), fpir, float(high)))


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise ValueError(f"a threshold of {score!r}")
    return score


def _around_rate(low: float, rate: float, high: float) -> Interval:
    if not 0.0 <= low <= rate <= high <= 1.0:
        raise ValueError(f"a rate of {rate!r} in [{low!r}, {high!r}]")
    return Interval(low, high)
