"""`python -m benchmarks.gallery.calls ADDRESS METHOD FILE`: callers of the gallery in a process of their own.

Requests lie in memory as serialised messages, answers are not read: nothing but the calls takes processor time that the
gallery could have had. That the answers are right is asked before anything is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks.encoder.arithmetic import poisson_arrivals
from benchmarks.encoder.child import follow_orders
from benchmarks.encoder.load import Call, Window, channels
from benchmarks.encoder.orders import OK, Closed, Open, Tally, order_from_json, order_to_json
from benchmarks.encoder.worker import Worker

DEADLINE_S = 10.0
_CALLS_PER_CHANNEL = 8
_LENGTH = struct.Struct("<I")


class Callers(Worker):
    """A process that calls one method.

    Args:
        address: of the gallery.
        method: of `GalleryService`.
        requests: a file of `write_requests`.
    """

    def __init__(self, address: str, method: str, requests: Path) -> None:
        super().__init__("benchmarks.gallery.calls", [address, method, str(requests)])

    def start(self, order: Closed | Open) -> None:
        """Begin to call."""
        self.begin(order_to_json(order))

    def result(self, limit_s: float = 300.0) -> Tally:
        """What was seen; waits until it is done."""
        return Tally(**self.answer(limit_s))


def together(parts: Sequence[Tally]) -> Tally:
    """What several processes saw in the same span."""
    whole = Tally(seconds=max(part.seconds for part in parts))
    for part in parts:
        whole.late_ms += part.late_ms
        for outcome, values in part.latencies_ms.items():
            whole.latencies_ms.setdefault(outcome, []).extend(values)
    return whole


def write_requests(path: Path, bodies: Sequence[bytes]) -> Path:
    """Serialised requests for `Callers`; each process takes them in turn, for ever."""
    path.write_bytes(b"".join(part for body in bodies for part in (_LENGTH.pack(len(body)), body)))
    return path


def read_requests(path: Path) -> list[bytes]:
    """What `write_requests` wrote."""
    raw, at, bodies = path.read_bytes(), 0, []
    while at < len(raw):
        (size,) = _LENGTH.unpack_from(raw, at)
        bodies.append(raw[at + _LENGTH.size : at + _LENGTH.size + size])
        at += _LENGTH.size + size
    return bodies


async def ask(call: Call, body: bytes) -> tuple[str, float]:
    """One call.

    Returns:
        (outcome, latency_ms).
    """
    started_s = time.perf_counter()
    try:
        await call(body, timeout=DEADLINE_S)
        outcome = OK
    except grpc.aio.AioRpcError as error:
        outcome = error.code().name
    return outcome, (time.perf_counter() - started_s) * 1e3


async def closed(address: str, path: str, bodies: Sequence[bytes], order: Closed, stop: asyncio.Event) -> Tally:
    """So many calls under way at any time."""
    tally, window = Tally(), Window(order.warm_s, order.seconds, stop)
    in_turn = itertools.cycle(bodies)

    async def one(call: Call) -> None:
        while window.open:
            outcome, latency_ms = await ask(call, next(in_turn))
            if window.counts:
                tally.add(outcome, latency_ms)
            if outcome != OK:
                await asyncio.sleep(0.02)  # a refused client that came back at once would be a storm of its own

    async with channels(address, -(-order.concurrency // _CALLS_PER_CHANNEL)) as opened:
        calls: Iterator[Call] = itertools.cycle([channel.unary_unary(path) for channel in opened])
        tasks = [asyncio.create_task(one(next(calls))) for _ in range(order.concurrency)]
        tally.seconds = await window.wait()
        await asyncio.gather(*tasks)
    return tally


async def open_loop(address: str, path: str, bodies: Sequence[bytes], order: Open) -> Tally:
    """Calls at Poisson moments, whatever became of the earlier ones."""
    tally, in_turn = Tally(seconds=order.seconds), itertools.cycle(bodies)

    async def one(call: Call, body: bytes) -> None:
        tally.add(*await ask(call, body))

    async with channels(address, 4) as opened, asyncio.TaskGroup() as tasks:
        calls: list[Call] = [channel.unary_unary(path) for channel in opened]
        await asyncio.gather(*(ask(call, next(in_turn)) for call in calls))  # connects
        started_s = time.perf_counter()
        for number, moment_s in enumerate(poisson_arrivals(order.rate_per_s, order.seconds, order.seed)):
            await asyncio.sleep(started_s + moment_s - time.perf_counter())
            tally.late_ms.append((time.perf_counter() - started_s - moment_s) * 1e3)
            tasks.create_task(one(calls[number % len(calls)], next(in_turn)))
    return tally


def main() -> None:
    """Follow the orders on stdin."""
    address, method, file = sys.argv[1:]
    bodies, path = read_requests(Path(file)), f"/tessera.v1.GalleryService/{method}"

    async def handle(told: dict[str, Any], stop: asyncio.Event) -> dict[str, Any]:
        match order_from_json(told):
            case Closed() as order:
                return asdict(await closed(address, path, bodies, order, stop))
            case Open() as order:
                return asdict(await open_loop(address, path, bodies, order))
            case other:
                raise ValueError(f"no order for callers of the gallery: {other}")

    uvloop.run(follow_orders(handle))


if __name__ == "__main__":
    main()
