"""Is every byte of a picture there? Asked between the pixel cap and the decoder, which gets what it needs and no more.

Decoders fill a missing end with gray or with the last row and say nothing, or warn on standard error; half a face must
never be compared. So the formats that can be counted are counted here, and comments, profiles and previews stay behind.
"""

from __future__ import annotations

import struct
import zlib

from tessera.imaging.exif import orientation_of
from tessera.imaging.headers import (
    BMP_HEADER_BYTES,
    PNG_MAGIC,
    Header,
    ImageFormat,
    damaged,
    jpeg_segments,
    truncated,
    unsupported,
    webp_chunks,
)

MAX_JPEG_SCANS = 100
"""Each scan of a progressive JPEG goes over all pixels; cameras and browsers write about ten."""

MAX_SCANNED_PIXELS = 1_200_000_000
"""Scans x pixels: of 50 megapixels 24 scans. Measured: 99 scans of them take 4.6 s of a core, 10 take 0.8 s."""

_MAX_PNG_CHUNKS = 100_000
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_BITS = frozenset({1, 2, 4, 8, 16})
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced PNG: first column and row, steps between columns and rows (W3C PNG, 8.2)."""

_PIECE_BYTES = 1 << 18
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def whole(data: bytes, header: Header) -> tuple[bytes, int]:
    """Check that a picture is all there, and take out what its decoder needs.

    Args:
        data: the file.
        header: of that file.

    Returns:
        What to decode, and the EXIF orientation (that of a PNG stands between its pixels and is found only now).

    Raises:
        ImageRejectedError: TRUNCATED_IMAGE, NOT_AN_IMAGE or UNSUPPORTED_FORMAT.
    """
    if header.format is ImageFormat.PNG:
        return _png(data)
    if header.format is ImageFormat.WEBP:
        return _webp(data), header.orientation
    if header.format is ImageFormat.BMP:
        _require_bmp_rows(data, header)
        return data, header.orientation
    return _jpeg(data, header), header.orientation


def _jpeg(data: bytes, header: Header) -> bytes:
    most = min(MAX_JPEG_SCANS, MAX_SCANNED_PIXELS // max(1, header.width_px * header.height_px))
    if data.count(b"\xff\xda") > most:
        raise unsupported(f"JPEG of {header.width_px} x {header.height_px} pixels in more than {most} scans")
    # Some cameras pad between segments. libjpeg would warn of it as it does of damage: without the padding, every
    # warning means damage.
    segments = list(jpeg_segments(data))
    if len(data) == 2 + sum(end - start + 4 for _, start, end in segments):
        return data
    return data[:2] + b"".join(data[start - 4 : end] for _, start, end in segments)


def _png(data: bytes) -> tuple[bytes, int]:
    kept, orientation, at = [PNG_MAGIC], 1, len(PNG_MAGIC)
    view = memoryview(data)
    for _ in range(_MAX_PNG_CHUNKS):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            raise truncated(f"the PNG ends after {len(data)} bytes, before its last chunk")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise damaged(f"the PNG's chunk {kind!r} does not match its checksum")
        if kind == b"acTL":
            raise unsupported("animated PNG: which of its pictures is meant cannot be known")
        if kind == b"eXIf":
            orientation = orientation_of(data[at + 8 : end - 4])
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        if kind == b"IEND":
            _require_png_rows(kept)
            return b"".join(kept), orientation
        at = end
    raise damaged(f"the PNG has more than {_MAX_PNG_CHUNKS} chunks")


def _require_png_rows(chunks: list[bytes]) -> None:
    # A decoder reads on to the end of the pixels' stream, and 2 MB of it may unpack to 2 GB: it is unpacked here first,
    # as far as the rows go, in pieces.
    rows_bytes = _png_rows_bytes(chunks[1])
    inflate, unpacked = zlib.decompressobj(), 0
    try:
        for chunk in chunks:
            if chunk[4:8] != b"IDAT":
                continue
            unpacked += len(inflate.decompress(chunk[8:-4], _PIECE_BYTES))
            while inflate.unconsumed_tail and unpacked <= rows_bytes:
                unpacked += len(inflate.decompress(inflate.unconsumed_tail, _PIECE_BYTES))
            if unpacked > rows_bytes:
                raise damaged("the PNG unpacks to more than its rows")
            if inflate.eof:  # zlib would gather what stands behind, in time with the square of its chunks
                break
    except zlib.error as error:
        raise damaged(f"the PNG's pixels do not unpack: {error}") from error
    if unpacked < rows_bytes:
        raise damaged("the PNG's pixels end before its last row")


def _png_rows_bytes(header_chunk: bytes) -> int:
    width_px, height_px, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", header_chunk, 8)
    if colour not in _PNG_CHANNELS or bits not in _PNG_BITS or interlaced > 1:
        raise damaged("the PNG's header makes no sense")
    pixel_bits = bits * _PNG_CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    seen = ((-(-(width_px - x) // step_x), -(-(height_px - y) // step_y)) for x, y, step_x, step_y in passes)
    return sum(height * (1 + (width * pixel_bits + 7) // 8) for width, height in seen if width > 0 and height > 0)


def _webp(data: bytes) -> bytes:
    if len(data) < int.from_bytes(data[4:8], "little") + 8:
        raise truncated(f"the WebP ends after {len(data)} bytes, before the size it states")
    for kind, start, end in webp_chunks(data):
        if end > len(data):
            raise damaged("the WebP has a chunk longer than itself")
        if kind in {b"VP8 ", b"VP8L"}:
            chunk = data[start - 8 : end + (end & 1)]
            return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    raise damaged("the WebP has no pixels")


def _require_bmp_rows(data: bytes, header: Header) -> None:
    offset, bits = struct.unpack_from("<I", data, 10)[0], struct.unpack_from("<H", data, 28)[0]
    if offset < BMP_HEADER_BYTES:
        raise damaged("the BMP's pixels begin inside its header")
    row_bytes = (header.width_px * bits + 31) // 32 * 4
    if len(data) < offset + row_bytes * header.height_px:
        raise truncated(f"the BMP ends after {len(data)} bytes, before its last row")
