"""What a picture says of itself in its first bytes: format, size, orientation. No pixel is decoded here.

The caps on pixels rest on this: a 20 KB PNG may decode to half a gigabyte, and must be refused before it does. Whether
the rest of the file is there is `tessera.imaging.wholeness`'s question, and asked after the caps.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason
from tessera.imaging.exif import orientation_of


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
    """As stored; the upright picture is this wide where the orientation is 5 to 8."""
    width_px: int
    """As stored."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 = upright."""
    progressive: bool = False
    """A JPEG in several scans: a decoder keeps all of its coefficients until the last one."""

    @property
    def decoded_bytes(self) -> int:
        """What decoding takes: 3 bytes a pixel, twice that for a PNG, and 2 for each coefficient of a progressive JPEG.

        Measured, but for the coefficients, which are as libjpeg keeps them without subsampling.
        """
        a_pixel = 9 if self.progressive else 6 if self.format is ImageFormat.PNG else 3
        return a_pixel * self.height_px * self.width_px


PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
BMP_HEADER_BYTES = 14 + 40
"""The file's header and the shortest picture header that is read, that of Windows 3."""

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
_MAX_JPEG_SEGMENTS = 4096
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
"""Any number of fill bytes may stand before it; to match them too would take time with the square of their number."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_JPEG_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xCA})
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_SCAN, _JPEG_END, _JPEG_APP1 = 0xDA, 0xD9, 0xE1
_JPEG_MAX_SIDE_PX = 65_500
_WEBP_ANIMATED = 0x02
_WEBP_HEADER_BYTES = 30
_MAX_WEBP_CHUNKS = 256
_BMP_PLAIN = frozenset({0, 3})
_BMP_BITS = frozenset({1, 4, 8, 16, 24, 32})


def read_header(data: bytes) -> Header:
    """Read format, size and orientation.

    Args:
        data: the whole picture; at least one byte.

    Raises:
        ImageRejectedError: TRUNCATED_IMAGE, UNSUPPORTED_FORMAT, TOO_MANY_PIXELS or NOT_AN_IMAGE.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(PNG_MAGIC):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    for magic, name in _KNOWN_BUT_REFUSED:
        if data.startswith(magic):
            raise unsupported(name)
    if data[4:8] == b"ftyp":
        raise unsupported("HEIF, AVIF or MP4")
    raise damaged(f"no picture starts like this; allowed: {_allowed()}")


def _allowed() -> str:
    return ", ".join(ImageFormat)


def unsupported(name: str) -> ImageRejectedError:
    """A picture of a kind that is not decoded."""
    return ImageRejectedError(Reason.UNSUPPORTED_FORMAT, f"{name}; allowed: {_allowed()}")


def truncated(detail: str) -> ImageRejectedError:
    """A picture whose end is missing."""
    return ImageRejectedError(Reason.TRUNCATED_IMAGE, detail)


def damaged(detail: str) -> ImageRejectedError:
    """Bytes that are no picture, or a broken one."""
    return ImageRejectedError(Reason.NOT_AN_IMAGE, detail)


# ---- JPEG


