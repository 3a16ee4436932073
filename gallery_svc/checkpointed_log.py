"""One audit log as its checkpointer sees it: read on, checked, put on record outside of the store, and trimmed there.

What does not fit becomes a line of ALARM before anything else of it is signed. Forgets nothing that no checkpoint has.
Whose turn it is, and when, is decided in `checkpointing`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from gallery_svc.checkpoints import CheckpointFile
from gallery_svc.erasing import METHOD, ErasureAnswer
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.signing import Signer
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord, StoredAudit
from gallery_svc.store.protocol import REQUEST_KEPT_S, Store
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import ended
from tessera.domain.errors import NotFoundError, StoreCorruptError
from tessera.domain.ids import CollectionId
from tessera.trust.findings import Finding, FindingKind
from tessera.trust.fold import LogFold
from tessera.trust.keys import PublicKeys
from tessera.trust.receipts import ErasureState, receipt_of
from tessera.trust.stamps import StampedEntry

T = TypeVar("T")

MOST_ENTRIES = 1000
"""Between two checkpoints."""

_LEAST_TRIM = 100
_BEGUN_AGAIN = "the log was no longer what was read of it before; see the line of ALARM"


@dataclass(frozen=True, slots=True)
class TrailPlace:
    """Where checkpoints go, and what they are made with."""

    folder: Path
    second: Path | None
    signer: Signer
    old_keys: PublicKeys
    """Public halves of keys that signed earlier lines."""
    mac_keys: Sequence[bytes]
    """Audit keys, old ones too."""


ReceiptSource = Callable[[CollectionId, str], Awaitable[ErasureAnswer]]
"""How far an erasure is, signed; raises NotFoundError when that is not known any more."""


class CheckpointedLog:
    """The trail of one log, as long as this gallery writes it.

    Args:
        log: its name.
        store: where it is.
        place: where its checkpoints go.
        receipts: of erasures, which are kept beside the checkpoints.
        clock: for the pace.
        metrics: where it counts.
        interval_s: entries wait so long for a checkpoint at most.
        kept: entries that stay in the store.
    """

    def __init__(
        self,
        log: str,
        *,
        store: Store,
        place: TrailPlace,
        receipts: ReceiptSource,
        clock: Clock,
        metrics: GalleryMetrics,
        interval_s: float,
        kept: int,
    ) -> None:
        self._log = log
        self._store = store
        self._place = place
        self._receipts = receipts
        self._clock = clock
        self._metrics = metrics
        self._interval_s = interval_s
        self._kept = kept
        self._file: CheckpointFile | None = None
        self._fold: LogFold | None = None
        self._last_mac: bytes | None = None
        self._uncovered = 0
        self._oldest_at: datetime | None = None
        self._due_s = self._receipts_due_s = clock.monotonic_s()
        self._told: set[Finding] = set()
        self._trimmed = 0
        self._parting: Finding | None = None
        self._receipts_kept: set[tuple[str, ErasureState]] = set()
        self._receipts_open: dict[str, CollectionId] = {}

    async def step(self, *, is_last: bool = False) -> None:
        """Read on, and write what is due.

        Args:
            is_last: write whatever there is: this gallery goes down.

        Raises:
            UnavailableError: the store or the folder is away; the same again later makes up for it.
            StoreCorruptError: the file was changed; nothing is written to it.
        """
        try:
            if self._file is None:
                self._file = await _off_the_loop(self._opened)
            file = self._file
            fold = self._fold or await self._begun(file)
            await self._read_on(file, fold, is_last=is_last)
            await self._keep_receipts(file, is_last=is_last)
            await self._trim(file)
        finally:
            self._measure()

    async def close(self) -> None:
        """Let another gallery write it."""
        if self._file is not None:
            await _off_the_loop(self._file.close)
        self._file = self._fold = None
        self._metrics.checkpoint_age_seconds.labels(self._log).set(0)

    # ---- reading

    def _opened(self) -> CheckpointFile:
        place = self._place
        return CheckpointFile.open(
            place.folder, self._log, place.signer, self._clock, second=place.second, old_keys=place.old_keys
        )

    async def _begun(self, file: CheckpointFile) -> LogFold:
        trail = await _off_the_loop(lambda: file.trail)
        self._trimmed = trail.trimmed
        self._note_receipts([signed.text for signed in trail.receipts])
        self._fold = await _off_the_loop(lambda: file.fold(self._place.mac_keys))
        return self._fold

    async def _read_on(self, file: CheckpointFile, fold: LogFold, *, is_last: bool) -> None:
        while True:
            found = await self._after(max(0, fold.head.sequence - 1), MOST_ENTRIES + 1)
            self._parting = self._parting or self._parted(fold, found)
            if self._parting is not None:
                await self._begin_again(file, self._parting)
                return
            fresh = [entry for entry in found if entry.sequence > fold.head.sequence]
            await self._take(fold, fresh)
            if self._is_due(fold, is_last=is_last):
                await self._checkpoint(file, fold)
            if len(fresh) < MOST_ENTRIES:
                return

    async def _after(self, sequence: int, limit: int) -> list[StoredAudit]:
        """Entries behind a sequence; one that cannot be read is left out, so that the gap tells of it."""
        try:
            return await self._store.audit_after(self._log, sequence, limit)
        except StoreCorruptError:
            return await self._one_by_one(sequence, limit)

    async def _one_by_one(self, sequence: int, limit: int) -> list[StoredAudit]:
        found: list[StoredAudit] = []
        for _ in range(limit):
            try:
                some = await self._store.audit_after(self._log, sequence, 1)
            except StoreCorruptError:
                sequence += 1
                continue
            if not some:
                break
            found += some
            sequence = some[0].sequence
        return found

    def _parted(self, fold: LogFold, found: Sequence[StoredAudit]) -> Finding | None:
        """Why the log is not the one that was read before; None: its last entry is still where it was."""
        at = fold.head.sequence
        if at == 0:
            return None
        if not found:
            detail = f"the log ends before {at}, which was read before"
            return Finding(at, FindingKind.TRUNCATED, self._log, at, detail)
        if found[0].sequence != at:
            detail = "the last entry that was read before is not there any more, and later ones are"
            return Finding(at, FindingKind.DELETED, self._log, at, detail)
        if self._last_mac not in (None, found[0].stamp.mac):
            detail = "the last entry that was read before is another one now"
            return Finding(at, FindingKind.REWRITTEN, self._log, at, detail)
        return None

    async def _take(self, fold: LogFold, entries: Sequence[StoredAudit]) -> None:
        if not entries:
            return
        stamped = [StampedEntry(self._log, one.sequence, one.entry, one.stamp) for one in entries]
        await _off_the_loop(lambda: _take_all(fold, stamped))
        self._last_mac = entries[-1].stamp.mac
        self._uncovered += len(entries)
        self._oldest_at = self._oldest_at or _time_of(entries[0].entry) or self._clock.now()
        for entry in entries:
            self._note_erasure(entry.entry)

    async def _begin_again(self, file: CheckpointFile, why: Finding) -> None:
        """After a restored backup, or worse: said in a line of ALARM, then the log goes on behind what is there."""
        if why not in self._told:
            await _off_the_loop(lambda: file.alarm(why))
        self._tell(why)
        fold = self._fold = await _off_the_loop(lambda: file.fold(self._place.mac_keys, whole=True))
        while some := await self._after(fold.head.sequence, MOST_ENTRIES):
            await self._take(fold, some)
        self._last_mac = self._last_mac if fold.head.sequence else None
        await _off_the_loop(lambda: file.start(fold, _BEGUN_AGAIN))
        self._parting = None
        await self._checkpoint(file, fold)

    # ---- writing

    def _is_due(self, fold: LogFold, *, is_last: bool) -> bool:
        if not self._uncovered:
            return False
        is_time = self._clock.monotonic_s() >= self._due_s
        return is_last or is_time or self._uncovered >= MOST_ENTRIES or bool(set(fold.findings()) - self._told)

    async def _checkpoint(self, file: CheckpointFile, fold: LogFold) -> None:
        for finding in fold.findings():
            self._tell(finding)
        await _off_the_loop(lambda: file.checkpoint(fold))
        self._uncovered, self._oldest_at = 0, None
        self._due_s = self._clock.monotonic_s() + self._interval_s

    def _tell(self, finding: Finding) -> None:
        if finding in self._told:
            return
        self._told.add(finding)
        self._metrics.audit_alarms.labels(finding.kind.value).inc()
        get_logger().error(
            "audit.alarm",
            log=self._log,
            kind=finding.kind.value,
            first=finding.sequence,
            last=finding.last_sequence,
            detail=finding.detail,
        )

    async def _trim(self, file: CheckpointFile) -> None:
        fold, most = self._fold, self._kept + max(_LEAST_TRIM, self._kept // 10)
        if fold is None or fold.head.sequence - self._trimmed <= most:
            return
        trail = await _off_the_loop(lambda: file.trail)
        limit = fold.head.sequence - self._kept
        up_to = max((one.head.sequence for one in trail.checkpoints if one.head.sequence <= limit), default=0)
        if up_to > self._trimmed:
            await _off_the_loop(lambda: file.trim(up_to))
            await self._store.trim_audit(self._log, up_to)
            self._trimmed = up_to

    # ---- receipts of erasures

    def _note_receipts(self, texts: Sequence[str]) -> None:
        """What the file has of receipts; those that are not complete are asked for again."""
        known = [receipt_of(text) for text in texts]
        self._receipts_kept = {(one.receipt_id, one.state) for one in known}
        since = self._clock.now() - timedelta(seconds=REQUEST_KEPT_S)
        for one in known:
            is_complete = (one.receipt_id, ErasureState.COMPLETE) in self._receipts_kept
            if not is_complete and one.erased_at > since:
                self._receipts_open[one.receipt_id] = CollectionId(one.collection_id)

    def _note_erasure(self, entry: bytes) -> None:
        if METHOD.encode() not in entry:
            return
        try:
            record = codec.load(AuditRecord, entry, self._log)
        except StoreCorruptError:
            return  # its MAC is wrong, which is told
        is_known = (record.evidence_id, ErasureState.COMPLETE) in self._receipts_kept
        if record.method == METHOD and record.collection_id is not None and not is_known:
            self._receipts_open[record.evidence_id] = record.collection_id
            self._receipts_due_s = self._clock.monotonic_s()

    async def _keep_receipts(self, file: CheckpointFile, *, is_last: bool) -> None:
        now_s = self._clock.monotonic_s()
        if not self._receipts_open or (now_s < self._receipts_due_s and not is_last):
            return
        self._receipts_due_s = now_s + self._interval_s
        for receipt_id, collection_id in list(self._receipts_open.items()):
            await self._keep_receipt(file, receipt_id, collection_id)

    async def _keep_receipt(self, file: CheckpointFile, receipt_id: str, collection_id: CollectionId) -> None:
        try:
            answer = await self._receipts(collection_id, receipt_id)
        except NotFoundError:
            del self._receipts_open[receipt_id]
            get_logger().warning("checkpoints.receipt_gone", log=self._log, receipt=receipt_id)
            return
        key = (receipt_id, answer.receipt.state)
        if key not in self._receipts_kept:
            await _off_the_loop(lambda: file.receipt(answer.signed))
            self._receipts_kept.add(key)
        if answer.receipt.state is ErasureState.COMPLETE:
            del self._receipts_open[receipt_id]

    # ---- inside

    def _measure(self) -> None:
        if self._file is None:
            self._oldest_at = self._oldest_at or self._clock.now()
        age_s = (self._clock.now() - self._oldest_at).total_seconds() if self._oldest_at else 0.0
        self._metrics.checkpoint_age_seconds.labels(self._log).set(max(0.0, age_s))


def _take_all(fold: LogFold, entries: Sequence[StampedEntry]) -> None:
    for entry in entries:
        fold.take(entry)


def _time_of(entry: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(entry)["at"])
    except (KeyError, TypeError, ValueError):
        return None


async def _off_the_loop(work: Callable[[], T]) -> T:
    """Do what blocks on the disk or computes for long, whole, whoever is cancelled meanwhile."""
    return await ended(asyncio.to_thread(work))
