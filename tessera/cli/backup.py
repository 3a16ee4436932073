"""`tessera backup` and `tessera restore`: every collection of a gallery as a folder of sealed files, and back.

A restore checks everything before it changes anything, and brings back nobody who was erased since. What is not in a
backup: events, audit logs (copy the folder of checkpoints), and the keys, which belong elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from tessera.cli.as_json import echo_json, plain
from tessera.cli.backup_folder import (
    MANIFEST,
    BackedUp,
    Backup,
    backed_up,
    file_name,
    newest,
    read_backup,
    require_whole,
    write_manifest,
)
from tessera.cli.collection_files import (
    facts_in,
    import_text,
    key_id_option,
    public_key_option,
    receipts_option,
    send,
)
from tessera.cli.connection import connect, connect_files, connection_options, wants_json
from tessera.cli.erased_since import Erasures, erasures_of, signed_receipts
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.transfer import Counted, progress_bar, written_whole
from tessera.client.answers import Collection
from tessera.client.collection_files import ImportResult
from tessera.client.errors import NotFound
from tessera.domain.errors import InvalidInputError
from tessera.trust.keys import PublicKeys, Signed

_SEQUENCE = (1 << 48) - 1  # a position has its shard above bit 48


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--without-pictures", is_flag=True, help="Leave the pictures of templates out.")
@key_id_option
@receipts_option
@public_key_option
@connection_options
def backup(
    folder: Path, without_pictures: bool, key_id: str, folders: tuple[Path, ...], key_paths: tuple[Path, ...]
) -> int:
    """Export every collection into DIR, which is new or empty.

    The gallery works on meanwhile. The files need the gallery's key file to be read: keep a copy of that elsewhere.
    With --receipts the receipts of erasure that are known now are kept with them.
    """
    _require_empty(folder)
    receipts = newest(_receipts(folders, key_paths))
    created = datetime.now(UTC)
    with connect() as tessera:
        names = [collection.collection_id for collection in tessera.collections()]
    written = tuple(_export(folder, name, key_id, with_pictures=not without_pictures) for name in names)
    write_manifest(folder, Backup(created, written, receipts))
    if wants_json():
        echo_json({"folder": str(folder), "collections": written, "receipts": len(receipts)})
    else:
        click.echo(_backup_text(folder, written))
    return ExitCode.DONE


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@receipts_option
@public_key_option
@click.option("--without-receipts", is_flag=True, help="Nobody was erased since, or there are no receipts any more.")
@click.option("--resume", is_flag=True, help="Go on with a restore that broke off: collections may have subjects.")
@connection_options
def restore(
    folder: Path, folders: tuple[Path, ...], key_paths: tuple[Path, ...], without_receipts: bool, resume: bool
) -> int:
    """Bring the collections of a backup back into a gallery where they are missing or empty.

    Everything is checked first. Whoever was erased after the backup stays erased, as the signed receipts beside the
    audit log say: name their folder with --receipts, and the public key with --key.
    """
    known, erased = _checked(folder, folders, key_paths, without_receipts=without_receipts)
    if not resume:
        _require_room(known)
    results: dict[str, ImportResult] = {}
    for one in known.collections:
        result = send(folder / one.file, one.collection_id, erased.get(one.collection_id, {}))
        results[one.collection_id] = result
        if not wants_json():
            click.echo(import_text(folder / one.file, one.collection_id, result))
    if wants_json():
        echo_json({"folder": str(folder), "collections": {name: plain(result) for name, result in results.items()}})
    else:
        click.echo(f"Restored {len(results)} collections as of {known.created.astimezone():%Y-%m-%d %H:%M:%S}.")
    return ExitCode.DONE


# ---- backup


def _require_empty(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Failure(f"{folder} is not empty", field="DIR", value=str(folder), allowed="a new or an empty folder")
    except OSError as error:
        why = error.strerror or str(error)
        raise Failure(f"{folder} cannot be used: {why}", field="DIR", value=str(folder)) from None


def _export(folder: Path, collection_id: str, key_id: str, *, with_pictures: bool) -> BackedUp:
    path = folder / file_name(collection_id)
    with connect_files() as files, progress_bar(hidden=wants_json()) as progress, written_whole(path) as file:
        bar = Counted(file, progress, progress.add_task(f"Backing up {collection_id}", total=None))
        result = files.export_to(bar, collection_id, key_id=key_id, with_pictures=with_pictures)
    return backed_up(path, result.sha256, result.size_bytes, facts_in(path))


def _backup_text(folder: Path, written: tuple[BackedUp, ...]) -> str:
    lines = [
        f"  {one.collection_id}: {one.subjects} subjects, {one.templates} templates, {one.size_bytes / 1e6:,.1f} MB"
        for one in written
    ]
    keys = ", ".join(sorted({one.key_id for one in written}))
    return "\n".join(
        [
            f"Backed up {len(written)} collections to {folder}; {MANIFEST} names them.",
            *lines,
            f"It is read with the key {keys} of the gallery's key file: keep a copy of that, elsewhere.",
        ]
    )


# ---- restore


def _checked(
    folder: Path, folders: tuple[Path, ...], key_paths: tuple[Path, ...], *, without_receipts: bool
) -> tuple[Backup, Erasures]:
    """A backup whose files are whole, and who was erased."""
    if not folders and not without_receipts:
        raise Failure(
            "who was erased after this backup must not come back: name the receipts",
            field="--receipts",
            allowed="the folder of checkpoints of the audit log (DATA_DIR/audit of `tessera up`), with --key",
            next_step="--without-receipts, if nobody was erased since",
            reason="RECEIPTS_MISSING",
        )
    receipts = _receipts(folders, key_paths)
    try:
        known = read_backup(folder)
        require_whole(folder, known)
        if not folders:
            return known, {}
        keys = PublicKeys.load(key_paths)
        return known, erasures_of([*receipts, *known.receipts], keys)
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None


def _receipts(folders: tuple[Path, ...], key_paths: tuple[Path, ...]) -> list[Signed]:
    if not folders:
        return []
    if not key_paths:
        raise Failure("receipts need --key, the public key that they were signed with", field="--key")
    try:
        return signed_receipts(folders, PublicKeys.load(key_paths))
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None


def _require_room(known: Backup) -> None:
    taken: list[str] = []
    with connect() as tessera:
        for one in known.collections:
            try:
                there = tessera.get_collection(one.collection_id)
            except NotFound:
                continue
            if there.subject_count:
                taken.append(f"{one.collection_id} ({there.subject_count} subjects)")
            elif one.with_pictures and not (there.keep_source_images or _is_nobodys(there)):
                raise _without_pictures(one.collection_id)
    if taken:
        raise Failure(
            f"a backup is restored where there is nobody, and these have subjects: {', '.join(taken)}",
            field="--gallery",
            allowed="a gallery whose collections of these names are missing or empty",
            next_step="--resume goes on with a restore that broke off; `tessera import` adds a file to a collection",
            code="FAILED_PRECONDITION",
            reason="COLLECTION_NOT_EMPTY",
        )


def _is_nobodys(there: Collection) -> bool:
    """The default collection that nobody has used yet: an import makes it anew, as the file has it."""
    return (
        there.collection_id == "default"
        and there.revision == 1
        and not any(position & _SEQUENCE for position in there.positions)
    )


def _without_pictures(collection_id: str) -> Failure:
    return Failure(
        f"the collection {collection_id} is there, empty, and keeps no pictures; the backup has some",
        field="--gallery",
        allowed="a collection that keeps pictures, or none of this name: it is made as the backup has it",
        next_step=f"in Python, Tessera().delete_collection({collection_id!r})",
        code="FAILED_PRECONDITION",
        reason="COLLECTION_KEEPS_NO_PICTURES",
    )
