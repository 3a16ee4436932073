"""Which group a camera counts with: metrics by camera would be too many, and one for all would hide a bad view."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import checked_id

NO_CAMERA = "none"
"""Questions that no camera asks."""
OTHERS = "other"
"""Cameras in no group."""
MOST_GROUPS = 32


@dataclass(frozen=True, slots=True)
class CameraGroups:
    """Groups by patterns of camera ids, the first that fits."""

    patterns: tuple[tuple[str, str], ...] = ()
    """(pattern, group)."""

    @staticmethod
    def parse(text: str) -> CameraGroups:
        """Groups as a setting has them: `entrance=door-*,yard=yard-*`.

        Raises:
            InvalidInputError: it does not have that form, or too many groups.
        """
        pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
        for group, equals, pattern in pairs:
            if not (equals and pattern and group):
                raise InvalidInputError("camera_groups", text, "GROUP=PATTERN,..., such as entrance=door-*")
            checked_id("camera_groups", group)
        if len({group for group, _, _ in pairs}) > MOST_GROUPS:
            raise InvalidInputError("camera_groups", text, f"at most {MOST_GROUPS} groups")
        return CameraGroups(tuple((pattern.strip(), group) for group, _, pattern in pairs))

    def of(self, camera_id: str) -> str:
        """The group of a camera; that of no camera where the id is empty."""
        if not camera_id:
            return NO_CAMERA
        return next((group for pattern, group in self.patterns if fnmatchcase(camera_id, pattern)), OTHERS)
