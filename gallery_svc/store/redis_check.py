"""Whether a shard in Redis is whole: all that it holds is opened, counted, folded and compared with its head.

It tells what no whole write leaves behind; `redis_repair` mends it. It looks again while others write, and then tells
only what no writing can explain.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from gallery_svc.store.change_records import StoreFinding
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.redis_collections import shards_of
from gallery_svc.store.redis_following import TAG_BYTES, RedisFollowing, Words, folded
from gallery_svc.store.redis_hashes import SealedHash, hashes_of
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_parts import ENDED, HALF_AMONG_OTHERS, all_of
from gallery_svc.store.redis_values import SubjectSeals
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId, TemplateId

PICTURES_A_READ = 64
_VALUES_A_READ = 2048
_ENTRIES_A_READ = 2000
_LOOKS = 8
_TIMELESS = ("PENDING", "SEALED")


@dataclass(slots=True)
class Folded:
    """What a shard holds, added up."""

    subjects: dict[str, frozenset[str]] = field(default_factory=dict)
    """Subject id -> its template ids."""
    unopened: set[tuple[str, str]] = field(default_factory=set)
    """Values that do not open: the head's field for their hash, and their name in it."""
    states: dict[str, Words] = field(default_factory=dict)
    """By the head's field."""
    rows: dict[int, dict[str, frozenset[str]]] = field(default_factory=dict)
    """Epoch -> subject id -> template ids."""
    pictures: set[str] = field(default_factory=set)
    ordered: set[str] = field(default_factory=set)

    def has_template(self, picture: str) -> bool:
        """Whether a picture's name is that of a template which its subject has."""
        subject_id, _, template_id = picture.partition("/")
        return template_id in self.subjects.get(subject_id, frozenset())

    @property
    def in_doubt(self) -> set[str]:
        """Subjects with a value that does not open."""
        return {owner_of(name) for _, name in self.unopened}


class RedisCheck(RedisFollowing):
    """Looks; see `Store` for what each method promises."""

    async def check(self, collection_id: CollectionId) -> list[StoreFinding]:
        """Fold everything of a collection and compare it with its heads."""
        record = await self._existing(collection_id, fresh=True)
        parts = await all_of(lambda keys: self._check_shard(record, keys), shards_of(record))
        return [finding for part in parts for finding in part]

    async def _check_shard(self, record: CollectionRecord, keys: ShardKeys) -> list[StoreFinding]:
        findings: list[StoreFinding] = []
        for _ in range(_LOOKS):
            head = await self._whole_head(keys)
            if head.get("generation") != record.generation.encode():
                return [StoreFinding(record.collection_id, keys.shard, "LOG", "its head is not of this collection")]
            findings = [*_of_pending(keys, head), *await self._of_log(record, keys, head)]
            findings += _of_contents(keys, head, await self._fold(record, keys, head))
            if await self._whole_head(keys) == head:
                return findings
        return [finding for finding in findings if finding.what in _TIMELESS]

    async def _whole_head(self, keys: ShardKeys) -> dict[str, bytes]:
        (told,) = await self._door.read(keys.tag, [("HGETALL", keys.head)])
        return {name.decode(): value for name, value in zip(told[::2], told[1::2], strict=True)}

    async def _of_log(self, record: CollectionRecord, keys: ShardKeys, head: dict[str, bytes]) -> list[StoreFinding]:
        """Whether the log is contiguous, its chain right, and its end where the head says."""
        sequence, chain = 0, record.generation
        async for entry_id, told in self._entries(keys):
            number = int(entry_id.split(b"-", 1)[0])
            if sequence and number != sequence + 1:
                return [_finding(keys, "LOG", f"change {sequence + 1} is missing")]
            if told[1] != b"REPAIRED" and (sequence or number == 1):  # a repair begins the history anew
                parts = [chain.encode(), str(number).encode(), told[1], told[3], told[7], told[5]]
                if told[9] != hashlib.sha1(b"|".join(parts), usedforsecurity=False).hexdigest().encode():
                    return [_finding(keys, "CHAIN", f"change {number} does not follow from the one before")]
            sequence, chain = number, told[9].decode()
        position, newest = int(head.get("position", b"0")), head.get("chain", b"").decode()
        if sequence and sequence != position:
            return [_finding(keys, "LOG", f"it ends with change {sequence}, and the head stands at {position}")]
        if sequence and chain != newest:
            return [_finding(keys, "CHAIN", "its end and the head have other digests")]
        return []

    async def _entries(self, keys: ShardKeys) -> AsyncIterator[tuple[bytes, list[bytes]]]:
        start = "-"
        while True:
            (some,) = await self._door.read(keys.tag, [("XRANGE", keys.log, start, "+", "COUNT", _ENTRIES_A_READ)])
            for entry_id, told in some:
                yield entry_id, told
            if len(some) < _ENTRIES_A_READ:
                return
            start = "(" + some[-1][0].decode()

    async def _fold(self, record: CollectionRecord, keys: ShardKeys, head: dict[str, bytes]) -> Folded:
        """Read and open everything that a shard holds."""
        found = Folded()
        seals = SubjectSeals(self._sealer, record.generation)
        epochs = [int(epoch) for epoch in head.get("kept", str(record.active_epoch).encode()).split(b",")]
        for part in hashes_of(keys, epochs):
            state = np.zeros(2, np.uint64)
            if part.kind == "row":
                found.rows[part.epoch] = {}
            async for fields, values in self._pages(keys, part):
                state ^= folded([value.rjust(TAG_BYTES, b"\0") for value in values])
                for name, value in zip(fields, values, strict=True):
                    _take(found, part, seals, name.decode(), value)
            found.states[part.state] = state
        (ordered,) = await self._door.read(keys.tag, [("ZRANGE", keys.order, 0, -1)])
        found.ordered = {raw.decode() for raw in ordered}
        return found

    async def _pages(self, keys: ShardKeys, part: SealedHash) -> AsyncIterator[tuple[list[bytes], list[bytes]]]:
        cursor: bytes | int = 0
        count = PICTURES_A_READ if part.kind == "picture" else _VALUES_A_READ
        seen: set[bytes] = set()
        while True:
            (reply,) = await self._door.read(keys.tag, [("HSCAN", part.key, cursor, "COUNT", count)])
            cursor, told = reply
            new = {name: value for name, value in zip(told[::2], told[1::2], strict=True) if name not in seen}
            seen |= new.keys()
            if new:
                yield list(new), list(new.values())
            if not int(cursor):
                return


