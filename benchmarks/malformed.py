"""Pictures as attackers, old cameras and broken lines send them, each with what may be answered.

Made from one real portrait, the same every time, with NumPy, OpenCV and bytes put together by hand: nothing of Tessera
is imported, so that a benchmark and the tests may judge any encoder with it. Nothing here needs more memory than a few
megabytes, however large the pictures claim to be or really are.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

FINE = "fine"
"""It must decode."""

EMPTY, TRUNCATED, NOT_AN_IMAGE, UNSUPPORTED, TOO_MANY_PIXELS, TOO_FEW_PIXELS = (
    "EMPTY_IMAGE",
    "TRUNCATED_IMAGE",
    "NOT_AN_IMAGE",
    "UNSUPPORTED_FORMAT",
    "TOO_MANY_PIXELS",
    "TOO_FEW_PIXELS",
)
ANY_ANSWER = frozenset({FINE, TRUNCATED, NOT_AN_IMAGE, UNSUPPORTED, TOO_MANY_PIXELS, TOO_FEW_PIXELS})
"""What a few flipped bits may become: still a picture, or any kind of broken one."""

BOMB_SIDE_PX = 10_000
"""100 megapixels, twice what the service allows."""

_BIT_FLIPS = 150
_SIDE_PX = 128

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One picture."""

    name: str
    """Unique, such as `png/truncated/37`."""
    data: bytes
    allowed: frozenset[str]
    """`FINE` or the names of reasons."""


def corpus(portrait_jpeg: bytes, seed: int = 1) -> Iterator[Case]:
    """All cases, always the same ones in the same order.

    Args:
        portrait_jpeg: a picture of a face; it is shrunk to 128 pixels.
        seed: of the bit flips and the random bytes.
    """
    image = _portrait(portrait_jpeg)
    files = formats(image)
    for name, data in files.items():
        yield _case(name, data, FINE)
        yield from _cut(name, data)
        yield from _flipped(name, data, seed)
        yield _case(f"{name}/trailing-garbage", data + random.Random(seed).randbytes(5000), FINE)
        yield _case(f"{name}/trailing-zeros", data + b"\x00" * 5000, FINE)
    yield from _no_pictures(files, seed)
    yield from _bombs(files)
    yield _case("large/jpeg-12-megapixels", _flat_jpeg(4000, 3000), FINE)
    yield _case("large/png-12-megapixels", _flat_png(4000, 3000), FINE)
    yield from _odd_jpegs(image, files)
    yield from _odd_pngs(image, files["png"])
    yield from _odd_webps_and_bmps(files)


