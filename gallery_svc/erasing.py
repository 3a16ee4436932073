"""Erases subjects: the store and this gallery before the answer, everybody else and the store's files soon after.

`Eraser` answers callers, each time with a signed receipt. What follows is finished by `ErasureFinisher`, in one gallery
at a time, also when the one that began is dead. Neither reaches backups, exports, or a gallery that is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gallery_svc.ids import time_ordered_id
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline
from gallery_svc.receipts import receipt_of_erasure, signed_receipt
from gallery_svc.replica import Replica
from gallery_svc.signing import Signer
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import Member
from gallery_svc.store.protocol import Store
from gallery_svc.store.write_records import Erased, Erasure, ErasureEnd, OpenErasure, RequestKey
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks
from tessera.domain.errors import NotFoundError, TesseraError
from tessera.domain.ids import CollectionId, RequestId, SubjectId
from tessera.trust.keys import Signed
from tessera.trust.receipts import Receipt

METHOD = "DeleteSubject"
"""Of the audit entries that tell of erasures; their evidence id is the receipt's."""
LEASE = "erasures"
REWRITE_PACE_S = 20.0
"""Files are written anew so often at most: each time costs as much as all that the store holds."""
RETRY_PACE_S = 5.0
"""The same, after it failed."""
DUE_S = 60.0
"""By then an erasure is through, or the log says what it waits for."""

_LEAST_LEASE_S = 10.0
_LOOKS_A_LEASE = 5


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """Whom a caller wants erased."""

    collection_id: CollectionId
    subject_id: SubjectId
    request_id: RequestId | None
    caller: str


class Bodies(Protocol):
    """The bodies on which faces were seen."""

    async def erase_bodies_of(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Erase those of a subject, before its sightings go: they say which those are."""
        ...


@dataclass(frozen=True, slots=True)
class ErasureAnswer:
    """A receipt as it is told."""

    receipt: Receipt
    signed: Signed


class Eraser:
    """Erases, and says how far an erasure is.

    Args:
        store: where subjects are kept.
        replica: what must forget them before the answer.
        apart: knows on whose lists they are.
        bodies: knows the bodies that their faces were seen on.
        signer: signs the receipts.
        clock: for the times of records.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        apart: KeepingApart,
        bodies: Bodies,
        signer: Signer,
        clock: Clock,
        metrics: GalleryMetrics,
    ) -> None:
        self._store = store
        self._replica = replica
        self._apart = apart
        self._bodies = bodies
        self._signer = signer
        self._clock = clock
        self._metrics = metrics

    async def erase(self, request: ErasureRequest, deadline: Deadline) -> ErasureAnswer:
        """Erase a subject: from the lists of others, its sightings, itself with its templates in one write, this index.

        The receipt says ACCEPTED, or, of a retry, how far it is by now. A call that dies between two steps leaves a
        subject on fewer lists or without sightings, or an erasure that is finished without it.

        Raises:
            NotFoundError: the collection or the subject does not exist, and this is no retry.
            RequestIdReusedError: the request id came before with other content.
            PositionNotReachedError: it is erased from the store, and this gallery still has it; the same request
                again waits for that.
        """
        key = self._key(request)
        erased = await self._earlier(request, key) or await self._erase(request, key)
        with contextlib.suppress(NotFoundError):  # the collection went meanwhile, and its index with it
            await self._replica.at_positions(request.collection_id, [erased.position], deadline)
        # Cameras went on matching until the index had forgotten; what they told meanwhile goes too, uncounted.
        await self._bodies.erase_bodies_of(request.collection_id, request.subject_id)
        await self._store.erase_events(request.collection_id, request.subject_id)
        if erased.replayed:
            self._metrics.replays.labels(METHOD).inc()
            return await self.receipt(request.collection_id, erased.receipt_id)
        get_logger().info("subject.erased", collection=request.collection_id, templates=erased.templates_erased)
        return self._answer(erased, None)

    async def receipt(self, collection_id: CollectionId, receipt_id: str) -> ErasureAnswer:
        """How far an erasure is.

        Raises:
            NotFoundError: there is no such receipt, or it was through more than 24 h ago.
        """
        found = await self._store.find_receipt(collection_id, receipt_id)
        if found is None:
            raise NotFoundError("receipt", receipt_id)
        return self._answer(*found)

    async def _earlier(self, request: ErasureRequest, key: RequestKey) -> Erased | None:
        return await self._store.find_erased(request.collection_id, key) if request.request_id else None

    async def _erase(self, request: ErasureRequest, key: RequestKey) -> Erased:
        await self._require(request)
        listed = await self._apart.listed(request.collection_id, request.subject_id)
        await self._apart.remove(request.collection_id, request.subject_id, listed, request.caller)
        await self._bodies.erase_bodies_of(request.collection_id, request.subject_id)
        events = await self._store.erase_events(request.collection_id, request.subject_id)
        now = self._clock.now()
        receipt_id = time_ordered_id("receipt", now)
        audit = AuditRecord(
            method=METHOD,
            at=now,
            evidence_id=receipt_id,
            caller=request.caller,
            collection_id=request.collection_id,
            subject_id=request.subject_id,
            request_id=key.request_id,
        )
        return await self._store.erase(
            Erasure(request.collection_id, request.subject_id, receipt_id, events, now, audit, key)
        )

    async def _require(self, request: ErasureRequest) -> None:
        if await self._store.find_subject(request.collection_id, request.subject_id) is None:
            if await self._store.find_collection(request.collection_id) is None:
                raise NotFoundError("collection", request.collection_id)
            raise NotFoundError("subject", request.subject_id)

    def _key(self, request: ErasureRequest) -> RequestKey:
        """A call without an id gets one: when nobody can say whether its write holds, the error has it."""
        made = RequestId(time_ordered_id("request", self._clock.now()))
        told = f"erase/{request.subject_id}"
        return RequestKey(request.request_id or made, hashlib.sha256(told.encode()).hexdigest())

    def _answer(self, erased: Erased, end: ErasureEnd | None) -> ErasureAnswer:
        receipt = receipt_of_erasure(erased, end)
        return ErasureAnswer(receipt, signed_receipt(receipt, self._signer))