def _take(found: Folded, part: SealedHash, seals: SubjectSeals, name: str, value: bytes) -> None:
    """Open one value and note what it is."""
    subject_id, _, template_id = name.partition("/")
    try:
        if part.kind == "subject":
            record = seals.record(SubjectId(name), value)
            found.subjects[name] = frozenset(each.template_id for each in record.templates)
        elif part.kind == "row":
            row = seals.row(SubjectId(name), part.epoch, value)
            found.rows[part.epoch][name] = frozenset(each.template_id for each in row.templates)
        else:
            found.pictures.add(name)
            seals.picture(SubjectId(subject_id), TemplateId(template_id), value)
    except StoreCorruptError:
        found.unopened.add((part.state, name))


def _finding(keys: ShardKeys, what: str, detail: str, subject_id: str = "") -> StoreFinding:
    named = SubjectId(subject_id) if subject_id else None
    return StoreFinding(keys.collection_id, keys.shard, what, detail, named)


def _of_pending(keys: ShardKeys, head: dict[str, bytes]) -> list[StoreFinding]:
    if "pending" not in head:
        return [] if head.get("begun") in ENDED else [_finding(keys, "PENDING", HALF_AMONG_OTHERS)]
    sequence, _, subject = head["pending"].decode(errors="replace").partition(" ")
    return [_finding(keys, "PENDING", f"half of change {sequence} is there", subject)]


def _of_contents(keys: ShardKeys, head: dict[str, bytes], found: Folded) -> list[StoreFinding]:
    """Where what was read does not give what the head says, or does not agree with itself."""
    doubt = found.in_doubt
    counted = (len(found.subjects), sum(map(len, found.subjects.values())))
    told = (int(head.get("subjects", b"0")), int(head.get("templates", b"0")))
    findings = [_finding(keys, "SEALED", "a value of it does not open", each) for each in sorted(doubt)]
    if counted != told and not doubt:
        findings.append(_finding(keys, "COUNTS", f"{counted} subjects and templates are there; the head says {told}"))
    for name, state in found.states.items():
        if state.tobytes() != head.get(name, bytes(TAG_BYTES)):
            findings.append(_finding(keys, "STATE", f"{name}: the values do not fold to what the head says"))
    half = sorted((found.ordered ^ found.subjects.keys()) - doubt)
    listed = [_finding(keys, "COUNTS", "it is only listed, or it is not listed", subject_id) for subject_id in half]
    return [*findings, *listed, *_strays(keys, found)]


def _strays(keys: ShardKeys, found: Folded) -> list[StoreFinding]:
    """Rows and pictures of templates that a subject does not have."""
    rows = {
        name
        for rows in found.rows.values()
        for name, template_ids in rows.items()
        if not template_ids <= found.subjects.get(name, frozenset())
    }
    pictures = {owner_of(name) for name in found.pictures if not found.has_template(name)}
    return [
        *(_finding(keys, "STATE", "a row has templates that it does not have", name) for name in sorted(rows)),
        *(_finding(keys, "STATE", "there is a picture of no template of it", name) for name in sorted(pictures)),
    ]


def owner_of(name: str) -> str:
    """The subject that a field of any of a shard's hashes is about."""
    return name.partition("/")[0]
