"""The keys of an instance: made at its first start, beside the store's folder and never in it.

A copy of the store's folder alone tells nobody anything; who keeps a copy of it keeps one of the keys elsewhere.
"""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tessera.chassis.key_files import add_key
from tessera.domain.errors import AlreadyExistsError, InvalidInputError
from tessera.trust.keys import public_pem_of

_ED25519_PREFIX = bytes.fromhex("302e020100300506032b657004220420")
_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class InstanceKeys:
    """Where an instance's secrets are, and the folder for what it signs."""

    kek: Path
    """Templates, names and pictures are sealed with it."""
    evidence: Path
    """Best shots and clips of cameras are sealed with it."""
    signing: Path
    """Receipts and checkpoints are signed with it."""
    public: Path
    """Receipts and checkpoints are checked with it, by anybody."""
    audit: Path
    """Folder for the checkpoints of the audit logs."""


def prepare_keys(data_dir: Path) -> InstanceKeys:
    """The keys of a data folder; those that are missing are made, readable for their owner alone.

    Raises:
        OSError: the folder cannot be written to.
    """
    prepare_gallery_keys(data_dir)
    prepare_ingest_keys(data_dir)
    return _keys_of(data_dir)


def prepare_gallery_keys(data_dir: Path) -> None:
    """Those of a gallery, and its folder for checkpoints.

    Raises:
        OSError: the folder cannot be written to.
    """
    keys = _keys_of(data_dir)
    for made in (keys.kek.parent, keys.audit):
        made.mkdir(mode=0o700, exist_ok=True)
    if not keys.kek.exists():
        _make_kek(keys.kek)
    if not keys.signing.exists():
        _write_once(keys.signing, _signing_key())
    public = _public_key(keys.signing)
    if not keys.public.exists() or keys.public.read_text(encoding="utf-8") != public:
        _write_once(keys.public, public)


def prepare_ingest_keys(data_dir: Path) -> None:
    """That of a camera worker.

    Raises:
        OSError: the folder cannot be written to.
    """
    evidence = _keys_of(data_dir).evidence
    evidence.parent.mkdir(mode=0o700, exist_ok=True)
    if not evidence.exists():
        _make_kek(evidence)


def _keys_of(data_dir: Path) -> InstanceKeys:
    folder = data_dir / "keys"
    return InstanceKeys(
        folder / "kek", folder / "evidence", folder / "signing", folder / "signing.pub", data_dir / "audit"
    )


def _make_kek(path: Path) -> None:
    _draft(path).unlink(missing_ok=True)  # of a start that was killed: nobody else is in this folder
    try:
        add_key(path, datetime.now(UTC))
    except (InvalidInputError, AlreadyExistsError) as error:
        raise OSError(0, str(error), str(path)) from error


def _signing_key() -> str:
    """A new Ed25519 private key as PEM.

    Source: RFC 8410, section 7: an algorithm identifier without parameters, and 32 random bytes.
    """
    body = base64.b64encode(_ED25519_PREFIX + secrets.token_bytes(_SEED_BYTES)).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"


def _public_key(signing: Path) -> str:
    try:
        return public_pem_of(signing.read_text(encoding="ascii"), str(signing))
    except InvalidInputError as error:
        raise OSError(0, str(error), str(signing)) from error


def _write_once(path: Path, text: str) -> None:
    """Write a file whole or not at all: half a key would keep every later start from happening."""
    draft = _draft(path)
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".new")
