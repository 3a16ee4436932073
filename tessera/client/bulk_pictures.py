"""The pictures of a bulk enrolment on this machine: may a file be sent, and what is in it.

What is refused here is told like what the gallery refuses, and never leaves: files outside of the folder, files that
cannot be read, files that are too large. Whether a file is a picture at all, the encoder says.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.chassis.limits import MAX_MESSAGE_BYTES
from tessera.domain.reasons import Reason

MAX_PICTURE_BYTES = 20 * 1024 * 1024
"""What the encoder takes unless it is set up otherwise."""

OUTSIDE_FOLDER = "OUTSIDE_FOLDER"
UNREADABLE = "UNREADABLE"
SAME_PICTURE = "SAME_PICTURE"
CHANGED = "CHANGED"

_MAX_REQUEST_BYTES = MAX_MESSAGE_BYTES * 3 // 4


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture."""

    name: str
    """Its path from the plan's root."""
    accepted: bool
    reasons: tuple[str, ...] = ()
    """Why not, as `tessera.domain.reasons` names it, or one of this module's. Of one that was accepted, what is told of
    it all the same: OUTLIER, where such pictures are reported."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture that may be sent."""

    name: str
    sha256: str
    """Of its bytes, hex."""
    size_bytes: int


class PictureRefusedError(Exception):
    """A file is not sent; carries what is told of it."""

    def __init__(self, name: str, reason: str, detail: str) -> None:
        self.result = PictureResult(name, accepted=False, reasons=(reason,), detail=detail)
        super().__init__(f"{name}: {detail}")


def read_picture(root: Path, name: str) -> bytes:
    """The bytes of a picture.

    Args:
        root: absolute, without links; nothing outside of it is read.
        name: the picture's path from there.

    Raises:
        PictureRefusedError: it may not be sent, or cannot be read.
    """
    try:
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root):
            raise PictureRefusedError(
                name, OUTSIDE_FOLDER, "a link that leads out of the folder; copy the file into it"
            )
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise PictureRefusedError(name, UNREADABLE, "it is no file")
        if found.st_size > MAX_PICTURE_BYTES:
            detail = f"got {found.st_size:,} bytes; allowed: at most {MAX_PICTURE_BYTES:,}"
            raise PictureRefusedError(name, Reason.TOO_MANY_BYTES, detail)
        with path.open("rb") as file:
            data = file.read(MAX_PICTURE_BYTES + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to themselves
        why = getattr(error, "strerror", None) or "its links lead to themselves"
        raise PictureRefusedError(name, UNREADABLE, f"it cannot be read: {why}") from None
    if not data:
        raise PictureRefusedError(name, Reason.EMPTY_IMAGE, "the file holds no bytes")
    return data


def look_at(root: Path, names: Sequence[str]) -> tuple[tuple[PictureFile, ...], tuple[PictureResult, ...]]:
    """Read each picture once, and keep none of them.

    Returns:
        Those that may be sent, and what is told of the others.
    """
    files: dict[str, PictureFile] = {}
    refused = []
    for name in names:
        try:
            data = read_picture(root, name)
        except PictureRefusedError as error:
            refused.append(error.result)
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        first = files.setdefault(sha256, PictureFile(name, sha256, len(data)))
        if first.name != name:
            refused.append(PictureResult(name, False, (SAME_PICTURE,), f"the same bytes as {first.name}"))
    return tuple(files.values()), tuple(refused)


def read_again(root: Path, file: PictureFile) -> bytes:
    """The bytes of a picture that was looked at.

    Raises:
        PictureRefusedError: it has changed since, or is gone.
    """
    data = read_picture(root, file.name)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise PictureRefusedError(file.name, CHANGED, "it changed while it was being enrolled")
    return data


def requests_of(files: Sequence[PictureFile]) -> Iterator[tuple[PictureFile, ...]]:
    """The pictures as they fit into messages: mostly all into one."""
    part: list[PictureFile] = []
    for file in files:
        if part and sum(one.size_bytes for one in part) + file.size_bytes > _MAX_REQUEST_BYTES:
            yield tuple(part)
            part = []
        part.append(file)
    if part:
        yield tuple(part)
