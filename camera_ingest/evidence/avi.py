"""JPEG frames as an AVI file, which any player opens: no picture is coded anew.

Frames of a camera do not come at a steady pace, and AVI knows no other. So they are laid on a grid of 10 a second; in
between stand empty chunks, which players show as the frame before.

Source: Microsoft, "AVI RIFF File Reference" (main header, stream header, `movi`, `idx1`), FOURCC MJPG.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime

from tessera.domain.errors import InvalidInputError
from tessera.imaging.headers import read_header

RATE_HZ = 10
_HAS_INDEX, _KEY_FRAME = 0x10, 0x10


def to_avi(frames: Sequence[tuple[datetime, bytes]]) -> bytes:
    """A clip.

    Args:
        frames: (capture time, JPEG), at least one, in order.

    Raises:
        InvalidInputError: there is no frame.
        ImageRejectedError: the first one is no JPEG.
    """
    if not frames:
        raise InvalidInputError("frames", 0, "at least one")
    slots = _on_grid(frames)
    header = read_header(frames[0][1])
    largest = max(len(jpeg) for _, jpeg in frames)
    chunks = [_chunk(b"00dc", jpeg) for jpeg in slots]
    offsets = _offsets(chunks)
    index = b"".join(
        b"00dc" + struct.pack("<III", _KEY_FRAME, offset, len(jpeg))
        for offset, jpeg in zip(offsets, slots, strict=True)
    )
    size = (header.width_px, header.height_px)
    main = struct.pack(
        "<14I", 1_000_000 // RATE_HZ, largest * RATE_HZ, 0, _HAS_INDEX, len(slots), 0, 1, largest, *size, 0, 0, 0, 0
    )
    stream = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, RATE_HZ, 0, len(slots), largest, 0, 0, 0, 0, *size
    )
    picture = struct.pack("<IiiHH4sIiiII", 40, *size, 1, 24, b"MJPG", size[0] * size[1] * 3, 0, 0, 0, 0)
    lists = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", picture))
    body = _list(b"hdrl", _chunk(b"avih", main) + lists) + _list(b"movi", b"".join(chunks)) + _chunk(b"idx1", index)
    return _chunk(b"RIFF", b"AVI " + body)


def _on_grid(frames: Sequence[tuple[datetime, bytes]]) -> list[bytes]:
    """One entry for each tenth of a second; empty where nothing new came. Of two in one slot the later is shown."""
    first = frames[0][0]
    at = [max(0, round((moment - first).total_seconds() * RATE_HZ)) for moment, _ in frames]
    slots = [b""] * (max(at) + 1)
    for slot, (_, jpeg) in zip(at, frames, strict=True):
        slots[slot] = jpeg
    return slots


def _offsets(chunks: Sequence[bytes]) -> list[int]:
    offsets, position = [], 4
    for chunk in chunks:
        offsets.append(position)
        position += len(chunk)
    return offsets


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _list(name: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", name + data)
