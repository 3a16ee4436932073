"""Where else a person was: the looks that were taken for the same person, and those that are alike enough.

A look is shown by appearance when it is as like what was asked by as a stated FMR asks for: of looks at other people,
so many are shown as this person. How many that makes for what was searched is told with the answer. Who asked about
whom is on record before it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from gallery_svc.ids import sighting_event_id
from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.persons.looks import Looks
from gallery_svc.persons.naming import BodyNames
from gallery_svc.probes import Deadline, Probe, ProbeReader
from gallery_svc.recording import Attempt, Recorder
from gallery_svc.replica import Replica
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.event_records import BodyNameRecord, PersonOfSighting
from gallery_svc.store.person_records import PersonLook
from gallery_svc.thresholds import Thresholds
from tessera.client.encoder import Priority
from tessera.domain.calibration import Threshold
from tessera.domain.embedding import Modality, Vector, Vectors
from tessera.domain.errors import ImageRejectedError, InvalidInputError, ModelMismatchError, NotFoundError
from tessera.domain.ids import CollectionId, EventId, SubjectId, TrackletId
from tessera.domain.reasons import Reason

METHOD = "FindAppearances"
MAX_ASKED_BY = 8
"""Looks at the person that was asked about; the newest."""


class AppearanceBasis(StrEnum):
    """Why an appearance is shown."""

    ASKED = "ASKED"
    """It is what was asked by."""
    SAME_PERSON = "SAME_PERSON"
    """It was taken for the same person when it was seen."""
    LOOKS_ALIKE = "LOOKS_ALIKE"
    """It is alike enough."""


@dataclass(frozen=True, slots=True, eq=False)
class AppearanceQuestion:
    """Where else was this person? Exactly one of the first four is given."""

    collection_id: CollectionId
    tracklet_id: TrackletId | None
    event_id: EventId | None
    person_id: str | None
    probe: Probe | None
    since: datetime | None
    until: datetime | None
    camera_ids: frozenset[str]
    """Empty: all."""
    target_fmr: float | None
    """None: the collection's policy."""
    page_size: int
    after: tuple[datetime, str] | None
    """Time and tracklet of the last appearance of the page before."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """One time that a person was seen."""

    look: PersonLook
    person: PersonOfSighting
    basis: AppearanceBasis
    score: float | None
    """Of its best comparison with what was asked by; None: it was made by another model."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearances:
    """The answer: newest first."""

    found: tuple[Appearance, ...]
    has_more: bool
    threshold: Threshold
    looks_compared: int
    kept_since: datetime
    evidence_id: str

    @property
    def expected_false(self) -> float:
        """Looks at other people that are to be expected among those shown by appearance."""
        return self.looks_compared * self.threshold.fmr


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Who is asked about."""

    name: str
    """For the record: the anonymous id; empty of a probe."""
    vectors: Vectors
    tracklet_id: TrackletId | None = None
    person_id: str = ""


class PersonFinder:
    """Answers where else a person was.

    Args:
        replica: the collections.
        keeper: the looks.
        names: what faces call them.
        probes: makes samples of pictures.
        thresholds: the error rates.
        recorder: puts questions on record.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        keeper: LookKeeper,
        names: BodyNames,
        probes: ProbeReader,
        thresholds: Thresholds,
        recorder: Recorder,
    ) -> None:
        self._replica = replica
        self._keeper = keeper
        self._names = names
        self._probes = probes
        self._thresholds = thresholds
        self._recorder = recorder

    async def find(self, question: AppearanceQuestion, attempt: Attempt, deadline: Deadline) -> Appearances:
        """Where a person was.

        Raises:
            NotFoundError: the collection does not exist, or nothing is kept of who is asked about.
            InvalidInputError: the collection is not of persons, or the rate is none.
            ImageRejectedError: not exactly one person is in the picture.
            ModelMismatchError: the embedding is of another model than the collection.
            NoCalibrationError: the collection's model has no calibration.
            CalibrationTooSmallError: the rate cannot be kept.
        """
        record = (await self._replica.collection(question.collection_id)).record
        require_persons(record)
        looks = await self._keeper.looks(record)
        asked = await self._asked(question, looks, record, deadline)
        policy = record.policy_for("")
        threshold = self._thresholds.for_comparison(
            record.model_id,
            policy.verify_target_fmr if question.target_fmr is None else question.target_fmr,
            templates=len(asked.vectors),
            allow_extrapolation=policy.allow_extrapolation,
        )
        shown, compared = _shown(question, asked, looks, threshold)
        page = shown[: question.page_size]
        found = [await self._appearance(one, looks, record) for one in page]
        evidence_id = await self._recorder.record_search(
            attempt, SubjectId(asked.name) if asked.name else None, threshold
        )
        return Appearances(
            tuple(found), len(shown) > len(page), threshold, compared, self._keeper.kept_since(record), evidence_id
        )

    async def _asked(
        self, question: AppearanceQuestion, looks: Looks, record: CollectionRecord, deadline: Deadline
    ) -> _Asked:
        if question.probe is not None:
            return _Asked("", (await self._probe(question.probe, record, deadline))[None, :])
        look = _look_asked_by(question, looks)
        person_id = question.person_id or (look.person_id if look is not None else "")
        same = [one for one in looks.of_person(person_id) if one.model_id == looks.model_id]
        if not same:
            kind, told = _told_by(question)
            raise NotFoundError(kind, told, "it was never seen, or is no longer kept")
        newest = sorted(same, key=lambda one: one.last_seen)[-MAX_ASKED_BY:]
        vectors = np.stack([one.vector for one in newest]).astype(np.float32)
        return _Asked(person_id, vectors, look.tracklet_id if look is not None else None, person_id)

    async def _probe(self, probe: Probe, record: CollectionRecord, deadline: Deadline) -> Vector:
        seen = await self._probes.read(
            probe, record.model_id, record.modality, priority=Priority.INTERACTIVE, deadline=deadline, max_faces=2
        )
        sample, why_not = seen.only()
        if sample is None:
            reason = why_not or Reason.NO_PERSON
            raise ImageRejectedError(reason, "exactly one person is needed", "probe.image")
        if sample.embedding.model_id != record.model_id:
            raise ModelMismatchError(record.model_id, sample.embedding.model_id)
        return sample.embedding.vector

    async def _appearance(self, one: _Shown, looks: Looks, record: CollectionRecord) -> Appearance:
        name: BodyNameRecord | None = await self._names.name_of(one.look, looks, record)
        until = self._keeper.until(one.look, record)
        return Appearance(one.look, PersonOfSighting(one.look.person_id, until, name), one.basis, one.score)


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    look: PersonLook
    basis: AppearanceBasis
    score: float | None

    @property
    def place(self) -> tuple[datetime, str]:
        return self.look.last_seen, self.look.tracklet_id


