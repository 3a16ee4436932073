"""`tessera encoder import FOLDER`: an encoder that is whole already, such as the lab exports, checked and copied.

Only the files that an encoder has are taken. Everything is loaded as a service loads it before a byte is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.cli.encoder_import import require_free, write_folder
from tessera.domain.artifact import (
    CALIBRATION_FILES,
    CENTRE_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    WEIGHTS_FILE,
    load_manifest,
    parse_calibration,
    parse_manifest,
)
from tessera.domain.calibration import Impostors
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError
from tessera.domain.ids import ModelId
from tessera.nets.artifact import load_face_networks
from tessera.nets.signature import load_signature_networks

_NEEDED = (MANIFEST_FILE, NETWORK_FILE, WEIGHTS_FILE)
_TAKEN = (*_NEEDED, *CALIBRATION_FILES.values(), CENTRE_FILE, "model_card.md")
_MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What was imported."""

    name: str
    model_id: ModelId
    folder: str
    dimensions: int
    licence: str
    source: str
    calibration_id: str
    """Empty: it has none."""


def import_folder(source: Path, into: Path) -> FolderReport:
    """Import an encoder that is a folder.

    Args:
        source: holds manifest.json, network.json, weights.safetensors, and what else an encoder has.
        into: the folder of imported encoders; made when missing.

    Raises:
        InvalidInputError: its name is taken.
        ArtifactError: it is no encoder, or its parts do not belong together.
    """
    manifest = parse_manifest(_text(source / MANIFEST_FILE), f"{source.name}/{MANIFEST_FILE}", source)
    require_free(manifest.name, into)
    if manifest.modality is Modality.FACE:
        load_face_networks(
            manifest, partial(bring_weights, default_cache_dir(), default_supplied_dir()), default_cache_dir()
        )
    if manifest.modality is Modality.SIGNATURE:
        load_signature_networks(manifest)
    found = {
        impostors: parse_calibration(_text(source / file), f"{source.name}/{file}", manifest.model_id, impostors)
        for impostors, file in CALIBRATION_FILES.items()
        if (source / file).is_file()
    }
    random = found.get(Impostors.RANDOM)
    files = {name: _content(source / name) for name in _TAKEN if name in _NEEDED or (source / name).is_file()}
    folder = write_folder(into, manifest.name, files)
    return FolderReport(
        name=manifest.name,
        model_id=load_manifest(manifest.name, [into]).model_id,
        folder=str(folder),
        dimensions=manifest.dimensions,
        licence=manifest.embedder.licence,
        source=manifest.embedder.requirement,
        calibration_id=random.calibration_id if random is not None else "",
    )


def _text(path: Path) -> str:
    content = _content(path)
    if len(content) > _MAX_TEXT_BYTES:
        raise ArtifactError(path.name, f"has more than {_MAX_TEXT_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(path.name, "is no text in UTF-8") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.parent.name}/{path.name}", f"cannot be read: {error.strerror}") from error
