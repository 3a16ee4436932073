"""Append-only files that end too early: a file whose last operation is known to the byte, and servers that start on its
beginnings.

A server that was killed while it wrote, or whose disk lost the end of its file, starts on such a beginning. Nothing
here knows what a script writes: states are compared by the server's own digest of everything that it holds.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gallery_svc.store.redis import RedisStore
from gallery_svc.store.subject_records import SubjectProfile
from tessera.chassis.ports import free_port
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import SubjectId
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import (
    BOB,
    STAFF,
    collection,
    enrollment,
    erasure,
    request,
    rows_of,
    template,
    update,
)
from tests.servers import PrivateServer, client_of

Operation = Callable[[RedisStore], Awaitable[object]]

OPERATIONS: dict[str, Operation] = {
    "enroll": lambda store: store.enroll(enrollment(template("a2", picture=b"a picture"), key=request("r2"))),
    "update": lambda store: store.update_profile(
        update(SubjectProfile(display_name="Eve"), "display_name", key=request("r2"))
    ),
    "erase": lambda store: store.erase(erasure(key=request("r2"))),
}
"""What the file ends with. Ada has a template, a picture and an answered request by then, and Bob a template."""

EVE = SubjectId("eve")
INSTRUCTIONS = ("tessera store check", "tessera store repair")
_BAD = ("unseen", "lost")
_ALWAYS = ("--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--enable-debug-command", "yes")


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """What a server left behind that did one operation last."""

    binary: Path
    folder: Path
    tail: Path
    """The file that the operation stands at the end of, below `folder`."""
    whole: bytes
    begin: int
    """Where in it the operation begins."""
    before: bytes
    """Digest of all that the server held before the operation."""
    after: bytes

    @property
    def offsets(self) -> range:
        """Every length at which the operation is cut, from nothing of it to all of it."""
        return range(self.begin, len(self.whole) + 1)

    @property
    def ends(self) -> list[int]:
        """Where each command of the operation ends."""
        return command_ends(self.whole, self.begin)

    def sampled(self, count: int) -> list[int]:
        """So many of the offsets: where commands begin and end, and others evenly between."""
        wanted = {self.begin, *self.ends} | {end - 1 for end in self.ends}
        spread = range(self.begin, len(self.whole), max(1, len(self.offsets) // max(1, count - len(wanted))))
        return sorted(wanted | set(spread))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server and its store made of one cut."""

    cut: int
    first_start: str
    """`before` or `after`: whole; `refused`; `unseen`: half of the operation is there, and nobody says so."""
    second_start: str = ""
    """After one more write: `whole`, `refused`, `unseen`, `lost`; empty: the first one was refused."""

    def is_bad(self, last: int) -> bool:
        """Neither the state before nor, uncut, the state after, or half of something later; or that write is lost."""
        return self.first_start != ("after" if self.cut == last else "before") or self.second_start in _BAD


class Bench:
    """A server that is started again and again, each time on another file; gone at the end of its block.

    Args:
        recorded: where its files come from.
        folder: its own.
        options: more of its command line.
    """

    def __init__(self, recorded: RecordedFile, folder: Path, *options: str) -> None:
        shutil.copytree(recorded.folder, folder)
        self.recorded = recorded
        self.server = PrivateServer(recorded.binary, folder, free_port(), (*_ALWAYS, *options))
        self._tail = folder / recorded.tail

    def __enter__(self) -> Bench:
        """It runs when it is given a file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it."""
        self.server.kill()

    def read(self) -> bytes:
        """The file as it is now."""
        return self._tail.read_bytes()

    async def restart(self) -> None:
        """Kill it, and start it on what lies in its folder."""
        self.server.kill()
        await asyncio.to_thread(self.server.start)

    async def start_on(self, file: bytes) -> None:
        """Kill it, and start it on this file."""
        self.server.kill()
        self._tail.write_bytes(file)
        await asyncio.to_thread(self.server.start)

    def digest(self) -> bytes:
        """Of everything that it holds."""
        return _digest(self.server)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[RedisStore]:
        """A store over it, as it is made at the start of a gallery; not prepared."""
        store = store_at(self.server.url)
        try:
            yield store
        finally:
            await store.close()


async def record(binary: Path, folder: Path, operation: Operation) -> RecordedFile:
    """Have a server do an operation last, and keep its files."""
    server = PrivateServer(binary, folder, free_port(), _ALWAYS)
    await asyncio.to_thread(server.start)
    store = store_at(server.url)
    try:
        await store.prepare()
        await store.create_collection(collection())
        await store.enroll(enrollment(template("b1"), subject_id=BOB))
        await store.enroll(enrollment(template("a1", picture=b"another"), key=request("r1")))
        tail = _tail_in(folder)
        begin, before = len(tail.read_bytes()), _digest(server)
        await operation(store)
        after = _digest(server)
    finally:
        await store.close()
        server.kill()
    return RecordedFile(binary, folder, tail.relative_to(folder), tail.read_bytes(), begin, before, after)


