"""The checkpointer: what it reads it checks, what it signs holds, and no disk stands in the way of a decision."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from gallery_svc.auditing import AuditStamper
from gallery_svc.checkpointed_log import MOST_ENTRIES, TrailPlace
from gallery_svc.checkpointing import LEASE_S, Checkpointer
from gallery_svc.erasing import METHOD, ErasureAnswer
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.receipts import completed, signed_receipt
from gallery_svc.signing import Signer
from gallery_svc.store.audit_records import AuditRecord, StoredAudit
from gallery_svc.store.memory import MemoryStore
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import NotFoundError, StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId
from tessera.trust.audit_check import AuditReport, verify_audit
from tessera.trust.findings import FindingKind
from tessera.trust.keys import PublicKeys
from tessera.trust.receipts import ErasureState, Receipt, receipt_of
from tessera.trust.stamps import StampedEntry
from tessera.trust.trail import Trail, file_name, read_trail

LOG = "staff/00"
KEY = bytes(range(32))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STAFF = CollectionId("staff")
RECEIPT = Receipt("receipt-1", "staff", "ada", ErasureState.ACCEPTED, 1, 0, 0, NOON, None, 0, 1)


class BrittleStore(MemoryStore):
    """A store whose log a test changes, and of which one entry cannot be read."""

    unreadable = 0

    @property
    def log(self) -> list[StoredAudit]:
        """The entries as they are kept."""
        return self._audit[LOG]

    async def audit_after(self, log: str, sequence: int, limit: int) -> list[StoredAudit]:
        """Entries, unless the one that cannot be read is among them."""
        found = await super().audit_after(log, sequence, limit)
        if any(entry.sequence == self.unreadable for entry in found):
            raise StoreCorruptError("audit", "not a stamp")
        return found

    def cut(self, newest: int) -> None:
        """Forget the end of the log, as a restored backup does."""
        del self._audit[LOG][newest:]
        self._audit_newest[LOG] = newest


@dataclass
class Gallery:
    """A store, a folder, and whoever writes the checkpoints."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    metrics: GalleryMetrics = field(default_factory=lambda: GalleryMetrics(CollectorRegistry()))
    signer: Signer = field(default_factory=Signer.ephemeral)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    kept: int = 100_000

    def __post_init__(self) -> None:
        self.store = BrittleStore(AuditStamper(KEY, "gallery-a"), seconds=self.clock.monotonic_s)

    def checkpointer(self, member_id: str = "gallery-a") -> Checkpointer:
        """One of a gallery."""
        place = TrailPlace(self.folder, None, self.signer, PublicKeys([]), [KEY])
        return Checkpointer(
            store=self.store,
            place=place,
            receipts=self.receipt,
            clock=self.clock,
            metrics=self.metrics,
            member_id=member_id,
            interval_s=10.0,
            kept=self.kept,
        )

    async def receipt(self, collection_id: CollectionId, receipt_id: str) -> ErasureAnswer:
        """A receipt that is known."""
        if receipt_id not in self.receipts:
            raise NotFoundError("receipt", receipt_id)
        receipt = self.receipts[receipt_id]
        return ErasureAnswer(receipt, signed_receipt(receipt, self.signer))

    async def write(self, count: int, method: str = "Verify") -> None:
        """Put decisions on record."""
        records = [AuditRecord(method, self.clock.now(), "receipt-1", "", STAFF, SubjectId("ada"))] * count
        await self.store.append_audit(LOG, records)

    def value(self, name: str, **labels: str) -> float:
        """What a metric shows."""
        return self.metrics.registry.get_sample_value(f"tessera_gallery_{name}", labels) or 0.0

    @property
    def age_s(self) -> float:
        """Of the oldest entry that no checkpoint covers."""
        return self.value("checkpoint_age_seconds", log=LOG)

    @property
    def trail(self) -> Trail:
        """What is on the disk."""
        return read_trail(LOG, (self.folder / file_name(LOG)).read_bytes(), self.signer.public_keys)

    def verify(self) -> AuditReport:
        """As an auditor does, with all keys."""
        entries = [StampedEntry(LOG, one.sequence, one.entry, one.stamp) for one in self.store.log]
        return verify_audit(LOG, entries, self.trail, [KEY])


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """A gallery with a folder of its own."""
    return Gallery(tmp_path / "audit")


@pytest.fixture
async def checkpointer(gallery: Gallery) -> AsyncIterator[Checkpointer]:
    """Its checkpointer; closed at the end."""
    made = gallery.checkpointer()
    yield made
    await made._end()


def _places(trail: Trail) -> list[int]:
    return [checkpoint.head.sequence for checkpoint in trail.checkpoints]


def _kinds(report: AuditReport) -> set[FindingKind]:
    return {finding.kind for finding in report.findings}


# ---- a way through


