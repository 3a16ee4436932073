"""What is known of a scene, by time of day: the same yard at noon, under its lamps, and in infrared.

A page is kept for each part of the day, of a scene that was clear for a while or that a person accepted. With it a
worker that starts again knows at once what is usual, also that somebody turned the camera meanwhile; and a picture that
changes at once, as when a camera switches to infrared, is told only as long as that look of the scene is in no page.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from camera_ingest.looking.comparing import Comparison
from camera_ingest.looking.reference import Reference

PARTS_OF_DAY = 8
_ARRAYS = ("middle", "fine", "light", "trusted")


@dataclass(slots=True)
class Usual:
    """What undisturbed looks are like by now."""

    kept: float = 1.0
    detail: float = 0.0
    sharpness: float = 1.0
    lighter: float = 0.0

    def follow(self, seen: Comparison, share: float) -> None:
        """Take a step towards an undisturbed look."""
        self.kept += share * (seen.kept - self.kept)
        if not math.isnan(seen.detail):
            self.detail += share * (seen.detail - self.detail)
            self.sharpness += share * (seen.sharpness - self.sharpness)
            self.lighter = seen.lighter


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One look of the scene, and what looks at it are usually like."""

    reference: Reference
    usual: Usual

    def copy(self) -> Page:
        """One that follows the scene no longer."""
        return Page(self.reference.copy(), replace(self.usual))


def part_of(moment: datetime) -> int:
    """The part of the day, in [0, 8): three hours each, of the clock of the moment's own time zone."""
    return moment.hour * PARTS_OF_DAY // 24


class Album:
    """The pages of one scene. Written by the thread that looks, read by another one that keeps them."""

    def __init__(self) -> None:
        self._pages: dict[int, Page] = {}
        self.changes = 0
        """Grows with each page that is kept."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not self._pages

    def keep(self, part: int, page: Page) -> None:
        """Keep a page for a part of the day, in place of an earlier one."""
        self._pages[part] = page.copy()
        self.changes += 1

    def page(self, part: int, shape: tuple[int, ...]) -> Page | None:
        """What the scene is like in a part of the day, in pictures of that size; one's own to change."""
        page = self._pages.get(part)
        return page.copy() if page is not None and page.reference.shape == shape else None

    def nearest(self, part: int, shape: tuple[int, ...]) -> list[Page]:
        """Every page, the nearest part of the day first; one's own to change."""
        near = sorted(self._pages, key=lambda other: min((other - part) % PARTS_OF_DAY, (part - other) % PARTS_OF_DAY))
        return [page for page in (self.page(other, shape) for other in near) if page is not None]

    def dump(self) -> bytes:
        """All pages as one file."""
        arrays: dict[str, np.ndarray] = {}
        for part, page in list(self._pages.items()):
            reference, usual = page.reference, page.usual
            for name in _ARRAYS:
                arrays[f"{name}-{part}"] = getattr(reference, name).astype(np.float16)
            arrays[f"usual-{part}"] = np.array([usual.kept, usual.detail, usual.sharpness, usual.lighter])
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Album:
        """What `dump` wrote.

        Raises:
            ValueError: it is none.
        """
        album = cls()
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                for part in range(PARTS_OF_DAY):
                    if f"usual-{part}" in arrays:
                        planes = (np.asarray(arrays[f"{name}-{part}"], np.float32) for name in _ARRAYS)
                        usual = Usual(*(float(value) for value in arrays[f"usual-{part}"]))
                        album._pages[part] = Page(Reference.of(*planes), usual)
        except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"no album: {type(error).__name__}") from None
        return album
