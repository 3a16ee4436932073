"""Who is where in each frame of a clip: the hand-made truth under `truth/`, read and laid out by frames.

A track is one person's way through the picture. Its rows are frames that somebody looked at; between two rows of a span
the box moves in a straight line, and between spans the face is not to be seen. Only the judged stretches of a clip are
scored. How each was made stands in its `method`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tessera.domain.observation import Box

FOLDER = Path(__file__).parent / "truth"

Row = tuple[int, float, float, float, float]
"""Frame, then x, y, width and height in pixels."""


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One person's way through the picture."""

    name: str
    person: str
    """The same person has the same name in every clip."""
    spans: tuple[tuple[Row, ...], ...]

    def box_at(self, frame: int) -> Box | None:
        """Where the face is; None while it is not to be seen."""
        for span in self.spans:
            if span[0][0] <= frame <= span[-1][0]:
                return _between(span, frame)
        return None


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """What is known of a clip."""

    clip: str
    """File name, in the folder of the clips."""
    rate_hz: float
    frames: int
    judged: tuple[tuple[int, int], ...]
    """First and last frame of each stretch that is scored."""
    tracks: tuple[FaceTrack, ...]
    method: str

    def is_judged(self, frame: int) -> bool:
        """Whether a frame is scored."""
        return any(first <= frame <= last for first, last in self.judged)

    def boxes_at(self, frame: int) -> dict[str, Box]:
        """Every face that is to be seen, by its track."""
        boxes = {track.name: track.box_at(frame) for track in self.tracks}
        return {name: box for name, box in boxes.items() if box is not None}


def load_truth(path: Path) -> ClipTruth:
    """Read one clip's truth.

    Raises:
        ValueError: rows that do not rise, spans that overlap, or two tracks of one name.
    """
    raw = json.loads(path.read_text(encoding="utf-8"))
    tracks = tuple(
        FaceTrack(track["track"], track["person"], tuple(tuple(tuple(row) for row in span) for span in track["spans"]))
        for track in raw["tracks"]
    )
    for track in tracks:
        rows = [row[0] for span in track.spans for row in span]
        if rows != sorted(set(rows)) or not all(track.spans):
            raise ValueError(f"{path.name}: rows of {track.name} do not rise")
    if len({track.name for track in tracks}) < len(tracks):
        raise ValueError(f"{path.name}: two tracks of one name")
    judged = tuple((first, last) for first, last in raw["judged"])
    return ClipTruth(raw["clip"], raw["rate_hz"], raw["frames"], judged, tracks, raw["method"])


def load_all() -> list[ClipTruth]:
    """Every clip's truth, by file name."""
    return [load_truth(path) for path in sorted(FOLDER.glob("*.json"))]


def _between(span: tuple[Row, ...], frame: int) -> Box:
    after = next(number for number, row in enumerate(span) if row[0] >= frame)
    at, *right = span[after]
    before, *left = span[max(after - 1, 0)]
    share = 1.0 if at == before else (frame - before) / (at - before)
    x_px, y_px, width_px, height_px = (a + share * (b - a) for a, b in zip(left, right, strict=True))
    return Box(x_px, y_px, width_px, height_px)
