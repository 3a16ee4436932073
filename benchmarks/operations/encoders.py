"""Several encoders: one of two killed under load, and what two do for the processor time that they take."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.figures import Figure
from benchmarks.operations.calling import calling
from benchmarks.operations.restarts import prepared_calls
from benchmarks.operations.site import Member, Site, running_site
from benchmarks.parts import Context
from tessera.chassis.channel import open_channel
from tessera.client.encoder import EncoderClient, Priority
from tessera.demo.portraits import fetch_portraits
from tessera.domain.errors import OverloadedError

RATE_HZ = 5.0
UNDER_WAY = 8
BACK_BAR_S = 2.0


@dataclass(frozen=True, slots=True)
class Work:
    """What encoders did in some time."""

    pictures: int
    wall_s: float
    cpu_s: tuple[float, ...]
    """Processor time of each."""

    @property
    def for_a_cpu_second(self) -> float:
        """Pictures for each second of processor time."""
        return self.pictures / sum(self.cpu_s)


def run(context: Context) -> list[Figure]:
    """Kill one of two, then load one, then two."""
    with running_site() as site:
        figures = _killed(context, site)
        seconds = context.seconds(20, 3)
        first, second = site.of("encoder")
        one = asyncio.run(_saturate(first.address, [first], seconds))
        both = asyncio.run(_saturate(site.address("encoder"), [first, second], seconds))
    kept = both.for_a_cpu_second / one.for_a_cpu_second
    share = min(both.cpu_s) / sum(both.cpu_s)
    figure, two = context.figure, "two encoder processes"
    each_one, each_both = one.for_a_cpu_second, both.for_a_cpu_second
    return [
        *figures,
        figure("one encoder process: pictures for a second of its processor time", each_one, "pictures/CPU s"),
        figure(f"{two}: the same, over both", each_both, "pictures/CPU s"),
        figure(f"{two}: work for the same processor time, to one's", kept, "ratio", "0.9 or more", holds=kept >= 0.9),
        figure(f"{two}: the smaller one's share of their time", share, "share", "0.45 or more", holds=share >= 0.45),
        figure("one encoder process: pictures a second, callers on the same cores", one.pictures / one.wall_s, "1/s"),
        figure(f"{two}: the same", both.pictures / both.wall_s, "1/s"),
    ]


def _killed(context: Context, site: Site) -> list[Figure]:
    with site.connect() as tessera:
        verify = prepared_calls(tessera)[0]
        with calling([verify], RATE_HZ) as outcomes:
            time.sleep(context.seconds(10, 3))
            victim = site.of("encoder")[0]
            victim.kill()
            killed_s = time.monotonic()
            time.sleep(context.seconds(10, 5))
        victim.stop()
        site.start(victim)
    failed, back_s = outcomes.failed, outcomes.back_after_s(killed_s, RATE_HZ)
    words = ", ".join(f"{count} x {error}" for error, count in failed.most_common(3))
    label = f"one of two encoders killed under {RATE_HZ:g} verify calls/s: failed of {len(outcomes.done)}"
    return [
        context.figure(label + (f" ({words})" if words else ""), failed.total(), "calls", "0", holds=not failed),
        context.figure(
            "one of two encoders killed: nine tenths of the calls are answered again after",
            back_s,
            "s",
            "within 2 s",
            holds=back_s <= BACK_BAR_S,
        ),
    ]


async def _saturate(address: str, members: list[Member], seconds: float) -> Work:
    picture = next(path.read_bytes() for name, path in sorted(fetch_portraits().items()) if name.startswith("obama"))
    done = 0
    async with open_channel(address) as channel:
        client = EncoderClient(channel)
        await client.encode(picture, priority=Priority.INTERACTIVE, deadline_s=10)
        before, began_s = [_cpu_s(member) for member in members], time.monotonic()

        async def work() -> None:
            nonlocal done
            while time.monotonic() < began_s + seconds:
                try:
                    await client.encode(picture, priority=Priority.ENROLMENT, deadline_s=10)
                except OverloadedError:
                    continue
                done += 1

        await asyncio.gather(*(work() for _ in range(UNDER_WAY)))
        wall_s = time.monotonic() - began_s
        return Work(done, wall_s, tuple(_cpu_s(member) - was for member, was in zip(members, before, strict=True)))


def _cpu_s(member: Member) -> float:
    times = psutil.Process(member.pid).cpu_times()
    return float(times.user + times.system)
