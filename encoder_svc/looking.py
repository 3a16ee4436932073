"""A picture made ready for detectors: decoded once, whatever is looked for in it, and never larger than is needed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from tessera.imaging.decode import DecodeLimits, Image, ScaledImage, decode, decode_for_detection
from tessera.imaging.headers import read_header
from tessera.imaging.preprocess import DetectorInput, detector_input


@dataclass(slots=True, eq=False)
class PreparedFrame:
    """A decoded picture, ready for the device; several pipelines may look at one."""

    data: bytes
    """As it was sent; small samples are cut from a second, full decoding."""
    scaled: ScaledImage
    """Decoded no larger than the detector needs."""
    detector: DetectorInput
    decode_ms: float
    """Decoding and shrinking."""
    limits: DecodeLimits
    _full: Image | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def image_for(self, *, full: bool) -> tuple[Image, int]:
        """What samples are cut from.

        Args:
            full: whether some of them are too small in what the detector saw. The full picture is decoded at most once.

        Returns:
            The pixels, and how many pixels of the full picture each of them stands for along each side.
        """
        if not full or self.scaled.factor == 1:
            return self.scaled.image, self.scaled.factor
        with self._lock:
            if self._full is None:
                self._full = decode(self.data, self.limits)
            return self._full, 1


def prepare(data: bytes, limits: DecodeLimits, detect_side_px: int) -> PreparedFrame:
    """Decode a picture and shrink it for detectors; any thread may do it.

    Raises:
        ImageRejectedError: the picture cannot be used.
    """
    started_s = time.perf_counter()
    scaled = decode_for_detection(data, limits, detect_side_px)
    seen = detector_input(scaled.image, detect_side_px)
    return PreparedFrame(data, scaled, seen, (time.perf_counter() - started_s) * 1e3, limits)


def decoded_bytes(data: bytes, limits: DecodeLimits) -> int:
    """How much memory decoding a picture will take, from its header.

    Raises:
        ImageRejectedError: the header cannot be read.
    """
    header = read_header(data) if data else None
    # What will be refused shall not wait for room, nor keep others from it.
    if header is None or header.height_px * header.width_px > limits.max_pixels:
        return 0
    return header.decoded_bytes
