"""`tessera export`, `import`, `backup` and `restore` against a real gallery's servicer: files, words and exit codes."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gallery_svc.checkpoints import CheckpointFile
from gallery_svc.collections import DEFAULT_COLLECTION
from gallery_svc.receipts import signed_receipt
from gallery_svc.signing import Signer
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory import MemoryStore
from tessera.chassis.clock import SystemClock
from tessera.cli import __main__ as entry
from tessera.cli.backup_folder import MANIFEST, file_name, read_backup
from tessera.domain.embedding import Modality
from tessera.trust.receipts import ErasureState, Receipt
from tests.gallery_world import MODEL
from tests.upkeep_world import AT, COPY, NEW_KEY, OLD_KEY, STAFF, Upkeep, serving, staff, template

Run = Callable[..., Awaitable[int]]


async def gallery_with(count: int) -> Upkeep:
    """A gallery of so many people, and of the default collection that each gallery makes."""
    upkeep = Upkeep(MemoryStore(), Keyring((OLD_KEY, NEW_KEY)))
    await upkeep.store.create_collection(CollectionRecord(DEFAULT_COLLECTION, Modality.FACE, MODEL, AT))
    if count:
        await upkeep.store.create_collection(staff())
    for number in range(count):
        await upkeep.enroll(f"p{number}", template(f"t{number}", number, b"picture"))
    return upkeep


@pytest.fixture
async def upkeep() -> Upkeep:
    """A gallery of five people."""
    return await gallery_with(5)


@pytest.fixture
async def run(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """Runs a command against it; gives its exit code."""
    async with serving(upkeep) as address:
        monkeypatch.setenv("TESSERA_GALLERY", address)
        yield lambda *arguments: asyncio.to_thread(entry.main, [str(each) for each in arguments])


async def restored(monkeypatch: pytest.MonkeyPatch, other: Upkeep, *arguments: object) -> int:
    """Run `tessera restore` against another gallery; its exit code."""
    async with serving(other) as address:
        monkeypatch.setenv("TESSERA_GALLERY", address)
        return await asyncio.to_thread(entry.main, ["restore", *(str(each) for each in arguments)])


def receipts(tmp_path: Path, *erased: tuple[str, datetime]) -> tuple[Path, Path]:
    """A folder of checkpoints with signed receipts, and the public key."""
    signer, folder = Signer.ephemeral(), tmp_path / "audit"
    with CheckpointFile.open(folder, "staff/00", signer, SystemClock()) as file:
        for name, at in erased:
            receipt = Receipt(
                receipt_id=f"receipt-{name}",
                collection_id=STAFF,
                subject_id=name,
                state=ErasureState.ACCEPTED,
                templates_erased=1,
                pictures_erased=0,
                events_erased=0,
                erased_at=at,
                completed_at=None,
                replicas_confirmed=0,
                position=9,
            )
            file.receipt(signed_receipt(receipt, signer))
    key = tmp_path / "pub.pem"
    key.write_text(signer.public_pem)
    return folder, key


# ---- export and import


async def test_a_collection_goes_out_and_in(
    run: Run, upkeep: Upkeep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is its owner's alone; the answers tell counts, key and sha256; nobody is named in the file."""
    path = tmp_path / "staff.tsrx"
    assert await run("export", path, "--collection", "staff", "--with-pictures") == 0
    told = capsys.readouterr().out
    assert "5 subjects, 5 templates" in told
    assert "key     old" in told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"The p1" not in path.read_bytes()
    assert await run("import", path, "--collection", "copy", "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["subjects"], result["templates"], result["left_out"], result["replayed"]) == (5, 5, 0, False)
    assert await upkeep.vectors(COPY) == await upkeep.vectors(STAFF)
    assert await run("import", path, "--collection", "copy") == 0
    assert "all of them were there already" in capsys.readouterr().out


async def test_a_file_that_is_there_is_not_replaced(run: Run, tmp_path: Path) -> None:
    """Only --force does; an export that fails leaves the old one."""
    path = tmp_path / "staff.tsrx"
    path.write_bytes(b"mine")
    assert await run("export", path, "--collection", "staff") == 3
    assert await run("export", path, "--collection", "nobody", "--force") == 3
    assert path.read_bytes() == b"mine"
    assert await run("export", path, "--collection", "staff", "--force") == 0
    assert path.read_bytes().startswith(b"TSRX1")
    assert not path.with_name("staff.tsrx.part").exists()


async def test_what_is_no_export_is_not_sent(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, and what would have been one; a damaged one is refused by the gallery, which names the place."""
    path = tmp_path / "file"
    path.write_bytes(b"PK\x03\x04 something else")
    assert await run("import", path) == 3
    assert "is not an export file" in capsys.readouterr().err
    assert await run("export", path, "--collection", "staff", "--force") == 0
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    assert await run("import", path, "--collection", "copy") == 3
    assert "frame 0" in capsys.readouterr().err


async def test_an_import_leaves_out_who_was_erased(run: Run, upkeep: Upkeep, tmp_path: Path) -> None:
    """By signed receipts; without their key nothing is sent."""
    path = tmp_path / "staff.tsrx"
    await run("export", path, "--collection", "staff")
    folder, key = receipts(tmp_path, ("p1", AT + timedelta(days=1)), ("p2", AT - timedelta(days=1)))
    assert await run("import", path, "--collection", "copy", "--receipts", folder) == 3
    assert await run("import", path, "--collection", "copy", "--receipts", folder, "--key", key) == 0
    assert [one.subject_id for one in await upkeep.everybody(COPY)] == ["p0", "p2", "p3", "p4"]


async def test_an_import_may_take_longer_than_other_calls(
    run: Run, upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery that ends each other call after a millisecond takes a file whole."""
    path = tmp_path / "staff.tsrx"
    await run("export", path, "--collection", "staff")
    async with serving(upkeep, max_deadline_s=0.001) as address:
        monkeypatch.setenv("TESSERA_GALLERY", address)
        assert await run("import", path, "--collection", "copy") == 0
    assert len(await upkeep.everybody(COPY)) == 5


# ---- backup and restore


async def test_a_backup_comes_back_whole(
    run: Run, upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every collection with its settings, into a gallery that has only its own default one; twice only to resume."""
    folder = tmp_path / "backup"
    assert await run("backup", folder) == 0
    assert [one.collection_id for one in read_backup(folder).collections] == ["default", "staff"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    other = await gallery_with(0)
    assert await restored(monkeypatch, other, folder, "--without-receipts") == 0
    assert await other.vectors(STAFF) == await upkeep.vectors(STAFF)
    one, two = await upkeep.store.find_collection(STAFF), await other.store.find_collection(STAFF)
    assert one is not None
    assert two is not None
    assert (two.display_name, two.shards, two.keep_source_images) == (one.display_name, 4, True)
    assert (
        await other.store.find_picture(
            STAFF, (await other.everybody(STAFF))[0].subject_id, template("t0", 0).record.template_id
        )
        == b"picture"
    )
    assert await restored(monkeypatch, other, folder, "--without-receipts") == 3
    assert await restored(monkeypatch, other, folder, "--without-receipts", "--resume") == 0
    assert await other.vectors(STAFF) == await upkeep.vectors(STAFF)


async def test_a_restore_brings_nobody_back_who_was_erased(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks for the receipts, and who they name from after the enrolment stays erased."""
    folder = tmp_path / "backup"
    await run("backup", folder)
    audit, key = receipts(tmp_path, ("p3", AT + timedelta(days=9)))
    other = await gallery_with(0)
    assert await restored(monkeypatch, other, folder) == 3
    assert "--without-receipts" in capsys.readouterr().err
    assert await restored(monkeypatch, other, folder, "--receipts", audit, "--key", key) == 0
    assert "1 were erased since, and stayed out" in capsys.readouterr().out
    assert [one.subject_id for one in await other.everybody(STAFF)] == ["p0", "p1", "p2", "p4"]


@pytest.mark.parametrize("damage", ["checkpoints", "key", "file", "missing", "manifest", "swapped"])
async def test_nothing_is_changed_when_anything_is_not_as_it_was(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A damaged receipt, another key, another byte, a file or the manifest missing, two files in each other's place."""
    folder = tmp_path / "backup"
    await run("backup", folder)
    audit, key = receipts(tmp_path, ("p3", AT + timedelta(days=9)), ("p4", AT))
    path = folder / file_name("staff")
    if damage == "checkpoints":
        log = audit / "staff%2F00.checkpoints"
        log.write_bytes(log.read_bytes().replace(b"receipt-p3", b"receipt-p8"))
    elif damage == "key":
        key.write_text(Signer.ephemeral().public_pem)
    elif damage == "file":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "missing":
        path.unlink()
    elif damage == "manifest":
        (folder / MANIFEST).unlink()
    else:
        other_path = folder / file_name("default")
        manifest = json.loads((folder / MANIFEST).read_text())
        one, two = manifest["collections"]
        one["collection_id"], two["collection_id"] = two["collection_id"], one["collection_id"]
        one["file"], two["file"] = two["file"], one["file"]
        content = path.read_bytes()
        path.write_bytes(other_path.read_bytes())
        other_path.write_bytes(content)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    other = await gallery_with(0)
    before = await other.store.list_collections()
    assert await restored(monkeypatch, other, folder, "--receipts", audit, "--key", key) == 3
    assert await other.store.list_collections() == before


async def test_a_backup_keeps_the_receipts_that_are_known(run: Run, tmp_path: Path) -> None:
    """Each once, as it was signed; a folder that is not empty is left alone."""
    audit, key = receipts(tmp_path, ("p3", AT), ("p4", AT))
    folder = tmp_path / "backup"
    assert await run("backup", folder, "--receipts", audit, "--key", key) == 0
    assert len(read_backup(folder).receipts) == 2
    assert await run("backup", folder) == 3


async def test_pictures_are_not_lost_unseen(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A collection that is there, empty, and keeps none, is not restored into when the backup has some."""
    folder = tmp_path / "backup"
    await run("backup", folder)
    other = await gallery_with(0)
    await other.store.create_collection(replace(staff(), keep_source_images=False))
    assert await restored(monkeypatch, other, folder, "--without-receipts") == 3
    assert "keeps no pictures" in capsys.readouterr().err
    assert await other.everybody(STAFF) == []
