"""Erasures and the audit log over gRPC: a signed receipt at once, another at the end, a log that outsiders check."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gallery_svc.signing import Signer
from gallery_svc.store.keyring import Keyring
from tessera.cli.audit import audit
from tessera.cli.receipt import receipt
from tessera.client import wire
from tessera.client.audit import audit_entries
from tessera.trust.keys import PublicKeys, Signed
from tessera.trust.receipts import ErasureState, Receipt, verify_receipt
from tessera.v1 import audit_pb2, subject_pb2
from tests.eventually import eventually
from tests.gallery_world import World, embedded, emptied, enroll, person, refused, running_world, verify
from tests.valkey import PrivateServer, running_server

_KEYS_VARIABLE = "TESSERA_TEST_KEYS"


@dataclass
class Audited:
    """A gallery that signs, and what an auditor has of it."""

    world: World
    folder: Path

    @property
    def public_key(self) -> Path:
        """A file with the public key."""
        path = self.folder / "pub.pem"
        path.write_text(self.world.gallery.signer.public_pem)
        return path

    @property
    def keys(self) -> PublicKeys:
        """The same."""
        return PublicKeys.load([self.public_key])

    @property
    def mac_key(self) -> Path:
        """A file with the audit key."""
        path = self.folder / "audit.keys"
        path.write_text(f"audit {base64.b64encode(Keyring.load(f'env:{_KEYS_VARIABLE}').derived('audit')).decode()}\n")
        path.chmod(0o600)
        return path

    async def erase(self, subject_id: str = "ada", request_id: str = "erase-1") -> subject_pb2.ErasureReceipt:
        """Erase somebody."""
        request = subject_pb2.DeleteSubjectRequest(subject_id=subject_id, request_id=request_id)
        return (await self.world.stub.DeleteSubject(request)).receipt

    async def receipt(self, receipt_id: str) -> subject_pb2.ErasureReceipt:
        """How far it is."""
        request = subject_pb2.GetErasureReceiptRequest(receipt_id=receipt_id)
        return (await self.world.stub.GetErasureReceipt(request)).receipt

    async def complete(self, receipt_id: str) -> subject_pb2.ErasureReceipt:
        """The receipt of the end, when it has come."""

        async def look() -> subject_pb2.ErasureReceipt | None:
            found = await self.receipt(receipt_id)
            return found if found.state == subject_pb2.ERASURE_STATE_COMPLETE else None

        found = await eventually(look)
        assert found is not None
        return found

    async def entries(self, **asked: Any) -> list[audit_pb2.AuditEntry]:
        """All pages of an answer."""
        request = audit_pb2.QueryAuditRequest(**asked)
        found: list[audit_pb2.AuditEntry] = []
        while True:
            page = await self.world.stub.QueryAudit(request)
            found.extend(page.entries)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def verify(self, *options: str) -> Result:
        """`tessera audit verify`, asking this gallery, as soon as there are checkpoints."""

        async def has_checkpoints() -> bool:
            return (self.folder / "audit" / "default%2F00.checkpoints").exists()

        await eventually(has_checkpoints)
        server = f"127.0.0.1:{self.world.gallery.server.port}"
        arguments = ["verify", "--server", server, "--checkpoints", str(self.folder / "audit")]
        arguments += ["--key", str(self.public_key), "--mac-key", str(self.mac_key), *options]
        return await asyncio.to_thread(_run, audit, arguments)


def _run(command: Any, arguments: list[str]) -> Result:
    return CliRunner().invoke(command, arguments, standalone_mode=False)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "valkey"])
async def audited(request: pytest.FixtureRequest, valkey: PrivateServer, tmp_path: Path) -> AsyncIterator[Audited]:
    """A gallery that is ready, with Ada and Bob, and a signing key that stays."""
    store = await emptied(valkey) if request.param == "valkey" else "memory"
    Signer.create(tmp_path / "signing")
    settings: dict[str, Any] = {
        "signing_key": str(tmp_path / "signing"),
        "audit_dir": str(tmp_path / "audit"),
        "checkpoint_interval_s": 0.1,
        "erasure_interval_s": 0.05,
    }
    async with running_world(store, **settings) as world:
        await eventually(world.is_ready)
        await enroll(world, "ada", embedded(person(0)), request_id="r-ada")
        await enroll(world, "bob", embedded(person(4)), request_id="r-bob")
        yield Audited(world, tmp_path)


def _checked(message: subject_pb2.ErasureReceipt, keys: PublicKeys) -> Receipt:
    check = verify_receipt(Signed(message.statement, message.signature, message.signing_key_id), keys)
    assert check.findings == ()
    assert check.receipt is not None
    return check.receipt


# ---- receipts


async def test_an_erasure_is_answered_with_a_receipt_and_ends_with_another(audited: Audited) -> None:
    """Both are signed, say the same of what was erased, and the second when it was through and who told so."""
    first = await audited.erase()
    accepted = _checked(first, audited.keys)
    assert (accepted.state, accepted.subject_id, accepted.templates_erased) == (ErasureState.ACCEPTED, "ada", 1)
    second = await audited.complete(first.receipt_id)
    complete = _checked(second, audited.keys)
    assert (complete.state, complete.replicas_confirmed) == (ErasureState.COMPLETE, second.replicas_confirmed)
    assert (complete.receipt_id, complete.position) == (accepted.receipt_id, accepted.position)
    assert complete.replicas_confirmed == 1
    assert complete.completed_at is not None
    assert complete.completed_at >= complete.erased_at
    assert await audited.receipt(first.receipt_id) == second

    async def nothing_is_left() -> bool:
        return audited.world.value("tessera_gallery_erasures_unfinished") == 0

    await eventually(nothing_is_left)


async def test_a_receipt_is_checked_from_the_command_line(audited: Audited) -> None:
    """As a file, with the public key alone; one word changed, and it is not believed."""
    told = await audited.erase()
    fields = {
        "statement": told.statement,
        "signature": base64.b64encode(told.signature).decode(),
        "signing_key_id": told.signing_key_id,
        "subject_id": told.subject_id,
    }
    path = audited.folder / "receipt.json"
    for subject_id, exit_code in (("ada", 0), ("bob", 3)):
        path.write_text(json.dumps(fields | {"subject_id": subject_id}))
        arguments = ["verify", str(path), "--key", str(audited.public_key)]
        assert _run(receipt, arguments).return_value == exit_code


async def test_receipts_that_are_not_there_are_told(audited: Audited) -> None:
    """Another id, and an id that cannot be one."""
    assert (await refused(audited.receipt("receipt-none"))).reason == "RECEIPT_NOT_FOUND"
    assert (await refused(audited.receipt("no id"))).reason == "INVALID_FIELD"


async def test_receipts_stand_in_the_folder_of_checkpoints(audited: Audited) -> None:
    """Both states, outside of the store: a restored backup cannot bring back what was erased."""
    told = await audited.erase()
    await audited.complete(told.receipt_id)
    path = audited.folder / "audit" / "default%2F00.checkpoints"

    async def both() -> bool:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        kept = [json.loads(line["receipt"]) for line in lines if line["kind"] == "RECEIPT"]
        states = [one["state"] for one in kept if one["receipt_id"] == told.receipt_id]
        return (states[:1], states[-1:]) == (["ACCEPTED"], ["COMPLETE"])

    await eventually(both)


# ---- the audit log


async def test_who_asked_what_is_told(audited: Audited) -> None:
    """By subject, by evidence, by time; with outcome and threshold, and no score and no name."""
    before = datetime.now(UTC)
    answer = await verify(audited.world, "ada", embedded(person(0)), request_id="q1")
    await verify(audited.world, "bob", embedded(person(0)))
    (by_evidence,) = await audited.entries(evidence_id=answer.decision.evidence_id)
    assert (by_evidence.method, by_evidence.subject_id, by_evidence.request_id) == ("Verify", "ada", "q1")
    assert (by_evidence.outcome, by_evidence.threshold) == (answer.decision.outcome, answer.decision.threshold)
    of_ada = await audited.entries(collection_id="default", subject_id="ada")
    assert [entry.method for entry in of_ada] == ["EnrollSubject", "Verify"]
    recent = await audited.entries(collection_id="default", until=wire.time_to_wire(before))
    assert {entry.method for entry in recent} == {"EnrollSubject"}
    request = audit_pb2.QueryAuditRequest(collection_id="default")
    getattr(request, "from").CopyFrom(wire.time_to_wire(before))
    newer = (await audited.world.stub.QueryAudit(request)).entries
    assert [entry.method for entry in newer] == ["Verify", "Verify"]


async def test_pages_of_a_log_are_its_entries_with_their_chain(audited: Audited) -> None:
    """However small the pages: every entry once, in order, with the digest that stands for all before it."""
    for _ in range(5):
        await verify(audited.world, "ada", embedded(person(0)))
    whole = await audited.entries(collection_id="default")
    small = await audited.entries(collection_id="default", page_size=2)
    assert [entry.sequence for entry in whole] == list(range(1, len(whole) + 1))
    assert small == whole
    digests = [entry.digest for entry in whole]
    assert all(len(digest) == 32 for digest in digests)
    assert len(set(digests)) == len(whole)


async def test_questions_that_cannot_be_answered_are_refused(audited: Audited) -> None:
    """A collection that never was, a token of somebody else, an end before the beginning."""
    now = datetime.now(UTC)
    request = audit_pb2.QueryAuditRequest(until=wire.time_to_wire(now - timedelta(hours=1)))
    getattr(request, "from").CopyFrom(wire.time_to_wire(now))
    asked = [
        (audit_pb2.QueryAuditRequest(collection_id="none"), "COLLECTION_NOT_FOUND", "collection_id"),
        (audit_pb2.QueryAuditRequest(page_token="x~y"), "INVALID_FIELD", "page_token"),
        (audit_pb2.QueryAuditRequest(page_size=1001), "INVALID_FIELD", "page_size"),
        (request, "INVALID_FIELD", "until"),
    ]
    for message, reason, field in asked:
        detail = await refused(audited.world.stub.QueryAudit(message))
        assert detail.reason == reason
        assert detail.metadata.get("field", "") == field


async def test_the_log_is_checked_without_trusting_the_gallery(audited: Audited) -> None:
    """Entries from the gallery, checkpoints and keys from elsewhere: nothing is wrong, and that is told."""
    await verify(audited.world, "ada", embedded(person(0)))
    await audited.complete((await audited.erase()).receipt_id)
    done = await audited.verify("--collection", "default")
    assert (done.return_value, "nothing is wrong" in done.output) == (0, True), done.output
    assert (await audited.verify()).return_value == 0
    entries = await asyncio.to_thread(lambda: list(audit_entries(f"127.0.0.1:{audited.world.gallery.server.port}")))
    assert {entry.log for entry in entries} >= {"default/00"}


async def test_an_entry_that_somebody_changed_is_found(audited: Audited) -> None:
    """In the store, behind the gallery's back: exit code 3, and where it begins."""
    await verify(audited.world, "ada", embedded(person(0)))
    await _change(audited)
    found = await audited.verify("--collection", "default")
    assert (found.return_value, "EDITED" in found.output) == (3, True), found.output
    assert os.environ[_KEYS_VARIABLE] not in found.output


async def _change(audited: Audited) -> None:
    store: Any = audited.world.gallery.store
    log = "default/00"
    (entry, *_) = await store.audit_after(log, 1, 1)
    forged = entry.entry.replace(b'"bob"', b'"eve"')
    assert forged != entry.entry
    if hasattr(store, "_audit"):
        kept = store._audit[log]
        kept[1] = type(entry)(entry.sequence, forged, entry.stamp)
        return
    key = f"tessera:{{{log}}}:audit"
    raw = await store._door.read(log, [("XRANGE", key, "-", "+")])
    await store._door.read(log, [("DEL", key)])
    for entry_id, fields in raw[0]:
        changed = [field.replace(b'"bob"', b'"eve"') if entry_id == b"2-0" else field for field in fields]
        await store._door.read(log, [("XADD", key, entry_id, *changed)])
