"""Which anonymous person a look is of: one that was seen before, or somebody new. At a stated error rate.

Of newcomers, at most the collection's `identify_target_fpir` are taken for somebody who was seen before, however many
there are to compare with. Time decides how that rate is spent: half of it on those who were seen last, of whom there
are few, so that little is asked of them; the other half on all who were seen earlier. The camera decides who cannot be
meant: two whom one camera sees at once are two. Why so: ADR 0029.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.keeping import bound_s
from gallery_svc.persons.looks import Looks
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.person_records import PersonLook
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.domain.embedding import Vector
from tessera.domain.errors import CalibrationTooSmallError, NoCalibrationError

LATELY_S = 600.0
"""Who was seen so long ago at most was seen lately."""
_LATELY_SHARE = 0.5
"""Of the rate, for those who were seen lately; the rest is for the others."""


@dataclass(frozen=True, slots=True)
class PersonOfLook:
    """Whose look it is."""

    person_id: str
    since: datetime
    """When the first look under this id was taken."""


class Identities:
    """Says whose a look is.

    Args:
        thresholds: the error rates.
        clock: for the age of anonymous ids.
        metrics: where it counts.
    """

    def __init__(self, thresholds: Thresholds, clock: Clock, metrics: GalleryMetrics) -> None:
        self._thresholds = thresholds
        self._clock = clock
        self._metrics = metrics

    def person_of(self, look: PersonLook, looks: Looks, record: CollectionRecord) -> PersonOfLook:
        """Whose look it is, among those that are kept.

        A tracklet keeps its person, unless it is alone with it and now looks like somebody else: so its end, when it is
        known best, may join it to others, and nothing takes it away from them again.

        Args:
            look: at a tracklet; its own person is not read.
            looks: of its collection, with the one of the same tracklet from before, if there was one.
            record: of the collection.
        """
        before = looks.find(look.tracklet_id)
        if before is not None and len(looks.of_person(before.person_id)) > 1:
            return PersonOfLook(before.person_id, before.person_since)
        found = self._found(look, looks, record)
        if found is not None:
            self._metrics.person_links.labels("LINKED").inc()
            return PersonOfLook(found.person_id, found.person_since)
        if before is not None:
            return PersonOfLook(before.person_id, before.person_since)
        self._metrics.person_links.labels("NEW").inc()
        return PersonOfLook(f"person-{secrets.token_hex(8)}", look.first_seen)

    def _found(self, look: PersonLook, looks: Looks, record: CollectionRecord) -> PersonLook | None:
        """The look that is most like this one, of those that are alike enough; lately seen ones first."""
        may_be = self._may_be(look, looks, record)
        lately = looks.facts["last_s"] >= look.first_seen.timestamp() - LATELY_S
        recent, earlier = np.flatnonzero(may_be & lately), np.flatnonzero(may_be & ~lately)
        if not recent.size and not earlier.size:
            return None
        scores = looks.scores(look.vector.astype(np.float32))
        share = (_LATELY_SHARE if earlier.size else 1.0) if recent.size else 0.0
        for rows, spent in ((recent, share), (earlier, 1.0 - share)):
            best = self._alike(look, record, spent, rows[np.argsort(-looks.facts["last_s"][rows])], scores)
            if best is not None:
                return looks.compared[best]
        return None

    def _may_be(self, look: PersonLook, looks: Looks, record: CollectionRecord) -> npt.NDArray[np.bool_]:
        """Which looks, by row, may be of the same person: not those of anybody whom the camera saw at the same time."""
        facts, own = looks.facts, looks.row_of(look.tracklet_id)
        others = np.arange(facts.size) != own
        meets = (facts["first_s"] <= look.last_seen.timestamp()) & (facts["last_s"] >= look.first_seen.timestamp())
        at_once = others & meets & (facts["camera"] == looks.camera_code(look.camera_id))
        apart = np.isin(facts["person"], facts["person"][at_once])
        is_young = facts["since_s"] >= self._clock.now().timestamp() - bound_s(record)
        return np.asarray(others & ~apart & is_young, np.bool_)

    def _alike(
        self,
        look: PersonLook,
        record: CollectionRecord,
        share: float,
        newest_first: npt.NDArray[np.intp],
        scores: Vector,
    ) -> int | None:
        """The most alike of some rows, at this share of the rate; None: none is alike enough."""
        policy = record.policy_for(look.camera_id)
        # Fewer, the newest, where the calibration does not carry the rate for all of them.
        while newest_first.size:
            try:
                threshold = self._thresholds.for_search(
                    record.model_id,
                    policy.identify_target_fpir * share,
                    newest_first.size,
                    allow_extrapolation=policy.allow_extrapolation,
                )
            except CalibrationTooSmallError:
                newest_first = newest_first[: newest_first.size // 2]
                continue
            except NoCalibrationError:
                return None
            best = int(newest_first[np.argmax(scores[newest_first])])
            return best if float(scores[best]) >= threshold.score else None
        return None
