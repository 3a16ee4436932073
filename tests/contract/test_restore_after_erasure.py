"""A backup from before an erasure, restored after it: the gallery's own receipts keep the erased away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gallery_svc.signing import Signer
from tessera.cli import __main__ as entry
from tessera.v1 import subject_pb2
from tests.eventually import eventually
from tests.gallery_world import World, embedded, enroll, found, person, running_world
from tests.valkey import running_server


async def tessera(world: World, *arguments: object) -> int:
    """Run a command against a gallery; its exit code."""
    address = ["--gallery", f"127.0.0.1:{world.gallery.server.port}"]
    return await asyncio.to_thread(entry.main, [*(str(each) for each in arguments), *address])


def has_receipt(folder: Path) -> bool:
    """Whether a receipt stands among the checkpoints."""
    return any(b'"RECEIPT"' in path.read_bytes() for path in folder.glob("*.checkpoints"))


@pytest.mark.parametrize("store", ["memory", "valkey"])
async def test_a_restore_does_not_undo_an_erasure(store: str, tmp_path: Path) -> None:
    """All is lost but backup, keys and checkpoints; after the restore Bob is still erased, and the others are found."""
    signer, audit = Signer.create(tmp_path / "signing"), tmp_path / "audit"
    (tmp_path / "pub.pem").write_text(signer.public_pem)
    common = {"audit_dir": str(audit), "signing_key": str(tmp_path / "signing"), "checkpoint_interval_s": 0.05}
    with running_server(tmp_path / "one") as one, running_server(tmp_path / "two") as two:
        stores = ["memory", "memory"] if store == "memory" else [one.url, two.url]
        async with running_world(stores[0], **common) as world:
            await eventually(world.is_ready)
            for number, name in enumerate(("ada", "bob", "eve")):
                await enroll(world, name, embedded(person(number)))
            assert await tessera(world, "backup", tmp_path / "backup") == 0
            await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="bob"))

            async def told() -> bool:
                return await asyncio.to_thread(has_receipt, audit)

            await eventually(told)
        async with running_world(stores[1]) as world:
            await eventually(world.is_ready)
            trusted = ("--receipts", audit, "--key", tmp_path / "pub.pem")
            assert await tessera(world, "restore", tmp_path / "backup", *trusted) == 0
            assert (await found(world, embedded(person(2))))[0] == "eve"
            assert set(await found(world, embedded(person(1)))) == {"ada", "eve"}
