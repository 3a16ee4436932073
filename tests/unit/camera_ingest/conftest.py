"""A whole camera_ingest between a fake encoder and a fake gallery, wired as the process wires it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from ingest_fakes import FakeEncoder, FakeGallery, FakeServer, Rig
from prometheus_client import CollectorRegistry

from camera_ingest.__main__ import wire_parts
from camera_ingest.metrics import IngestMetrics
from camera_ingest.settings import IngestSettings
from tessera.chassis.channel import open_channel
from tessera.chassis.tasks import end_tasks


@pytest.fixture
async def rig(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    encoder, gallery = FakeEncoder(), FakeGallery()
    encoder_server, gallery_server = FakeServer(encoder=encoder), FakeServer(gallery=gallery)
    await encoder_server.start()
    await gallery_server.start()
    metrics = IngestMetrics(CollectorRegistry())
    settings = IngestSettings(
        encoder_address=encoder_server.address,
        gallery_address=gallery_server.address,
        store_url="memory",
        drain_s=1.0,
        open_limit_s=1.0,
        read_limit_s=1.0,
        frozen_after_s=0.5,
        scene_every_s=0.1,
        reconnect_longest_s=1.0,
        evidence_dir=str(tmp_path / "evidence"),
        evidence_keys="ephemeral",
        evidence_forget_s=0.1,
        clip_after_s=0.2,
        **getattr(request, "param", {}),
    )
    async with (
        open_channel(settings.encoder_address) as to_encoder,
        open_channel(settings.gallery_address) as to_gallery,
    ):
        ingest = wire_parts(settings, metrics, to_encoder, to_gallery)
        assert ingest.evidence is not None
        running = (ingest.matcher.run(), ingest.announcer.run(), ingest.evidence.run())
        tasks = [asyncio.create_task(work) for work in running]
        yield Rig(ingest, metrics, encoder, gallery, encoder_server, gallery_server)
        await ingest.fleet.stop()
        await end_tasks(*tasks)
        await ingest.evidence.close()
        ingest.executor.shutdown(wait=False)
        ingest.readers.close()
        ingest.looking.shutdown(wait=False)
    await encoder_server.kill()
    await gallery_server.kill()


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Six different small JPEGs."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    chance = np.random.default_rng(3)
    for number in range(6):
        image = chance.integers(0, 255, (48, 64, 3), np.uint8)
        (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(image, 90, "BGR"))
    return folder
