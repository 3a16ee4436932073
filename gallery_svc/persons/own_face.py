"""What a body's own face says of a subject, where it decided nothing by itself: evidence, to be added to the body's."""

from __future__ import annotations

from gallery_svc.claiming import Claims, VerifyQuestion
from gallery_svc.joint_thresholds import JointThresholds
from gallery_svc.persons.naming import OwnFace
from gallery_svc.probes import Deadline, Sample
from gallery_svc.replica import Replica
from gallery_svc.tracklets import Tracklets
from tessera.chassis.clock import Clock
from tessera.domain.errors import ExpiredError, NoCalibrationError, NotFoundError, PreconditionError
from tessera.domain.ids import CollectionId, SubjectId, TrackletId

_LIMIT_S = 1.0


class OwnFaces:
    """Compares the faces that are being followed with one subject each.

    Args:
        tracklets: has the faces' samples, as long as they are followed.
        replica: the collections.
        claims: compare.
        thresholds: the evidence of scores.
        clock: for deadlines.
    """

    def __init__(
        self, tracklets: Tracklets, replica: Replica, claims: Claims, thresholds: JointThresholds, clock: Clock
    ) -> None:
        self._tracklets = tracklets
        self._replica = replica
        self._claims = claims
        self._thresholds = thresholds
        self._clock = clock

    async def __call__(
        self, tracklet_id: TrackletId, collection_id: CollectionId, subject_id: SubjectId
    ) -> OwnFace | None:
        """What the samples of a face say of a subject; None: there are none here, or they cannot be compared.

        Raises:
            GalleryIncompleteError: another gallery holds the subject and does not answer.
        """
        state = self._tracklets.find(tracklet_id)
        if state is None or not state.samples:
            return None
        try:
            live = await self._replica.collection(collection_id)
            question = VerifyQuestion(collection_id, subject_id, state.probe(), None)
            sample, until = Sample(state.probe()), Deadline(self._clock, _LIMIT_S)
            hit = (await self._claims.compared(question, live, sample, until)).hit
            evidence = self._thresholds.evidence(live.record.model_id)
        except (ExpiredError, NoCalibrationError, NotFoundError, PreconditionError):
            return None
        if hit is None:
            return None
        return OwnFace(evidence, evidence.scores.llr(hit.score, hit.compared), hit.compared)
