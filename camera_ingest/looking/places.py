"""Where a camera looks: zones that are named, and masks that are not looked at.

Masks are blacked out in the pixels, before anything else sees them: nothing that lies in one can be detected, matched
or kept. Whether a person is in a zone is asked for the middle of the box: of a face, the foot is not seen. Refuses to
guess where a person stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.camera import Zone
from camera_ingest.sources.source import Image, Picture
from tessera.domain.observation import Box
from tessera.imaging.decode import decode

Shown = npt.NDArray[np.uint8]
"""uint8 of shape (height, width): 255 where it is looked at, 0 elsewhere."""


class Places:
    """The zones and masks of one camera. Used by one thread at a time, save `names_at`.

    Args:
        zones: as the camera has them.
        only_zones: what lies in no zone is masked too.
    """

    def __init__(self, zones: Sequence[Zone], *, only_zones: bool = False) -> None:
        self._named = [(zone.name, _corners(zone)) for zone in zones if not zone.masked]
        self._masks = [_corners(zone) for zone in zones if zone.masked]
        self._only_zones = only_zones
        self._shown: Shown | None = None

    @property
    def hides(self) -> bool:
        """Whether anything is masked."""
        return bool(self._masks) or self._only_zones

    def names_at(self, box: Box, width_px: int, height_px: int) -> tuple[str, ...]:
        """The zones that the middle of a box lies in, by name.

        Args:
            box: in pixels of the picture.
            width_px: of that picture.
            height_px: of that picture.
        """
        if not self._named or not width_px or not height_px:
            return ()
        middle = ((box.x_px + box.width_px / 2) / width_px, (box.y_px + box.height_px / 2) / height_px)
        return tuple(
            sorted({name for name, corners in self._named if cv2.pointPolygonTest(corners, middle, False) >= 0})
        )

    def shown(self, height_px: int, width_px: int) -> Shown:
        """Which pixels of a picture of this size are looked at."""
        if self._shown is None or self._shown.shape != (height_px, width_px):
            self._shown = self._drawn(height_px, width_px)
        return self._shown

    def blacked(self, picture: Picture) -> Picture:
        """The picture without what is masked: a file that has to lose something becomes pixels.

        Raises:
            ImageRejectedError: it is a file, and no picture.
        """
        if not self.hides:
            return picture
        pixels: Image = decode(picture) if isinstance(picture, bytes) else picture
        left = cv2.bitwise_and(pixels, pixels, mask=self.shown(pixels.shape[0], pixels.shape[1]))
        return left.astype(np.uint8, copy=False)

    def _drawn(self, height_px: int, width_px: int) -> Shown:
        shown = np.full((height_px, width_px), 0 if self._only_zones else 255, np.uint8)
        scale = np.array([width_px, height_px], np.float32)
        for inside, polygons in ((255, self._only_zones * [corners for _, corners in self._named]), (0, self._masks)):
            for corners in polygons:
                cv2.fillPoly(shown, [np.rint(corners * scale - 0.5).astype(np.int32)], inside)
        return shown


def _corners(zone: Zone) -> npt.NDArray[np.float32]:
    return np.array(zone.corners, np.float32).reshape(-1, 2)
