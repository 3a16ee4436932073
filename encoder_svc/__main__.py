"""`python -m encoder_svc`: the encoder's parts, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import grpc
from prometheus_client import CollectorRegistry

from encoder_svc import oip_servicer
from encoder_svc.admission import Admission, OverflowPolicy, QueueRule
from encoder_svc.device import (
    choose_device,
    choose_helpers,
    choose_lanes,
    prepare_inference_thread,
    tune_interpreter,
)
from encoder_svc.encoders import EncoderFacts, Encoders
from encoder_svc.explaining import Explainer
from encoder_svc.loading import compile_and_replace, describe_encoder, load_pipeline
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.oip_servicer import OpenInferenceServicer
from encoder_svc.pipeline import Pipeline
from encoder_svc.scheduling.forming import BatchRules
from encoder_svc.scheduling.scheduler import Scheduler
from encoder_svc.scheduling.work import WorkClass
from encoder_svc.servicer import EncoderServicer
from encoder_svc.settings import PREFIX, EncoderSettings
from encoder_svc.streams import StreamRules
from encoder_svc.two_stage import DETECT_BATCH
from encoder_svc.version import Parts
from tessera.chassis.allocator import tune_for_networks
from tessera.chassis.clock import Clock, SystemClock
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.server import Server, run_service, wait_for_stop_signal
from tessera.chassis.settings import load_settings, redacted
from tessera.chassis.tasks import end_tasks
from tessera.chassis.tracing import Tracing, open_tracing
from tessera.domain.errors import ArtifactError, InvalidInputError, NotFoundError, PreconditionError
from tessera.v1 import encoder_pb2
from tessera.v1.encoder_pb2_grpc import add_EncoderServiceServicer_to_server

SERVICE = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"]
_COUNT_TASKS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class RunningEncoder:
    """A service that listens."""

    server: Server
    encoders: Encoders
    scheduler: Scheduler
    admission: Admission
    metrics: EncoderMetrics


@contextlib.asynccontextmanager
async def running(
    settings: EncoderSettings, clock: Clock | None = None, tracing: Tracing | None = None
) -> AsyncIterator[RunningEncoder]:
    """Run the service: it listens at once and takes work when its encoder is warm.

    Raises:
        InvalidInputError: a setting or an address is wrong, or names an encoder that is not there.
    """
    clock = clock or SystemClock()
    metrics = EncoderMetrics(CollectorRegistry())
    parts = build_parts(settings, clock, metrics)
    encoders = Encoders(describe_encoder, partial(_load_off_the_loop, settings), parts)
    wanted = settings.wanted_encoders
    _require_known(wanted)
    rules = StreamRules(
        settings.stream_credits, settings.stream_most_credits, settings.stream_idle_s, settings.max_streams
    )
    explainer = Explainer(encoders, parts)
    ours = EncoderServicer(encoders, explainer, rules, clock=clock, metrics=metrics, tracing=tracing)
    adding = _adding(ours, OpenInferenceServicer(encoders, clock))
    server = Server(settings.server, metrics, [SERVICE, oip_servicer.SERVICE], adding, tracing)
    await server.start()
    parts.scheduler.start()
    tasks = [
        asyncio.create_task(_bring_up(settings, encoders, wanted, server)),
        asyncio.create_task(_count_tasks(metrics)),
    ]
    try:
        yield RunningEncoder(server, encoders, parts.scheduler, parts.admission, metrics)
    finally:
        encoders.drain()
        await server.stop()
        await end_tasks(*tasks)
        await encoders.close()


def build_parts(settings: EncoderSettings, clock: Clock, metrics: EncoderMetrics) -> Parts:
    """What all encoders of this process share: the door, the device's lanes, the threads beside them.

    Raises:
        InvalidInputError: CUDA was asked for and there is none.
    """
    device = choose_device(settings.device)
    lanes = choose_lanes(device, settings.lanes)
    window = settings.window or (4 * lanes if device.type == "cpu" else 4 * DETECT_BATCH)
    refuse, drop = OverflowPolicy.REFUSE_NEWEST, OverflowPolicy.DROP_OLDEST
    queues = {
        WorkClass.INTERACTIVE: QueueRule(settings.interactive_queue, refuse, window),
        WorkClass.ENROLMENT: QueueRule(settings.enrolment_queue, refuse, window),
        WorkClass.STREAM: QueueRule(settings.stream_queue, drop, window),
        WorkClass.EXPLANATION: QueueRule(settings.explanation_queue, refuse, window=1),
    }
    scheduler = Scheduler(
        BatchRules(settings.slice_ms / 1e3, settings.linger_share, settings.stream_batch_frames),
        {WorkClass.ENROLMENT: settings.enrolment_share, WorkClass.STREAM: settings.stream_share},
        lanes=lanes,
        helpers=choose_helpers(device, settings.decode_threads),
        clock=clock,
        metrics=metrics,
        on_start=partial(prepare_inference_thread, settings.threads),
    )
    admission = Admission(queues, settings.decoded_bytes, clock, metrics)
    return Parts(admission, scheduler, clock, metrics)


def _require_known(wanted: Iterable[str]) -> None:
    for name in wanted:
        try:
            describe_encoder(name)
        except NotFoundError as error:
            raise InvalidInputError("encoder", name, f"an encoder that is there: {error}") from None


async def _load_off_the_loop(settings: EncoderSettings, facts: EncoderFacts) -> Pipeline:
    return await asyncio.to_thread(load_pipeline, settings, facts.manifest)


def _adding(ours: EncoderServicer, inference: OpenInferenceServicer) -> Callable[[grpc.aio.Server], None]:
    def add(server: grpc.aio.Server) -> None:
        add_EncoderServiceServicer_to_server(ours, server)
        inference.add_to(server)

    return add


async def _bring_up(settings: EncoderSettings, encoders: Encoders, wanted: Mapping[str, int], server: Server) -> None:
    """Load what the settings name; what cannot be had is tried again until it can. Then make it faster."""
    left = dict(wanted)
    while left:
        for name, priority in left.items():
            try:
                encoders.load(name, priority)
            except (NotFoundError, PreconditionError) as error:  # somebody loads it by hand, or changes its files
                get_logger().warning("encoder.not_loaded", encoder=name, error=str(error))
        with contextlib.suppress(ArtifactError):  # logged, and told by ListEncoders
            await encoders.loaded()
        serving = {status.facts.manifest.name for status in encoders.statuses() if status.device}
        left = {name: priority for name, priority in left.items() if name not in serving}
        if encoders.ready():
            await server.set_ready(True)
        if left:
            await asyncio.sleep(settings.load_retry_s)
    await compile_and_replace(settings, encoders)


async def _count_tasks(metrics: EncoderMetrics) -> None:
    while True:
        metrics.asyncio_tasks.set(len(asyncio.all_tasks()))
        await asyncio.sleep(_COUNT_TASKS_EVERY_S)


async def _main() -> None:
    settings = load_settings(EncoderSettings, PREFIX)
    configure_logs("encoder", level=settings.log_level)
    get_logger().info("encoder.starting", **redacted(settings))
    tune_for_networks()
    tune_interpreter()
    async with open_tracing("encoder") as tracing, running(settings, tracing=tracing):
        get_logger().info("encoder.stopping", signal=await wait_for_stop_signal())


if __name__ == "__main__":
    sys.exit(run_service(_main, "encoder"))
