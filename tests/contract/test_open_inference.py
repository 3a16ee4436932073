"""The Open Inference Protocol as NVIDIA's client and ours speak it to a real encoder with the real weights."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
import struct
import sys
import weakref
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from encoder_svc.__main__ import RunningEncoder, running
from encoder_svc.encoders import Encoders
from encoder_svc.frames import EncodedFrame, Picture
from encoder_svc.oip_servicer import SERVICE, OpenInferenceServicer
from encoder_svc.settings import DeviceChoice, EncoderSettings, RuntimeChoice
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.server import Server, ServerSettings
from tessera.chassis.status import StatusDetail, detail_of
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Modality
from tessera.domain.observation import Quality
from tessera.oip import open_inference_pb2 as pb
from tessera.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tessera.v1 import biometrics_pb2
from tessera.v1 import encoder_pb2 as own
from tessera.v1.encoder_pb2_grpc import EncoderServiceStub
from tests.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "face-sface-1"
CLIENT = Path(__file__).with_name("oip_client.py")
GUIDE = Path(__file__).parents[2] / "docs" / "open-inference.md"
OUTPUTS = ["faces", "boxes", "landmarks", "detection_probabilities", "qualities", "embeddings"]


@dataclass(frozen=True)
class Served:
    """An encoder, and where it speaks the protocol."""

    encoder: RunningEncoder
    address: str


class Triton:
    """tritonclient.grpc in its own process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, method: str, *arguments: str) -> Any:
        return await self._ask({"call": [method, *arguments]})

    async def infer(self, pictures: list[bytes], model: str = NAME, **asked: Any) -> Any:
        sent = [base64.b64encode(picture).decode() for picture in pictures]
        answer = await self._ask({"infer": {"model": model, "pictures": sent, **asked}})
        for name, tensor in answer.get("outputs", {}).items():
            values = np.frombuffer(base64.b64decode(tensor["data"]), tensor["dtype"])
            answer["outputs"][name] = values.reshape(tensor["shape"])
        return answer

    async def _ask(self, what: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), 90))


