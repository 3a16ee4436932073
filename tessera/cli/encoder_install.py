"""`tessera encoder install`: bring what an encoder needs and does not ship with, before anything needs it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir, fetch
from tessera.chassis.weight_files import pinned_weights
from tessera.cli.failure import Failure
from tessera.domain.artifact import SourceFile
from tessera.domain.errors import ArtifactError
from tessera.domain.person_detector import PERSON_DETECTOR


class Installable(StrEnum):
    """What can be installed."""

    PERSON = "person"


_FILES: dict[Installable, SourceFile] = {Installable.PERSON: PERSON_DETECTOR}


def install(what: Installable) -> tuple[SourceFile, Path]:
    """Bring the weights of one modality into the cache, unless they are there.

    Returns:
        What they are, and where they lie; their sha256 has been checked.

    Raises:
        Failure: they cannot be had, or are not the pinned ones; it says how to supply them by hand.
    """
    source = _FILES[what]
    try:
        path = fetch(pinned_weights(source), default_cache_dir(), default_supplied_dir())
    except ArtifactError as error:
        raise Failure(str(error), field="WHAT", value=what.value, reason="CANNOT_INSTALL") from None
    return source, path
