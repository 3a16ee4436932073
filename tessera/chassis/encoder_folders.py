"""Where encoders lie that do not ship with Tessera: those that `tessera encoder import` brought."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tessera.chassis.pinned_files import default_cache_dir

ENCODERS_DIR_VARIABLE = "TESSERA_ENCODERS_DIR"


def imported_encoders_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`$TESSERA_ENCODERS_DIR`, else the folder `encoders` in the cache."""
    named = environ.get(ENCODERS_DIR_VARIABLE)
    return Path(named).expanduser() if named else default_cache_dir(environ) / "encoders"


def encoder_folders(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """What `tessera.domain.artifact` calls `folders`: where encoders are found beside those that ship."""
    return (imported_encoders_dir(environ),)