@asynccontextmanager
async def speaking(encoders: Encoders) -> AsyncIterator[str]:
    """The protocol alone, over other encoders."""
    servicer = OpenInferenceServicer(encoders, SystemClock())
    server = Server(ServerSettings(), ServiceMetrics(CollectorRegistry(), "test"), [SERVICE], servicer.add_to)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(face_weights: Mapping[str, Path]) -> AsyncIterator[Served]:
    """A warm encoder; it speaks the protocol on the port of its own contract."""
    settings = EncoderSettings(
        port=0,
        metrics_port=0,
        encoder=NAME,
        signature_encoder="",
        device=DeviceChoice.CPU,
        runtime=RuntimeChoice.EAGER,
        drain_s=5.0,
        max_deadline_s=60.0,  # for sixty-four pictures on a busy machine
    )
    async with running(settings) as encoder:
        await until(encoder.encoders.ready)
        yield Served(encoder, f"127.0.0.1:{encoder.server.port}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def triton(served: Served) -> AsyncIterator[Triton]:
    """NVIDIA's client."""
    process = await create_subprocess_exec(
        sys.executable, str(CLIENT), served.address, stdin=PIPE, stdout=PIPE, limit=1 << 24
    )
    try:
        yield Triton(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(served: Served) -> AsyncIterator[GRPCInferenceServiceStub]:
    """The protocol without anybody's client, for what tritonclient would not send."""
    async with open_channel(served.address) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder_stub(served: Served) -> AsyncIterator[EncoderServiceStub]:
    """The encoder's own contract."""
    async with open_channel(f"127.0.0.1:{served.encoder.server.port}") as channel:
        yield EncoderServiceStub(channel)


async def until(condition: Callable[[], object], limit_s: float = 60) -> None:
    async def ask() -> object:
        return condition()

    await eventually(ask, limit_s)


def blank() -> bytes:
    return jpeg(np.full((300, 400, 3), 90, np.uint8))


def jpeg(image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", image)
    assert ok
    return data.tobytes()


def beside(*pictures: bytes) -> bytes:
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in pictures]
    return jpeg(np.hstack([cv2.resize(image, (480, 600)) for image in images if image is not None]))


async def own_faces(stub: EncoderServiceStub, data: bytes) -> list[biometrics_pb2.Observation]:
    answer = await stub.Encode(own.EncodeRequest(image=biometrics_pb2.Image(data=data)))
    return list(answer.observations)


# ---- the server and its models


async def test_tritonclient_sees_server_and_model_live_and_ready(triton: Triton, face_manifest: Manifest) -> None:
    """By name, by name and version, and by the whole model id."""
    version = face_manifest.model_id.partition("@")[2]
    assert await triton.call("is_server_live") is True
    assert await triton.call("is_server_ready") is True
    for model in ([NAME], [NAME, version], [face_manifest.model_id], [face_manifest.model_id, version]):
        assert await triton.call("is_model_ready", *model) is True


async def test_tritonclient_reads_the_metadata(triton: Triton, face_manifest: Manifest) -> None:
    """Who answers, the versions, and every tensor with its datatype and shape."""
    server = await triton.call("get_server_metadata")
    assert server["name"] == "tessera-encoder"
    assert server["version"]
    model = await triton.call("get_model_metadata", NAME)
    assert f"{model['name']}@{model['versions'][0]}" == face_manifest.model_id
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": ["-1"]}]
    assert {output["name"]: (output["datatype"], output["shape"]) for output in model["outputs"]} == {
        "faces": ("INT32", ["-1"]),
        "boxes": ("FP32", ["-1", "4"]),
        "landmarks": ("FP32", ["-1", "5", "2"]),
        "detection_probabilities": ("FP32", ["-1"]),
        "qualities": ("FP32", ["-1", str(len(fields(Quality)) - 1)]),
        "embeddings": ("FP32", ["-1", str(face_manifest.dimensions)]),
    }


async def test_tritonclient_lists_the_repository(triton: Triton, face_manifest: Manifest) -> None:
    """Each encoder with its version and state."""
    version = face_manifest.model_id.partition("@")[2]
    index = await triton.call("get_model_repository_index")
    assert index == {"models": [{"name": NAME, "version": version, "state": "READY"}]}


@pytest.mark.parametrize("method", ["is_model_ready", "get_model_metadata"])
@pytest.mark.parametrize("model", [["face-x"], [NAME, "1"], [NAME, "000000000000"]])
async def test_an_unknown_model_or_version_is_not_found(triton: Triton, method: str, model: list[str]) -> None:
    """NOT_FOUND, and the message names what there is."""
    refused = await triton.call(method, *model)
    assert refused["status"] == "StatusCode.NOT_FOUND"
    assert f"this service has {NAME}@" in refused["message"]


# ---- pictures in, tensors out


async def test_embeddings_are_those_of_our_own_contract_bit_for_bit(
    triton: Triton, encoder_stub: EncoderServiceStub, portraits: Mapping[str, bytes]
) -> None:
    """Everything that EncoderService.Encode says of a face, the tensors say too."""
    for name in ("obama2.jpg", "biden.jpg"):
        (face,) = await own_faces(encoder_stub, portraits[name])
        out = (await triton.infer([portraits[name]]))["outputs"]
        assert list(out) == OUTPUTS
        assert out["faces"].tolist() == [1]
        assert out["embeddings"].tobytes() == np.array([face.embedding.values], np.float32).tobytes()
        box = face.box
        assert out["boxes"].tolist() == [[box.x_px, box.y_px, box.width_px, box.height_px]]
        assert out["landmarks"].tolist() == [[[point.x_px, point.y_px] for point in face.landmarks]]
        assert out["detection_probabilities"].tolist() == [face.detection_probability]


async def test_the_qualities_name_their_columns(
    triton: Triton, encoder_stub: EncoderServiceStub, portraits: Mapping[str, bytes]
) -> None:
    """The tensor's parameter has one name for each column, and the columns are the measures of our own contract."""
    (face,) = await own_faces(encoder_stub, portraits["biden.jpg"])
    answer = await triton.infer([portraits["biden.jpg"]], outputs=["qualities"])
    names = answer["measures"][0].split(",")
    measures = dict(zip(names, answer["outputs"]["qualities"][0].tolist(), strict=True))
    assert measures["overall"] == face.quality.overall
    assert measures["pose"] == face.quality.pose


async def test_faces_of_many_pictures_stand_one_after_the_other(
    triton: Triton, encoder_stub: EncoderServiceStub, portraits: Mapping[str, bytes]
) -> None:
    """Two faces, none, one: `faces` says whose is whose; each agrees with the picture encoded alone."""
    pictures = [beside(portraits["obama2.jpg"], portraits["biden.jpg"]), blank(), portraits["obama.jpg"]]
    out = (await triton.infer(pictures))["outputs"]
    assert out["faces"].tolist() == [2, 0, 1]
    assert [len(out[name]) for name in OUTPUTS[1:]] == [3] * 5
    alone = [face for picture in pictures for face in await own_faces(encoder_stub, picture)]
    expected = np.array([face.embedding.values for face in alone], np.float32)
    np.testing.assert_allclose(out["embeddings"], expected, atol=1e-5)


async def test_no_face_at_all_is_answered_with_empty_tensors(triton: Triton, face_manifest: Manifest) -> None:
    """Zero rows, and the row's shape as ever."""
    out = (await triton.infer([blank()]))["outputs"]
    assert out["faces"].tolist() == [0]
    assert out["landmarks"].shape == (0, 5, 2)
    assert out["embeddings"].shape == (0, face_manifest.dimensions)


async def test_sixty_four_pictures_pass_a_queue_of_fewer_places(triton: Triton) -> None:
    """A call never fills the queue of its class by itself, however many pictures it brings."""
    out = (await triton.infer([blank()] * 64, outputs=["faces"]))["outputs"]
    assert out["faces"].tolist() == [0] * 64


async def test_column_shape_and_single_file_are_taken(triton: Triton, portraits: Mapping[str, bytes]) -> None:
    """[n, 1] of BYTES, and the bytes of one file as UINT8, give what [n] of BYTES gives."""
    data = portraits["biden.jpg"]
    plain = (await triton.infer([data]))["outputs"]["embeddings"]
    column = (await triton.infer([data], shape=[1, 1]))["outputs"]["embeddings"]
    single = (await triton.infer([data], datatype="UINT8"))["outputs"]["embeddings"]
    assert plain.tobytes() == column.tobytes() == single.tobytes()


async def test_only_requested_outputs_come_in_their_order(
    triton: Triton, served: Served, portraits: Mapping[str, bytes]
) -> None:
    """Without embeddings among them nothing is embedded."""
    labels = {"encoder": NAME, "stage": "embed"}
    registry = served.encoder.metrics.registry
    before = registry.get_sample_value("tessera_encoder_inferences_total", labels)
    answer = await triton.infer([portraits["biden.jpg"]], outputs=["boxes", "faces"])
    assert list(answer["outputs"]) == ["boxes", "faces"]
    assert registry.get_sample_value("tessera_encoder_inferences_total", labels) == before


async def test_the_answer_names_model_version_and_request(
    triton: Triton, face_manifest: Manifest, portraits: Mapping[str, bytes]
) -> None:
    """`name@version` is the model id; the request's id comes back."""
    answer = await triton.infer([portraits["biden.jpg"]], model=face_manifest.model_id, request_id="r-7")
    assert f"{answer['model_name']}@{answer['model_version']}" == face_manifest.model_id
    assert answer["id"] == "r-7"


async def test_parameters_are_honoured(triton: Triton, portraits: Mapping[str, bytes]) -> None:
    """A cap on faces, a bar for detections, no embedding."""
    picture = beside(portraits["obama2.jpg"], portraits["biden.jpg"])
    capped = await triton.infer([picture], parameters={"max_observations": 1})
    assert capped["outputs"]["faces"].tolist() == [1]
    barred = await triton.infer([picture], parameters={"min_detection_probability": 1.0})
    assert barred["outputs"]["faces"].tolist() == [0]
    bare = await triton.infer([picture], parameters={"without_embedding": True})
    assert list(bare["outputs"]) == OUTPUTS[:-1]


@pytest.mark.parametrize(("priority", "work_class"), [(0, "interactive"), (2, "enrolment"), (3, "stream")])
async def test_priority_is_the_class_of_work(triton: Triton, served: Served, priority: int, work_class: str) -> None:
    """tritonclient's own argument chooses the queue."""
    labels = {"work_class": work_class, "outcome": "encoded", "reason": ""}
    registry = served.encoder.metrics.registry
    before = registry.get_sample_value("tessera_encoder_frames_total", labels) or 0.0
    await triton.infer([blank()], priority=priority)
    assert registry.get_sample_value("tessera_encoder_frames_total", labels) == before + 1


async def test_typed_contents_are_taken(stub: GRPCInferenceServiceStub, portraits: Mapping[str, bytes]) -> None:
    """bytes_contents of BYTES and uint_contents of UINT8, as clients without raw contents send them."""
    data = portraits["biden.jpg"]
    files = await stub.ModelInfer(asking(pb.InferTensorContents(bytes_contents=[data, data]), shape=[2]))
    single = await stub.ModelInfer(
        asking(pb.InferTensorContents(uint_contents=list(data)), shape=[len(data)], datatype="UINT8")
    )
    assert np.frombuffer(files.raw_output_contents[0], np.int32).tolist() == [1, 1]
    assert np.frombuffer(single.raw_output_contents[0], np.int32).tolist() == [1]


async def test_the_guide_runs(served: Served, portraits: Mapping[str, bytes], tmp_path: Path) -> None:
    """The example in docs/open-inference.md, as it stands there: one man is like himself and unlike another."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    script = tmp_path / "similar.py"
    script.write_text(code, encoding="utf-8")
    paths = []
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        (tmp_path / name).write_bytes(portraits[name])
        paths.append(str(tmp_path / name))
    process = await create_subprocess_exec(sys.executable, str(script), served.address, *paths, stdout=PIPE)
    printed, _ = await asyncio.wait_for(process.communicate(), 30)
    himself, again, other = (float(line.split()[-1]) for line in printed.decode().splitlines())
    assert himself == pytest.approx(1.0, abs=1e-3)
    assert again > 0.6
    assert other < 0.35


# ---- what is wrong is named


async def test_a_bad_picture_fails_its_call_by_index_and_reason(triton: Triton, portraits: Mapping[str, bytes]) -> None:
    """INVALID_ARGUMENT, which picture, and why."""
    refused = await triton.infer([portraits["biden.jpg"], blank(), b"no picture at all"])
    assert refused["status"] == "StatusCode.INVALID_ARGUMENT"
    assert refused["message"].startswith("image[2]: NOT_AN_IMAGE")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"name": "picture"}, "inputs: got ['picture']; allowed: exactly one, named image"),
        ({"datatype": "FP32"}, "inputs[0].datatype: got 'FP32'; allowed: BYTES, UINT8"),
        ({"shape": [1, 1, 1]}, "inputs[0].shape: got [1, 1, 1]; allowed: [n] or [n, 1], n from 1 to 64"),
        ({"pictures": ["eA=="] * 65}, "inputs[0].shape: got [65]"),
        ({"pictures": ["eA==", "eA=="], "shape": [1, 2]}, "inputs[0].shape: got [1, 2]"),
        ({"outputs": ["scores"]}, "outputs[0].name: got 'scores'; allowed: faces, boxes, "),
        ({"outputs": ["faces", "faces"]}, "outputs[1].name: got 'faces'; allowed: each output once"),
        (
            {"outputs": ["embeddings"], "parameters": {"without_embedding": True}},
            "outputs[0].name: got 'embeddings'; allowed: faces,",
        ),
        ({"parameters": {"colour": 1}}, "parameters: got 'colour'; allowed: max_observations, "),
        ({"parameters": {"max_observations": 65}}, "parameters[max_observations]: got 65; allowed: an integer from 1"),
        ({"parameters": {"max_observations": True}}, "parameters[max_observations]: got True"),
        ({"parameters": {"min_detection_probability": 0.0}}, "parameters[min_detection_probability]: got 0.0"),
        ({"parameters": {"without_embedding": "yes"}}, "parameters[without_embedding]: got 'yes'; allowed: a boolean"),
        ({"priority": 9}, "parameters[priority]: got 9; allowed: 1, 2, 3, interactive, enrolment, stream"),
        ({"timeout": -1}, "parameters[timeout]: got -1"),
    ],
)
async def test_tritonclient_is_told_what_is_wrong(triton: Triton, asked: dict[str, Any], says: str) -> None:
    """INVALID_ARGUMENT with the field, the value, and what is allowed."""
    sent = {"pictures": ["eA=="], **asked}
    pictures = [base64.b64decode(picture) for picture in sent.pop("pictures")]
    refused = await triton.infer(pictures, **sent)
    assert refused["status"] == "StatusCode.INVALID_ARGUMENT"
    assert refused["message"].startswith(says)


async def test_an_unknown_model_is_not_found(triton: Triton) -> None:
    """Before anything is decoded."""
    assert (await triton.infer([b"x"], model="face-x"))["status"] == "StatusCode.NOT_FOUND"


async def test_a_timeout_that_passes_is_told(triton: Triton, portraits: Mapping[str, bytes]) -> None:
    """A microsecond is over before a picture is decoded."""
    refused = await triton.infer([portraits["biden.jpg"]], timeout=1)
    assert refused["status"] == "StatusCode.DEADLINE_EXCEEDED"


def asking(
    contents: pb.InferTensorContents | None = None,
    *,
    shape: list[int] | None = None,
    datatype: str = "BYTES",
    raw: list[bytes] | None = None,
    inputs: int = 1,
) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="image", datatype=datatype, shape=[1] if shape is None else shape, contents=contents
    )
    return pb.ModelInferRequest(model_name=NAME, inputs=[tensor] * inputs, raw_input_contents=raw or [])


LARGE = (1 << 20) + 1
"""More numbers than are taken one by one."""


def element(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asking(inputs=0), "inputs"),
        (asking(inputs=2), "inputs"),
        (asking(), "raw_input_contents"),
        (asking(raw=[element(b"x"), element(b"x")]), "raw_input_contents"),
        (asking(pb.InferTensorContents(bytes_contents=[b"x"]), raw=[element(b"x")]), "raw_input_contents"),
        (asking(raw=[b""]), "raw_input_contents[0]"),
        (asking(raw=[b"\x01\x00"]), "raw_input_contents[0]"),
        (asking(raw=[element(b"x")[:-1]]), "raw_input_contents[0]"),
        (asking(raw=[element(b"x") + b"y"]), "raw_input_contents[0]"),
        (asking(raw=[element(b"x") * 2]), "raw_input_contents[0]"),
        (asking(raw=[element(b"x")], shape=[2]), "raw_input_contents[0]"),
        (asking(raw=[b"\xff\xff\xff\xff"]), "raw_input_contents[0]"),
        (asking(raw=[element(b"x")], shape=[]), "inputs[0].shape"),
        (asking(raw=[element(b"x")], shape=[-1]), "inputs[0].shape"),
        (asking(raw=[element(b"x")], shape=[0]), "inputs[0].shape"),
        (asking(pb.InferTensorContents(bytes_contents=[b"x"] * 2)), "inputs[0].contents.bytes_contents"),
        (asking(pb.InferTensorContents(fp32_contents=[1.0])), "inputs[0].contents.bytes_contents"),
        (asking(raw=[b"xy"], datatype="UINT8"), "raw_input_contents[0]"),
        (asking(raw=[b"x"], datatype="UINT8", shape=[1, 1]), "inputs[0].shape"),
        (asking(pb.InferTensorContents(uint_contents=[1, 2]), datatype="UINT8"), "inputs[0].contents.uint_contents"),
        (asking(pb.InferTensorContents(uint_contents=[256]), datatype="UINT8"), "inputs[0].contents.uint_contents"),
        (
            asking(pb.InferTensorContents(uint_contents=bytes(LARGE)), shape=[LARGE], datatype="UINT8"),
            "inputs[0].contents.uint_contents",
        ),
    ],
)
async def test_malformed_tensors_name_their_field(
    stub: GRPCInferenceServiceStub, request_: pb.ModelInferRequest, field: str
) -> None:
    """Whatever a client puts together wrongly is INVALID_ARGUMENT with the field: never INTERNAL."""
    detail = await refusal(stub, request_)
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert detail.metadata["field"] == field


async def test_parameters_of_tensors_and_empty_ones_are_refused(stub: GRPCInferenceServiceStub) -> None:
    """Shared memory and classes would be silently ignored otherwise."""
    on_input, on_output, empty = (asking(raw=[element(b"x")]) for _ in range(3))
    on_input.inputs[0].parameters["shared_memory_region"].string_param = "r"
    on_output.outputs.add(name="faces").parameters["classification"].int64_param = 3
    empty.parameters["priority"].SetInParent()
    for request, field in (
        (on_input, "inputs[0].parameters"),
        (on_output, "outputs[0].parameters"),
        (empty, "parameters[priority]"),
    ):
        assert (await refusal(stub, request)).metadata["field"] == field


async def refusal(
    stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest, timeout_s: float | None = None
) -> StatusDetail:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(request, timeout=timeout_s)
    return detail_of(caught.value)


# ---- while it loads and drains


async def test_while_it_loads_it_is_live_and_not_ready(face_weights: Mapping[str, Path]) -> None:
    """Work is UNAVAILABLE and metadata is told all the same; ready once it is warm, and no more when it drains."""
    settings = EncoderSettings(
        port=0, metrics_port=0, encoder=NAME, device=DeviceChoice.CPU, runtime=RuntimeChoice.EAGER, drain_s=5.0
    )
    async with running(settings) as encoder, open_channel(f"127.0.0.1:{encoder.server.port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        await until(encoder.encoders.statuses)
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME))).name == NAME
        assert not await ready(stub)
        await eventually(lambda: ready(stub), limit_s=60)
        assert encoder.encoders.ready()
        encoder.encoders.drain()
        assert not await ready(stub)
        detail = await refusal(stub, asking(raw=[element(b"x")]), timeout_s=5)
        assert (detail.code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "ENCODER_UNAVAILABLE")


async def ready(stub: GRPCInferenceServiceStub) -> bool:
    server = await stub.ServerReady(pb.ServerReadyRequest())
    model = await stub.ModelReady(pb.ModelReadyRequest(name=NAME))
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
    return server.ready and model.ready and bool(index.models)


class Remembering:
    """The encoders, and whether what they raised is still held by anybody."""

    def __init__(self, encoders: Encoders) -> None:
        self.statuses = encoders.statuses
        self._encode = encoders.encode
        self._errors: list[weakref.ref[Exception]] = []

    async def encode(self, picture: Picture, wanted: str, modality: Modality) -> EncodedFrame:
        try:
            return await self._encode(picture, wanted, modality)
        except Exception as error:
            self._errors.append(weakref.ref(error))
            raise

    def all_let_go(self) -> bool:
        return bool(self._errors) and all(error() is None for error in self._errors)


async def test_a_refused_call_lets_its_pictures_go_at_once(served: Served) -> None:
    """Nothing of it waits for the garbage collector: the pictures of one call may be 64 MiB."""
    encoders = Remembering(served.encoder.encoders)
    request = asking(raw=[element(b"no picture at all") * 3], shape=[3])
    gc.collect()
    gc.disable()
    try:
        async with speaking(encoders) as address, open_channel(address) as channel:  # type: ignore[arg-type]
            await refusal(GRPCInferenceServiceStub(channel), request)
            await until(encoders.all_let_go, limit_s=5)
            assert encoders.all_let_go()
    finally:
        gc.enable()
