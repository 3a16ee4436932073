"""The name that a body has from a face: the face on it, or the face on another body that this one looks like.

What is known of a face is its sighting, read anew each time: when its decision is revised, or its subject erased, the
name goes with it. A name is never kept with a body's embedding, and never told as a match.

The evidence of a body link. The claim is that this body is X's, and what it is compared with is a body on which X's
face was seen. That body is X's but for the errors of its face's match and of its face's place, together e. So the score
s says of the claim ((1 - e) P(s | one person) + e P(s | two)) / P(s | two): the calibration's likelihood ratio, drawn
towards 1 by e; where it speaks against the claim, it is left as it is. A poor face of its own, which decides nothing
alone, is a second piece of evidence, and the two are added (ADR 0018). A face of its own that was decided speaks for
itself.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gallery_svc.ids import sighting_event_id
from gallery_svc.joint_thresholds import Evidence, JointThresholds
from gallery_svc.persons.keeping import retention_s
from gallery_svc.persons.looks import Looks
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.event_records import BodyNameBasis, BodyNameRecord, SightingBody
from gallery_svc.store.person_records import PersonLook
from gallery_svc.store.protocol import Store
from tessera.domain.calibration import Threshold
from tessera.domain.decision import Outcome
from tessera.domain.errors import CalibrationTooSmallError, NoCalibrationError, PreconditionError
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId, TrackletId
from tessera.domain.joint import JointThreshold
from tessera.domain.observation import FaceOnBody

LEAST_FRAMES_TOGETHER = 2
LEAST_SHARE_TOGETHER = 0.8
"""A face that lay in this person's box less often than that, of the frames that speak of it, is not on this body."""
MAX_FACES = 4
"""Faces of one anonymous person that are looked up; the newest."""


@dataclass(frozen=True, slots=True)
class OwnFace:
    """What the face on a body itself says for a claim, where it decides nothing alone."""

    evidence: Evidence
    llr: float
    """Natural logarithm."""
    templates: int
    """That it was compared with."""


FaceEvidence = Callable[[TrackletId, CollectionId, SubjectId], Awaitable[OwnFace | None]]
"""What the samples of a face that is being followed say of a subject; None: nothing is known of it here."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was told of a face."""

    outcome: Outcome
    collection_id: CollectionId
    subject_id: SubjectId | None
    error: float
    """How often such a match is wrong: the rate of its threshold."""
    camera_id: CameraId
    seen_at: datetime
    event_id: EventId


@dataclass(frozen=True, slots=True, eq=False)
class _Anchor:
    """A look on which a face was recognised."""

    look: PersonLook
    verdict: _Verdict
    subject_id: SubjectId
    error: float
    """How often it is somebody else's body: a wrong match, or a face in the wrong box."""

    @property
    def who(self) -> tuple[CollectionId, SubjectId]:
        return self.verdict.collection_id, self.subject_id


