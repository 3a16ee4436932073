"""Whose face is it: each face of a picture goes to a person whose box holds it, and no person gets two.

Of all such assignments that place most faces the one is taken in which they lie best: in the middle of a person's
box, near its top. Knows boxes alone, and no identity.
"""

from __future__ import annotations

from collections.abc import Sequence

from tessera.domain.assignment import FORBIDDEN, best_assignment
from tessera.domain.observation import Box

MIN_INSIDE = 0.6
"""Share of a face's area that must lie in a person's box: a detector of persons may cut off the crown of a head."""

_LEVEL = 0.12
"""Where the middle of a face is in a standing person's box, as a share of its height from the top."""
_PLACED = 1000.0
"""What it is worth that a face is somebody's; more than all misfits of a picture together."""


def owners(faces: Sequence[Box], persons: Sequence[Box]) -> tuple[int | None, ...]:
    """The person of each face.

    Args:
        faces: of one picture, at most some hundred.
        persons: of the same picture.

    Returns:
        For each face the place of a person, each at most once; None: it lies in nobody's box, or all whom it could
        belong to have another face.
    """
    gains = [[_gain(face, person) for person in persons] for face in faces]
    found = dict(best_assignment(gains)) if persons else {}
    return tuple(found.get(place) for place in range(len(faces)))


def holds(person: Box, face: Box) -> bool:
    """Whether enough of a face lies in a person's box for it to be theirs."""
    return person.area_px > 0.0 and face.area_px > 0.0 and face.share_within(person) >= MIN_INSIDE


def misfit(person: Box, face: Box) -> float:
    """How far the middle of a face is from where faces are in a person's box, in widths and heights of that box."""
    across = face.x_px + face.width_px / 2 - person.x_px - person.width_px / 2
    down = face.y_px + face.height_px / 2 - person.y_px - _LEVEL * person.height_px
    return abs(across) / person.width_px + abs(down) / person.height_px


def _gain(face: Box, person: Box) -> float:
    return _PLACED - misfit(person, face) if holds(person, face) else FORBIDDEN
