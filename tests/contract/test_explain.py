"""Explain over real gRPC: real portraits with the real weights, and an imported encoder that looks at one place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import pytest_asyncio
from unit.nets.onnx_models import model, node, write

from encoder_svc.__main__ import RunningEncoder, running
from tessera.chassis.channel import open_channel
from tessera.chassis.encoder_folders import ENCODERS_DIR_VARIABLE
from tessera.chassis.status import StatusDetail, detail_of
from tessera.cli.__main__ import main
from tessera.client.encoder import EncoderClient, Priority
from tessera.domain.embedding import Embedding, cosine_score
from tessera.domain.errors import ImageRejectedError, NotFoundError
from tessera.domain.ids import ModelId
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2, encoder_pb2
from tessera.v1.encoder_pb2_grpc import EncoderServiceStub
from tests.encoder_world import encoder_settings
from tests.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]  # hundreds of real embeddings

GRID = 8
"""Coarse, so that a test takes a hundred embeddings and not two hundred and forty."""
LOOKS_AT = (3, 2)
"""The cell of 8 x 8 that the imported encoder looks at: an eye, where every face has something to be seen."""
CELL_PX = 112 // GRID
DIMENSIONS = 16


def _one_place_embedder() -> Any:
    """A network that is a linear map of the pixels of one cell, blind to how bright it is, and of nothing else."""
    weights = np.zeros((3, 112, 112, DIMENSIONS), np.float32)
    top, left = (CELL_PX * at for at in LOOKS_AT)
    looks = np.random.default_rng(0).standard_normal((3, CELL_PX, CELL_PX, DIMENSIONS)).astype(np.float32)
    weights[:, top : top + CELL_PX, left : left + CELL_PX] = looks - looks.mean(axis=(0, 1, 2))
    constants = {"matrix": weights.reshape(-1, DIMENSIONS), "bias": np.ones(DIMENSIONS, np.float32)}
    return model([node("Flatten", "x", "a"), node("Gemm", "a matrix bias", "y")], constants, ("n", 3, 112, 112))


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[RunningEncoder]:
    """One encoder, ready; small, since its warm-up runs all usual shapes."""
    async with running(encoder_settings(encoder=name, detect_side_px=320)) as started:

        async def ready() -> bool:
            return started.encoders.ready()

        await eventually(ready, 60.0)
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder(face_weights: Mapping[str, Path]) -> AsyncIterator[RunningEncoder]:
    """A shipped encoder."""
    async with serving("face-sface-1") as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(encoder: RunningEncoder) -> AsyncIterator[grpc.aio.Channel]:
    """To it."""
    async with open_channel(f"127.0.0.1:{encoder.server.port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def encoders_folder(tmp_path_factory: pytest.TempPathFactory, face_weights: Mapping[str, Path]) -> Path:
    """With the encoder that looks at one place, imported as somebody would who has such a network."""
    folder = tmp_path_factory.mktemp("imported")
    write(folder / "model.onnx", _one_place_embedder())
    stated = {"name": "one-place-1", "dimensions": DIMENSIONS, "licence": "Apache-2.0"}
    (folder / "stated.json").write_text(json.dumps(stated), encoding="utf-8")
    command = ["encoder", "import", str(folder / "model.onnx"), "--manifest", str(folder / "stated.json")]
    assert main([*command, "--into", str(folder / "encoders")]) == 0
    return folder / "encoders"


def _picture(data: bytes) -> biometrics_pb2.Image:
    return biometrics_pb2.Image(data=data)


def _request(image: bytes, reference: bytes, **fields: Any) -> encoder_pb2.ExplainRequest:
    probe = biometrics_pb2.Probe(image=_picture(reference))
    return encoder_pb2.ExplainRequest(image=_picture(image), reference=probe, **({"grid": GRID} | fields))


async def _refused(channel: grpc.aio.Channel, request: encoder_pb2.ExplainRequest) -> StatusDetail:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await EncoderServiceStub(channel).Explain(request)
    return detail_of(caught.value)


def _empty() -> bytes:
    ok, data = cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))
    assert ok
    return data.tobytes()


def _two_faces(portraits: Mapping[str, bytes]) -> bytes:
    images = [
        cv2.imdecode(np.frombuffer(portraits[n], np.uint8), cv2.IMREAD_COLOR) for n in ("obama2.jpg", "biden.jpg")
    ]
    ok, data = cv2.imencode(".jpg", np.hstack([cv2.resize(image, (480, 600)) for image in images if image is not None]))
    assert ok
    return data.tobytes()


# ---- what it finds


@pytest.mark.parametrize(("first", "second"), [("obama.jpg", "obama2.jpg"), ("obama3.jpg", "obama.jpg")])
async def test_a_map_of_a_match_is_faithful(
    channel: grpc.aio.Channel, portraits: Mapping[str, bytes], first: str, second: str
) -> None:
    """Covering the map's strongest tenth changes the score half as much again as a random tenth, and the most of it
    lies inside of the face."""
    answer = await EncoderServiceStub(channel).Explain(_request(portraits[first], portraits[second]))
    weights = np.array(answer.map.weights).reshape(answer.map.rows, answer.map.columns)
    assert weights.shape == (GRID, GRID)
    assert weights.max() == 1.0
    assert weights.min() >= -1.0
    assert answer.map.faithfulness > 1.5
    border = np.ones_like(weights, bool)
    border[1:-1, 1:-1] = False
    assert not border.flat[weights.argmax()]
    assert "occlusion" in answer.map.method


async def test_an_encoder_that_looks_at_one_place_lights_up_that_place(
    encoders_folder: Path, portraits: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imported network goes the same way: what it does not look at has no weight."""
    monkeypatch.setenv(ENCODERS_DIR_VARIABLE, str(encoders_folder))
    async with serving("one-place-1") as started, open_channel(f"127.0.0.1:{started.server.port}") as channel:
        # Against its own picture, so that whatever is covered takes from the score.
        request = _request(portraits["obama.jpg"], portraits["obama.jpg"])
        answer = await EncoderServiceStub(channel).Explain(request)
    weights = np.array(answer.map.weights).reshape(GRID, GRID)
    rows, columns = np.indices(weights.shape)
    away = np.maximum(abs(rows - LOOKS_AT[0]), abs(columns - LOOKS_AT[1]))
    assert answer.model_id.startswith("one-place-1@")
    assert weights[LOOKS_AT] == pytest.approx(1.0)
    assert np.abs(weights[away >= 2]).max() < 1e-3


