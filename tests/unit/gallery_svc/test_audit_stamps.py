"""Stamps tell what is missing, and concurrent entries share a write without losing or mixing any."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.auditing import AuditBatcher, AuditStamper
from gallery_svc.gathering import QUIET_TURNS
from tessera.domain.errors import InvalidInputError, OverloadedError, UnavailableError
from tessera.trust.stamps import MacMaker, Stamp, is_genuine, mac_of, stamped_bytes

KEY = bytes(range(32))
LOG = "staff/00"


@pytest.fixture
def stamper() -> AuditStamper:
    """Of one writer."""
    return AuditStamper(KEY, "gallery-a")


# ---- stamps


def test_counts_are_contiguous_in_each_log(stamper: AuditStamper) -> None:
    """Each log is checked by itself."""
    stamps = [stamper.stamp(log, b"{}") for log in ("a", "b", "a", "a", "b")]
    assert [stamp.n for stamp in stamps] == [1, 1, 2, 3, 2]


def test_a_stamp_vouches_for_what_is_settled(stamper: AuditStamper) -> None:
    """And for nothing behind the first that is still under way."""
    first, second, third = [stamper.stamp(LOG, b"{}") for _ in range(3)]
    stamper.settled(LOG, second)
    assert stamper.stamp(LOG, b"{}").settled == 0
    stamper.settled(LOG, first)
    assert stamper.stamp(LOG, b"{}").settled == 2
    stamper.settled(LOG, third)
    assert stamper.stamp(LOG, b"{}").settled == 3


def test_what_was_given_up_is_told_until_it_is_on_record(stamper: AuditStamper) -> None:
    """A stamp that tells of it and is lost itself has told nobody."""
    lost = [stamper.stamp(LOG, b"{}") for _ in range(3)]
    for stamp in lost:
        stamper.gave_up(LOG, stamp)
    teller = stamper.stamp(LOG, b"{}")
    assert (teller.settled, teller.given_up) == (3, (1, 3))
    stamper.gave_up(LOG, teller)
    teller = stamper.stamp(LOG, b"{}")
    assert teller.given_up == (1, 4)
    stamper.settled(LOG, teller)
    assert stamper.stamp(LOG, b"{}").given_up == ()


def test_an_hour_of_failures_is_told_in_one_range(stamper: AuditStamper) -> None:
    """A store that was away leaves no entry of megabytes."""
    for _ in range(10_000):
        stamper.gave_up(LOG, stamper.stamp(LOG, b"{}"))
    assert stamper.stamp(LOG, b"{}").given_up == (1, 10_000)


def test_what_is_on_record_cannot_be_given_up(stamper: AuditStamper) -> None:
    """Else an entry could be taken away and excused."""
    stamp = stamper.stamp(LOG, b"{}")
    stamper.settled(LOG, stamp)
    stamper.gave_up(LOG, stamp)
    assert stamper.stamp(LOG, b"{}").given_up == ()


@given(st.binary(max_size=80), st.lists(st.binary(max_size=5_000), min_size=1, max_size=3))
def test_a_key_that_was_prepared_makes_the_same_macs(key: bytes, entries: list[bytes]) -> None:
    """Whatever it made before: an auditor has the key alone."""
    macs = MacMaker(key)
    assert [macs.mac_of(entry) for entry in entries] == [mac_of(key, entry) for entry in entries]


def test_the_mac_covers_every_field(stamper: AuditStamper) -> None:
    """Also where one field ends and the next begins."""
    stamper.gave_up(LOG, stamper.stamp(LOG, b"{}"))
    stamp = stamper.stamp(LOG, b"entry")
    genuine = stamped_bytes(LOG, b"entry", stamp)
    assert is_genuine([bytes(32), KEY], genuine, stamp.mac)
    assert not is_genuine([bytes(32)], genuine, stamp.mac)
    writer, n, settled, given_up, mac = stamp.writer, stamp.n, stamp.settled, stamp.given_up, stamp.mac
    for log, entry, changed in [
        ("staff/01", b"entry", stamp),
        (LOG, b"Entry", stamp),
        (LOG + "e", b"ntry", stamp),
        (LOG, b"entry", Stamp("gallery-b", n, settled, given_up, mac)),
        (LOG[:-1], b"entry", Stamp("0" + writer, n, settled, given_up, mac)),
        (LOG, b"entry", Stamp(writer, n + 1, settled, given_up, mac)),
        (LOG, b"entry", Stamp(writer, n, settled + 1, given_up, mac)),
        (LOG, b"entry", Stamp(writer, n, settled, (), mac)),
        (LOG, b"entry", Stamp(writer, n, settled, (1, 2), mac)),
    ]:
        assert not is_genuine([KEY], stamped_bytes(log, entry, changed), mac)


def test_a_short_key_is_refused_and_not_shown() -> None:
    """32 bytes, as the key ring derives it."""
    with pytest.raises(InvalidInputError, match="32 bytes") as caught:
        AuditStamper(b"sesame", "gallery-a")
    assert "sesame" not in str(caught.value)


# ---- the batcher


class _Log:
    """A log whose writes end when the test says so."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.records: list[int] = []
        self.gate = asyncio.Event()
        self.failing: Exception | None = None

    async def append(self, log: str, records: Sequence[int]) -> list[int]:
        self.batches.append((log, list(records)))
        await self.gate.wait()
        if self.failing:
            raise self.failing
        self.records += records
        return [len(self.records) - len(records) + at for at in range(1, len(records) + 1)]