def formats(image: Pixels) -> dict[str, bytes]:
    """The portrait in every format that is decoded, by name."""
    return {
        "jpeg": _encoded(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, 90),
        "jpeg-progressive": _encoded(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "png": _encoded(".png", image),
        "webp": _encoded(".webp", image, cv2.IMWRITE_WEBP_QUALITY, 80),
        "webp-lossless": _encoded(".webp", image, cv2.IMWRITE_WEBP_QUALITY, 101),
        "bmp": _encoded(".bmp", image),
    }


def _portrait(jpeg: bytes) -> Pixels:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the portrait is no JPEG")
    scale = _SIDE_PX / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _encoded(extension: str, image: Pixels, *parameters: int) -> bytes:
    ok, data = cv2.imencode(extension, image, list(parameters))
    if not ok:
        raise ValueError(f"OpenCV cannot write {extension}")
    return data.tobytes()


def _case(name: str, data: bytes, *allowed: str) -> Case:
    return Case(name, data, frozenset(allowed))


# ---- lines that break, bits that flip


def _cut(name: str, data: bytes) -> Iterator[Case]:
    for percent in range(1, 100):
        kept = data[: max(1, len(data) * percent // 100)]
        allowed = {TRUNCATED, NOT_AN_IMAGE} if len(kept) < 64 else {TRUNCATED}
        yield Case(f"{name}/truncated/{percent}", kept, frozenset(allowed))
    for missing in (1, 2, 3, 5):
        # The byte that only fills a WebP up, and the mark of a JPEG's end alone, take no pixel with them.
        yield _case(f"{name}/truncated/{missing}-bytes", data[:-missing], TRUNCATED)


def _flipped(name: str, data: bytes, seed: int) -> Iterator[Case]:
    draw = random.Random(f"{name}/{seed}")
    for at in range(_BIT_FLIPS):
        changed = bytearray(data)
        # Headers are few bytes and decide most: every third case flips there.
        reach = min(200, len(data)) if at % 3 == 0 else len(data)
        for _ in range(draw.choice((1, 1, 1, 8))):
            changed[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        yield Case(f"{name}/flipped/{at}", bytes(changed), ANY_ANSWER)


def _no_pictures(files: dict[str, bytes], seed: int) -> Iterator[Case]:
    draw = random.Random(seed)
    yield _case("empty", b"", EMPTY)
    for length in (1, 100, 100_000):
        yield _case(f"zeros/{length}", b"\x00" * length, NOT_AN_IMAGE)
        yield _case(f"text/{length}", (b"hello, world. " * (length // 14 + 1))[:length], NOT_AN_IMAGE)
    for at in range(20):
        yield _case(f"random/{at}", b"\x01" + draw.randbytes(10**4), NOT_AN_IMAGE)
    starts = {
        "jpeg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "webp": b"RIFF\x00\x20\x00\x00WEBP",
        "bmp": b"BM",
    }
    for name, magic in starts.items():
        for at in range(10):
            allowed = ANY_ANSWER - {FINE} if name in {"jpeg", "bmp"} else {NOT_AN_IMAGE}
            yield Case(f"magic-then-random/{name}/{at}", magic + draw.randbytes(10**4), frozenset(allowed))
    for name, data in files.items():
        yield _case(f"magic-missing/{name}", data[12:] if name.startswith("webp") else data[8:], NOT_AN_IMAGE)
    others = {
        "gif": b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff;",
        "animated-gif": b"GIF89a"
        + struct.pack("<HHBBB", 64, 64, 0, 0, 0)
        + b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00;",
        "tiff-little": b"II*\x00" + b"\x00" * 60,
        "tiff-big": b"MM\x00*" + b"\x00" * 60,
        "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 60,
        "avif": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf" + b"\x00" * 60,
        "jpeg2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\x00" * 60,
        "jpeg-xl": b"\xff\x0a" + b"\x00" * 60,
        "icon": b"\x00\x00\x01\x00\x01\x00" + b"\x00" * 60,
        "pdf": b"%PDF-1.7\n" + b"\x00" * 60,
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, data in others.items():
        yield _case(f"other/{name}", data, UNSUPPORTED)


# ---- pictures that are larger than they look


def _bombs(files: dict[str, bytes]) -> Iterator[Case]:
    side = BOMB_SIDE_PX
    yield _case("bomb/png-one-bit", _flat_png(side, side), TOO_MANY_PIXELS)
    yield _case("bomb/jpeg-flat", _flat_jpeg(side, side), TOO_MANY_PIXELS)
    yield _case("bomb/jpeg-claims-65535", _jpeg_sized(files["jpeg"], 65535, 65535), TOO_MANY_PIXELS)
    yield _case("bomb/jpeg-progressive-claims", _jpeg_sized(files["jpeg-progressive"], 65000, 65000), TOO_MANY_PIXELS)
    yield _case("bomb/webp-lossless-flat", _flat_webp(16383, 16383), TOO_MANY_PIXELS)
    claims = bytearray(files["webp"])
    at = claims.index(b"\x9d\x01\x2a") + 3
    claims[at : at + 4] = struct.pack("<HH", 16383, 16383)
    yield _case("bomb/webp-claims", bytes(claims), TOO_MANY_PIXELS)
    yield _case("bomb/webp-canvas-hides-size", _webp_extended(bytes(claims), 128, 128), NOT_AN_IMAGE, TOO_MANY_PIXELS)
    yield _case(
        "bomb/webp-canvas-claims", _webp_extended(files["webp"], 1 << 24, 1 << 24), TOO_MANY_PIXELS, NOT_AN_IMAGE
    )
    for width_px, height_px in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (2**31, 2**31)):
        yield _case(
            f"bomb/png-claims-{width_px}x{height_px}",
            _png(width_px, height_px, 8, 2, zlib.compress(b"")),
            TOO_MANY_PIXELS,
            TOO_FEW_PIXELS,
            NOT_AN_IMAGE,
        )
    yield _case("bomb/png-pixels-without-end", _png(64, 64, 8, 2, _zeros_deflated(2000)), NOT_AN_IMAGE)
    yield _case("bomb/png-text", _png_with(files["png"], (b"zTXt", b"k\x00\x00" + _zeros_deflated(2000))), FINE)
    yield _case("bomb/png-profile", _png_with(files["png"], (b"iCCP", b"k\x00\x00" + _zeros_deflated(2000))), FINE)
    bmp = bytearray(files["bmp"])
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    yield _case("bomb/bmp-claims", bytes(bmp), TOO_MANY_PIXELS)
    bmp[18:26] = struct.pack("<ii", 30_000, -(2**31))
    yield _case("bomb/bmp-claims-upside-down", bytes(bmp), TOO_MANY_PIXELS)
    yield _case("bomb/bmp-run-length", _bmp_run_length(), UNSUPPORTED)
    yield _case("bomb/jpeg-scans", _many_scans(files["jpeg-progressive"]), UNSUPPORTED)
    yield _case("bomb/jpeg-segments", b"\xff\xd8" + b"\xff\xe1\x00\x02" * 500_000, NOT_AN_IMAGE)
    yield _case("bomb/jpeg-padding", b"\xff\xd8\xff\xfe\x00\x02" + b"\xff\x00" * 1_000_000, TRUNCATED)
    yield _case("bomb/jpeg-fill-bytes", b"\xff\xd8" + b"\xff" * 2_000_000, TRUNCATED)
    png = files["png"]
    yield _case("bomb/png-chunks-behind-pixels", png[:-12] + _chunk(b"IDAT", bytes(188)) * 20_000 + png[-12:], FINE)
    yield _case("bomb/png-chunks", _png_with(files["png"], *[(b"teXt", b"")] * 150_000), NOT_AN_IMAGE)


def _flat_jpeg(width_px: int, height_px: int) -> bytes:
    # Gray of one tone: every block is "no change" (00) and "end of block" (1010); four blocks are 28 A2 8A.
    small: bytes = simplejpeg.encode_jpeg(np.full((8, 8, 1), 128, np.uint8), 90, "GRAY", "Gray")
    start = small.index(b"\xff\xda")
    start += 2 + int.from_bytes(small[start + 2 : start + 4], "big")
    blocks = -(-width_px // 8) * -(-height_px // 8)
    return _jpeg_sized(small[:start], width_px, height_px) + b"\x28\xa2\x8a" * (blocks // 4 + 1) + b"\xff\xd9"


def _jpeg_sized(jpeg: bytes, width_px: int, height_px: int) -> bytes:
    changed = bytearray(jpeg)
    at = _jpeg_frame(jpeg)
    changed[at + 5 : at + 9] = struct.pack(">HH", height_px, width_px)
    return bytes(changed)


def _jpeg_frame(jpeg: bytes) -> int:
    return next(at for at in (jpeg.find(b"\xff\xc0\x00"), jpeg.find(b"\xff\xc2\x00")) if at > 0)


def _many_scans(progressive: bytes) -> bytes:
    last = progressive.rindex(b"\xff\xda")
    return progressive[:-2] + progressive[last:-2] * 400 + b"\xff\xd9"


def _flat_webp(width_px: int, height_px: int) -> bytes:
    # With one colour every code has one word of no bits: a few bytes really decode to any size.
    small = bytearray(_encoded(".webp", np.full((16, 16, 3), 90, np.uint8), cv2.IMWRITE_WEBP_QUALITY, 101))
    at = small.index(b"VP8L") + 9
    flags = int.from_bytes(small[at : at + 4], "little") >> 28
    small[at : at + 4] = struct.pack("<I", width_px - 1 | height_px - 1 << 14 | flags << 28)
    return bytes(small)


def _zeros_deflated(megabytes: int) -> bytes:
    # One compressed megabyte is repeated: a gigabyte is never held here.
    one = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = one.compress(b"\x00" * 10**6) + one.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * megabytes + b"\x03\x00" + struct.pack(">I", 1)


def _flat_png(width_px: int, height_px: int) -> bytes:
    row_bytes = 1 + (width_px + 7) // 8
    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(b"\x00" * row_bytes) for _ in range(height_px)) + deflate.flush()
    return _png(width_px, height_px, 1, 0, rows)


def _bmp_run_length() -> bytes:
    pixels = b"\x00\x01"
    header = struct.pack("<IiiHHIIiiII", 40, 7000, 7000, 1, 8, 1, len(pixels), 0, 0, 0, 0) + b"\x00" * 1024
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + 2, 0, 0, 14 + len(header)) + header + pixels


# ---- JPEG that is rare, or lies


def _odd_jpegs(image: Pixels, files: dict[str, bytes]) -> Iterator[Case]:
    jpeg = files["jpeg"]
    ink = np.dstack((255 - np.asarray(image, np.uint8), np.zeros(image.shape[:2], np.uint8)))
    ycck: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(ink), 90, "CMYK", "444")
    adobe = ycck.index(b"Adobe")
    yield _case("jpeg/ycck", ycck, UNSUPPORTED)
    yield _case("jpeg/cmyk", ycck[: adobe + 11] + b"\x00" + ycck[adobe + 12 :], UNSUPPORTED)
    yield _case("jpeg/gray", _encoded(".jpg", cv2.cvtColor(np.asarray(image, np.uint8), cv2.COLOR_BGR2GRAY)), FINE)
    frame = _jpeg_frame(jpeg)
    yield _case("jpeg/12-bit", jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :], UNSUPPORTED)
    yield _case("jpeg/lossless", jpeg[: frame + 1] + b"\xc3" + jpeg[frame + 2 :], UNSUPPORTED)
    yield _case("jpeg/height-after-pixels", _jpeg_sized(jpeg, 128, 0), UNSUPPORTED)
    yield _case("jpeg/no-width", _jpeg_sized(jpeg, 0, 128), TOO_FEW_PIXELS, NOT_AN_IMAGE)
    yield _case(
        "jpeg/two-frames", jpeg[:frame] + _jpeg_sized(jpeg, 64, 64)[frame : frame + 19] + jpeg[frame:], NOT_AN_IMAGE
    )
    height_px, width_px = image.shape[:2]
    yield _case("jpeg/taller-than-its-pixels", _jpeg_sized(jpeg, width_px, height_px * 2), TRUNCATED, NOT_AN_IMAGE)
    yield _case("jpeg/header-alone", jpeg[: jpeg.index(b"\xff\xda")], TRUNCATED)
    yield _case("jpeg/no-pixels", jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9", NOT_AN_IMAGE)
    padded = jpeg[:frame] + b"\x00" * 9 + jpeg[frame:]
    yield _case("jpeg/padded-between-segments", padded, FINE)
    cut = padded[: len(padded) * 2 // 3]
    yield _case("jpeg/padded-and-cut", cut, TRUNCATED)
    yield _case("jpeg/padded-and-cut-with-an-end", cut + b"\xff\xd9", TRUNCATED, NOT_AN_IMAGE)
    for orientation in range(10):
        yield _case(f"jpeg/orientation/{orientation}", with_exif(jpeg, exif(orientation)), FINE)
    yield _case("jpeg/huge-exif", with_exif(jpeg, *[exif(1) + b"\x00" * 60_000] * 40), FINE)
    yield _case(
        "jpeg/exif-without-sense", with_exif(jpeg, b"II*\x00" + b"\xff" * 100, b"MM\x00*\xff\xff\xff\xff"), FINE
    )
    yield _case("jpeg/exif-longer-than-file", jpeg[:2] + b"\xff\xe1\xff\xff" + b"Exif\x00\x00" + jpeg[2:], TRUNCATED)


def exif(orientation: int) -> bytes:
    """An EXIF block with one entry."""
    return b"II*\x00" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x0112, 3, 1, orientation) + b"\x00" * 4


def with_exif(jpeg: bytes, *blocks: bytes) -> bytes:
    """A JPEG with EXIF blocks put at its beginning."""
    bodies = [b"Exif\x00\x00" + block for block in blocks]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)
    return jpeg[:2] + segments + jpeg[2:]


# ---- PNG


def _odd_pngs(image: Pixels, png: bytes) -> Iterator[Case]:
    colours = np.asarray(image, np.uint8)
    gray = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)
    yield _case("png/16-bit", _encoded(".png", colours.astype(np.uint16) * 257), FINE)
    yield _case("png/16-bit-gray", _encoded(".png", gray.astype(np.uint16) * 257), FINE)
    yield _case("png/gray", _encoded(".png", gray), FINE)
    yield _case("png/alpha", _encoded(".png", cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA)), FINE)
    yield _case("png/palette", _palette_png(gray), FINE)
    yield _case("png/palette-missing", _palette_png(gray, palette=b""), NOT_AN_IMAGE)
    yield _case("png/interlaced", interlaced_png(colours), FINE)
    yield _case("png/animated", _png_with(png, (b"acTL", struct.pack(">II", 2, 0))), UNSUPPORTED)
    for orientation in range(1, 9):
        yield _case(f"png/orientation/{orientation}", _png_with(png, (b"eXIf", exif(orientation))), FINE)
    for kind in (b"IHDR", b"IDAT", b"IEND"):
        at = png.index(kind) + 4 + int.from_bytes(png[png.index(kind) - 4 : png.index(kind)], "big")
        broken = png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :]
        yield _case(f"png/checksum-of-{kind.decode()}", broken, NOT_AN_IMAGE)
    yield _case("png/no-pixels", png[:33] + _chunk(b"IEND", b""), NOT_AN_IMAGE)
    yield _case("png/too-few-rows", _png(64, 64, 8, 2, zlib.compress(b"\x00" * 193 * 30)), NOT_AN_IMAGE, TRUNCATED)
    yield _case("png/pixels-do-not-unpack", _png(64, 64, 8, 2, b"\xff" * 500), NOT_AN_IMAGE)
    yield _case("png/unknown-filter", _png(64, 64, 8, 2, zlib.compress(b"\x09" * 193 * 64)), NOT_AN_IMAGE)
    yield _case("png/unknown-colour", _png(64, 64, 8, 5, zlib.compress(b"\x00" * 193 * 64)), NOT_AN_IMAGE)
    yield _case("png/no-width", _png(0, 64, 8, 2, zlib.compress(b"")), TOO_FEW_PIXELS)
    yield _case("png/no-height", _png(64, 0, 8, 2, zlib.compress(b"")), TOO_FEW_PIXELS)
    yield _case("png/chunk-longer-than-file", png[:33] + b"\xff\xff\xff\xff" + png[37:], TRUNCATED)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width_px: int, height_px: int, bits: int, colour: int, pixels: bytes, *, interlaced: bool = False) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _png_with(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    return png[:33] + b"".join(_chunk(kind, body) for kind, body in chunks) + png[33:]


_GRAYS = bytes(np.repeat(np.arange(256, dtype=np.uint8), 3))


def _palette_png(gray: Pixels, palette: bytes = _GRAYS) -> bytes:
    height_px, width_px = gray.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in gray)
    png = _png(width_px, height_px, 8, 3, zlib.compress(rows))
    return _png_with(png, (b"PLTE", palette)) if palette else png


def interlaced_png(image: Pixels) -> bytes:
    """A picture as an Adam7 PNG, which OpenCV reads and does not write."""
    height_px, width_px = image.shape[:2]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\x00" + row[:, ::-1].tobytes()
        for y, x, step_y, step_x in passes
        if x < width_px
        for row in image[y::step_y, x::step_x]
    )
    return _png(width_px, height_px, 8, 2, zlib.compress(rows), interlaced=True)


