"""Enrolments a second through the store, against what its server and its connections could do.

The ceiling is a script that checks nothing: it puts as many bytes into as many keys as one enrolment does. It goes over
the same door, so with as many connections and the same client; what is left is the store's own work: merging, sealing,
the script's checks. What a gallery hands to its store is made before, as the ceiling's bytes are. A second mark is the
store's own script with arguments that were made before: between it and the store lies what Python does, between it and
the ceiling what the script does. The server's own time for each, and how many bytes reach its file, are told for all
three; so is the time of this process and of the server's on their processors, which others that run here disturb less.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import uvloop

from benchmarks.encoder.arithmetic import median_ratio
from benchmarks.gallery import data
from benchmarks.gallery.filling import KEYS, keys_environ
from benchmarks.gallery.plan import Plan, Story, on_cores
from benchmarks.gallery.store_server import StoreServer, store_server
from gallery_svc.rows import HalfVectors
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.door import Door
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.lua import Script, load_scripts
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrollment, RequestKey
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId
from tessera.domain.observation import Quality

BAR = 0.7
PEOPLE = CollectionId("people")
_ROUNDS = 5
_VECTORS = 4096
CEILING = "bench_ceiling"
_SCRIPT = "change"
_QUALITY = Quality(0.9, 0.5, 0.4, 1.0, 0.8, 0.4, ())

CEILING_SCRIPT = """#!lua flags=
-- KEYS hash, hash, hash, hash, sorted set, stream, stream: as many as an enrolment writes, and of their kinds.
-- ARGV name of the subject, then as many bytes as each key gets.
for at = 1, 3 do redis.call('HSET', KEYS[at], ARGV[1], ARGV[at + 1]) end
redis.call('HSET', KEYS[4], 'head', ARGV[5])
redis.call('ZADD', KEYS[5], 0, ARGV[1])
redis.call('XADD', KEYS[6], '*', 'v', ARGV[6])
redis.call('XADD', KEYS[7], '*', 'v', ARGV[7])
return {'ok'}
"""


@dataclass(slots=True)
class CapturingDoor:
    """A door that can keep what the script of an enrolment would be given, instead of sending it."""

    door: Door
    sending: bool = True
    kept: list[tuple[Sequence[str], Sequence[bytes | str | int], str]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the door's own
        """As the door."""
        return getattr(self.door, name)

    async def write(
        self,
        script: str,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        request_id: str = "",
        *,
        wrote: Callable[[Any], bool] | None = None,
    ) -> Any:  # noqa: ANN401 - Redis
        """As the door; or nothing, told as a success."""
        if self.sending or script != _SCRIPT:
            return await self.door.write(script, keys, args, request_id, wrote=wrote)
        self.kept.append((keys, args, request_id))
        return [b"ok", b"1"]

    async def send(self, number: int) -> None:
        """Send one of those that were kept."""
        keys, args, request_id = self.kept[number]
        reply = await self.door.write(_SCRIPT, keys, args, request_id)
        assert reply[0] == b"ok", reply


@dataclass(slots=True)
class _Measured:
    """One way to write, over its rounds."""

    per_s: list[float] = field(default_factory=list)
    file_bytes: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    client_cpu_us: list[float] = field(default_factory=list)
    server_cpu_us: list[float] = field(default_factory=list)


def enrol(plan: Plan) -> Story:
    """16 at a time and one, with `everysec` and `always`."""
    story = Story()
    os.environ.update(keys_environ())
    for fsync in ("everysec", "always"):
        with on_cores(plan.server_cores), store_server("--appendfsync", fsync) as server:
            for at_once in (16, 1):
                _tell(story, f"enrol, {at_once} at once, {fsync}", uvloop.run(_measure(plan, server, fsync, at_once)))
    return story


def _tell(story: Story, name: str, measured: Sequence[_Measured]) -> None:
    ours, ready, ceiling = measured
    ratio = median_ratio(ours.per_s, ceiling.per_s)
    story.add(f"{name}: against a script that writes as much", ratio, "ratio", f"at least {BAR}", ratio >= BAR)
    ratio = median_ratio(ours.per_s, ready.per_s)
    story.add(f"{name}: against its own script with arguments made before", ratio, "ratio")
    for what, one in (
        ("through the store", ours),
        ("its own script", ready),
        ("a script that writes as much", ceiling),
    ):
        story.add(f"{name}: {what}", median(one.per_s), "/s")
        story.add(f"{name}: {what}, the server's time", median(one.server_us), "us each")
        story.add(f"{name}: {what}, processor time of the client", median(one.client_cpu_us), "us each")
        story.add(f"{name}: {what}, processor time of the server", median(one.server_cpu_us), "us each")
        story.add(f"{name}: {what}, in the server's file", median(one.file_bytes), "bytes each")


async def _measure(plan: Plan, server: StoreServer, fsync: str, at_once: int) -> list[_Measured]:
    scripts = {**load_scripts(), CEILING: Script.of(CEILING_SCRIPT)}
    door = CapturingDoor(
        open_door(server.url, Durability("always" if fsync == "always" else "everysec"), scripts=scripts)
    )
    store = RedisStore(door, Sealer(Keyring.load(KEYS)), Unstamped())
    collection = CollectionId(f"people-{at_once}")
    measured = [_Measured(), _Measured(), _Measured()]
    try:
        await store.prepare()
        await store.create_collection(CollectionRecord(collection, Modality.FACE, data.MODEL, data.AT))
        people = People(store, collection)
        for at in range(plan.count(_ROUNDS, 2)):
            count = plan.count(6000, 1500)
            await _make(door, people, count)
            waiting = Waiting(store, people, count)
            ceiling = Ceiling(door.door, written_sizes(door.kept[0][1]))
            ways = (waiting.enrol, door.send, ceiling.write)
            limits = (count, count, None)
            for step in range(len(ways)):
                which = (at + step) % len(ways)
                done = _at_once(ways[which], at_once, plan.seconds(3, 1), limits[which])
                await _note(server, measured[which], done)
    finally:
        await store.close()
    return measured


async def _make(door: CapturingDoor, people: People, count: int) -> None:
    """Arguments of new enrolments, not sent."""
    door.kept.clear()
    door.sending = False
    for _ in range(count):
        await people.enrol(next(_NUMBERS))
    door.sending = True


async def _note(server: StoreServer, measured: _Measured, done: Coroutine[Any, Any, tuple[int, float]]) -> None:
    before = server.file_bytes()
    with server.client() as client:
        client.config_resetstat()
        client_s, server_s = time.process_time(), server.cpu_s()
        count, seconds = await done
        client_s, server_s = time.process_time() - client_s, server.cpu_s() - server_s
        told = client.info("commandstats")["cmdstat_evalsha"]
    measured.per_s.append(count / seconds)
    measured.server_us.append(float(told["usec_per_call"]))
    measured.client_cpu_us.append(client_s / count * 1e6)
    measured.server_cpu_us.append(server_s / count * 1e6)
    measured.file_bytes.append((server.file_bytes() - before) / count)


async def _at_once(
    act: Callable[[int], Awaitable[None]], tasks: int, seconds: float, limit: int | None = None
) -> tuple[int, float]:
    """Do it so many at a time.

    Args:
        act: is told a number that comes only once, or below `limit`.
        tasks: how many.
        seconds: for so long.
        limit: so often at most; None: as often as there is time.

    Returns:
        (how often it was done, in how many seconds).
    """
    numbers = _NUMBERS if limit is None else iter(range(limit))
    began_s, done = time.perf_counter(), 0

    async def one() -> None:
        nonlocal done
        while time.perf_counter() - began_s < seconds and (number := next(numbers, None)) is not None:
            await act(number)
            done += 1

    await asyncio.gather(*(one() for _ in range(tasks)))
    return done, time.perf_counter() - began_s


_NUMBERS = itertools.count(1)


def written_sizes(args: Sequence[bytes | str | int]) -> list[int]:
    """How many bytes an enrolment puts into each of its keys, from what its script is given (`change.lua`).

    Returns:
        Of record, row, request, head, change log, audit log.
    """
    sizes = [len(str(arg)) if isinstance(arg, int) else len(arg) for arg in args]
    generation, subject, record, kind, templates, digest, created, answer, entry, stamp, row = (
        sizes[at] for at in (0, 2, 4, 5, 6, 8, 9, 10, 12, 13, 15)
    )
    return [
        record,
        row,
        generation + digest + kind + subject + created + answer + 60,  # the names of its fields, and its position
        2 * 16 + 40 + 80,  # two folded tags, a digest, numbers and the names of its fields
        kind + subject + templates + 40 + 40,  # a digest, and the names of its fields
        entry + stamp + 10,
    ]


class People:
    """Enrols new people, each with one template, a request id and a note."""

    def __init__(self, store: RedisStore, collection: CollectionId) -> None:
        self._store = store
        self._collection = collection
        self._vectors: HalfVectors = data.templates(_VECTORS)

    async def enrol(self, number: int) -> None:
        """Enrol somebody of this number."""
        await self._store.enroll(self.enrolment(number))

    def enrolment(self, number: int) -> Enrollment:
        """What a gallery hands to its store for somebody of this number."""
        subject = SubjectId(data.subject_name(number))
        record = TemplateRecord(TemplateId(data.template_name(number)), data.MODEL, data.AT, _QUALITY, "0" * 64)
        return Enrollment(
            collection_id=self._collection,
            subject_id=subject,
            profile=SubjectProfile(display_name=f"Person {number}"),
            templates=(NewTemplate(record, self._vectors[number % _VECTORS]),),
            at=data.AT,
            audit=AuditRecord("EnrollSubject", data.AT, f"ev-{number:024x}", "peer", self._collection, subject),
            request=RequestKey(RequestId(f"request-{number}"), "0" * 64),
            note="{}",
        )


class Waiting:
    """New people whose enrolments a gallery has made: what is measured is the store's part."""

    def __init__(self, store: RedisStore, people: People, count: int) -> None:
        self._store = store
        self._enrolments = [people.enrolment(next(_NUMBERS)) for _ in range(count)]

    async def enrol(self, at: int) -> None:
        """Enrol one of them."""
        await self._store.enroll(self._enrolments[at])


class Ceiling:
    """Writes as much, and checks nothing."""

    def __init__(self, door: Door, sizes: Sequence[int]) -> None:
        self._door = door
        self._values: list[bytes] = [os.urandom(size) for size in sizes]

    async def write(self, number: int) -> None:
        """Write once, for a request of this number."""
        names = ("record", "row", f"request:{number}", "head", "order", "log", "audit")
        keys = [f"bench:{{ceiling}}:{name}" for name in names]
        await self._door.write(CEILING, keys, [data.subject_name(number), *self._values])
