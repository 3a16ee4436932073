"""What runs the networks, and that it does so before anything is measured: a service may compile beside its serving."""

from __future__ import annotations

import time

from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.process_facts import read_page
from benchmarks.services import service

MODEL_INFO = "tessera_encoder_model_info"
EAGER = "eager"
COMPILE_LIMIT_S = 420.0


def settle_runtime(plan: Plan) -> Story:
    """Let a service compile what this machine has not compiled yet; later starts find it."""
    story, started_s = Story(), time.monotonic()
    with service("encoder_svc", PREFIX, plan.settings()) as encoder:
        runtimes = {EAGER}
        while runtimes == {EAGER} and time.monotonic() < started_s + COMPILE_LIMIT_S:
            runtimes = read_page(encoder.metrics_port).values_of(MODEL_INFO, "runtime")
            time.sleep(0.5)
    story.add("runtime of the networks", ", ".join(sorted(runtimes - {EAGER}) or [EAGER]), "")
    if runtimes == {EAGER}:
        story.note("runtime: nothing faster than eager networks could be had here within the limit.")
    return story