async def try_cuts(benches: Sequence[Bench], cuts: Sequence[int]) -> list[Outcome]:
    """What becomes of each cut; each bench takes the next one when it is through with one."""
    waiting, outcomes = iter(cuts), list[Outcome]()

    async def work(bench: Bench) -> None:
        for cut in waiting:
            outcomes.append(await try_cut(bench, cut))

    async with asyncio.TaskGroup() as group:
        for bench in benches:
            group.create_task(work(bench))
    return sorted(outcomes, key=lambda outcome: outcome.cut)


async def try_cut(bench: Bench, cut: int) -> Outcome:
    """Start on a beginning of the file; where that may be used, write, start again and look again."""
    recorded = bench.recorded
    await bench.start_on(recorded.whole[:cut])
    states = {recorded.before: "before", recorded.after: "after"}
    async with bench.store() as store:
        first = await _passed(store, states.get(bench.digest(), "unseen"))
        if first == "refused":
            await _mended(store)
            return Outcome(cut, first)
        await store.enroll(enrollment(template("e1"), subject_id=EVE, key=request("r9")))
    written = bench.digest()
    await bench.restart()
    async with bench.store() as store:
        second = await _passed(store, "whole" if bench.digest() == written else "unseen")
        if second == "refused":
            await _mended(store)
        eve = (await rows_of(store, 1)).get(EVE)
    return Outcome(cut, first, second if eve and eve[0] == ["e1"] else "lost")


async def is_refused(store: RedisStore) -> bool:
    """Whether a gallery would not start; it is told how to mend that."""
    refusal = ""
    try:
        await store.prepare()
    except StoreCorruptError as error:
        refusal = str(error)
    assert not refusal or all(words in refusal for words in INSTRUCTIONS), refusal
    return bool(refusal)


async def _passed(store: RedisStore, state: str) -> str:
    """A state that the store takes, or that it refuses; nothing that it takes has a finding."""
    if await is_refused(store):
        return "refused"
    findings = await store.check(STAFF)
    assert state == "unseen" or findings == [], f"a whole state has findings: {findings}"
    return state


async def _mended(store: RedisStore) -> None:
    """A repair makes it usable again, without harm to Bob."""
    assert await store.repair(STAFF) != []
    await store.prepare()
    assert await store.check(STAFF) == []
    assert (await rows_of(store, 1))[BOB][0] == ["b1"]
    await store.enroll(enrollment(template("z1"), subject_id=SubjectId("zoe")))
    assert await store.check(STAFF) == []


def take_away_what_was_cut(bench: Bench) -> None:
    """What an operator does with a file that Redis does not take: `redis-check-aof --fix` on the manifest.

    The tool is the server itself under another name. Valkey 9.1.2's own does not know its base file's format; it is
    not needed there.
    """
    tool = bench.server.folder / "redis-check-aof"
    tool.symlink_to(bench.server.binary)
    (manifest,) = bench.server.folder.glob("appendonlydir/*.manifest")
    subprocess.run([tool, "--fix", manifest], input=b"y\n", stdout=subprocess.DEVNULL, check=True)


def command_ends(raw: bytes, begin: int) -> list[int]:
    """Where each command of a file ends that begins at `begin` or later.

    Source: https://valkey.io/topics/protocol/ (arrays of bulk strings, as the file holds commands)
    """
    ends, at = list[int](), begin
    while at < len(raw):
        at, count = _number(raw, at)
        for _ in range(count):
            at, size = _number(raw, at)
            at += size + 2
        ends.append(at)
    return ends


def commands(raw: bytes, begin: int) -> list[list[bytes]]:
    """The commands themselves, without the brackets of a transaction."""
    found = list[list[bytes]]()
    for end in command_ends(raw, begin):
        at, count = _number(raw, begin)
        words = list[bytes]()
        for _ in range(count):
            at, size = _number(raw, at)
            words.append(raw[at : at + size])
            at += size + 2
        found.append(words)
        begin = end
    return [words for words in found if words[0].upper() not in (b"MULTI", b"EXEC")]


def send_plainly(server: PrivateServer, effects: Sequence[Sequence[bytes]]) -> None:
    """Write the same as a script did, as commands that nothing holds together."""
    with client_of(server) as client, client.pipeline(transaction=False) as pipeline:
        for words in effects:
            pipeline.execute_command(*words)
        pipeline.execute()


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """(where the next line begins, the number behind this line's sign)."""
    end = raw.index(b"\r\n", at)
    return end + 2, int(raw[at + 1 : end])


def _tail_in(folder: Path) -> Path:
    (tail,) = folder.glob("appendonlydir/*.incr.aof")
    return tail


def _digest(server: PrivateServer) -> bytes:
    """In its own words: to make a client takes four times as long as to ask."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as connection:
        connection.sendall(b"DEBUG DIGEST\r\n")
        digest = connection.makefile("rb").readline()
    assert digest.startswith(b"+"), digest
    return digest
