"""The Open Inference Protocol's tensors to pictures, and what was seen in them back to tensors.

Only this module and its servicer touch that protocol's messages. Pictures stay the bytes that were sent: nothing is
decoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder_svc.encoders import EncoderState, EncoderStatus
from encoder_svc.frames import EncodedFrame, EncodeOptions
from encoder_svc.scheduling.work import ASKED_FOR, WorkClass
from encoder_svc.wire import MAX_OBSERVATIONS
from tessera import __version__
from tessera.domain.artifact import Manifest
from tessera.domain.errors import InvalidInputError
from tessera.domain.observation import Observation, Quality
from tessera.oip import open_inference_pb2 as pb

MAX_PICTURES = 64
"""In one call."""
MAX_TYPED_ELEMENTS = 1 << 20
"""Of `uint_contents`. Each byte comes as a number of its own: 20 MiB would keep the event loop for 0.7 s, this 0.06."""

INPUT = "image"

MEASURES = tuple(measure.name for measure in fields(Quality) if measure.name != "reasons")
"""The columns of `qualities`."""

_LANDMARKS = 5
_LENGTH = struct.Struct("<I")
_ANY = -1

# In the order of precedence, which is also how the protocol counts: 1 goes first. 0: not given.
_PRIORITIES: dict[int | str, WorkClass] = {
    **dict(enumerate(ASKED_FOR, start=1)),
    **{work_class.value: work_class for work_class in ASKED_FOR},
}
_REPOSITORY_STATES = {
    EncoderState.LOADING: "LOADING",
    EncoderState.WARMING_UP: "LOADING",
    EncoderState.READY: "READY",
    EncoderState.DRAINING: "UNLOADING",
    EncoderState.FAILED: "UNAVAILABLE",
}


class Output(StrEnum):
    """The tensors of an answer. Faces stand one after the other, picture by picture, the largest of each first."""

    FACES = "faces"
    """INT32 (pictures,): how many faces each picture has."""
    BOXES = "boxes"
    """FP32 (faces, 4): left, top, width, height, in pixels of the picture as sent."""
    LANDMARKS = "landmarks"
    """FP32 (faces, 5, 2): x, y; NaN of what has none, such as a signature."""
    PROBABILITIES = "detection_probabilities"
    """FP32 (faces,)."""
    QUALITIES = "qualities"
    """FP32 (faces, measures); a measure that was not taken is NaN."""
    EMBEDDINGS = "embeddings"
    """FP32 (faces, dimensions), each row of length 1."""


@dataclass(frozen=True, slots=True, eq=False)
class InferCall:
    """What a ModelInfer asks for."""

    pictures: tuple[bytes, ...]
    """Files as sent."""
    options: EncodeOptions
    work_class: WorkClass
    outputs: tuple[Output, ...]
    """In the order that they are wanted in."""
    timeout_s: float | None
    """After this long nobody wants the answer."""


def infer_call_from_wire(request: pb.ModelInferRequest) -> InferCall:
    """What is asked for.

    Raises:
        InvalidInputError: a tensor, a parameter or an output is not what ModelMetadata and the contract say.
    """
    values = {key: _value(key, parameter) for key, parameter in request.parameters.items()}
    unknown = sorted(set(values) - set(_PARAMETERS))
    if unknown:
        raise InvalidInputError("parameters", unknown[0], ", ".join(_PARAMETERS))
    without_embedding = _boolean(values, "without_embedding")
    outputs = _outputs(request.outputs, without_embedding=without_embedding)
    options = EncodeOptions(
        max_observations=_max_observations(values),
        min_detection_probability=_min_detection_probability(values),
        with_embedding=Output.EMBEDDINGS in outputs,
    )
    return InferCall(_pictures(request), options, _work_class(values), outputs, _timeout_s(values))


def infer_response(
    request: pb.ModelInferRequest, call: InferCall, frames: Sequence[EncodedFrame], manifest: Manifest
) -> pb.ModelInferResponse:
    """The answer to `call`, with raw contents."""
    response = pb.ModelInferResponse(model_name=manifest.name, model_version=version_of(manifest), id=request.id)
    for output in call.outputs:
        tensor = _tensor(output, frames, manifest.dimensions)
        shown = response.outputs.add(name=output, datatype=_datatype(output), shape=tensor.shape)
        if output is Output.QUALITIES:
            shown.parameters["measures"].string_param = ",".join(MEASURES)
        response.raw_output_contents.append(tensor.tobytes())
    return response


def server_metadata() -> pb.ServerMetadataResponse:
    """Who answers."""
    return pb.ServerMetadataResponse(name="tessera-encoder", version=__version__, extensions=["model_repository"])


def model_metadata(manifest: Manifest, versions: Iterable[str]) -> pb.ModelMetadataResponse:
    """The tensors of an encoder."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=manifest.name,
        versions=versions,
        platform="tessera",
        inputs=[tensor(name=INPUT, datatype="BYTES", shape=[_ANY])],
        outputs=[
            tensor(name=output, datatype=_datatype(output), shape=[_ANY, *_row(output, manifest.dimensions)])
            for output in Output
        ],
    )


