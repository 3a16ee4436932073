"""A backup as a folder: one export file for each collection, and a manifest that names all of them with their sha256.

The manifest is written last: a folder without it is no backup. It proves that the files are those that were written,
not who wrote them; that each file proves itself, under the gallery's key. Calls no service.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tessera.cli.transfer import written_whole
from tessera.client.collection_files import FileFacts, file_facts
from tessera.domain.errors import InvalidInputError
from tessera.trust.keys import Signed

MANIFEST = "manifest.json"
SUFFIX = ".tsrx"
SCHEMA = 1

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One collection in a backup."""

    collection_id: str
    file: str
    """Its name in the folder."""
    size_bytes: int
    sha256: str
    file_id: str
    model_id: str
    key_id: str
    """The line of the gallery's key file that it needs."""
    subjects: int
    """When its export began; as `templates`."""
    templates: int
    with_pictures: bool


@dataclass(frozen=True, slots=True)
class Backup:
    """What a folder holds."""

    created: datetime
    collections: tuple[BackedUp, ...]
    receipts: tuple[Signed, ...]
    """Of erasures that were known then."""


def file_name(collection_id: str) -> str:
    """The name of a collection's file."""
    return quote(collection_id, safe="") + SUFFIX


def backed_up(path: Path, sha256: str, size_bytes: int, facts: FileFacts) -> BackedUp:
    """What the manifest says of a file."""
    return BackedUp(
        collection_id=facts.collection_id,
        file=path.name,
        size_bytes=size_bytes,
        sha256=sha256,
        file_id=facts.file_id,
        model_id=facts.model_id,
        key_id=facts.key_id,
        subjects=facts.subjects,
        templates=facts.templates,
        with_pictures=facts.with_pictures,
    )


def write_manifest(folder: Path, backup: Backup) -> None:
    """Make a folder of export files a backup."""
    told = {
        "schema": SCHEMA,
        "created": backup.created.isoformat(),
        "collections": [asdict(one) for one in backup.collections],
        "receipts": [_receipt_fields(signed) for signed in backup.receipts],
    }
    with written_whole(folder / MANIFEST) as file:
        file.write((json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())


def read_backup(folder: Path) -> Backup:
    """What a folder holds, by its manifest.

    Raises:
        InvalidInputError: it is no backup.
    """
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        if told["schema"] != SCHEMA:
            raise InvalidInputError("DIR", f"schema {told['schema']}", f"a backup of schema {SCHEMA}")
        return Backup(
            datetime.fromisoformat(told["created"]),
            tuple(_collection(one) for one in told["collections"]),
            tuple(_signed(one) for one in told["receipts"]),
        )
    except FileNotFoundError:
        raise InvalidInputError(
            "DIR", str(folder), f"a folder with {MANIFEST}: without it a backup is not whole"
        ) from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        why = type(error).__name__
        raise InvalidInputError("DIR", str(folder), f"a backup, as `tessera backup` writes it ({why})") from None


def require_whole(folder: Path, backup: Backup) -> None:
    """Compare every file with what the manifest says of it.

    Raises:
        InvalidInputError: a file is missing, or is not the one that was written.
    """
    for one in backup.collections:
        path = folder / one.file
        allowed = "the file that was written with this manifest; take another copy of the backup"
        if not path.is_file():
            raise InvalidInputError(one.file, "missing", allowed)
        if (path.stat().st_size, _sha256(path)) != (one.size_bytes, one.sha256):
            raise InvalidInputError(one.file, "other bytes than the manifest's", allowed)
        with path.open("rb") as file:
            facts = file_facts(file)
        if (facts.file_id, facts.collection_id) != (one.file_id, one.collection_id):
            raise InvalidInputError(one.file, facts.collection_id, f"the file of {one.collection_id}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _collection(told: Mapping[str, Any]) -> BackedUp:
    one = BackedUp(**told)
    if one.file != file_name(one.collection_id):  # and so it lies in the folder
        raise ValueError("a file of another name")
    return one


def _receipt_fields(signed: Signed) -> dict[str, str]:
    signature = base64.b64encode(signed.signature).decode()
    return {"statement": signed.text, "signature": signature, "signing_key_id": signed.key_id}


def _signed(told: Mapping[str, str]) -> Signed:
    signature = base64.b64decode(told["signature"], validate=True)
    return Signed(told["statement"], signature, told["signing_key_id"])


def newest(receipts: Sequence[Signed]) -> tuple[Signed, ...]:
    """Receipts, each once."""
    return tuple({(one.text, one.key_id): one for one in receipts}.values())
