"""The export file `TSRX1`: a collection on its way to another store, sealed, and found damaged where it is.

    magic "TSRX1\\n" | header bytes u32 | header JSON | nonce 12, sealed file key 48 | frame | frame | ... | last frame
    frame: top bit "last", 31 bits length | nonce 12 | AES-256-GCM(file key, zlib(plain))

Each frame's tag also covers the sha256 of all that stands before the first frame, the frame's number, and whether it is
the last: an edit, a cut, another order, a frame twice or a frame of another file does not open. Numbers are
little-endian. This module knows bytes and keys; which subjects are exported, where the bytes go, and whether an import
may write them, others decide. Nothing of a frame is given out before the whole of it is proved.

Source: AES-GCM: NIST SP 800-38D; zlib: RFC 1950.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gallery_svc.export_format import (
    LENGTH,
    ExportDamagedError,
    ExportedSubject,
    ExportHeader,
    PackedSubject,
    Tally,
    frame_bytes,
    header_bytes,
    header_fields,
    header_from,
    packed,
    subjects_of,
)
from tessera.domain.embedding import MAX_DIMENSIONS
from tessera.domain.errors import InvalidInputError, StoreCorruptError

__all__ = [
    "ExportDamagedError",
    "ExportHeader",
    "ExportReader",
    "ExportSummary",
    "ExportWriter",
    "ExportedSubject",
    "stream_export",
    "write_export",
]

MAX_CHUNK_BYTES = 1 << 20
MAX_SUBJECTS_A_FRAME = 512
MAX_PLAIN_BYTES = 1 << 28
"""Of one frame: what a reader holds at most. Frames close long before; only one subject's pictures come near it."""

_MAGIC = b"TSRX1\n"
_CLOSE_AT_BYTES = 8 << 20
_MAX_SUBJECT_BYTES = MAX_PLAIN_BYTES - (1 << 20)
_MAX_HEADER_BYTES = 1 << 20
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SEALED_KEY_BYTES = _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES
_LAST = 1 << 31
_AAD = struct.Struct("<32sQ?")


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What a file held that was read to its end."""

    header: ExportHeader
    subjects: int
    templates: int
    pictures: int
    sha256: str
    """Of the plaintext of all frames but the last, hex."""


# ---- writing


def write_export(header: ExportHeader, subjects: Iterable[ExportedSubject], key: bytes) -> Iterator[bytes]:
    """Write a whole file.

    Args:
        header: what is told of it.
        subjects: each once.
        key: 32 bytes, known to the reader as `header.key_id`.

    Returns:
        Its bytes in chunks of at most 1 MiB.

    Raises:
        InvalidInputError: a subject's vectors or pictures do not fit its record, or it is too large for a frame.
    """
    writer = ExportWriter(header, key)
    yield from _chunks(writer.opening())
    for subject in subjects:
        yield from _chunks(writer.add(subject))
    yield from _chunks(writer.closing())


async def stream_export(
    header: ExportHeader, subjects: AsyncIterable[ExportedSubject], key: bytes
) -> AsyncIterator[bytes]:
    """`write_export` of subjects that have to be waited for."""
    writer = ExportWriter(header, key)
    for chunk in _chunks(writer.opening()):
        yield chunk
    async for subject in subjects:
        for chunk in _chunks(writer.add(subject)):
            yield chunk
    for chunk in _chunks(writer.closing()):
        yield chunk


class ExportWriter:
    """Makes the bytes of one file: `opening`, then `add` for each subject, then `closing`; it writes nothing itself.

    Args:
        header: what is told of it.
        key: 32 bytes, known to the reader as `header.key_id`.

    Raises:
        InvalidInputError: the key has another length, or the header says what no file can hold.
    """

    def __init__(self, header: ExportHeader, key: bytes) -> None:
        if not 1 <= header.dimensions <= MAX_DIMENSIONS:
            raise InvalidInputError("dimensions", header.dimensions, f"1 to {MAX_DIMENSIONS}")
        file_key = secrets.token_bytes(_KEY_BYTES)
        self._header = header
        self._opening = _opening(header, file_key, key)
        self._digest = hashlib.sha256(self._opening).digest()
        self._cipher = AESGCM(file_key)
        self._waiting: list[PackedSubject] = []
        self._waiting_bytes = 0
        self._frames = 0
        self._tally = Tally()

    def opening(self) -> bytes:
        """All that stands before the first frame."""
        return self._opening

    def add(self, subject: ExportedSubject) -> bytes:
        """Take a subject; gives the frames that are full now, mostly none.

        Raises:
            InvalidInputError: its vectors or pictures do not fit its record, or it is too large for a frame.
        """
        self._require_fitting(subject)
        one = packed(subject)
        if one.size_bytes > _MAX_SUBJECT_BYTES:
            allowed = f"at most {_MAX_SUBJECT_BYTES:,}; leave its pictures out"
            raise InvalidInputError(f"subject {subject.record.subject_id}", f"{one.size_bytes:,} bytes", allowed)
        # One that would overfill a frame opens the next, so that only one subject alone can make a large one.
        before = self._frame() if self._waiting and self._waiting_bytes + one.size_bytes > _CLOSE_AT_BYTES else b""
        self._waiting.append(one)
        self._waiting_bytes += one.size_bytes
        return before + (self._frame() if len(self._waiting) == MAX_SUBJECTS_A_FRAME else b"")

    def closing(self) -> bytes:
        """The frame of those who still wait, and the last one."""
        rest = self._frame() if self._waiting else b""
        return rest + self._sealed(self._tally.told(), is_last=True)

    def _require_fitting(self, subject: ExportedSubject) -> None:
        expected = (len(subject.record.templates), self._header.dimensions)
        if subject.vectors.shape != expected or subject.vectors.dtype != np.float16:
            found = f"{subject.vectors.dtype} of {subject.vectors.shape}"
            raise InvalidInputError("vectors", found, f"float16 of {expected}")
        most = expected[0] if self._header.with_pictures else 0
        if len(subject.pictures) not in {0, most}:
            raise InvalidInputError("pictures", f"{len(subject.pictures)} pictures", f"none, or {most}")

    def _frame(self) -> bytes:
        plain = frame_bytes(self._waiting)
        self._tally.count((one.subject for one in self._waiting), plain)
        self._waiting, self._waiting_bytes = [], 0
        return self._sealed(plain, is_last=False)

    def _sealed(self, plain: bytes, *, is_last: bool) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        aad = _AAD.pack(self._digest, self._frames, is_last)
        # Level 1: vectors and pictures hardly shrink, and the records do at any level.
        sealed = self._cipher.encrypt(nonce, zlib.compress(plain, 1), aad)
        self._frames += 1
        word = len(nonce) + len(sealed) | (_LAST if is_last else 0)
        return b"".join((LENGTH.pack(word), nonce, sealed))


# ---- reading


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a proved header gives to the frames behind it."""

    header: ExportHeader
    cipher: AESGCM
    digest: bytes


