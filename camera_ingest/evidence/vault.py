"""Pieces of evidence on disk: a folder of sealed files, bounded in size and age, the oldest of them going first.

A file's name is the piece's id, which is random; what it is stands inside, sealed. Nothing that is torn is served, and
nothing here ever holds up a camera: whoever writes learns that it failed, and goes on. Blocking; for one thread of its
own, and safe for more.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from camera_ingest.evidence.sealing import (
    HEAD_AT,
    MAX_HEAD_BYTES,
    WRAP_AT,
    WRAP_BYTES,
    EvidenceKeys,
    TornError,
    UnknownKeyError,
    head_end,
)
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import NotFoundError

log = get_logger()

_NAME = re.compile(r"[0-9a-f]{32}")
_DRAFT = ".draft"
_HEAD_READ_BYTES = 4096
"""Holds nearly every head; pictures behind it are not read when a folder is opened."""


Shown = tuple[str, ...]
"""Whom a piece shows: (event id,) of a sighting, or (collection id, subject id) of who was matched."""


class Kind(StrEnum):
    """What a piece is."""

    SHOT = "shot"
    CLIP = "clip"
    SCENE = "scene"
    """What a camera usually shows, without who passes."""


class Removal(StrEnum):
    """Why a piece went."""

    SIZE = "SIZE"
    """The store was full: it was the oldest."""
    AGE = "AGE"
    ERASED = "ERASED"
    """Somebody whom it shows was erased."""
    TORN = "TORN"
    """Its file was cut or changed."""


class Trouble(StrEnum):
    """Why a piece was not kept."""

    DISK_FULL = "DISK_FULL"
    WRITE = "WRITE"
    TOO_LARGE = "TOO_LARGE"
    """It alone is larger than the whole store may be."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a piece of evidence is."""

    piece_id: str
    """32 hexadecimal digits at random."""
    kind: Kind
    camera_id: str
    capture_time: datetime
    kept_at: datetime
    shows: tuple[Shown, ...] = ()
    """When one of them is erased, it goes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept."""

    max_bytes: int
    max_age_s: float


@dataclass(frozen=True, slots=True)
class Gone:
    """What a call removed, by reason."""

    reason: Removal
    pieces: int


@dataclass(frozen=True, slots=True)
class _Held:
    piece: Piece | None
    """None: sealed with a key that is not here."""
    size_bytes: int
    kept_at: datetime


class NotKeptError(Exception):
    """A piece could not be written.

    Args:
        trouble: why.
    """

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(trouble.value)


def new_piece_id() -> str:
    """An id that says nothing."""
    return secrets.token_hex(16)


