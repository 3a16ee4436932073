"""Which anonymous person a look is of: one that was seen before, or somebody new. At a stated error rate.

Of newcomers, at most the collection's `identify_target_fpir` are taken for somebody who was seen before, however many
there are to compare with. Time decides how that rate is spent: half of it on those who were seen last, of whom there
are few, so that little is asked of them; the other half on all who were seen earlier. The camera decides who cannot be
meant: two whom one camera sees at once are two. Why so: ADR 0029.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.keeping import bound_s
from gallery_svc.persons.looks import Looks
from gallery_svc.store.person_records import PersonLook
from gallery_svc.store.records import CollectionRecord
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
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
        apart = {other.person_id for other in looks.all() if _at_once(look, other)}
        oldest = self._clock.now() - timedelta(seconds=bound_s(record))
        lately = look.first_seen - timedelta(seconds=LATELY_S)

        def may_be(other: PersonLook) -> bool:
            is_other = other.tracklet_id != look.tracklet_id and other.person_id not in apart
            return is_other and other.person_since >= oldest

        recent = sum(may_be(other) and other.last_seen >= lately for other in looks.all())
        rest = sum(may_be(other) and other.last_seen < lately for other in looks.all())
        share = (_LATELY_SHARE if rest else 1.0) if recent else 0.0
        return self._alike(
            look, looks, record, share, lambda other: may_be(other) and other.last_seen >= lately
        ) or self._alike(look, looks, record, 1.0 - share, lambda other: may_be(other) and other.last_seen < lately)

    def _alike(
        self,
        look: PersonLook,
        looks: Looks,
        record: CollectionRecord,
        share: float,
        wanted: Callable[[PersonLook], bool],
    ) -> PersonLook | None:
        """The most alike of those wanted, at this share of the rate; None: none is alike enough."""
        others, scores = looks.alike(look.vector.astype(np.float32), wanted)
        policy = record.policy_for(look.camera_id)
        newest_first = np.argsort([-other.last_seen.timestamp() for other in others], kind="stable")
        # Fewer, the newest, where the calibration does not carry the rate for all of them.
        while newest_first.size and share > 0:
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
            best = newest_first[int(np.argmax(scores[newest_first]))]
            return others[best] if float(scores[best]) >= threshold.score else None
        return None


def _at_once(one: PersonLook, other: PersonLook) -> bool:
    """Whether one camera saw both at the same time: then they are two people."""
    same_camera = one.camera_id == other.camera_id and one.tracklet_id != other.tracklet_id
    return same_camera and one.first_seen <= other.last_seen and other.first_seen <= one.last_seen
