"""Every picture of the malformed corpus through `Encode`: each is answered with what it is, and memory stays low."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.encoder.orders import OK, Closed, Pictures
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.process_facts import memory_mb, reset_peak
from benchmarks.encoder.worker import Load
from benchmarks.malformed import FINE, Case, corpus
from benchmarks.services import service
from tessera.demo.portraits import OBAMA_SMILING, fetch_portraits

MEMORY_BAR_MB = 100.0


def malformed(plan: Plan) -> Story:
    """What each was answered, and the peak of the service's memory while they came one after the other."""
    story = Story()
    portrait = fetch_portraits()[OBAMA_SMILING.file.name].read_bytes()
    cases = list(corpus(portrait))[:: plan.count(1, 25)]
    with tempfile.TemporaryDirectory() as name, service("encoder_svc", PREFIX, plan.settings()) as encoder:
        for at, case in enumerate(cases):
            (Path(name) / f"{at:06d}").write_bytes(case.data)
        with Load(encoder.address) as load:
            load.ask(Closed(8, plan.seconds(8, 2), 0.0))  # every lane and every buffer was in use once
            before_mb = memory_mb(encoder.pid)
            reset_peak(encoder.pid)
            tally = load.ask(Pictures(name))
            peak_mb = memory_mb(encoder.pid, "VmHWM")
    _tell(story, cases, [tally.reasons.get(f"{at:06d}", "") for at in range(len(cases))])
    rise_mb = max(0.0, peak_mb - before_mb)
    bar = f"at most {MEMORY_BAR_MB:g}"
    story.add("malformed: rise of the service's peak memory", rise_mb, "MB", bar, rise_mb <= MEMORY_BAR_MB)
    return story


def _tell(story: Story, cases: list[Case], answers: list[str]) -> None:
    given = [FINE if answer == OK else answer for answer in answers]
    wrong = [f"{case.name}: {told}" for case, told in zip(cases, given, strict=True) if told not in case.allowed]
    story.add("malformed: pictures", len(cases), "pictures")
    story.add("malformed: answered with a reason that is not theirs", len(wrong), "pictures", "0", not wrong)
    for told, count in Counter(given).most_common():
        story.add(f"malformed: answered {told}", count, "pictures")
    for line in wrong[:10]:
        story.note(f"malformed: {line}")