class Vault:
    """A folder of sealed pieces.

    Args:
        folder: its own; made with mode 0700 where there is none.
        keys: seal and open.
        limits: how much is kept.
        clock: for the ages.
    """

    def __init__(self, folder: Path, keys: EvidenceKeys, limits: Limits, clock: Clock) -> None:
        self._folder = folder
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return self._bytes

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What is kept and can be opened, oldest first."""
        with self._lock:
            return tuple(held.piece for held in self._oldest_first() if held.piece is not None)

    def open(self) -> tuple[Gone, ...]:
        """Find what an earlier run kept; what is torn goes. Returns what was removed.

        Raises:
            OSError: the folder cannot be made or read.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        torn = 0
        for path in self._folder.iterdir():
            if path.name.endswith(_DRAFT):
                path.unlink(missing_ok=True)
            elif _NAME.fullmatch(path.name) and path.name not in self._held:
                torn += not self._take_in(path)
        return (*(((Gone(Removal.TORN, torn)),) if torn else ()), *self.tidy())

    def put(self, piece: Piece, body: bytes) -> tuple[Gone, ...]:
        """Keep a piece, in place of an earlier one of its id; the oldest make room for it.

        Raises:
            NotKeptError: it was not written; the earlier one, if any, is as it was.
        """
        sealed = self._keys.seal(piece.piece_id, _dump(piece), body)
        if len(sealed) > self._limits.max_bytes:
            raise NotKeptError(Trouble.TOO_LARGE)
        with self._lock:
            gone = self._make_room(len(sealed), but=piece.piece_id)
            try:
                self._write(piece.piece_id, sealed)
            except OSError as error:
                full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
                raise NotKeptError(Trouble.DISK_FULL if full else Trouble.WRITE) from error
            self._forget(piece.piece_id)
            self._held[piece.piece_id] = _Held(piece, len(sealed), piece.kept_at)
            self._bytes += len(sealed)
        return gone

    def get(self, kind: Kind, piece_id: str) -> tuple[Piece, bytes]:
        """A piece and its body.

        Raises:
            NotFoundError: it was never kept, has gone, cannot be opened, or is torn; a torn one goes now.
        """
        with self._lock:
            held = self._held.get(piece_id)
            if held is None or held.piece is None or held.piece.kind is not kind:
                raise NotFoundError(kind.value, piece_id)
            if self._is_old(held):
                self._remove(piece_id)
                raise NotFoundError(kind.value, piece_id)
            try:
                return held.piece, self._keys.open_body(piece_id, (self._folder / piece_id).read_bytes())
            except (TornError, UnknownKeyError, OSError) as error:
                log.warning("evidence.torn", kind=kind.value, error=type(error).__name__)
                self._remove(piece_id)
                raise NotFoundError(kind.value, piece_id) from None

    def erase_showing(self, gone: frozenset[Shown]) -> int:
        """Remove every piece that shows one of these; returns how many there were."""
        with self._lock:
            showing = [
                key
                for key, held in self._held.items()
                if held.piece is not None and not gone.isdisjoint(held.piece.shows)
            ]
            for key in showing:
                self._remove(key)
            return len(showing)

    def tidy(self) -> tuple[Gone, ...]:
        """Remove what is too old, and the oldest while there is too much."""
        with self._lock:
            old = [key for key, held in self._held.items() if self._is_old(held)]
            for key in old:
                self._remove(key)
            return (*((Gone(Removal.AGE, len(old)),) if old else ()), *self._make_room(0, but=""))

    def _take_in(self, path: Path) -> bool:
        """Enter a file of an earlier run; False when it is torn, and was removed."""
        try:
            with path.open("rb") as file:
                start = file.read(_HEAD_READ_BYTES)
                start += file.read(max(0, min(head_end(start), HEAD_AT + MAX_HEAD_BYTES) - len(start)))
            stat = path.stat()
        except OSError:
            return True
        kept_at = datetime.fromtimestamp(stat.st_mtime, self._clock.now().tzinfo)
        piece: Piece | None = None
        try:
            head, _ = self._keys.open_head(path.name, start)
            piece = _load(path.name, head)
        except UnknownKeyError:
            log.warning("evidence.unknown_key", hint="its key is not in the worker's key file; it goes by age")
        except (TornError, ValueError, KeyError):
            path.unlink(missing_ok=True)
            return False
        with self._lock:
            self._held[path.name] = _Held(piece, stat.st_size, piece.kept_at if piece else kept_at)
            self._bytes += stat.st_size
        return True

    def _make_room(self, more_bytes: int, but: str) -> tuple[Gone, ...]:
        removed = 0
        for held_id in [key for key, _ in sorted(self._held.items(), key=lambda item: item[1].kept_at) if key != but]:
            if self._bytes + more_bytes <= self._limits.max_bytes:
                break
            self._remove(held_id)
            removed += 1
        return (Gone(Removal.SIZE, removed),) if removed else ()

    def _oldest_first(self) -> list[_Held]:
        return sorted(self._held.values(), key=lambda held: held.kept_at)

    def _is_old(self, held: _Held) -> bool:
        return self._clock.now() - held.kept_at > timedelta(seconds=self._limits.max_age_s)

    def _write(self, name: str, sealed: bytes) -> None:
        draft = self._folder / (name + _DRAFT)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(sealed)
            draft.replace(self._folder / name)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise

    def _remove(self, name: str) -> None:
        self._forget(name)
        path = self._folder / name
        with suppress(OSError):
            # The wrapped data key goes first: what a disk may keep of the rest opens with nothing.
            with path.open("r+b") as file:
                file.seek(WRAP_AT)
                file.write(b"\0" * WRAP_BYTES)
                file.flush()
                os.fsync(file.fileno())
            path.unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            self._bytes -= held.size_bytes


def _dump(piece: Piece) -> bytes:
    values = {
        "kind": piece.kind.value,
        "camera_id": piece.camera_id,
        "capture_time": piece.capture_time.isoformat(),
        "kept_at": piece.kept_at.isoformat(),
        "shows": piece.shows,
    }
    return json.dumps(values).encode()


def _load(piece_id: str, head: bytes) -> Piece:
    raw: dict[str, Any] = json.loads(head)
    return Piece(
        piece_id,
        Kind(raw["kind"]),
        str(raw["camera_id"]),
        datetime.fromisoformat(raw["capture_time"]),
        datetime.fromisoformat(raw["kept_at"]),
        tuple(tuple(str(part) for part in shown) for shown in raw["shows"]),
    )