class ExportReader:
    """Reads one file as its bytes come, in whatever pieces.

    It holds at most one frame and the piece that was fed, whatever lengths the file claims. After an error it reads
    nothing more.

    Args:
        key_for: gives the 32 bytes of the key of an id, or raises what its caller is to see.
        max_plain_bytes: of one frame, uncompressed.
    """

    def __init__(self, key_for: Callable[[str], bytes], max_plain_bytes: int = MAX_PLAIN_BYTES) -> None:
        self._key_for = key_for
        self._max_plain_bytes = max_plain_bytes
        # Deflate adds 5 bytes to each 16 KB that it cannot shrink.
        self._max_frame_bytes = max_plain_bytes + max_plain_bytes // 1000 + 1024
        self._buffer = bytearray()
        self._read_bytes = 0
        self._opened: _Opened | None = None
        self._frames = 0
        self._tally = Tally()
        self._summary: ExportSummary | None = None
        self._damage: Exception | None = None

    @property
    def header(self) -> ExportHeader | None:
        """What the file says of itself; None until that is read and proved."""
        return self._opened.header if self._opened is not None else None

    def feed(self, chunk: bytes) -> list[ExportedSubject]:
        """Take the next bytes.

        Returns:
            The subjects of the frames that are whole now.

        Raises:
            ExportDamagedError: something is wrong; where and what.
            InvalidInputError: the key that `key_for` gave has not 32 bytes.
        """
        self._require_undamaged()
        self._buffer += chunk
        try:
            return self._advance()
        except Exception as error:
            self._damage = error
            self._buffer.clear()
            raise

    def finish(self) -> ExportSummary:
        """Say that there are no more bytes.

        Raises:
            ExportDamagedError: the file should go on here.
        """
        self._require_undamaged()
        if self._summary is None:
            end = self._read_bytes + len(self._buffer)
            part = "header" if self._opened is None else self._part
            raise ExportDamagedError(part, f"the file ends after {end:,} bytes, before its last frame is whole")
        return self._summary

    def _require_undamaged(self) -> None:
        if self._damage is not None:
            raise self._damage

    @property
    def _part(self) -> str:
        return f"frame {self._frames} (at byte {self._read_bytes:,})"

    def _advance(self) -> list[ExportedSubject]:
        if self._opened is None:
            self._opened = self._header_if_whole()
        subjects: list[ExportedSubject] = []
        while self._opened is not None and (frame := self._frame_if_whole(self._opened)) is not None:
            subjects += frame
        return subjects

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._read_bytes += count
        return taken

    def _header_if_whole(self) -> _Opened | None:
        if not _MAGIC.startswith(self._buffer[: len(_MAGIC)]):
            raise ExportDamagedError("header", "it does not begin as an export of this version does (TSRX1)")
        before = len(_MAGIC) + LENGTH.size
        if len(self._buffer) < before:
            return None
        (length,) = LENGTH.unpack_from(self._buffer, len(_MAGIC))
        if length > _MAX_HEADER_BYTES:
            raise ExportDamagedError("header", f"it claims {length:,} bytes; allowed: at most {_MAX_HEADER_BYTES:,}")
        if len(self._buffer) < before + length + _SEALED_KEY_BYTES:
            return None
        return self._proved(self._take(before + length), self._take(_SEALED_KEY_BYTES))

    def _proved(self, clear: bytes, sealed_key: bytes) -> _Opened:
        fields = header_fields(clear[len(_MAGIC) + LENGTH.size :])
        cipher = _cipher(self._key_for(fields["key_id"]))
        nonce, sealed = sealed_key[:_NONCE_BYTES], sealed_key[_NONCE_BYTES:]
        try:
            file_key = cipher.decrypt(nonce, sealed, hashlib.sha256(clear).digest())
        except InvalidTag:
            why = "the file key does not open: the header was changed, or this is not the key that it names"
            raise ExportDamagedError("header", why) from None
        return _Opened(header_from(fields), AESGCM(file_key), hashlib.sha256(clear + sealed_key).digest())

    def _frame_if_whole(self, opened: _Opened) -> list[ExportedSubject] | None:
        if self._summary is not None:
            if self._buffer:
                raise ExportDamagedError("end", f"bytes follow the last frame, which ends at byte {self._read_bytes:,}")
            return None
        if len(self._buffer) < LENGTH.size:
            return None
        (word,) = LENGTH.unpack_from(self._buffer)
        length, part = word & ~_LAST, self._part
        if not _NONCE_BYTES + _TAG_BYTES <= length <= self._max_frame_bytes:
            raise ExportDamagedError(part, f"it claims {length:,} bytes; allowed: up to {self._max_frame_bytes:,}")
        if len(self._buffer) < LENGTH.size + length:
            return None
        plain = self._plain(opened, self._take(LENGTH.size + length), part, is_last=bool(word & _LAST))
        return self._ended(opened, plain, part) if word & _LAST else self._subjects(opened, plain, part)

    def _plain(self, opened: _Opened, frame: bytes, part: str, *, is_last: bool) -> bytes:
        nonce_ends = LENGTH.size + _NONCE_BYTES
        aad = _AAD.pack(opened.digest, self._frames, is_last)
        try:
            compressed = opened.cipher.decrypt(frame[LENGTH.size : nonce_ends], memoryview(frame)[nonce_ends:], aad)
        except InvalidTag:
            why = "it does not open: it was changed, or it stood elsewhere, or in another file"
            raise ExportDamagedError(part, why) from None
        self._frames += 1
        return self._unpacked(compressed, part)

    def _unpacked(self, compressed: bytes, part: str) -> bytes:
        unpacking = zlib.decompressobj()
        try:
            plain = unpacking.decompress(compressed, self._max_plain_bytes + 1)
        except zlib.error as error:
            raise ExportDamagedError(part, f"it cannot be unpacked: {error}") from None
        if len(plain) > self._max_plain_bytes:
            raise ExportDamagedError(part, f"it unpacks to more than {self._max_plain_bytes:,} bytes")
        if not unpacking.eof or unpacking.unused_data:
            raise ExportDamagedError(part, "it does not unpack to one whole")
        return plain

    def _subjects(self, opened: _Opened, plain: bytes, part: str) -> list[ExportedSubject]:
        try:
            subjects = subjects_of(plain, opened.header.dimensions)
        except (StoreCorruptError, ValueError, KeyError, TypeError, struct.error) as error:
            raise ExportDamagedError(part, f"it opens, but holds no subjects ({type(error).__name__})") from None
        self._tally.count(subjects, plain)
        return subjects

    def _ended(self, opened: _Opened, plain: bytes, part: str) -> list[ExportedSubject]:
        tally = self._tally
        if plain != tally.told():
            raise ExportDamagedError(part, "what was read before it is not what it says was written")
        self._summary = ExportSummary(opened.header, tally.subjects, tally.templates, tally.pictures, tally.sha256)
        return []


# ---- the bytes


def _opening(header: ExportHeader, file_key: bytes, key: bytes) -> bytes:
    text = header_bytes(header)
    if len(text) > _MAX_HEADER_BYTES:
        raise InvalidInputError("header", f"{len(text):,} bytes", f"at most {_MAX_HEADER_BYTES:,}")
    clear = _MAGIC + LENGTH.pack(len(text)) + text
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return clear + nonce + _cipher(key).encrypt(nonce, file_key, hashlib.sha256(clear).digest())


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MAX_CHUNK_BYTES):
        yield data[start : start + MAX_CHUNK_BYTES]


def _cipher(key: bytes) -> AESGCM:
    if len(key) != _KEY_BYTES:
        raise InvalidInputError("export key", f"{len(key)} bytes", f"{_KEY_BYTES} bytes")
    return AESGCM(key)