async def test_the_picture_of_the_map_can_be_looked_at(
    channel: grpc.aio.Channel, portraits: Mapping[str, bytes]
) -> None:
    """A PNG of the aligned face, enlarged, with both colours of the map in it."""
    answer = await EncoderServiceStub(channel).Explain(_request(portraits["obama.jpg"], portraits["biden.jpg"]))
    drawn = cv2.imdecode(np.frombuffer(answer.map.overlay_png, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == (448, 448, 3)
    redness = drawn[..., 2].astype(int) - drawn[..., 0]
    assert redness.max() > 60
    assert redness.min() < -60


async def test_no_answer_holds_a_score(channel: grpc.aio.Channel, portraits: Mapping[str, bytes]) -> None:
    """Neither the score nor what it could be computed from: the weights are shares, and there is no embedding."""
    client = EncoderClient(channel)
    pictures = [portraits["obama.jpg"], portraits["obama2.jpg"]]
    encoded = [await client.encode(one, priority=Priority.INTERACTIVE, deadline_s=10.0) for one in pictures]
    first, second = (one.observations[0].embedding for one in encoded)
    assert first is not None
    assert second is not None
    score = cosine_score(first, second)
    answer = await EncoderServiceStub(channel).Explain(_request(*pictures))
    assert not answer.observation.HasField("embedding")
    assert answer.observation.quality.overall > 0
    numbers = [*answer.map.weights, answer.map.faithfulness]
    assert min(abs(number - score) for number in numbers) > 1e-6


# ---- what is refused


@pytest.mark.parametrize("where", ["image", "reference.image"])
@pytest.mark.parametrize("reason", [Reason.NO_FACE, Reason.EXCEEDS_MAX_FACES])
async def test_each_picture_has_exactly_one_face(
    channel: grpc.aio.Channel, portraits: Mapping[str, bytes], where: str, reason: Reason
) -> None:
    """The reason, and which picture it is about."""
    bad = _empty() if reason is Reason.NO_FACE else _two_faces(portraits)
    good = portraits["obama.jpg"]
    detail = await _refused(channel, _request(*((bad, good) if where == "image" else (good, bad))))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason.value)
    assert detail.metadata["field"] == where


async def test_a_reference_of_another_model_is_refused(
    channel: grpc.aio.Channel, portraits: Mapping[str, bytes]
) -> None:
    """FAILED_PRECONDITION, with both models."""
    request = _request(portraits["obama.jpg"], b"")
    request.reference.embedding.CopyFrom(biometrics_pb2.Embedding(values=[1.0] * 128, model_id="other-1@0123456789ab"))
    detail = await _refused(channel, request)
    assert (detail.code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")
    assert detail.metadata["value"] == "other-1@0123456789ab"


@pytest.mark.parametrize("grid", [1, 3, 29, 1 << 31])
async def test_a_grid_that_cannot_be_is_refused(
    channel: grpc.aio.Channel, portraits: Mapping[str, bytes], grid: int
) -> None:
    """By name, before anything is done."""
    detail = await _refused(channel, _request(portraits["obama.jpg"], portraits["obama2.jpg"], grid=grid))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert (detail.metadata["field"], detail.metadata["value"]) == ("grid", str(grid))


async def test_what_is_not_said_is_asked_for(channel: grpc.aio.Channel, portraits: Mapping[str, bytes]) -> None:
    """Without a reference there is nothing to explain."""
    detail = await _refused(channel, encoder_pb2.ExplainRequest(image=_picture(portraits["obama.jpg"])))
    assert (detail.reason, detail.metadata["field"]) == ("INVALID_FIELD", "reference")


async def test_the_client_tells_refusals_as_errors_of_the_domain(
    channel: grpc.aio.Channel, portraits: Mapping[str, bytes]
) -> None:
    """As a gallery needs them: which picture, and why."""
    client = EncoderClient(channel)
    encoded = await client.encode(portraits["obama.jpg"], priority=Priority.INTERACTIVE, deadline_s=10.0)
    reference = encoded.observations[0].embedding
    assert reference is not None
    with pytest.raises(ImageRejectedError) as caught:
        await client.explain(_empty(), reference, deadline_s=30.0)
    assert (caught.value.reason, caught.value.field) == (Reason.NO_FACE, "image")
    with pytest.raises(NotFoundError):
        await client.explain(portraits["obama.jpg"], Embedding.from_raw([1.0], ModelId("gone-1@0")), deadline_s=30.0)


# ---- what stops it


async def test_a_caller_that_goes_away_stops_it(
    encoder: RunningEncoder, channel: grpc.aio.Channel, portraits: Mapping[str, bytes]
) -> None:
    """Long before all parts are embedded; what waited is dropped."""
    value = encoder.metrics.registry.get_sample_value
    embedded = {"encoder": encoder.encoders.serving().facts.manifest.name, "stage": "embed"}
    before = value("tessera_encoder_inferences_total", embedded) or 0.0
    parts = (28 + 1) ** 2
    call = EncoderServiceStub(channel).Explain(_request(portraits["obama.jpg"], portraits["obama2.jpg"], grid=28))

    async def begun() -> bool:
        return (value("tessera_encoder_inferences_total", embedded) or 0.0) > before + 4

    await eventually(begun, 30.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    async def ended() -> bool:
        counted = {"work_class": "explanation", "outcome": "cancelled", "reason": ""}
        return value("tessera_encoder_frames_total", counted) == 1.0 and encoder.scheduler.depth() == 0

    await eventually(ended, 30.0)
    assert (value("tessera_encoder_inferences_total", embedded) or 0.0) < before + parts / 2
