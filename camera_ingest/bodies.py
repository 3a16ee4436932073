"""Which face is on which body: counted over the frames in which one lay in the other's box.

The encoder says it of each frame. Two faces that follow each other on one body are no contradiction, since a face's
tracklet ends when somebody turns away; they are one when the gallery has decided them differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from camera_ingest.tracker import TrackerStep
from tessera.client.stream_values import TrackletDecision
from tessera.domain.decision import Outcome
from tessera.domain.ids import TrackletId
from tessera.domain.observation import FaceOnBody, Observation

_DECIDED = frozenset({Outcome.MATCH, Outcome.UNKNOWN})
MAX_FACES = 512
"""Faces of which it is remembered how they were decided; the oldest is forgotten for the next."""


class FacesOnBodies:
    """The faces on the bodies of one camera. Used from one event loop."""

    def __init__(self) -> None:
        self._together: dict[TrackletId, Counter[TrackletId]] = {}
        self._verdicts: dict[TrackletId, tuple[Outcome, str]] = {}

    def take(self, faces: TrackerStep, bodies: TrackerStep, persons: Sequence[Observation]) -> None:
        """Take in one frame.

        Args:
            faces: what the tracker made of its faces.
            bodies: what it made of its persons.
            persons: as the encoder has them: a face names its person by the place here.
        """
        tracklet_of = {id(seen): tracklet.tracklet_id for tracklet, seen in bodies.seen}
        for tracklet, face in faces.seen:
            if face.person is None or face.person >= len(persons):
                continue
            body = tracklet_of.get(id(persons[face.person]))
            if body is not None:
                self._together.setdefault(body, Counter())[tracklet.tracklet_id] += 1

    def decided(self, decision: TrackletDecision) -> None:
        """A face was decided."""
        if decision.decision.outcome in _DECIDED:
            self._verdicts[decision.tracklet_id] = (decision.decision.outcome, decision.subject_id or "")
            while len(self._verdicts) > MAX_FACES:
                del self._verdicts[next(iter(self._verdicts))]

    def on(self, body: TrackletId) -> FaceOnBody | None:
        """The face on a body: a recognised one before others, then that of the most frames; None: there is none."""
        faces = self._together.get(body)
        if not faces:
            return None
        best = max(faces, key=lambda face: (self._is_match(face), faces[face], face))
        elsewhere = sum(count[best] for other, count in self._together.items() if other != body)
        others = sum(count for face, count in faces.items() if self._contradicts(face, best))
        return FaceOnBody(best, faces[best], elsewhere + others)

    def keep_only(self, bodies: Iterable[TrackletId]) -> None:
        """Forget all bodies but these."""
        self._together = {body: self._together[body] for body in bodies if body in self._together}

    def _is_match(self, face: TrackletId) -> bool:
        verdict = self._verdicts.get(face)
        return verdict is not None and verdict[0] is Outcome.MATCH

    def _contradicts(self, face: TrackletId, best: TrackletId) -> bool:
        one, other = self._verdicts.get(face), self._verdicts.get(best)
        return one is not None and other is not None and one != other
