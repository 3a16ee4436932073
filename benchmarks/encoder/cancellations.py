"""A thousand calls and streams that end badly while others are served, twice: what is left of them afterwards.

Unary calls are cancelled at random moments, streams dropped in the middle of a frame, channels closed under their
calls, and client processes killed. When the load is gone, nothing may wait, run or be counted as open; a second
thousand may not take memory that the first did not.
"""

from __future__ import annotations

import random
import time

from benchmarks.encoder.arithmetic import percentile
from benchmarks.encoder.orders import Chaos, Closed, Paced, Tally
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.process_facts import Page, memory_mb, read_page
from benchmarks.encoder.worker import Load
from benchmarks.services import Service, service

KILLED_PROCESSES, CALLS_OF_A_PROCESS = 10, 10
BACKGROUND_CALLS = 6
SETTLE_LIMIT_S = 20.0
MEMORY_BAR_MB = 30.0
TASKS = "tessera_encoder_asyncio_tasks"

LEFT_OVERS = {
    "items in queues": "tessera_encoder_queue_depth",
    "pictures neither answered nor given up": "tessera_encoder_pending",
    "credits in use": "tessera_encoder_credits_in_use",
    "streams open": "tessera_encoder_streams",
}


def cancellations(plan: Plan) -> Story:
    """Two rounds, and what is left after each."""
    story = Story()
    with service("encoder_svc", PREFIX, plan.settings()) as encoder, Load(encoder.address) as probe:
        probe.ask(Closed(8, plan.seconds(8, 2), 0.0))  # every lane and every buffer was in use once
        idle = settled(encoder)
        first = _round(plan, encoder, seed=1)
        page, first_mb = settled(encoder, idle), memory_mb(encoder.pid)
        second = _round(plan, encoder, seed=2)
        page, second_mb = settled(encoder, idle), memory_mb(encoder.pid)
        calm = probe.ask(Paced(plan.count(40, 10), 0.05))
    _tell(story, [first, second], idle, page)
    slowest_ms = percentile(calm.latencies_ms.get("OK", []), 1.0)
    failed = sum(calm.counts.values()) - calm.count()
    story.add("cancellations: probe calls afterwards that failed", failed, "calls", "0", failed == 0)
    story.add("cancellations: slowest probe call afterwards", slowest_ms, "ms", "under 1000", slowest_ms < 1000)
    rise_mb = second_mb - first_mb
    name = "cancellations: memory after the second thousand less after the first"
    story.add(name, rise_mb, "MB", f"under {MEMORY_BAR_MB:g}", rise_mb < MEMORY_BAR_MB)
    return story


def _round(plan: Plan, encoder: Service, seed: int) -> dict[str, int]:
    """About a thousand bad ends under load; how many of each kind."""
    chaos = Chaos(
        cancelled_calls=plan.count(400, 40),
        dropped_streams=plan.count(300, 30),
        closed_channels=plan.count(100, 10),
        seed=seed,
    )
    with Load(encoder.address) as steady, Load(encoder.address) as wild:
        steady.start(Closed(BACKGROUND_CALLS, 3600, 0.0, "STREAM"))
        wild.start(chaos)
        killed = _kill_clients(plan.count(KILLED_PROCESSES, 2), encoder.address, seed)
        done: Tally = wild.result(300)
        steady.stop()
        steady.result(60)
    # Closing a channel ends two calls.
    ends = {name: count * (2 if name == "closed_channel" else 1) for name, count in done.counts.items()}
    return {**ends, "killed_client": killed}


def _kill_clients(processes: int, address: str, seed: int) -> int:
    """Start client processes with calls under way and kill -9 each; how many calls they had."""
    rng = random.Random(seed)
    for _ in range(processes):
        with Load(address) as doomed:
            doomed.start(Closed(CALLS_OF_A_PROCESS, 60, 0.0, "ENROLMENT"))
            time.sleep(rng.uniform(0.2, 0.8))  # the random moment is what is tested
            doomed.kill()
    return processes * CALLS_OF_A_PROCESS


def settled(encoder: Service, idle: Page | None = None) -> Page:
    """The metrics once nothing is under way, or after the limit, when something is stuck.

    Args:
        encoder: the service.
        idle: what it told before; then it must also have no more tasks than it had.
    """
    until_s = time.monotonic() + SETTLE_LIMIT_S
    while True:
        page = read_page(encoder.metrics_port)
        calm = unended(page) == 0 and not any(map(page.total, LEFT_OVERS.values()))
        if time.monotonic() > until_s or (calm and (idle is None or page.total(TASKS) <= idle.total(TASKS))):
            return page
        time.sleep(0.2)


def unended(page: Page) -> int:
    """RPCs of the encoder that began and were not counted as ended."""
    service_name = "tessera.v1.EncoderService"
    started = page.total("grpc_server_started_total", grpc_service=service_name)
    return int(started - page.total("grpc_server_handled_total", grpc_service=service_name))


def _tell(story: Story, rounds: list[dict[str, int]], idle: Page, after: Page) -> None:
    for kind in rounds[0]:
        story.add(f"cancellations: {kind.replace('_', ' ')}s", sum(r[kind] for r in rounds), "calls or streams")
    for what, metric in LEFT_OVERS.items():
        left = after.total(metric)
        story.add(f"cancellations: {what} afterwards", int(left), "", "0", left == 0)
    stuck = unended(after)
    story.add("cancellations: calls begun and never ended", stuck, "calls", "0", stuck == 0)
    leaked = int(after.total(TASKS) - idle.total(TASKS))
    story.add("cancellations: asyncio tasks more than before", leaked, "tasks", "at most 0", leaked <= 0)
