"""A gallery and a real signature pipeline behind real gRPC, on a network that sees only where ink is.

No trained weights: what is tested is that signatures go all the way, not how well anybody's network tells them apart.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import cv2
import grpc
import numpy as np
import torch

from encoder_svc.encoders import EncoderFacts, Encoders
from encoder_svc.explaining import Explainer
from encoder_svc.pipeline import Pipeline
from encoder_svc.servicer import EncoderServicer
from encoder_svc.signatures.pipeline import SignaturePipeline
from encoder_svc.streams import StreamRules
from gallery_svc.service import RunningGallery, running_gallery
from gallery_svc.settings import DurabilityWord, GallerySettings
from gallery_svc.thresholds import Thresholds
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.server import Server
from tessera.client.encoder import EncoderClient
from tessera.demo.signatures import Hand, draw, invent_forger, invent_hand, sign
from tessera.domain.artifact import Manifest, model_id_of, parse_manifest
from tessera.domain.calibration import Calibration, CalibrationData, Impostors, OperatingPoint
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, SIGNATURE_PREPROCESSING
from tessera.nets.signature import SignatureNetworks
from tessera.v1 import encoder_pb2, gallery_pb2_grpc
from tessera.v1.encoder_pb2_grpc import add_EncoderServiceServicer_to_server
from tests.encoder_world import build_parts, encoder_settings
from tests.gallery_world import _KEYS, _KEYS_VARIABLE
from tests.gallery_world import CALIBRATION as FACES

SIDES = (8, 32)
NAME = "signature-test"


def manifest_text(preprocessing: str = SIGNATURE_PREPROCESSING) -> str:
    """A manifest of schema 3."""
    source = {"network": "any", "file": "a", "sha256": "0" * 64, "licence": "MIT", "requirement": "b==1"}
    facts = {
        "schema": 3,
        "name": NAME,
        "modality": "SIGNATURE",
        "dimensions": SIDES[0] * SIDES[1],
        "crop_px": [CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX],
        "preprocessing": preprocessing,
        "embedder": source | {"path_in_carrier": "c", "carrier_sha256": "0" * 64},
    }
    return json.dumps(facts | {"model_id": model_id_of(facts)})


def where_ink_is(canvases: torch.Tensor) -> torch.Tensor:
    """An embedding of a kind: how much ink is where."""
    return torch.nn.functional.adaptive_avg_pool2d(canvases, SIDES).flatten(1) + 1e-3


MANIFEST: Manifest = parse_manifest(manifest_text(), "manifest.json")


def pipeline_of(manifest: Manifest = MANIFEST) -> SignaturePipeline:
    """A real pipeline on that network."""
    return SignaturePipeline(manifest, SignatureNetworks(where_ink_is, torch.device("cpu")))


# ---- thresholds: looser against strangers than against forgers


def calibration(impostors: Impostors, rates: dict[float, float]) -> Calibration:
    """A calibration with this FMR at each score."""
    return Calibration(
        CalibrationId(f"cal-{impostors.lower()}"),
        MANIFEST.model_id,
        Modality.SIGNATURE,
        "2026-11-22",
        CalibrationData("ink", "0" * 64, 100, 1000, 10_000, 100_000),
        tuple(
            OperatingPoint(score, fmr, Interval(fmr / 2, min(1.0, fmr * 2)), 0.1, Interval(0.05, 0.2))
            for score, fmr in rates.items()
        ),
        impostors=impostors,
    )


RANDOM = calibration(Impostors.RANDOM, {0.3: 1e-1, 0.4: 1e-2, 0.45: 1e-3, 0.48: 1e-4})
SKILLED = calibration(Impostors.SKILLED, {0.7: 1e-1, 0.75: 5e-2, 0.8: 2e-2, 0.88: 1e-2, 0.95: 1e-3})


def thresholds(*calibrations: Calibration) -> Thresholds:
    """Of this encoder, and of one for faces, which every gallery has."""
    models = {Modality.SIGNATURE: MANIFEST.model_id, Modality.FACE: FACES.model_id}
    return Thresholds((*calibrations, FACES), models, {MANIFEST.model_id: MANIFEST.dimensions})


# ---- pictures


def png(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """A file."""
    return cv2.imencode(".png", picture)[1].tobytes()


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who signs, and somebody who has practised that."""

    hand: Hand
    forger: Hand
    rng: np.random.Generator

    @classmethod
    def invented(cls, seed: int) -> Writer:
        """One writer for each seed."""
        rng = np.random.default_rng(seed)
        hand = invent_hand(rng)
        return cls(hand, invent_forger(hand, rng), rng)

    def signs(self, count: int) -> list[bytes]:
        """So many genuine signatures; no two are alike."""
        return [png(draw(sign(self.hand, self.rng))) for _ in range(count)]

    def is_forged(self) -> bytes:
        """A skilled forgery."""
        return png(draw(sign(self.forger, self.rng)))


# ---- services


@dataclass(slots=True)
class SignatureWorld:
    """A gallery, and the encoder that it asks."""

    gallery: RunningGallery
    encoder: EncoderClient
    encoder_address: str
    stub: gallery_pb2_grpc.GalleryServiceAsyncStub

    async def is_ready(self) -> bool:
        """Whether the gallery takes work."""
        return self.gallery.metrics.registry.get_sample_value("tessera_ready", {}) == 1


@contextlib.asynccontextmanager
async def running_encoder() -> AsyncIterator[str]:
    """The encoder service with one signature encoder; its address."""
    parts, clock = build_parts(), SystemClock()

    async def load(facts: EncoderFacts) -> Pipeline:
        return pipeline_of(facts.manifest)

    encoders = Encoders(lambda name: EncoderFacts(MANIFEST, ""), load, parts)
    servicer = EncoderServicer(
        encoders, Explainer(encoders, parts), StreamRules(2, 4, 30.0, 4), clock=clock, metrics=parts.metrics
    )

    def add(server: grpc.aio.Server) -> None:
        add_EncoderServiceServicer_to_server(servicer, server)

    served = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"]
    server = Server(encoder_settings().server, parts.metrics, [served], add)
    parts.scheduler.start()
    encoders.load(NAME)
    await encoders.loaded()
    await server.start()
    await server.set_ready(True)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        encoders.drain()
        await server.stop()
        await encoders.close()


@contextlib.asynccontextmanager
async def running_world(store: str, *calibrations: Calibration) -> AsyncIterator[SignatureWorld]:
    """A gallery over `store`, with these calibrations; both by default."""
    os.environ.setdefault(_KEYS_VARIABLE, _KEYS)
    chosen = GallerySettings(
        port=0,
        metrics_port=0,
        store=store,
        keys=f"env:{_KEYS_VARIABLE}",
        durability=DurabilityWord.EVERYSEC,
        store_timeout_s=8.0,
        follow_interval_s=0.02,
        drain_s=1.0,
        max_deadline_s=30.0,
        explain_deadline_s=90.0,
    )
    async with running_encoder() as address, open_channel(address) as channel:
        client = EncoderClient(channel)
        known = thresholds(*(calibrations or (RANDOM, SKILLED)))
        async with (
            running_gallery(chosen, client, known, SystemClock()) as gallery,
            open_channel(f"127.0.0.1:{gallery.server.port}") as to_gallery,
        ):
            yield SignatureWorld(gallery, client, address, gallery_pb2_grpc.GalleryServiceStub(to_gallery))