async def _asked(batcher: AuditBatcher[int], records: Sequence[int], log: str = LOG) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batcher.record(log, record)) for record in records]
    for _ in range(QUIET_TURNS + 3):  # each has asked, nobody else came, and the writer has begun
        await asyncio.sleep(0)
    return tasks


async def test_those_who_come_while_a_write_is_under_way_share_the_next() -> None:
    """A single one goes at once; no timer holds it; the order is that of asking."""
    log, sizes = _Log(), []
    batcher = AuditBatcher(log.append, on_batch=sizes.append)
    first = await _asked(batcher, [0])
    later = await _asked(batcher, range(1, 40))
    assert log.batches == [(LOG, [0])]
    log.gate.set()
    assert await asyncio.gather(*first, *later) == list(range(1, 41))
    assert log.batches == [(LOG, [0]), (LOG, list(range(1, 40)))]
    assert (log.records, sizes) == (list(range(40)), [1, 39])


async def test_a_batch_has_a_limit() -> None:
    """The rest goes with the next, in order."""
    log = _Log()
    log.gate.set()
    batcher = AuditBatcher(log.append, max_batch=4)
    assert await asyncio.gather(*(batcher.record(LOG, at) for at in range(10))) == list(range(1, 11))
    assert [len(records) for _, records in log.batches] == [4, 4, 2]


async def test_logs_do_not_wait_for_each_other() -> None:
    """Each has its own write under way."""
    log = _Log()
    batcher = AuditBatcher(log.append)
    tasks = [*await _asked(batcher, [1], "a"), *await _asked(batcher, [2], "b")]
    assert {name for name, _ in log.batches} == {"a", "b"}
    log.gate.set()
    await asyncio.gather(*tasks)


async def test_a_failed_write_fails_its_own_entries_alone() -> None:
    """Each caller gets the error; the next write is tried."""
    log = _Log()
    log.failing = UnavailableError("store")
    batcher = AuditBatcher(log.append)
    first = await _asked(batcher, [0])
    log.gate.set()
    with pytest.raises(UnavailableError, match="store"):
        await first[0]
    log.failing = None
    assert await batcher.record(LOG, 1) == 1


async def test_a_write_that_tells_too_few_sequences_is_not_believed() -> None:
    """Nobody can say whose they are."""

    async def append(_log: str, _records: Sequence[int]) -> list[int]:
        return []

    with pytest.raises(ValueError, match="shorter"):
        await AuditBatcher(append).record(LOG, 1)


async def test_one_caller_that_goes_away_takes_nobody_along() -> None:
    """Before its turn its entry goes with it; under way it is written; the others get their own sequence."""
    log = _Log()
    batcher = AuditBatcher(log.append)
    under_way = await _asked(batcher, [0])
    waiting = await _asked(batcher, [1, 2, 3])
    under_way[0].cancel()
    waiting[1].cancel()
    log.gate.set()
    assert await asyncio.gather(waiting[0], waiting[2]) == [2, 3]
    assert log.records == [0, 1, 3]


async def test_one_more_than_may_wait_is_refused() -> None:
    """Memory is bounded, and nothing is decided off the record."""
    log = _Log()
    batcher = AuditBatcher(log.append, max_waiting=3)
    tasks = await _asked(batcher, [0])
    tasks += await _asked(batcher, [1, 2, 3])
    with pytest.raises(OverloadedError):
        await batcher.record(LOG, 4)
    log.gate.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4]


async def test_a_drained_batcher_has_written_all() -> None:
    """What a gallery that ends waits for."""
    log = _Log()
    batcher = AuditBatcher(log.append, max_batch=2)
    tasks = await _asked(batcher, range(5))
    log.gate.set()
    await batcher.drain()
    assert log.records == list(range(5))
    assert all(task.done() for task in tasks) or await asyncio.gather(*tasks)


async def test_a_closed_batcher_leaves_nobody_waiting() -> None:
    """Those under way and those that wait are told, and so are those whose writer had not begun."""
    log = _Log()
    batcher = AuditBatcher(log.append)
    tasks = [*await _asked(batcher, [0]), *await _asked(batcher, [1, 2])]
    tasks.append(asyncio.create_task(batcher.record("other", 3)))
    await asyncio.sleep(0)
    await batcher.close()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, UnavailableError) for one in ended)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), max_size=40))
def test_no_entry_is_lost_doubled_or_mixed(asked: list[tuple[int, bool, bool]]) -> None:
    """However callers come, give up and fail: who has a sequence finds its own record there, in the order of asking."""
    asyncio.run(_played(asked))


async def _played(asked: Sequence[tuple[int, bool, bool]]) -> None:
    kept: dict[str, list[int]] = {}

    async def append(log: str, records: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        if any(record % 7 == 6 for record in records):
            raise UnavailableError("store")
        kept.setdefault(log, []).extend(records)
        return list(range(len(kept[log]) - len(records) + 1, len(kept[log]) + 1))

    batcher = AuditBatcher(append, max_batch=3)
    tasks = []
    for record, (log, cancels, pauses) in enumerate(asked):
        tasks.append((str(log), record, asyncio.create_task(batcher.record(str(log), record))))
        if pauses:
            await asyncio.sleep(0)
        if cancels:
            tasks[record // 2][2].cancel()
    ended = await asyncio.gather(*(task for _, _, task in tasks), return_exceptions=True)
    await batcher.drain()
    for (log, record, _), answer in zip(tasks, ended, strict=True):
        if isinstance(answer, int):
            assert kept[log][answer - 1] == record
    assert all(records == sorted(set(records)) for records in kept.values())
