"""SIGTERM under load: a client of two encoders, with the channel that our services use, must not lose a call.

One encoder is told to stop while calls are under way on both; it must end by itself, in time, with code 0.
"""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack

from benchmarks.encoder.orders import Closed
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.worker import Load
from benchmarks.services import Service, service

CALLS = 6
END_BAR_S = 30.0


def drain(plan: Plan) -> Story:
    """One encoder is stopped; the client goes on with the other."""
    story = Story()
    seconds = plan.seconds(5, 2)
    with ExitStack() as services:
        first, second = (services.enter_context(service("encoder_svc", PREFIX, plan.settings())) for _ in range(2))
        load = services.enter_context(Load(f"ipv4:{first.address},{second.address}"))
        load.start(Closed(CALLS, 3600, 0.0))
        time.sleep(seconds)  # calls are under way on both
        ended = stop(first)
        time.sleep(seconds)  # and go on at the other
        load.stop()
        tally = load.result(120)
    failed = sum(tally.counts.values()) - tally.count()
    story.add("drain: SIGTERM to the end of the process", ended[0], "s", f"under {END_BAR_S:g}", ended[0] < END_BAR_S)
    story.add("drain: exit code", ended[1], "", "0", ended[1] == 0)
    story.add("drain: calls answered", tally.count(), "calls")
    story.add("drain: failed calls of the retrying client", failed, "calls", "0", failed == 0)
    for code, count in tally.counts.items():
        if code != "OK":
            story.note(f"drain: {count} calls ended with {code}.")
    return story


def stop(encoder: Service) -> tuple[float, int]:
    """SIGTERM; (seconds until it ended, its exit code)."""
    started_s = time.monotonic()
    encoder.process.send_signal(signal.SIGTERM)
    try:
        code = encoder.process.wait(timeout=2 * END_BAR_S)
    except subprocess.TimeoutExpired:
        encoder.process.kill()
        code = encoder.process.wait()
    return time.monotonic() - started_s, code
