"""Decoding: each kind of bad picture gets its own reason, and good ones come out upright and whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason
from tessera.imaging.decode import DecodeLimits, Image, decode
from tessera.imaging.headers import Header, ImageFormat
from tessera.imaging.wholeness import whole


def _gradient(height_px: int = 48, width_px: int = 64) -> Image:
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    return np.stack((rows * 4, columns * 3, rows + columns), axis=2).astype(np.uint8)


def _encoded(extension: str, image: npt.NDArray[np.generic] | None = None) -> bytes:
    ok, data = cv2.imencode(extension, _gradient() if image is None else image)
    assert ok
    return data.tobytes()


def _rejection(data: bytes, limits: DecodeLimits | None = None) -> Reason:
    with pytest.raises(ImageRejectedError) as caught:
        decode(data, limits or DecodeLimits())
    return caught.value.reason


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    entry = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    tiff = b"II*\x00" + struct.pack("<IH", 8, 1) + entry + b"\x00" * 4
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("extension", [".png", ".bmp"])
def test_lossless_formats_come_back_as_they_were(extension: str) -> None:
    """Pixels, shape and channel order survive."""
    np.testing.assert_array_equal(decode(_encoded(extension)), _gradient())


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_lossy_formats_come_back_close(extension: str) -> None:
    """Channel order is blue, green, red for them too."""
    difference = np.abs(decode(_encoded(extension)).astype(int) - _gradient())
    assert difference.mean() < 6


def test_gray_palette_alpha_and_16_bit_become_8_bit_colour() -> None:
    """The caller always gets three channels of 8 bits."""
    gray = _gradient()[:, :, 0]
    np.testing.assert_array_equal(decode(_encoded(".png", gray))[:, :, 1], gray)
    np.testing.assert_array_equal(decode(_encoded(".png", gray.astype(np.uint16) * 257))[:, :, 2], gray)
    alpha = np.dstack((_gradient(), np.full(gray.shape, 128, np.uint8)))
    np.testing.assert_array_equal(decode(_encoded(".png", alpha)), _gradient())
    assert np.abs(decode(_encoded(".jpg", gray))[:, :, 0].astype(int) - gray).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_upright(orientation: int) -> None:
    """All eight EXIF orientations agree with OpenCV's own reading of them."""
    data = _with_orientation(_encoded(".jpg"), orientation)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    found = decode(data)
    assert expected is not None
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_no_bytes_is_an_empty_image() -> None:
    """Told apart from bytes that are no picture."""
    assert _rejection(b"") is Reason.EMPTY_IMAGE


@pytest.mark.parametrize("data", [b"hello, world", b"\x00" * 500, b"\x7fELF" + b"\x01" * 64])
def test_other_bytes_are_not_an_image(data: bytes) -> None:
    """Text, zeros, a program."""
    assert _rejection(data) is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("data", [b"GIF89a" + b"\x00" * 40, b"II*\x00" + b"\x00" * 40, b"\x00\x00\x00\x20ftypheic"])
def test_other_picture_formats_are_named_as_such(data: bytes) -> None:
    """A GIF is a picture, but none that is accepted."""
    assert _rejection(data) is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_picture_that_ends_early_is_truncated(extension: str, share: float) -> None:
    """Half a face is never decoded, in any format."""
    data = _encoded(extension, _gradient(200, 300))
    assert _rejection(data[: int(len(data) * share)]) is Reason.TRUNCATED_IMAGE


