"""Lines of print: in OpenCV's stroke fonts, and in the typefaces that matplotlib brings along where it is installed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from benchmarks.pen_strokes import Rng, Strokes

_FACES = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf",
    "DejaVuSansMono.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBol.ttf", "cmr10.ttf", "cmtt10.ttf",
)  # fmt: skip
_STROKE_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)  # fmt: skip


@functools.lru_cache(maxsize=256)
def _face(name: str, size_px: int) -> ImageFont.FreeTypeFont | None:
    spec = find_spec("matplotlib")
    path = Path(spec.origin or "").parent / "mpl-data" / "fonts" / "ttf" / name if spec else Path(name)
    return ImageFont.truetype(str(path), size_px) if path.is_file() else None


@dataclass(frozen=True, slots=True)
class Typeface:
    """A typeface in a size."""

    name: str
    stroke_font: int
    size_px: int

    @classmethod
    def draw(cls, size_px: int, rng: Rng) -> Typeface:
        face = str(rng.choice(_FACES)) if rng.random() < 0.75 else ""
        return cls(face, int(rng.choice(_STROKE_FONTS)), size_px)

    def printed(self, words: str) -> Strokes:
        face = _face(self.name, self.size_px) if self.name else None
        if face is None:
            scale = self.size_px / 30.0 * (1.8 if self.stroke_font == cv2.FONT_HERSHEY_PLAIN else 1.0)
            thick = max(1, self.size_px // 16)
            (width, height), base = cv2.getTextSize(words, self.stroke_font, scale, thick)
            ink = np.zeros((height + base + 6, width + 6), np.uint8)
            cv2.putText(ink, words, (3, height + 3), self.stroke_font, scale, 255, thick, cv2.LINE_AA)
            return ink.astype(np.float32) / 255.0
        _, _, right, bottom = (int(side) for side in face.getbbox(words))
        paper = Pillow.new("L", (right + 4, bottom + 4), 0)
        ImageDraw.Draw(paper).text((2, 2), words, font=face, fill=255)
        return np.asarray(paper, np.float32) / 255.0