def model_index(status: EncoderStatus) -> pb.RepositoryIndexResponse.ModelIndex:
    """One encoder in the list of all."""
    manifest = status.facts.manifest
    return pb.RepositoryIndexResponse.ModelIndex(
        name=manifest.name,
        version=version_of(manifest),
        state=_REPOSITORY_STATES[status.state],
        reason=status.detail,
    )


def version_of(manifest: Manifest) -> str:
    """The version of an encoder is the digest in its model id: another version never makes comparable embeddings."""
    return manifest.model_id.rpartition("@")[2]


# ---- pictures


def _pictures(request: pb.ModelInferRequest) -> tuple[bytes, ...]:
    names = [tensor.name for tensor in request.inputs]
    if names != [INPUT]:
        raise InvalidInputError("inputs", names, f"exactly one, named {INPUT}")
    tensor, raw = request.inputs[0], request.raw_input_contents
    _refuse_parameters("inputs[0].parameters", tensor.parameters)
    typed = bool(tensor.contents.ListFields())
    if typed and raw:
        raise InvalidInputError("raw_input_contents", "set beside inputs[0].contents", "one of the two")
    if not typed and len(raw) != 1:
        raise InvalidInputError(
            "raw_input_contents", f"{len(raw)} entries", "one for each input, or inputs[0].contents"
        )
    match tensor.datatype:
        case "BYTES":
            count = _picture_count(list(tensor.shape))
            return _typed_files(tensor.contents, count) if typed else _raw_files(raw[0], count)
        case "UINT8":
            return (_one_file(tensor, None if typed else raw[0]),)
    raise InvalidInputError("inputs[0].datatype", tensor.datatype, "BYTES, UINT8")


def _picture_count(shape: list[int]) -> int:
    count = shape[0] if len(shape) == 1 or shape[1:] == [1] else 0
    if not 1 <= count <= MAX_PICTURES:
        raise InvalidInputError("inputs[0].shape", shape, f"[n] or [n, 1], n from 1 to {MAX_PICTURES}")
    return count


def _typed_files(contents: pb.InferTensorContents, count: int) -> tuple[bytes, ...]:
    files = tuple(contents.bytes_contents)
    if len(files) != count:
        raise InvalidInputError(
            "inputs[0].contents.bytes_contents", f"{len(files)} elements", f"{count}, as the shape says"
        )
    return files


def _raw_files(raw: bytes, count: int) -> tuple[bytes, ...]:
    files: list[bytes] = []
    at = 0
    while at < len(raw) and len(files) < count:
        start = at + _LENGTH.size
        end = start + (_LENGTH.unpack_from(raw, at)[0] if start <= len(raw) else 0)
        if max(start, end) > len(raw):
            break
        files.append(raw[start:end])
        at = end
    if len(files) != count or at != len(raw):
        found = f"{len(files)} whole elements in {at} of {len(raw)} bytes"
        allowed = f"{count} elements, each after its length in 4 bytes, little-endian"
        raise InvalidInputError("raw_input_contents[0]", found, allowed)
    return tuple(files)