async def test_what_is_on_record_gets_a_checkpoint_at_the_interval(
    gallery: Gallery, checkpointer: Checkpointer
) -> None:
    """The first at once, the next when the interval has passed; until then the age of what waits is told."""
    await gallery.write(3)
    await checkpointer.step()
    assert (_places(gallery.trail), gallery.age_s) == ([0, 3], 0)
    await gallery.write(2)
    gallery.clock.advance(4)
    await checkpointer.step()
    assert (_places(gallery.trail), gallery.age_s) == ([0, 3], 4)
    gallery.clock.advance(6)
    await checkpointer.step()
    assert (_places(gallery.trail), gallery.age_s) == ([0, 3, 5], 0)
    assert gallery.verify().findings == ()


async def test_many_entries_do_not_wait_for_the_interval(gallery: Gallery, checkpointer: Checkpointer) -> None:
    """After a thousand there is a checkpoint, however short the time."""
    await gallery.write(1)
    await checkpointer.step()
    await gallery.write(2 * MOST_ENTRIES + 5)
    await checkpointer.step()
    assert _places(gallery.trail) == [0, 1, 1001, 2001]
    assert gallery.verify().findings == ()


async def test_a_quiet_log_gets_no_lines(gallery: Gallery, checkpointer: Checkpointer) -> None:
    """Files do not grow while nothing happens."""
    await gallery.write(1)
    await checkpointer.step()
    before = (gallery.folder / file_name(LOG)).read_bytes()
    gallery.clock.advance(100)
    await checkpointer.step()
    assert (gallery.folder / file_name(LOG)).read_bytes() == before


async def test_the_end_of_a_gallery_covers_what_it_decided_last(gallery: Gallery) -> None:
    """No entry of an orderly end is left to its MAC alone."""
    ending = gallery.checkpointer()
    await gallery.write(1)
    await ending.step()
    await gallery.write(4)
    ending.stop()
    await ending.run()
    assert _places(gallery.trail) == [0, 1, 5]


async def test_one_gallery_at_a_time_writes_and_another_goes_on_for_one_that_died(gallery: Gallery) -> None:
    """The second waits for the lease, and its lines follow those of the first."""
    first, second = gallery.checkpointer("gallery-a"), gallery.checkpointer("gallery-b")
    await gallery.write(2)
    await first.step()
    await second.step()
    assert _places(gallery.trail) == [0, 2]
    for log in first._logs.values():  # the first dies: its lock goes with its process
        await log.close()
    gallery.clock.advance(LEASE_S + 1)
    await gallery.write(2)
    await second.step()
    assert _places(gallery.trail) == [0, 2, 4]
    assert gallery.verify().findings == ()
    await second._end()


async def test_without_a_folder_it_is_off_and_says_so_once(gallery: Gallery) -> None:
    """Nobody should find out at the audit."""
    off = gallery.checkpointer()
    off._place = None
    with capture_logs() as logs:
        await off.run()
    assert [log["event"] for log in logs] == ["checkpoints.off"]


# ---- what is wrong with the log


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lambda log: log.__setitem__(2, replace(log[2], entry=log[2].entry.replace(b"ada", b"bob"))), "EDITED"),
        (lambda log: log.pop(2), "DELETED"),
        (lambda log: log.__setitem__(4, replace(log[1], sequence=5)), "EDITED"),
    ],
    ids=["edited", "deleted", "copied"],
)
async def test_what_does_not_fit_is_an_alarm(
    gallery: Gallery, checkpointer: Checkpointer, harm: Callable[[list[StoredAudit]], None], kind: str
) -> None:
    """In the file for ever, counted, and in the log; told once."""
    await gallery.write(1)
    await checkpointer.step()
    await gallery.write(8)
    harm(gallery.store.log)
    with capture_logs() as logs:
        await checkpointer.step()
        gallery.clock.advance(20)
        await gallery.write(1)
        await checkpointer.step()
    assert [log["kind"] for log in logs if log["event"] == "audit.alarm"] == [kind]
    assert gallery.value("audit_alarms_total", kind=kind) == 1
    assert [finding.kind for finding in gallery.trail.findings] == [kind]
    assert FindingKind(kind) in _kinds(gallery.verify())


async def test_an_entry_that_cannot_be_read_does_not_blind_it(gallery: Gallery, checkpointer: Checkpointer) -> None:
    """What stands behind it is read and covered all the same, and it is told as missing."""
    await gallery.write(1)
    await checkpointer.step()
    await gallery.write(6)
    gallery.store.unreadable = 4
    await checkpointer.step()
    assert _places(gallery.trail)[-1] == 7
    assert [(finding.kind, finding.sequence) for finding in gallery.trail.findings] == [("DELETED", 4)]


