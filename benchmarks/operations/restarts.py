"""Every process of a site restarted, one at a time, while clients call; and how long each takes to be ready."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence

from benchmarks.figures import Figure
from benchmarks.operations.calling import Call, calling
from benchmarks.operations.site import Site, running_site
from benchmarks.parts import Context
from tessera.client import Tessera
from tessera.demo.portraits import fetch_portraits

RATE_HZ = 6.0
READY_BAR_S = 10.0


def run(context: Context) -> list[Figure]:
    """Restart everything under load, then each process alone, for its time to be ready."""
    with running_site() as site, site.connect() as tessera:
        calls = prepared_calls(tessera)
        with calling(calls, RATE_HZ) as outcomes:
            time.sleep(context.seconds(5, 1))
            for member in site.members[: 99 if not context.quick else 1]:
                member.stop()
                time.sleep(context.seconds(2, 0.5))
                site.start(member)
                time.sleep(context.seconds(2, 0.5))
        alone = _ready_alone(site, rounds=3 if not context.quick else 1)
    failed = outcomes.failed
    words = ", ".join(f"{count} x {error}" for error, count in failed.most_common(3))
    restarted = f"rolling restart of {len(site.members)} processes under {RATE_HZ:g} calls/s"
    name = f"{restarted}: failed calls of {len(outcomes.done)}"
    figures = [
        context.figure(name + (f" ({words})" if words else ""), failed.total(), "calls", "0", holds=not failed),
        context.figure("the longest call of them", max(took_s for _, took_s, _ in outcomes.done), "s"),
    ]
    for kind, times_s in alone.items():
        label = f"start to ready, warm caches, {kind}: slowest of {len(times_s)}"
        longest_s = max(times_s)
        figures.append(context.figure(label, longest_s, "s", "under 10 s", holds=longest_s < READY_BAR_S))
        figures.append(context.figure(f"start to ready, warm caches, {kind}: median", statistics.median(times_s), "s"))
    return figures


def prepared_calls(tessera: Tessera) -> Sequence[Call]:
    """Somebody enrolled, and what clients ask: three verify calls, a new subject, the cameras, the targets."""
    pictures = {name: path.read_bytes() for name, path in fetch_portraits().items()}
    names = sorted(name for name in pictures if name.startswith("obama"))
    tessera.enroll("barack", [pictures[names[0]]])
    numbers = itertools.count()

    def verify() -> None:
        answer = tessera.verify("barack", pictures[names[1]])
        if not answer.is_match:
            raise ValueError(f"answered {answer.outcome}")

    return [
        verify,
        verify,
        verify,
        lambda: tessera.enroll(f"visitor-{next(numbers)}", [pictures[names[2]]]),
        lambda: list(tessera.cameras()),
        tessera.notification_targets,
    ]


def _ready_alone(site: Site, rounds: int) -> dict[str, list[float]]:
    """Each process restarted while nobody calls."""
    site.start_s.clear()
    for _ in range(rounds):
        for kind in ("encoder", "gallery", "ingest", "gateway"):
            member = site.of(kind)[0]
            member.stop()
            site.start(member)
    return site.start_s
