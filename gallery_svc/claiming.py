"""A claim on its way to a score: the collection, the subject, the probe, and the subject's best template.

`Verify` decides on what comes of it, and `VerifyJointly` adds it to other evidence. Nothing here knows a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gallery_svc.coverage import SearchCoverage, own_coverage
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Claim
from gallery_svc.probes import Deadline, Probe, Sample
from gallery_svc.replica import Replica
from gallery_svc.scatter import Scatter
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.protocol import Store, shard_of
from tessera.chassis.clock import Clock
from tessera.domain.errors import NotFoundError
from tessera.domain.ids import CollectionId, SubjectId
from tessera.domain.reasons import Reason


@dataclass(frozen=True, slots=True, eq=False)
class VerifyQuestion:
    """Is this the person who is enrolled as `subject_id`?"""

    collection_id: CollectionId
    subject_id: SubjectId
    probe: Probe
    target_fmr: float | None
    """None: the collection's policy."""
    min_positions: tuple[ShardPosition, ...] = ()
    """Answer only from a state that includes them."""
    camera_id: str = ""
    """That asks; empty: no camera does."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What became of a claim before it is judged."""

    coverage: SearchCoverage
    position: int
    hit: Hit | None = None
    why_not: Reason | None = None


class Claims:
    """Finds whom a claim is about, and compares.

    Args:
        replica: the collections and their indexes.
        store: asked for subjects that no index holds.
        scatter: compares with what is held here, and asks who holds the rest.
        clock: for who is valid now.
    """

    def __init__(self, replica: Replica, store: Store, scatter: Scatter, clock: Clock) -> None:
        self._replica = replica
        self._store = store
        self._scatter = scatter
        self._clock = clock

    async def live_with(self, question: VerifyQuestion, deadline: Deadline) -> LiveCollection:
        """The collection, once the subject is known to be in it.

        Raises:
            NotFoundError: the collection or the subject does not exist.
        """
        live = await self._replica.at_positions(question.collection_id, question.min_positions, deadline)
        known = await self._scatter.knows(live, question.subject_id)
        if known is None or known:
            return live  # where another gallery holds the subject, that one is asked
        # Another gallery may just have enrolled the subject.
        live = await self._replica.catch_up(question.collection_id)
        if not await self._scatter.knows(live, question.subject_id):
            await self._require_stored(question)
        return live

    async def compared(
        self, question: VerifyQuestion, live: LiveCollection, sample: Sample | None, deadline: Deadline
    ) -> Compared:
        """The subject's best template, or why there is none that counts.

        Raises:
            NotFoundError: the subject does not exist, or not for the camera that asks.
            GalleryIncompleteError: another gallery holds the subject and does not answer.
        """
        if sample is None:
            if await self._scatter.knows(live, question.subject_id) is None:
                await self._require_stored(question)
            return self.uncompared(question, live)
        subject_id, camera_id = question.subject_id, question.camera_id

        def claim(at: datetime | None) -> Claim:
            return Claim(subject_id, Wanted(camera_id=camera_id, at=at), question.min_positions)

        best = await self._scatter.best_of(live, claim(self._clock.now()), sample.embedding, deadline)
        if best.hit is None and best.known:
            at_any_time = await self._scatter.best_of(live, claim(None), sample.embedding, deadline)
            if at_any_time.hit is None:
                raise NotFoundError("subject", subject_id)  # for this camera it is not there
            return Compared(best.coverage, best.position, why_not=Reason.NOT_VALID_NOW)
        if not best.known:
            await self._require_stored(question)
        return Compared(best.coverage, best.position, best.hit)

    async def is_valid(self, question: VerifyQuestion) -> bool:
        """Whether the subject may be found at this moment; asked of the store, for claims without a comparison."""
        record = await self._store.find_subject(question.collection_id, question.subject_id)
        if record is None:
            return True
        since, until, now = record.profile.valid_from, record.profile.valid_until, self._clock.now()
        return (since is None or since <= now) and (until is None or now < until)

    def uncompared(self, question: VerifyQuestion, live: LiveCollection, why_not: Reason | None = None) -> Compared:
        """A claim that came to no comparison."""
        position = live.wire_positions[shard_of(question.subject_id, len(live.positions))]
        return Compared(self.coverage(live), position, why_not=why_not)

    def coverage(self, live: LiveCollection) -> SearchCoverage:
        """Of an answer that needed no search."""
        behind = self._replica.behind(live.record.collection_id)
        return own_coverage(live, behind, len(live.held)).for_nothing_left_out()

    async def _require_stored(self, question: VerifyQuestion) -> None:
        if await self._store.find_subject(question.collection_id, question.subject_id) is None:
            raise NotFoundError("subject", question.subject_id)
