"""How much of the bare pipeline's speed is left when the service is around it.

The service is kept full, first by unary calls and then by camera streams; in turn with it, on the same pictures, the
same networks run in a process of their own without any service, with the batch sizes that the service chose itself.
The ratio is taken in each round, and the median of the rounds is the figure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from benchmarks.encoder.arithmetic import median_ratio
from benchmarks.encoder.bare import BareOrder, BareTally
from benchmarks.encoder.orders import OK, Closed, Streams, Tally
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.process_facts import Page, mean_between, read_page, rise
from benchmarks.encoder.worker import Load, Worker
from benchmarks.services import service

BAR = 0.90
UNARY_CALLS = 32
STREAMS = 16
CUDA_UNARY_CALLS, CUDA_STREAMS = 192, 64

BATCH_ITEMS, BUSY_SECONDS = "tessera_encoder_batch_items", "tessera_encoder_device_busy_seconds_total"
LANES = "tessera_encoder_lanes"


@dataclass(slots=True)
class Rounds:
    """What was measured in turn; images a second."""

    unary: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    faces_an_image: list[float] = field(default_factory=list)


def saturated(plan: Plan) -> Story:
    """The price of serving, as a ratio."""
    story, rounds = Story(), Rounds()
    # Many short rounds: the speed of a shared machine drifts within a minute.
    seconds, warm_s = plan.seconds(6, 4), plan.seconds(1.5, 1)
    cuda = plan.device == "cuda"
    unary = Closed(CUDA_UNARY_CALLS if cuda else UNARY_CALLS, seconds, warm_s, priority="STREAM")
    streams = Streams(CUDA_STREAMS if cuda else STREAMS, seconds, warm_s)
    with (
        service("encoder_svc", PREFIX, plan.settings()) as encoder,
        Load(encoder.address) as load,
        Worker("benchmarks.encoder.bare", [plan.device]) as bare,
    ):
        first = read_page(encoder.metrics_port)
        for _ in range(plan.count(9, 1)):
            rounds.unary.append(_served(load.ask(unary), rounds))
            rounds.streams.append(_served(load.ask(streams), rounds))
            order = bare_order(first, read_page(encoder.metrics_port), seconds, warm_s)
            bare.begin(asdict(order))
            tally = BareTally(**bare.answer(seconds + warm_s + 120))
            rounds.bare.append(tally.images / tally.seconds)
        before = read_page(encoder.metrics_port)
        load.ask(unary)
        _tell_batches(story, plan, before, read_page(encoder.metrics_port))
    _tell(story, plan, rounds, order)
    return story


def bare_order(before: Page, after: Page, seconds: float, warm_s: float) -> BareOrder:
    """As many threads as the service has lanes, and the batches that it made."""
    detect = mean_between(before, after, BATCH_ITEMS, stage="detect")
    embed = mean_between(before, after, BATCH_ITEMS, stage="embed")
    return BareOrder(
        lanes=int(after.total(LANES)),
        detect_batch=max(1, round(detect or 1)),
        embed_batch=max(1, round(embed or 1)),
        seconds=seconds,
        warm_s=warm_s,
    )


def _served(tally: Tally, rounds: Rounds) -> float:
    """Images a second.

    Raises:
        RuntimeError: calls failed; a service that refuses work is not saturated but misconfigured.
    """
    if tally.count() == 0 or tally.count() < 0.95 * sum(tally.counts.values()):
        raise RuntimeError(f"the service was to be kept full and answered {tally.counts}")
    rounds.faces_an_image.append(tally.faces / tally.count(OK))
    return tally.per_s()


def _tell(story: Story, plan: Plan, rounds: Rounds, order: BareOrder) -> None:
    name = f"saturated, {device_name(plan.device)}"
    for way, ours in (("unary calls", rounds.unary), ("camera streams", rounds.streams)):
        ratio = median_ratio(ours, rounds.bare)
        story.add(f"{name}: {way} over the bare pipeline", ratio, "ratio", f"at least {BAR:.2f}", ratio >= BAR)
    story.add(f"{name}: through gRPC, unary calls", float(np.median(rounds.unary)), "images/s")
    story.add(f"{name}: through gRPC, camera streams", float(np.median(rounds.streams)), "images/s")
    story.add(f"{name}: bare pipeline", float(np.median(rounds.bare)), "images/s")
    story.add(f"{name}: bare pipeline, threads", order.lanes, "threads")
    story.add(f"{name}: bare pipeline, batch of detection", order.detect_batch, "images")
    story.add(f"{name}: bare pipeline, batch of embedding", order.embed_batch, "faces")
    story.add(f"{name}: faces found", float(np.mean(rounds.faces_an_image)), "faces an image")


def _tell_batches(story: Story, plan: Plan, before: Page, after: Page) -> None:
    name = f"saturated, {device_name(plan.device)}: service"
    for stage in sorted(after.values_of(f"{BATCH_ITEMS}_count", "stage")):
        mean = mean_between(before, after, BATCH_ITEMS, stage=stage)
        if mean is not None:
            story.add(f"{name}, mean batch of {stage}", mean, "items")
    busy = rise(before, after, BUSY_SECONDS) / (after.read_s - before.read_s) / after.total(LANES)
    story.add(f"{name}, device busy", busy, "share of time, mean over lanes")


def device_name(device: str) -> str:
    """What the networks run on, for people."""
    return torch.cuda.get_device_name(0) if device == "cuda" else "CPU"


def on_a_gpu(plan: Plan) -> Story:
    """The same on CUDA, where there is one."""
    if not torch.cuda.is_available():
        story = Story()
        story.note("gpu: this machine has no CUDA device; the figures of the GPU are left out.")
        return story
    return saturated(Plan(plan.quick, "cuda"))
