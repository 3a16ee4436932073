"""`tessera encoder import`, without the terminal: check, convert, try, and only then write.

Whatever fails on the way leaves nothing behind: files are written into a hidden folder that is renamed as the last act.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.demo.portraits import fetch_portraits
from tessera.domain.artifact import (
    CENTRE_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    WEIGHTS_FILE,
    SourceFile,
    available_encoders,
    load_manifest,
    parse_manifest,
    read_centre,
)
from tessera.domain.errors import ArtifactError, InvalidInputError
from tessera.domain.ids import ModelId
from tessera.domain.own_encoder import CROP_PX, ImportedSums, OwnEncoder, manifest_text, parse_own_encoder
from tessera.imaging.align import align
from tessera.imaging.decode import decode
from tessera.imaging.preprocess import PREPROCESSING_VERSION, detector_input, embedder_input
from tessera.nets.own_network import OwnNetwork, ShippedNetworks, convert_own, load_shipped
from tessera.nets.trial import Parity, Rows, Speed

SHIPPED = "face-sface-1"
"""Whose detector is used, and whose embedder the new one is timed against."""

_MAX_STATEMENT_BYTES = 1 << 16
_MIN_PROBABILITY = 0.7
_RANDOM_CROPS = 2
_SHOWN_DIGITS = 12
_SAME_PERSON = "obama"


@dataclass(frozen=True, slots=True)
class Plausibility:
    """Scores of the few demo portraits. They measure nothing; they show an input format that is wholly wrong."""

    same_person_lowest: float
    other_people_highest: float

    @property
    def plausible(self) -> bool:
        """Whether each picture of one man is nearer to his others than to anybody else's."""
        return self.same_person_lowest > self.other_people_highest


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported, and how it did."""

    name: str
    model_id: ModelId
    folder: str
    dimensions: int
    licence: str
    source: str
    numbers: int
    """Weights, counted one by one."""
    steps: Mapping[str, int]
    """How many steps of each kind the network takes."""
    parity: Parity
    plausibility: Plausibility
    speed: Speed


def import_encoder(onnx_path: Path, statement_path: Path, into: Path) -> ImportReport:
    """Import an ONNX embedder.

    Args:
        onnx_path: the network.
        statement_path: what its owner says of it, as `tessera.domain.own_encoder` describes.
        into: the folder of imported encoders; made when missing.

    Raises:
        InvalidInputError: a statement is wrong.
        ArtifactError: the network cannot be imported, or does not do what its ONNX file does.
    """
    own = parse_own_encoder(_read_text(statement_path))
    require_free(own.name, into)
    centre = _centre(own, statement_path.parent)
    network = convert_own(onnx_path, own.input, CROP_PX, own.dimensions)
    shipped_manifest = load_manifest(SHIPPED)
    if not isinstance(shipped_manifest.detector, SourceFile):
        raise ArtifactError(SHIPPED, "has no detector of its own")
    bring = partial(bring_weights, default_cache_dir(), default_supplied_dir())
    shipped = load_shipped(shipped_manifest, bring, default_cache_dir())
    faces = _portrait_crops(shipped)
    crops = np.concatenate([*faces.values(), _random_crops()])
    parity, speed = network.parity(crops), shipped.speed_against(network, crops)
    source = f"{onnx_path.name} {hashlib.sha256(onnx_path.read_bytes()).hexdigest()[:_SHOWN_DIGITS]}"
    sums = ImportedSums(_sha256(network.program), _sha256(network.weights), _sha256(centre) if centre else "", source)
    text = manifest_text(own, sums, shipped_manifest.detector, PREPROCESSING_VERSION)
    files = {MANIFEST_FILE: text.encode("utf-8"), NETWORK_FILE: network.program, WEIGHTS_FILE: network.weights}
    folder = write_folder(into, own.name, {**files, CENTRE_FILE: centre} if centre else files)
    return ImportReport(
        name=own.name,
        model_id=load_manifest(own.name, [into]).model_id,
        folder=str(folder),
        dimensions=own.dimensions,
        licence=own.licence,
        source=source,
        numbers=network.numbers,
        steps=network.steps,
        parity=parity,
        plausibility=_plausibility(network, faces),
        speed=speed,
    )


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_STATEMENT_BYTES + 1)
        if len(content) > _MAX_STATEMENT_BYTES:
            raise InvalidInputError("--manifest", str(path), f"a file of at most {_MAX_STATEMENT_BYTES:,} bytes")
        return content.decode("utf-8")
    except OSError as error:
        raise InvalidInputError("--manifest", str(path), f"a file that can be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError("--manifest", str(path), "a text in UTF-8") from error


def require_free(name: str, into: Path) -> None:
    """Raise InvalidInputError where an encoder of that name is there already."""
    if name in available_encoders():
        raise InvalidInputError("name", name, "a name that no shipped encoder has")
    if (into / name).exists():
        raise InvalidInputError("name", name, f"a name that is free: {into / name} is there already")


def _centre(own: OwnEncoder, beside: Path) -> bytes:
    if not own.centre:
        return b""
    try:
        content = (beside / own.centre).read_bytes()
        read_centre(content, own.dimensions)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            "template.centre", own.centre, f"a .npy file of float32 ({own.dimensions},): {error}"
        ) from error
    return content


def _portrait_crops(shipped: ShippedNetworks) -> dict[str, Rows]:
    """The aligned face of each demo portrait: float32 (1, 3, 112, 112), RGB, 0 to 255."""
    crops = {}
    for name, path in fetch_portraits().items():
        image = decode(path.read_bytes())
        seen = detector_input(image)
        landmarks = shipped.landmarks(seen.values, _MIN_PROBABILITY)
        if len(landmarks):
            crops[name] = embedder_input([align(image, landmarks[0] / np.float32(seen.scale))])
    return crops


def _random_crops() -> Rows:
    values = np.random.default_rng(0).integers(0, 256, (_RANDOM_CROPS, 3, CROP_PX, CROP_PX))
    return values.astype(np.float32)


def _plausibility(network: OwnNetwork, faces: Mapping[str, Rows]) -> Plausibility:
    made = {name: network.embed(crop)[0] for name, crop in faces.items()}
    pairs = [(a, b, float(made[a] @ made[b])) for a in made for b in made if a < b]
    same = [score for a, b, score in pairs if a.startswith(_SAME_PERSON) and b.startswith(_SAME_PERSON)]
    others = [score for a, b, score in pairs if a.startswith(_SAME_PERSON) != b.startswith(_SAME_PERSON)]
    return Plausibility(min(same), max(others))


def write_folder(into: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write an encoder's folder whole or not at all.

    Args:
        into: the folder of imported encoders; made when missing.
        name: of the encoder.
        files: by name; the manifest among them.

    Raises:
        InvalidInputError: there is no writing to it.
        ArtifactError: the files are no encoder.
    """
    folder = into / name
    try:
        into.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=into, prefix=".part-"))
    except OSError as error:
        raise InvalidInputError("--into", str(into), f"a folder to write to: {error.strerror}") from error
    try:
        for file, content in files.items():
            with (part / file).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        part.chmod(0o755)
        # Read as a service will read it, before any service can.
        parse_manifest(files[MANIFEST_FILE].decode("utf-8"), f"{name}/{MANIFEST_FILE}", part)
        part.rename(folder)
    except OSError as error:
        raise InvalidInputError("--into", str(into), f"a folder to write to: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
