"""What somebody says of an encoder that they bring, and the manifest that is written from it.

    {"name": "face-mine-1", "modality": "FACE", "dimensions": 512, "licence": "Apache-2.0",
     "input": {"size": 112, "channels": "RGB", "offset": 127.5, "scale": 0.0078125},
     "template": {"mirrored": true}}

`input` and `template` may be left out, as may each of their fields. Nobody can know the licence but whoever brings it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tessera.domain.artifact import IMPORTED, SCHEMA, InputFormat, SourceFile, model_id_of, read_input
from tessera.domain.embedding import MAX_DIMENSIONS, Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.manifest_fields import (
    WHOLE,
    read_choice,
    read_flag,
    read_name,
    read_object,
    read_text,
    read_whole_number,
)

CROP_PX = 112
"""The one size that faces are aligned to."""

_FIELDS = ("name", "modality", "dimensions", "licence", "input", "template")


@dataclass(frozen=True, slots=True)
class OwnEncoder:
    """The statements, checked."""

    name: str
    dimensions: int
    licence: str
    """SPDX identifier of the weights' licence."""
    input: InputFormat
    mirrored: bool
    refined: bool
    centre: str
    """The name of a file beside the statements; empty: there is none."""


@dataclass(frozen=True, slots=True)
class ImportedSums:
    """The sha256 of each file that an import writes, and where the network is from."""

    network: str
    weights: str
    centre: str
    """Empty: there is none."""
    source: str


def parse_own_encoder(text: str) -> OwnEncoder:
    """Read the statements.

    Raises:
        InvalidInputError: a field is wrong, unknown or missing; it says what is allowed.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(WHOLE, str(error), "JSON") from error
    fields = read_object(raw, WHOLE, _FIELDS)
    name = read_name(fields, "name")
    modality = read_choice(fields, "modality", Modality, default=Modality.FACE)
    if modality is not Modality.FACE:
        raise InvalidInputError("modality", modality.value, "FACE: other embedders cannot be imported yet")
    if "licence" not in fields:
        raise InvalidInputError("licence", None, "the SPDX identifier of the weights' licence, such as Apache-2.0")
    template = read_object(fields.get("template", {}), "template", ("mirrored", "refined", "centre"))
    given = read_object(fields.get("input", {}), "input", ("size", "channels", "offset", "scale"))
    if "size" in given:
        read_whole_number(given, "size", CROP_PX, CROP_PX, "input")
    return OwnEncoder(
        name=name,
        dimensions=read_whole_number(fields, "dimensions", 1, MAX_DIMENSIONS),
        licence=read_text(fields, "licence"),
        input=read_input({key: value for key, value in given.items() if key != "size"}),
        mirrored=read_flag(template, "mirrored", "template", default=False),
        refined=read_flag(template, "refined", "template", default=False),
        centre=_file_name(template),
    )


def manifest_text(own: OwnEncoder, sums: ImportedSums, detector: SourceFile, preprocessing: str) -> str:
    """The manifest of an imported encoder, as JSON.

    Args:
        own: what was stated.
        sums: of the files beside it.
        detector: the one that ships.
        preprocessing: the version that this Tessera has.
    """
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "name": own.name,
        "modality": Modality.FACE.value,
        "dimensions": own.dimensions,
        "crop_px": CROP_PX,
        "preprocessing": preprocessing,
        "input": {
            "channels": own.input.channels.value,
            "offset": list(own.input.offset),
            "scale": list(own.input.scale),
        },
        "template": {"mirrored": own.mirrored, "refined": own.refined},
        "detector": asdict(detector),
        "embedder": {
            "network": IMPORTED,
            "network_sha256": sums.network,
            "weights_sha256": sums.weights,
            "licence": own.licence,
            "source": sums.source,
        },
    }
    if sums.centre:
        facts["template"]["centre_sha256"] = sums.centre
    return json.dumps(facts | {"model_id": model_id_of(facts)}, indent=1) + "\n"


def _file_name(template: Any) -> str:  # noqa: ANN401 - JSON holds anything
    if "centre" not in template:
        return ""
    name = read_text(template, "centre", "template")
    if "/" in name or "\\" in name or name.startswith("."):
        raise InvalidInputError("template.centre", name, "the name of a .npy file beside this manifest")
    return name
