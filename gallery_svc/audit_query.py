"""Answers who asked what: audit entries by subject, evidence and time, with the bytes that outsiders check.

Reads the logs as the store has them and believes none of it: what is no record is told with its bytes alone. Each call
reads so much at most, and says where the next one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord, StoredAudit
from gallery_svc.store.protocol import GLOBAL_LOG, Store
from tessera.domain.errors import InvalidInputError, NotFoundError, StoreCorruptError
from tessera.domain.ids import CollectionId, is_id
from tessera.trust.chain import DIGEST_BYTES, Head, extended, log_start
from tessera.trust.stamps import StampedEntry

MOST_READ = 20_000
"""Entries that one call looks at."""

_READ_AT_ONCE = 1000
_SHARD_DIGITS = 2


@dataclass(frozen=True, slots=True)
class AuditQuestion:
    """Which entries a caller wants."""

    collection_id: CollectionId | None = None
    """None: of all logs, also that of what belongs to no collection."""
    subject_id: str = ""
    evidence_id: str = ""
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""

    @property
    def named(self) -> list[bytes]:
        """What stands in each wanted entry, to the byte."""
        return [text.encode() for text in (self.subject_id, self.evidence_id) if text]

    @property
    def takes_all(self) -> bool:
        """Whether every entry is wanted, also one that is no record."""
        return not (self.subject_id or self.evidence_id or self.since or self.until)

    def takes(self, record: AuditRecord) -> bool:
        """Whether an entry is wanted."""
        return (
            self.subject_id in ("", record.subject_id)
            and self.evidence_id in ("", record.evidence_id)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
        )


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """Behind which entry reading goes on."""

    log: str
    sequence: int = 0
    chain: bytes = b""
    """The digest up to there, if every entry before was read; empty: it is not known."""

    @property
    def token(self) -> str:
        """As text."""
        return f"{self.log}~{self.sequence}~{self.chain.hex()}"

    @classmethod
    def of(cls, token: str) -> AuditPlace | None:
        """What `token` gave; None: the beginning.

        Raises:
            InvalidInputError: it is no such text.
        """
        if not token:
            return None
        try:
            log, sequence, chain = token.split("~")
            place = cls(log, int(sequence), bytes.fromhex(chain))
        except ValueError:
            place = cls("")
        if not _is_log(place.log) or place.sequence < 0 or len(place.chain) not in (0, DIGEST_BYTES):
            raise InvalidInputError("page_token", token[:64], "the token of the last answer")
        return place


@dataclass(frozen=True, slots=True)
class ToldEntry:
    """One entry of an answer."""

    stamped: StampedEntry
    record: AuditRecord | None
    """None: its bytes are no record."""
    chain: bytes
    """The digest over the log up to and with it; empty: it is not known here."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, by log and sequence."""

    entries: tuple[ToldEntry, ...]
    next_token: str
    """Give it to go on; empty: this was the last page. A page may be short of entries, and have a next one."""


class AuditQuery:
    """Reads audit logs.

    Args:
        store: where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, question: AuditQuestion, token: str, limit: int) -> AuditPage:
        """The next entries that are wanted.

        Args:
            question: which.
            token: of the page before; empty: the first.
            limit: of entries.

        Raises:
            NotFoundError: the collection has no log.
            InvalidInputError: the token is not one of ours.
        """
        place = AuditPlace.of(token)
        logs = await self._logs(question)
        reading = _Reading(question, limit)
        for log in logs:
            if place is None or log >= place.log:
                start = place if place is not None and place.log == log else AuditPlace(log, 0, log_start(log).chain)
                stopped = await self._read(reading, start)
                if stopped is not None:
                    return AuditPage(tuple(reading.found), stopped.token)
        return AuditPage(tuple(reading.found), "")

    async def _logs(self, question: AuditQuestion) -> Sequence[str]:
        there = await self._store.audit_logs()
        if question.collection_id is None:
            return sorted(there)
        logs = sorted(log for log in there if log.rpartition("/")[0] == question.collection_id)
        if not logs and await self._store.find_collection(question.collection_id) is None:
            raise NotFoundError("collection", question.collection_id)
        return logs

    async def _read(self, reading: _Reading, place: AuditPlace) -> AuditPlace | None:
        """Read one log.

        Returns:
            Where the next call goes on; None: at the end of the log.
        """
        while True:
            if reading.is_full():
                return place
            entries = await self._store.audit_after(place.log, place.sequence, reading.read_next)
            if not entries:
                return None
            for entry in entries:
                place = reading.take(place, entry)
                if reading.is_full():
                    break


class _Reading:
    """What one call has found so far, and how much it has read."""

    def __init__(self, question: AuditQuestion, limit: int) -> None:
        self._question = question
        self._limit = limit
        self._read = 0
        self.found: list[ToldEntry] = []

    def is_full(self) -> bool:
        """Whether this call has done enough."""
        return len(self.found) >= self._limit or self._read >= MOST_READ

    @property
    def read_next(self) -> int:
        """How many entries to read at once."""
        wanted = self._limit - len(self.found) if self._question.takes_all else _READ_AT_ONCE
        return min(_READ_AT_ONCE, wanted)

    def take(self, place: AuditPlace, entry: StoredAudit) -> AuditPlace:
        """Look at the entry that follows a place; gives the place behind it."""
        self._read += 1
        stamped = StampedEntry(place.log, entry.sequence, entry.entry, entry.stamp)
        # A digest stands for all entries before: where one is missing, or was trimmed, there is none any more.
        is_next = bool(place.chain) and entry.sequence == place.sequence + 1
        chain = extended(Head(place.sequence, place.chain, 0), stamped).chain if is_next else b""
        if all(name in entry.entry for name in self._question.named):
            record = _record(entry, place.log)
            if self._question.takes_all or (record is not None and self._question.takes(record)):
                self.found.append(ToldEntry(stamped, record, chain))
        return AuditPlace(place.log, entry.sequence, chain)


def _record(entry: StoredAudit, log: str) -> AuditRecord | None:
    try:
        record = codec.load(AuditRecord, entry.entry, log)
    except (StoreCorruptError, AttributeError):  # the latter: JSON, and no object
        return None
    texts: tuple[object, ...] = (record.method, record.evidence_id, record.caller, record.request_id)
    is_sound = all(isinstance(text, str) for text in texts) and record.at.tzinfo is not None
    return record if is_sound else None


def _is_log(name: str) -> bool:
    collection_id, _, shard = name.rpartition("/")
    return name == GLOBAL_LOG or (is_id(collection_id) and shard.isdigit() and len(shard) == _SHARD_DIGITS)