class BodyNames:
    """Names bodies.

    Args:
        store: has the sightings of faces.
        thresholds: the evidence of scores, and what its sums must reach.
        own_face: what a body's own undecided face says.
    """

    def __init__(self, store: Store, thresholds: JointThresholds, own_face: FaceEvidence) -> None:
        self._store = store
        self._thresholds = thresholds
        self._own_face = own_face

    async def name_of(self, look: PersonLook, looks: Looks, record: CollectionRecord) -> BodyNameRecord | None:
        """The name of a body; None: no face says it, or faces contradict each other.

        Args:
            look: at the body.
            looks: of its collection; those of the same person are asked for their faces.
            record: of the collection.

        Raises:
            UnavailableError: the store is away.
        """
        own = await self._verdict(look.face)
        if own is not None and own.outcome is Outcome.MATCH and own.subject_id is not None:
            anchor = _Anchor(look, own, own.subject_id, _error_of(own, look.face))
            return _named(anchor, record, BodyNameBasis.OWN_FACE, None)
        if own is not None and own.outcome is Outcome.UNKNOWN:  # whoever it is, it is nobody who is enrolled
            return None
        others = [other for other in looks.of_person(look.person_id) if other.tracklet_id != look.tracklet_id]
        anchors = await self._anchors(others)
        if len({anchor.who for anchor in anchors}) != 1:
            return None
        return await self._linked(look, anchors, record)

    async def _anchors(self, others: Sequence[PersonLook]) -> list[_Anchor]:
        with_faces = sorted((other for other in others if other.face is not None), key=lambda other: other.last_seen)
        anchors: list[_Anchor] = []
        for other in with_faces[-MAX_FACES:]:
            verdict = await self._verdict(other.face)
            if verdict is not None and verdict.outcome is Outcome.MATCH and verdict.subject_id is not None:
                anchors.append(_Anchor(other, verdict, verdict.subject_id, _error_of(verdict, other.face)))
        return anchors

    async def _verdict(self, face: FaceOnBody | None) -> _Verdict | None:
        """What was told of a face; None: it is not on this body, or nothing is told of it (any more)."""
        if face is None or not _is_on_body(face):
            return None
        record = await self._store.find_event(sighting_event_id(face.tracklet_id))
        if record is None or not isinstance(record.event.body, SightingBody):
            return None
        event, body = record.event, record.event.body
        return _Verdict(
            outcome=body.outcome,
            collection_id=body.collection_id,
            subject_id=body.subject_id,
            error=_rate(body.threshold),
            camera_id=event.camera_id,
            seen_at=event.event_time,
            event_id=event.event_id,
        )

    async def _linked(
        self, look: PersonLook, anchors: Sequence[_Anchor], record: CollectionRecord
    ) -> BodyNameRecord | None:
        """The name by the evidence of the body, and of a poor face on it, if that is enough."""
        vector = look.vector.astype(np.float32)
        alike = [float(anchor.look.vector.astype(np.float32) @ vector) for anchor in anchors]
        best = int(np.argmax(alike))
        try:
            evidence = self._thresholds.evidence(record.model_id)
            llr = less_sure(evidence.scores.llr(alike[best], len(alike)), anchors[best].error)
            pieces = [(evidence, len(alike))]
            own = await self._own_face(look.face.tracklet_id, *anchors[best].who) if look.face is not None else None
            if own is not None:
                llr += own.llr
                pieces.append((own.evidence, own.templates))
            threshold = await self._thresholds.threshold(pieces, record.policy_for(look.camera_id).verify_target_fmr)
        except (NoCalibrationError, PreconditionError, CalibrationTooSmallError):
            return None  # the calibration cannot say how sure a name would be
        if llr < threshold.llr:
            return None
        return _named(anchors[best], record, BodyNameBasis.BODY_LINK, threshold)


def _named(
    anchor: _Anchor, record: CollectionRecord, basis: BodyNameBasis, threshold: JointThreshold | None
) -> BodyNameRecord:
    verdict = anchor.verdict
    return BodyNameRecord(
        collection_id=verdict.collection_id,
        subject_id=anchor.subject_id,
        basis=basis,
        face_camera_id=verdict.camera_id,
        face_seen_at=verdict.seen_at,
        face_event_id=verdict.event_id,
        face_fpir=verdict.error,
        until=anchor.look.seen_at + timedelta(seconds=retention_s(record)),
        threshold=threshold,
    )


def less_sure(llr: float, error: float) -> float:
    """The evidence of a likeness to something that is X's but for an error.

    Args:
        llr: natural logarithm of P(score | one person) / P(score | two).
        error: how often what was compared with is somebody else's; in [0, 1].

    Returns:
        log((1 - error) exp(llr) + error) where that is less than `llr`, as it is for evidence in favour. Evidence
        against stays as strong as it is: the threshold that it is held against knows of no such error.
    """
    if error <= 0.0:
        return llr
    if error >= 1.0:
        return min(llr, 0.0)
    return min(llr, float(np.logaddexp(math.log1p(-error) + llr, math.log(error))))


def _is_on_body(face: FaceOnBody) -> bool:
    together, otherwise = face.frames_together, face.frames_otherwise
    return together >= LEAST_FRAMES_TOGETHER and together >= LEAST_SHARE_TOGETHER * (together + otherwise)


def _rate(threshold: Threshold | None) -> float:
    if threshold is None:
        return 1.0
    return threshold.target_rate if threshold.fpir is None else threshold.fpir


def _error_of(verdict: _Verdict, face: FaceOnBody | None) -> float:
    """That the match is wrong, or the face is another's: by Laplace's rule of the frames that speak of it."""
    if face is None:
        return 1.0
    misplaced = (face.frames_otherwise + 1) / (face.frames_together + face.frames_otherwise + 2)
    return 1.0 - (1.0 - min(verdict.error, 1.0)) * (1.0 - misplaced)
