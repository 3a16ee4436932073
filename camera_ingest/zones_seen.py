"""In which zones the person of each tracklet was so far."""

from __future__ import annotations

from camera_ingest.looking.places import Places
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box

_MOST_TRACKLETS = 256


class ZonesSeen:
    """The zones of one camera's tracklets. Used from one event loop.

    Args:
        places: knows what lies where.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._names: dict[TrackletId, set[str]] = {}

    def enter(self, tracklet_id: TrackletId, box: Box, size_px: tuple[int, int]) -> None:
        """Somebody was seen there.

        Args:
            tracklet_id: whose.
            box: around what was seen.
            size_px: (width, height) of the picture.
        """
        for name in self._places.names_at(box, *size_px):
            self._names.setdefault(tracklet_id, set()).add(name)
        while len(self._names) > _MOST_TRACKLETS:  # of some the gallery never heard, so that no end of them is told
            del self._names[next(iter(self._names))]

    def of(self, tracklet_id: TrackletId) -> tuple[str, ...]:
        """Where it was so far, by name."""
        return tuple(sorted(self._names.get(tracklet_id, ())))

    def forget(self, tracklet_id: TrackletId) -> None:
        """It has ended."""
        self._names.pop(tracklet_id, None)