def test_a_real_photograph_is_found_truncated_anywhere(portraits: Mapping[str, bytes]) -> None:
    """Wherever the connection broke; cut inside its first bytes it is at least refused."""
    data = portraits["obama2.jpg"]
    for percent in range(5, 100, 5):
        assert _rejection(data[: len(data) * percent // 100]) is Reason.TRUNCATED_IMAGE
    for length in (1, 2, 3, 10, 100):
        assert _rejection(data[:length]) in {Reason.TRUNCATED_IMAGE, Reason.NOT_AN_IMAGE}


def test_too_many_bytes_are_refused_unread() -> None:
    """The limit is the first thing that is looked at after emptiness."""
    assert _rejection(b"x" * 101, DecodeLimits(max_bytes=100)) is Reason.TOO_MANY_BYTES


def test_a_small_file_with_huge_pixels_is_refused_before_it_is_decoded() -> None:
    """A PNG bomb of a few dozen bytes states 60,000 x 60,000 pixels in its header; its pixel data is not even there."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert _rejection(bomb) is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp"])
def test_the_pixel_cap_holds_in_every_format(extension: str) -> None:
    """One pixel over is over, exactly the cap is not."""
    data = _encoded(extension)
    assert _rejection(data, DecodeLimits(max_pixels=48 * 64 - 1)) is Reason.TOO_MANY_PIXELS
    assert decode(data, DecodeLimits(max_pixels=48 * 64)).shape == (48, 64, 3)


def test_a_picture_too_small_for_any_detector_is_refused() -> None:
    """15 pixels are too few, 16 are not."""
    assert _rejection(_encoded(".png", _gradient(15, 64))) is Reason.TOO_FEW_PIXELS
    assert decode(_encoded(".png", _gradient(16, 64))).shape == (16, 64, 3)


def test_a_damaged_png_is_refused() -> None:
    """All chunks are there, but the pixels do not unpack."""
    data = bytearray(_encoded(".png"))
    at = data.index(b"IDAT")
    data[at + 4 : at + 14] = b"\xff" * 10
    assert _rejection(bytes(data)) is Reason.NOT_AN_IMAGE


def test_padding_after_a_jpeg_does_no_harm() -> None:
    """Some cameras fill their buffers up."""
    assert decode(_encoded(".jpg") + b"\x00" * 100).shape == (48, 64, 3)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("after", [b"", b"\x00", b"\x00\xff\xd9"])
def test_a_jpeg_of_nothing_but_fill_bytes_is_refused_at_once(after: bytes) -> None:
    """Twenty megabytes of 0xFF before no marker: looked through once, and not once for each byte."""
    assert _rejection(b"\xff\xd8" + b"\xff" * 20_000_000 + after) in {Reason.TRUNCATED_IMAGE, Reason.NOT_AN_IMAGE}


@pytest.mark.timeout(20)
def test_chunks_behind_the_end_of_a_pngs_pixels_take_no_time() -> None:
    """Ninety thousand of them are stepped over; the picture is whole without them."""
    png = _encoded(".png")
    end = len(png) - len(_png_chunk(b"IEND", b""))
    behind = _png_chunk(b"IDAT", bytes(200)) * 90_000
    np.testing.assert_array_equal(decode(png[:end] + behind + png[end:]), _gradient())


def test_a_webp_whose_canvas_is_cut_off_is_truncated() -> None:
    """The canvas may stand behind another chunk, at the very end of what has arrived."""
    chunks = b"ABCD" + struct.pack("<I", 10) + bytes(10) + b"VP8X" + struct.pack("<I", 10)
    assert _rejection(b"RIFF" + struct.pack("<I", 4 + len(chunks) + 10) + b"WEBP" + chunks) is Reason.TRUNCATED_IMAGE


@pytest.mark.parametrize(
    ("side_px", "scans", "refused"),
    [(7000, 24, False), (7000, 25, True), (200, 100, False), (200, 101, True)],
)
def test_a_large_jpeg_may_have_fewer_scans(side_px: int, scans: int, *, refused: bool) -> None:
    """Each goes over all pixels: a small file could keep a core for seconds."""
    data = b"\xff\xd8" + b"\xff\xda\x00\x00" * scans + b"\xff\xd9"
    header = Header(ImageFormat.JPEG, side_px, side_px)
    if refused:
        with pytest.raises(ImageRejectedError, match="scans") as caught:
            whole(data, header)
        assert caught.value.reason is Reason.UNSUPPORTED_FORMAT
    else:
        assert whole(data, header) == (data, 1)