def _one_file(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> bytes:
    shape = list(tensor.shape)
    if raw is not None:
        field, size = "raw_input_contents[0]", len(raw)
    else:
        field, size = "inputs[0].contents.uint_contents", len(tensor.contents.uint_contents)
    if len(shape) != 1:
        raise InvalidInputError("inputs[0].shape", shape, "[length of the file]")
    if shape != [size]:
        raise InvalidInputError(field, f"{size} elements", f"{shape[0]}, as the shape says")
    if raw is not None:
        return raw
    if size > MAX_TYPED_ELEMENTS:
        raise InvalidInputError(field, f"{size} elements", f"at most {MAX_TYPED_ELEMENTS}; more as raw_input_contents")
    try:
        return bytes(tensor.contents.uint_contents)
    except ValueError:
        raise InvalidInputError(field, max(tensor.contents.uint_contents), "0 to 255") from None


# ---- parameters


_PARAMETERS = ("max_observations", "min_detection_probability", "without_embedding", "priority", "timeout")


def _value(key: str, parameter: pb.InferParameter) -> bool | int | float | str:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidInputError(f"parameters[{key}]", "nothing", "a value")
    value: bool | int | float | str = getattr(parameter, kind)
    return value


def _whole(values: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    value = values.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise InvalidInputError(f"parameters[{key}]", value, f"an integer from {least} to {most}")
    return value


def _boolean(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise InvalidInputError(f"parameters[{key}]", value, "a boolean")
    return value


def _max_observations(values: Mapping[str, Any]) -> int:
    return _whole(values, "max_observations", EncodeOptions().max_observations, 1, MAX_OBSERVATIONS)


def _min_detection_probability(values: Mapping[str, Any]) -> float | None:
    if "min_detection_probability" not in values:
        return None
    value = values["min_detection_probability"]
    if type(value) not in {int, float} or not 0.0 < value <= 1.0:
        raise InvalidInputError("parameters[min_detection_probability]", value, "a number more than 0, at most 1")
    return float(value)


def _work_class(values: Mapping[str, Any]) -> WorkClass:
    asked = values.get("priority", 0) or WorkClass.INTERACTIVE
    if isinstance(asked, bool) or asked not in _PRIORITIES:
        raise InvalidInputError("parameters[priority]", asked, ", ".join(map(str, _PRIORITIES)))
    return _PRIORITIES[asked]


def _timeout_s(values: Mapping[str, Any]) -> float | None:
    longest_us = 60_000_000
    return _whole(values, "timeout", 0, 0, longest_us) / 1e6 or None


def _refuse_parameters(field: str, parameters: Mapping[str, pb.InferParameter]) -> None:
    if parameters:
        raise InvalidInputError(field, min(parameters), "none")


# ---- outputs


def _outputs(
    requested: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor], *, without_embedding: bool
) -> tuple[Output, ...]:
    possible = [output for output in Output if not (without_embedding and output is Output.EMBEDDINGS)]
    chosen: list[Output] = []
    for at, tensor in enumerate(requested):
        field = f"outputs[{at}].name"
        _refuse_parameters(f"outputs[{at}].parameters", tensor.parameters)
        if tensor.name not in possible:
            raise InvalidInputError(field, tensor.name, ", ".join(possible))
        if tensor.name in chosen:
            raise InvalidInputError(field, tensor.name, "each output once")
        chosen.append(Output(tensor.name))
    return tuple(chosen or possible)


def _datatype(output: Output) -> str:
    return "INT32" if output is Output.FACES else "FP32"


def _row(output: Output, dimensions: int) -> tuple[int, ...]:
    rows: dict[Output, tuple[int, ...]] = {
        Output.BOXES: (4,),
        Output.LANDMARKS: (_LANDMARKS, 2),
        Output.QUALITIES: (len(MEASURES),),
        Output.EMBEDDINGS: (dimensions,),
    }
    return rows.get(output, ())


def _tensor(output: Output, frames: Sequence[EncodedFrame], dimensions: int) -> npt.NDArray[Any]:
    if output is Output.FACES:
        return np.array([len(frame.samples) for frame in frames], dtype="<i4")
    rows = [_of(output, seen) for frame in frames for seen in frame.observations]
    return np.array(rows, dtype="<f4").reshape(len(rows), *_row(output, dimensions))


def _of(output: Output, seen: Observation) -> Any:  # noqa: ANN401 - whatever numpy makes a row of
    match output:
        case Output.BOXES:
            return (seen.box.x_px, seen.box.y_px, seen.box.width_px, seen.box.height_px)
        case Output.LANDMARKS:
            return seen.landmarks if len(seen.landmarks) else np.full((_LANDMARKS, 2), np.nan)
        case Output.PROBABILITIES:
            return seen.detection_probability
        case Output.QUALITIES:
            measures = [getattr(seen.quality, measure) for measure in MEASURES]
            return [np.nan if measure is None else measure for measure in measures]
        case Output.EMBEDDINGS if seen.embedding is not None:
            return seen.embedding.vector
    raise AssertionError(f"{output} was asked for, and a face has none")