# ---- WebP, BMP


def _odd_webps_and_bmps(files: dict[str, bytes]) -> Iterator[Case]:
    webp, bmp = files["webp"], files["bmp"]
    at = webp.index(b"\x9d\x01\x2a") + 3
    width_px, height_px = struct.unpack_from("<HH", webp, at)
    yield _case("webp/extended", _webp_extended(webp, width_px, height_px), FINE)
    yield _case("webp/orientation/6", _webp_extended(webp, width_px, height_px, exif_block=exif(6)), FINE)
    yield _case("webp/two-sizes", _webp_extended(webp, width_px + 1, height_px), NOT_AN_IMAGE)
    yield _case("webp/animated", _webp_animated(webp, width_px, height_px), UNSUPPORTED)
    yield _case("webp/no-pixels", _riff(_riff_chunk(b"VP8X", _canvas(width_px, height_px, 0))), NOT_AN_IMAGE)
    late = _riff(_riff_chunk(b"ABCD", bytes(10)), _riff_chunk(b"VP8X", _canvas(width_px, height_px, 0)))
    yield _case("webp/cut-before-a-late-canvas", late[:-10], TRUNCATED)
    yield _case("webp/no-width", webp[:at] + b"\x00\x00" + webp[at + 2 :], TOO_FEW_PIXELS, NOT_AN_IMAGE)
    yield _case("webp/cut-with-a-right-size", _riff(webp[12 : len(webp) // 2]), NOT_AN_IMAGE, TRUNCATED)
    yield _case("bmp/no-width", bmp[:18] + struct.pack("<i", 0) + bmp[22:], TOO_FEW_PIXELS, NOT_AN_IMAGE)
    yield _case("bmp/negative-width", bmp[:18] + struct.pack("<i", -64) + bmp[22:], NOT_AN_IMAGE)
    yield _case("bmp/3-bits", bmp[:28] + b"\x03" + bmp[29:], NOT_AN_IMAGE)
    yield _case("bmp/pixels-inside-header", bmp[:10] + struct.pack("<I", 4) + bmp[14:], NOT_AN_IMAGE)
    yield _case("bmp/pixels-past-the-end", bmp[:10] + struct.pack("<I", 2**31) + bmp[14:], TRUNCATED)
    yield _case("bmp/os2", bmp[:14] + struct.pack("<I", 12) + bmp[18:], UNSUPPORTED)


def _riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) & 1)


def _canvas(width_px: int, height_px: int, flags: int) -> bytes:
    return bytes([flags, 0, 0, 0]) + (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")


def _webp_extended(webp: bytes, width_px: int, height_px: int, exif_block: bytes = b"") -> bytes:
    chunks = [_riff_chunk(b"VP8X", _canvas(width_px, height_px, 0x08 if exif_block else 0)), webp[12:]]
    return _riff(*chunks, *([_riff_chunk(b"EXIF", exif_block)] if exif_block else []))


def _webp_animated(webp: bytes, width_px: int, height_px: int) -> bytes:
    place = (
        b"\x00" * 6 + (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little") + b"\x64\x00\x00\x00"
    )
    frames = [_riff_chunk(b"ANMF", place + webp[12:])] * 2
    canvas = _riff_chunk(b"VP8X", _canvas(width_px, height_px, 0x02))
    return _riff(canvas, _riff_chunk(b"ANIM", b"\x00" * 6), *frames)