async def test_a_log_that_is_shorter_than_its_checkpoint_goes_on_with_an_alarm(
    gallery: Gallery, checkpointer: Checkpointer
) -> None:
    """After a restored backup decisions go on, checkpoints too, and what was lost is told for ever."""
    await gallery.write(9)
    await checkpointer.step()
    gallery.store.cut(5)
    gallery.clock.advance(20)
    await checkpointer.step()
    assert [finding.kind for finding in gallery.trail.findings] == ["TRUNCATED"]
    gallery.store._stamps = AuditStamper(KEY, "gallery-b")
    await gallery.write(3)
    gallery.clock.advance(20)
    await checkpointer.step()
    assert _places(gallery.trail)[-1] == 8
    assert _kinds(gallery.verify()) == {FindingKind.TRUNCATED}


async def test_a_log_that_was_cut_and_written_on_is_not_taken_for_the_same(
    gallery: Gallery, checkpointer: Checkpointer
) -> None:
    """It is as long as before, and its last entry is another one."""
    await gallery.write(9)
    await checkpointer.step()
    gallery.store.cut(5)
    gallery.store._stamps = AuditStamper(KEY, "gallery-b")
    await gallery.write(6)
    gallery.clock.advance(20)
    await checkpointer.step()
    assert FindingKind.REWRITTEN in {finding.kind for finding in gallery.trail.findings}
    assert _places(gallery.trail)[-1] == 11


# ---- what is wrong with the disk


async def test_a_folder_that_cannot_be_written_to_is_told_and_made_up_for(gallery: Gallery) -> None:
    """The age grows meanwhile, one line is logged, and the next checkpoint covers all."""
    gallery.folder.parent.mkdir(exist_ok=True)
    gallery.folder.write_text("in the way")
    checkpointer = gallery.checkpointer()
    await gallery.write(3)
    with capture_logs() as logs:
        await checkpointer.step()
        gallery.clock.advance(40)
        await checkpointer.step()
    assert [log["event"] for log in logs] == ["checkpoints.delayed"]
    assert gallery.age_s == 40
    gallery.folder.unlink()
    await checkpointer.step()
    assert (_places(gallery.trail), gallery.age_s) == ([0, 3], 0)
    await checkpointer._end()


async def test_a_trail_that_vanished_is_not_begun_anew_in_silence(gallery: Gallery, checkpointer: Checkpointer) -> None:
    """Whoever removes the folder does not get a clean one from the gallery that knew it."""
    await gallery.write(3)
    await checkpointer.step()
    shutil.rmtree(gallery.folder)
    await gallery.write(3)
    gallery.clock.advance(20)
    with capture_logs() as logs:
        await checkpointer.step()
    assert "are not there any more" in logs[0]["why"]


# ---- trimming


async def test_a_log_is_trimmed_below_a_checkpoint_and_can_still_be_checked(tmp_path: Path) -> None:
    """A signed line says so first; what is kept is at least what was asked for."""
    gallery = Gallery(tmp_path / "audit", kept=300)
    checkpointer = gallery.checkpointer()
    for _ in range(9):
        await gallery.write(50)
        gallery.clock.advance(11)
        await checkpointer.step()
    kept: Sequence[StoredAudit] = gallery.store.log
    assert gallery.trail.trimmed == kept[0].sequence - 1 > 0
    assert len(kept) >= 300
    report = gallery.verify()
    assert (report.findings, report.last) == ((), 450)
    await checkpointer._end()


# ---- receipts


async def test_receipts_of_erasures_are_kept_outside_of_the_store(gallery: Gallery, checkpointer: Checkpointer) -> None:
    """Each state once: when the erasure is on record, and when it is complete."""
    await gallery.write(1, METHOD)
    gallery.receipts["receipt-1"] = RECEIPT
    await checkpointer.step()
    gallery.clock.advance(20)
    await checkpointer.step()
    gallery.receipts["receipt-1"] = completed(RECEIPT, gallery.clock.now(), 2)
    gallery.clock.advance(20)
    await checkpointer.step()
    gallery.clock.advance(20)
    await checkpointer.step()
    assert [receipt_of(signed.text).state for signed in gallery.trail.receipts] == ["ACCEPTED", "COMPLETE"]


async def test_a_receipt_that_ended_while_nobody_wrote_is_kept_by_the_next(gallery: Gallery) -> None:
    """The next gallery reads in the file which erasures it has not seen the end of."""
    first = gallery.checkpointer()
    await gallery.write(1, METHOD)
    gallery.receipts["receipt-1"] = RECEIPT
    await first.step()
    await first._end()
    gallery.receipts["receipt-1"] = completed(RECEIPT, NOON, 1)
    second = gallery.checkpointer("gallery-b")
    await second.step()
    assert [receipt_of(signed.text).state for signed in gallery.trail.receipts] == ["ACCEPTED", "COMPLETE"]
    await second._end()