@dataclass(slots=True)
class _Watched:
    """An open erasure, as far as this finisher knows."""

    erasure: OpenErasure
    told: dict[str, datetime]
    """Last signs of life when it was first looked at, by member."""
    rewrites: int
    """Rewrites that had begun when something of it was last removed; a later one has nothing of it."""
    holding: frozenset[str] = frozenset()
    """Members that still had it at the last look."""
    confirmed: int | None = None
    """Members that had let go at the last look; None: not all had."""
    is_told_overdue: bool = False


class ErasureFinisher:
    """Finishes open erasures: every live gallery's index, late sightings, the store's files.

    Any gallery may run one; the one with the lease works.

    Args:
        store: knows the open erasures and the galleries that are alive.
        bodies: knows the bodies that faces were seen on.
        clock: for the pace.
        metrics: where it counts.
        member_id: this gallery, as it tells its signs of life.
        interval_s: how often it looks.
        rewrite: whether files are written anew.
    """

    def __init__(
        self,
        *,
        store: Store,
        bodies: Bodies,
        clock: Clock,
        metrics: GalleryMetrics,
        member_id: str,
        interval_s: float,
        rewrite: bool = True,
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._clock = clock
        self._metrics = metrics
        self._member_id = member_id
        self._interval_s = interval_s
        self._rewrites_wanted = rewrite
        self._watched: dict[str, _Watched] = {}
        self._rewriting: asyncio.Task[None] | None = None
        self._rewrites_begun = self._last_whole_rewrite = 0
        self._next_rewrite_s = clock.monotonic_s()
        self._obstacle = ""
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Finish what is open, until `stop`."""
        while not self._stopped.is_set():
            await self._step_or_tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stopped.wait()
        if self._rewriting is not None:
            await end_tasks(self._rewriting)

    def stop(self) -> None:
        """End `run` after the look under way; another gallery goes on."""
        self._stopped.set()

    async def step(self) -> None:
        """Look once.

        Raises:
            UnavailableError: the store is away.
        """
        found = await self._store.open_erasures()
        self._metrics.erasures_unfinished.set(len(found))
        if not await self._is_mine(found):
            self._watched.clear()
            return
        members = await self._store.members()
        known = self._watched
        self._watched = {
            each.erased.receipt_id: known.get(each.erased.receipt_id) or await self._begun(each, members)
            for each in found
        }
        self._rewrite_if_due()
        for watched in self._watched.values():
            await self._go_on(watched, members)

    # ---- inside

    async def _step_or_tell(self) -> None:
        obstacle = ""
        try:
            await self.step()
        except TesseraError as error:
            obstacle = str(error)
        except Exception:  # noqa: BLE001 - the edge of this task: erasures_unfinished shows that it does not get on
            get_logger().exception("erasures.failed")
        if obstacle and obstacle != self._obstacle:
            get_logger().warning("erasures.delayed", why=obstacle)
        self._obstacle = obstacle

    async def _is_mine(self, found: Sequence[OpenErasure]) -> bool:
        if found:
            lease_s = max(_LEAST_LEASE_S, _LOOKS_A_LEASE * self._interval_s)
            return await self._store.take_lease(LEASE, self._member_id, lease_s)
        if self._watched:
            await self._store.drop_lease(LEASE, self._member_id)
        return False

    async def _begun(self, erasure: OpenErasure, members: Sequence[Member]) -> _Watched:
        # Whoever began it may have died before its sightings were gone.
        await self._erase_events(erasure)
        return _Watched(erasure, {member.member_id: member.at for member in members}, self._rewrites_begun)

    async def _go_on(self, watched: _Watched, members: Sequence[Member]) -> None:
        before, watched.confirmed = watched.confirmed, self._confirmed(watched, members)
        if watched.confirmed is not None and await self._erase_events(watched.erasure):
            watched.rewrites = self._rewrites_begun
            before = None
        # One look later: what a gallery was deciding when it let go is on record by now, and was removed.
        if before is None or watched.confirmed is None or not self._is_out_of_files(watched):
            self._tell_overdue(watched)
            return
        await self._close(watched.erasure, watched.confirmed)

    async def _erase_events(self, erasure: OpenErasure) -> int:
        who = erasure.erased.collection_id, erasure.erased.subject_id
        await self._bodies.erase_bodies_of(*who)
        return await self._store.erase_events(*who)

    async def _close(self, erasure: OpenErasure, confirmed: int) -> None:
        erased = erasure.erased
        now = max(self._clock.now(), erased.erased_at)  # clocks of two machines may differ
        await self._store.close_erasure(erasure, ErasureEnd(now, confirmed))
        seconds = (now - erased.erased_at).total_seconds()
        self._metrics.erasure_seconds.observe(seconds)
        self._metrics.erasures_unfinished.dec()
        get_logger().info("erasure.complete", receipt=erased.receipt_id, galleries=confirmed, seconds=round(seconds, 3))

    # ---- galleries

    def _confirmed(self, watched: _Watched, members: Sequence[Member]) -> int | None:
        """How many galleries have let go; None: not all, or this one was not heard of itself."""
        alive = {member.member_id: member for member in members}
        holding = {name for name, member in alive.items() if not _has_let_go(member, watched)}
        for silent in watched.holding - alive.keys():
            get_logger().warning("erasure.member_left_out", member=silent, receipt=watched.erasure.erased.receipt_id)
        watched.holding = frozenset(holding)
        return None if holding or self._member_id not in alive else len(alive)

    def _tell_overdue(self, watched: _Watched) -> None:
        erased = watched.erasure.erased
        age_s = (self._clock.now() - erased.erased_at).total_seconds()
        if watched.is_told_overdue or age_s <= DUE_S:
            return
        watched.is_told_overdue = True
        waits_for = ["files"] if not self._is_out_of_files(watched) else []
        get_logger().error(
            "erasure.overdue",
            receipt=erased.receipt_id,
            seconds=round(age_s),
            waits_for=[*waits_for, *sorted(watched.holding)],
        )

    # ---- files

    def _is_out_of_files(self, watched: _Watched) -> bool:
        return not self._rewrites_wanted or self._last_whole_rewrite > watched.rewrites

    def _rewrite_if_due(self) -> None:
        is_under_way = self._rewriting is not None and not self._rewriting.done()
        if is_under_way or all(map(self._is_out_of_files, self._watched.values())):
            return
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_rewrite_s:
            self._rewrites_begun += 1
            self._next_rewrite_s = now_s + REWRITE_PACE_S
            self._rewriting = asyncio.create_task(self._rewrite(self._rewrites_begun), name="rewrite")

    async def _rewrite(self, number: int) -> None:
        try:
            await self._store.rewrite_files()
        except TesseraError as error:
            self._next_rewrite_s = self._clock.monotonic_s() + RETRY_PACE_S
            get_logger().error("erasures.files_kept", why=str(error))
        else:
            self._last_whole_rewrite = number


def _has_let_go(member: Member, watched: _Watched) -> bool:
    erased = watched.erasure.erased
    sequences = member.positions.get(erased.collection_id, ())
    if member.generations.get(erased.collection_id) == watched.erasure.generation:
        return len(sequences) > erased.position.shard and sequences[erased.position.shard] >= erased.position.sequence
    # It holds nothing of the collection. What it told before the erasure does not count: it may have loaded it since.
    return member.at != watched.told.get(member.member_id)
