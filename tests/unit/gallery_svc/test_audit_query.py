"""Questions to the audit log: bounded work, whole answers page by page, and nothing hidden that is no record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gallery_svc import audit_query
from gallery_svc.audit_query import AuditPage, AuditPlace, AuditQuery, AuditQuestion, ToldEntry
from gallery_svc.audit_wire import audit_response
from gallery_svc.auditing import AuditStamper
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory import MemoryStore
from tessera.domain.errors import InvalidInputError, NotFoundError
from tessera.domain.ids import CollectionId, SubjectId
from tessera.trust.chain import extended, log_start
from tessera.trust.stamps import audit_key_of

KEY = bytes(range(32))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STAFF, GUESTS = CollectionId("staff"), CollectionId("guests")


async def _store(entries: int = 30) -> MemoryStore:
    """Two shards of staff, one of guests, and what belongs to no collection; a minute between entries."""
    store = MemoryStore(AuditStamper(KEY, "gallery-a"))
    for number in range(entries):
        at, subject = NOON + timedelta(minutes=number), SubjectId(f"s{number % 3}")
        for log, where in (("staff/00", STAFF), ("staff/01", STAFF), ("guests/00", GUESTS), ("_", None)):
            record = AuditRecord("Verify", at, f"ev-{log.replace('/', '-')}-{number}", "", where, subject)
            await store.append_audit(log, [record])
    return store


async def _all(store: MemoryStore, question: AuditQuestion, size: int = 1000) -> tuple[list[tuple[str, int]], int]:
    """(log, sequence) of every entry, and how many pages that took."""
    found: list[tuple[str, int]] = []
    token, pages = "", 0
    while True:
        page = await AuditQuery(store).page(question, token, size)
        found += [(told.stamped.log, told.stamped.sequence) for told in page.entries]
        token, pages = page.next_token, pages + 1
        if not token:
            return found, pages


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 50), subject=st.sampled_from(["", "s1"]), since=st.integers(0, 30), until=st.integers(0, 31))
async def test_pages_hold_what_one_look_at_everything_finds(size: int, subject: str, since: int, until: int) -> None:
    """Whatever is asked and however small the pages: the same entries, once, by log and sequence."""
    question = AuditQuestion(
        STAFF, subject, since=NOON + timedelta(minutes=since), until=NOON + timedelta(minutes=until)
    )
    found, _ = await _all(await _store(), question, size)
    wanted = [number for number in range(30) if since <= number < until and (not subject or number % 3 == 1)]
    assert found == [(log, number + 1) for log in ("staff/00", "staff/01") for number in wanted]


async def test_without_a_collection_all_logs_are_asked() -> None:
    """Also that of what belongs to none."""
    found, _ = await _all(await _store(2), AuditQuestion(evidence_id="ev-_-1"))
    assert found == [("_", 2)]
    found, _ = await _all(await _store(2), AuditQuestion())
    assert {log for log, _ in found} == {"_", "guests/00", "staff/00", "staff/01"}


async def test_one_call_reads_so_much_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that nothing answers takes several calls, each with a token, and ends."""
    monkeypatch.setattr(audit_query, "MOST_READ", 7)
    found, pages = await _all(await _store(), AuditQuestion(STAFF, "nobody"))
    assert (found, pages) == ([], 60 // 7 + 1)


@pytest.mark.parametrize("size", [1, 4, 100])
async def test_the_digest_stands_for_every_entry_before(size: int) -> None:
    """The same as an auditor computes, also over pages; none where the beginning is not there any more."""
    store = await _store()
    head = log_start("guests/00")
    token = ""
    told: list[ToldEntry] = []
    while True:
        page: AuditPage = await AuditQuery(store).page(AuditQuestion(GUESTS), token, size)
        told += page.entries
        token = page.next_token
        if not token:
            break
    for one in told:
        head = extended(head, one.stamped)
        assert one.chain == head.chain
    await store.trim_audit("guests/00", 3)
    page = await AuditQuery(store).page(AuditQuestion(GUESTS), "", 100)
    assert {one.chain for one in page.entries} == {b""}


@pytest.mark.parametrize(
    "entry", [b"nonsense", b"[1]", b'{"method": 7, "at": "2026-11-22T12:00:00+00:00", "evidence_id": "e"}', b"\xff"]
)
async def test_what_is_no_record_is_told_with_its_bytes(entry: bytes) -> None:
    """Nobody hides an entry from those who check by writing nonsense over it."""
    store = await _store(3)
    store._audit["guests/00"][1] = replace(store._audit["guests/00"][1], entry=entry)
    page = await AuditQuery(store).page(AuditQuestion(GUESTS), "", 100)
    told = audit_response(page).entries[1]
    assert (told.sequence, told.entry, told.method) == (2, entry, "")
    assert len((await _all(store, AuditQuestion(GUESTS, "s0")))[0]) == 1


@pytest.mark.parametrize("token", ["x", "staff/00~1", "staff/00~-1~", "staff/00~1~ab", "../x~1~", "staff/0~1~"])
async def test_tokens_of_others_are_refused(token: str) -> None:
    """What no answer gave names no place."""
    with pytest.raises(InvalidInputError, match="page_token"):
        await AuditQuery(await _store(1)).page(AuditQuestion(), token, 10)


async def test_a_collection_that_never_was_is_told() -> None:
    """One that was deleted has its log still."""
    store = await _store(1)
    with pytest.raises(NotFoundError, match="collection"):
        await AuditQuery(store).page(AuditQuestion(CollectionId("none")), "", 10)
    assert (await AuditQuery(store).page(AuditQuestion(STAFF), "", 10)).entries


def test_a_place_comes_back() -> None:
    """As a token and back again."""
    for place in (AuditPlace("_"), AuditPlace("staff/63", 9, bytes(32)), AuditPlace("a:b@c-d.e_f/00", 2**40)):
        assert AuditPlace.of(place.token) == place


def test_auditors_derive_the_same_audit_key() -> None:
    """From the gallery's key, without its ciphers."""
    keyring = Keyring.load("ephemeral")
    assert audit_key_of(keyring.wrapping_key.key) == keyring.derived("audit")