def require_persons(record: CollectionRecord) -> None:
    """Refuse a collection of anything else.

    Raises:
        InvalidInputError: it is one.
    """
    if record.modality is not Modality.PERSON:
        told = f"{record.collection_id}, of {record.modality}"
        raise InvalidInputError("collection_id", told, "a collection of PERSON")


def _shown(question: AppearanceQuestion, asked: _Asked, looks: Looks, threshold: Threshold) -> tuple[list[_Shown], int]:
    """What is shown of those that were asked for, newest first and behind the last page; how many were compared."""
    scores = np.max([looks.scores(vector) for vector in asked.vectors], axis=0)
    rows = [row for row, look in enumerate(looks.compared) if _is_wanted(question, look)]
    others = [looks.compared[row] for row in rows]
    score_of = {look.tracklet_id: float(scores[row]) for row, look in zip(rows, others, strict=True)}
    same = [look for look in looks.of_person(asked.person_id) if _is_wanted(question, look)]
    every = {look.tracklet_id: look for look in (*others, *same)}
    found = [
        _Shown(look, basis, score_of.get(key))
        for key, look in every.items()
        if (basis := _basis(look, asked, score_of.get(key), threshold)) is not None
    ]
    ordered = sorted(found, key=lambda one: one.place, reverse=True)
    compared = sum(look.person_id != asked.person_id for look in others)
    return [one for one in ordered if question.after is None or one.place < question.after], compared


def _basis(look: PersonLook, asked: _Asked, score: float | None, threshold: Threshold) -> AppearanceBasis | None:
    if look.tracklet_id == asked.tracklet_id:
        return AppearanceBasis.ASKED
    if asked.person_id and look.person_id == asked.person_id:
        return AppearanceBasis.SAME_PERSON
    return AppearanceBasis.LOOKS_ALIKE if score is not None and score >= threshold.score else None


def _is_wanted(question: AppearanceQuestion, look: PersonLook) -> bool:
    return (
        (not question.camera_ids or look.camera_id in question.camera_ids)
        and (question.since is None or look.last_seen >= question.since)
        and (question.until is None or look.first_seen < question.until)
    )


def _look_asked_by(question: AppearanceQuestion, looks: Looks) -> PersonLook | None:
    if question.tracklet_id is not None:
        return looks.find(question.tracklet_id)
    if question.event_id is not None:
        return next((one for one in looks.all() if sighting_event_id(one.tracklet_id) == question.event_id), None)
    return None


def _told_by(question: AppearanceQuestion) -> tuple[str, str]:
    if question.tracklet_id is not None:
        return "tracklet", question.tracklet_id
    if question.event_id is not None:
        return "event", question.event_id
    return "person", question.person_id or ""
