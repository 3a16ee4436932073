"""What a picture says of itself in its first bytes: format, size, orientation. No pixel is decoded here.

The caps on pixels rest on this: a 20 KB PNG may decode to half a gigabyte, and must be refused before it does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import simplejpeg

from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason


class ImageFormat(StrEnum):
    """The formats that are decoded."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in the first bytes."""

    format: ImageFormat
    height_px: int
    width_px: int
    orientation: int = 1
    """EXIF orientation, 1 to 8, for a JPEG; 1 = upright."""


_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_KNOWN_BUT_REFUSED = (
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "BigTIFF"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"v/1\x01", "OpenEXR"),
)
_BMP_HEADER_BYTES = 40
_BMP_UNCOMPRESSED = 0
_EXIF_ORIENTATION = 0x0112
_EXIF_ENTRY_BYTES = 12


def read_header(data: bytes) -> Header:
    """Read format, size and orientation.

    Args:
        data: the whole picture; at least one byte.

    Raises:
        ImageRejectedError: TRUNCATED_IMAGE, UNSUPPORTED_FORMAT or NOT_AN_IMAGE.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG_MAGIC):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    for magic, name in _KNOWN_BUT_REFUSED:
        if data.startswith(magic):
            raise _unsupported(name)
    if data[4:8] == b"ftyp":
        raise _unsupported("HEIF, AVIF or MP4")
    raise ImageRejectedError(Reason.NOT_AN_IMAGE, f"no picture starts like this; allowed: {_allowed()}")


def _allowed() -> str:
    return ", ".join(ImageFormat)


def _unsupported(name: str) -> ImageRejectedError:
    return ImageRejectedError(Reason.UNSUPPORTED_FORMAT, f"{name}; allowed: {_allowed()}")


def _truncated(detail: str) -> ImageRejectedError:
    return ImageRejectedError(Reason.TRUNCATED_IMAGE, detail)


# ---- JPEG


def _jpeg(data: bytes) -> Header:
    try:
        height_px, width_px, colour, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:  # simplejpeg 1.9: KeyError where the header ends before its colours
        raise _truncated(f"the JPEG header cannot be read: {error}") from error
    if colour in {"CMYK", "YCCK"}:
        raise _unsupported(f"JPEG in {colour} (print colours); send RGB or gray")
    return Header(ImageFormat.JPEG, int(height_px), int(width_px), _orientation(data))


def _orientation(data: bytes) -> int:
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\x00\x00":
            return _exif_orientation(data[start + 6 : end])
    return 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], at + 4, end
        at = end


def _exif_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    if first + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, first)
    for at in range(first + 2, first + 2 + entries * _EXIF_ENTRY_BYTES, _EXIF_ENTRY_BYTES):
        if at + _EXIF_ENTRY_BYTES > len(tiff):
            break
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, at)
        if tag == _EXIF_ORIENTATION:
            return value if 1 <= value <= 8 else 1
    return 1


# ---- PNG


def _png(data: bytes) -> Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise _truncated("the PNG ends inside its header")
    width_px, height_px = struct.unpack_from(">II", data, 16)
    at = len(_PNG_MAGIC)
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return Header(ImageFormat.PNG, height_px, width_px)
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise _truncated(f"the PNG ends after {len(data)} bytes, before its last chunk")


# ---- WebP


def _webp(data: bytes) -> Header:
    if len(data) < 30 or len(data) < int.from_bytes(data[4:8], "little") + 8:
        raise _truncated(f"the WebP ends after {len(data)} bytes, before the size it states")
    kind = data[12:16]
    if kind == b"VP8X":
        width_px, height_px = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width_px, height_px = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width_px, height_px = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        raise _unsupported(f"WebP with a first chunk {kind!r}")
    return Header(ImageFormat.WEBP, height_px, width_px)


# ---- BMP


def _bmp(data: bytes) -> Header:
    if len(data) < 14 + _BMP_HEADER_BYTES:
        raise _truncated("the BMP ends inside its header")
    offset, header_bytes, width_px, signed_height_px, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if header_bytes < _BMP_HEADER_BYTES or width_px <= 0 or signed_height_px == 0:
        raise _unsupported("BMP of a kind older than Windows 3")
    height_px = abs(signed_height_px)
    row_bytes = (width_px * bits + 31) // 32 * 4
    if compression == _BMP_UNCOMPRESSED and len(data) < offset + row_bytes * height_px:
        raise _truncated(f"the BMP ends after {len(data)} bytes, before its last row")
    return Header(ImageFormat.BMP, height_px, width_px)
