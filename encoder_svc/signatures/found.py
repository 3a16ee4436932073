"""What is known of the signatures of one picture on their way: decoded, found, on their canvases."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.domain.observation import Box, Quality
from tessera.imaging.decode import Image


@dataclass(frozen=True, slots=True, eq=False)
class FoundSignature:
    """One signature that was found."""

    box: Box
    """In pixels of the picture as it was sent."""
    probability: float
    """How sure it is that this was written by hand, in [0, 1]."""
    quality: Quality
    crop: Image
    """Its canvas as people see it: black ink on white paper, (height, width, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundSignatures:
    """The signatures of one picture, the surest first."""

    signatures: tuple[FoundSignature, ...]
    height_px: int
    width_px: int
    decode_ms: float
    find_ms: float
    """Looking for regions."""
    prepare_ms: float
    """Ink, canvas and quality."""