def _jpeg(data: bytes) -> Header:
    orientation = 1
    for marker, start, end in jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            height_px, width_px = _jpeg_frame(marker, data[start:end])
            return Header(ImageFormat.JPEG, height_px, width_px, orientation, marker in _JPEG_PROGRESSIVE_FRAMES)
        if marker == _JPEG_APP1 and orientation == 1 and data[start : start + 6] == b"Exif\x00\x00":
            orientation = orientation_of(data[start + 6 : end])
    raise damaged("the JPEG has pixels or an end before any size")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG: marker, and where the body starts and ends; the last is its pixels, up to the file's end.

    Whatever lies between segments is stepped over, as libjpeg does.

    Raises:
        ImageRejectedError: TRUNCATED_IMAGE or NOT_AN_IMAGE.
    """
    at = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        found = _JPEG_MARKER.search(data, at)
        if found is None:
            raise truncated(f"the JPEG ends after {len(data)} bytes, inside its header")
        marker, at = found[1][0], found.end()
        if marker in _JPEG_BARE_MARKERS:
            continue
        if marker in {_JPEG_SCAN, _JPEG_END}:
            yield marker, at + 2, len(data)
            return
        length = int.from_bytes(data[at : at + 2], "big")
        end = at + max(2, length)
        if end > len(data):
            raise truncated(f"the JPEG ends after {len(data)} bytes, inside its header")
        if length < 2:
            raise damaged("the JPEG has a segment shorter than its own length")
        yield marker, at + 2, end
        at = end
    raise damaged(f"the JPEG has more than {_MAX_JPEG_SEGMENTS} segments before its pixels")


def _jpeg_frame(marker: int, body: bytes) -> tuple[int, int]:
    if len(body) < 6:
        raise damaged("the JPEG's frame header is too short")
    bits, height_px, width_px, components = struct.unpack_from(">BHHB", body)
    if marker not in _JPEG_DECODED_FRAMES:
        raise unsupported("lossless or hierarchical JPEG")
    if bits != 8:
        raise unsupported(f"JPEG with {bits} bits a colour; send 8")
    if components == 4:
        raise unsupported("JPEG in CMYK or YCCK (print colours); send RGB or gray")
    if components not in {1, 3}:
        raise damaged(f"the JPEG states {components} colour components")
    if height_px == 0:
        raise unsupported("JPEG that states its height after its pixels")
    if max(height_px, width_px) > _JPEG_MAX_SIDE_PX:
        raise ImageRejectedError(
            Reason.TOO_MANY_PIXELS,
            f"got {width_px} x {height_px} pixels; allowed: JPEG sides of at most {_JPEG_MAX_SIDE_PX:,}",
        )
    return height_px, width_px


# ---- PNG


def _png(data: bytes) -> Header:
    if len(data) < 33:
        raise truncated("the PNG ends inside its header")
    if data[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise damaged("the PNG does not begin with its header")
    width_px, height_px = struct.unpack_from(">II", data, 16)
    return Header(ImageFormat.PNG, height_px, width_px)


# ---- WebP


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a WebP: name, and where the body starts and ends; the last may end after the file."""
    at = 12
    for _ in range(_MAX_WEBP_CHUNKS):
        if at + 8 > len(data):
            return
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, end
        at = end + (end & 1)


def _webp(data: bytes) -> Header:
    if len(data) < _WEBP_HEADER_BYTES:
        raise truncated(f"the WebP ends after {len(data)} bytes, inside its header")
    canvas = None
    for kind, start, end in webp_chunks(data):
        body = data[start : start + 10]
        if kind == b"VP8X":
            canvas = _webp_canvas(body)
        elif kind in {b"VP8 ", b"VP8L"}:
            height_px, width_px = _webp_frame(kind, body)
            if canvas not in {None, (height_px, width_px)}:
                raise damaged("the WebP states two sizes")
            return Header(ImageFormat.WEBP, height_px, width_px, _webp_orientation(data))
        elif end > len(data):
            break
    if canvas is not None and len(data) >= int.from_bytes(data[4:8], "little") + 8:
        raise damaged("the WebP has no pixels")
    if canvas is None and data[12:16] not in {b"VP8X", b"VP8 ", b"VP8L"}:
        raise damaged(f"the WebP begins with a chunk {data[12:16]!r}")
    if canvas is None:
        raise truncated(f"the WebP ends after {len(data)} bytes, inside its header")
    return Header(ImageFormat.WEBP, *canvas)


def _webp_canvas(body: bytes) -> tuple[int, int]:
    if len(body) < 10:
        raise truncated("the WebP ends inside its header")
    if body[0] & _WEBP_ANIMATED:
        raise unsupported("animated WebP: which of its pictures is meant cannot be known")
    width_px, height_px = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
    return height_px, width_px


def _webp_frame(kind: bytes, body: bytes) -> tuple[int, int]:
    if len(body) < 10:
        raise truncated("the WebP ends inside its header")
    if kind == b"VP8L":
        if body[0] != 0x2F:
            raise damaged("the WebP's lossless pixels do not begin as such")
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if body[3:6] != b"\x9d\x01\x2a":
        raise damaged("the WebP's pixels do not begin as such")
    width_px, height_px = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return height_px, width_px


def _webp_orientation(data: bytes) -> int:
    for kind, start, end in webp_chunks(data):
        if kind == b"EXIF":
            return orientation_of(data[start:end].removeprefix(b"Exif\x00\x00"))
    return 1


# ---- BMP


def _bmp(data: bytes) -> Header:
    if len(data) < BMP_HEADER_BYTES:
        raise truncated("the BMP ends inside its header")
    _, header_bytes, width_px, signed_height_px, planes, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if header_bytes < BMP_HEADER_BYTES - 14:
        raise unsupported("BMP of a kind older than Windows 3")
    if planes != 1 or width_px < 0 or bits not in _BMP_BITS or header_bytes > 1024:
        raise damaged("the BMP's header makes no sense")
    if compression not in _BMP_PLAIN:
        raise unsupported("compressed BMP; send it as PNG")
    return Header(ImageFormat.BMP, abs(signed_height_px), width_px)
