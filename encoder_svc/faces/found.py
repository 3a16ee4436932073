"""What is known of the faces of one picture on their way: found, to be looked at again, to be embedded."""

from __future__ import annotations

from dataclasses import dataclass, field

from encoder_svc.candidates import FoundSamples
from tessera.imaging.decode import Image


@dataclass(slots=True, eq=False)
class FoundFaces(FoundSamples):
    """The faces of one picture."""

    views: list[Image] = field(default_factory=list)
    """For a closer look, `VIEWS` for each wanted face; none where the recipe has none."""
    surroundings: list[Image] = field(default_factory=list)
    """For presentation-attack weights, one for each wanted face; none where there are no weights."""
