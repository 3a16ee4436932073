"""Signatures as canvases in memory and on disk: prepared once, since preparing costs as much as a training step.

What is kept holds the pictures, so it belongs beside the data, never into the project.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from siamese_lab.signatures.data import SignatureFile
from tessera.imaging.ink import find_ink
from tessera.imaging.signature import Canvas, lay_on_canvas

ENLARGED = 2
"""Training bends and shrinks canvases of twice the size, so that it loses no detail on the way."""


@dataclass(frozen=True, slots=True, eq=False)
class Canvases:
    """Prepared signatures."""

    small: npt.NDArray[np.uint8]
    """(n, 80, 256): as the encoder sees them when serving."""
    large: npt.NDArray[np.uint8]
    """(n, 160, 512): what training starts from."""
    writer: npt.NDArray[np.int64]
    """(n,)."""
    forged: npt.NDArray[np.bool_]
    """(n,)."""

    def __len__(self) -> int:
        return len(self.writer)

    def subset(self, chosen: npt.ArrayLike) -> Canvases:
        """Those that indices or a mask choose."""
        at = np.asarray(chosen)
        return Canvases(self.small[at], self.large[at], self.writer[at], self.forged[at])


def prepare(files: Iterable[SignatureFile]) -> Canvases:
    """Prepare signatures as serving does.

    Args:
        files: at least one.

    Raises:
        ArtifactError: one is no picture.
    """
    rows = [(*_both(file), file.writer, file.forged) for file in files]
    small, large, writer, forged = zip(*rows, strict=True)
    return Canvases(np.stack(small), np.stack(large), np.array(writer, np.int64), np.array(forged, np.bool_))


def keep(canvases: Canvases, path: Path) -> None:
    """Write canvases to an `.npz` file."""
    np.savez(path, small=canvases.small, large=canvases.large, writer=canvases.writer, forged=canvases.forged)


def kept(path: Path) -> Canvases:
    """Read what `keep` wrote; nothing in the file is ever run."""
    with np.load(path, allow_pickle=False) as file:
        return Canvases(file["small"], file["large"], file["writer"], file["forged"])


def _both(file: SignatureFile) -> tuple[Canvas, Canvas]:
    ink = find_ink(file.picture())
    small, large = (lay_on_canvas(ink.mask, ink.box_px, ink.stroke_width_px, times) for times in (1, ENLARGED))
    return small, large
