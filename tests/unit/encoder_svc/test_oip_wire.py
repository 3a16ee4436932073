"""Laws of the Open Inference Protocol's tensors."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from encoder_svc.oip_wire import infer_call_from_wire
from tessera.domain.errors import InvalidInputError
from tessera.oip import open_inference_pb2 as pb


def asking(raw: bytes, shape: list[int], datatype: str = "BYTES") -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype=datatype, shape=shape)
    return pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[raw])


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=64), st.booleans())
def test_raw_elements_come_out_as_they_went_in(files: list[bytes], column: bool) -> None:
    """Whatever their bytes and lengths, empty ones too."""
    raw = b"".join(struct.pack("<I", len(data)) + data for data in files)
    shape = [len(files), 1] if column else [len(files)]
    assert infer_call_from_wire(asking(raw, shape)).pictures == tuple(files)


@given(
    st.binary(max_size=60), st.lists(st.integers(-3, 70), max_size=3), st.sampled_from(["BYTES", "UINT8", "FP32", ""])
)
def test_garbage_is_refused_by_name_or_read_whole(raw: bytes, shape: list[int], datatype: str) -> None:
    """Never another error, and never a part of what was sent."""
    with contextlib.suppress(InvalidInputError):
        call = infer_call_from_wire(asking(raw, shape, datatype))
        lengths = 4 * len(call.pictures) if datatype == "BYTES" else 0
        assert sum(map(len, call.pictures)) + lengths == len(raw)


@given(
    st.sampled_from(["max_observations", "min_detection_probability", "without_embedding", "priority", "timeout", "x"]),
    st.one_of(
        st.builds(pb.InferParameter, bool_param=st.booleans()),
        st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
        st.builds(pb.InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
        st.builds(pb.InferParameter, double_param=st.floats()),
        st.builds(pb.InferParameter, string_param=st.text(max_size=20)),
        st.builds(pb.InferParameter),
    ),
)
def test_any_parameter_is_taken_or_refused_by_name(key: str, value: pb.InferParameter) -> None:
    """Never another error, whatever type and value it has; what is taken is within what the contract allows."""
    request = asking(struct.pack("<I", 1) + b"x", [1])
    request.parameters[key].CopyFrom(value)
    with contextlib.suppress(InvalidInputError):
        call = infer_call_from_wire(request)
        assert key != "x"
        assert 1 <= call.options.max_observations <= 64
        assert 0 < (call.options.min_detection_probability or 1.0) <= 1
        assert call.timeout_s is None or 0 < call.timeout_s <= 60
