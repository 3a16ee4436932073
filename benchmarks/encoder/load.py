"""`python -m benchmarks.encoder.load ADDRESS`: a load generator in a process of its own.

Pictures lie in memory as encoded files, unary requests as serialised messages. Nothing but the calls happens while it
counts, so that it takes little of the machine that it measures: the service has the same processors.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from benchmarks.encoder.arithmetic import poisson_arrivals
from benchmarks.encoder.child import follow_orders
from benchmarks.encoder.http_load import http
from benchmarks.encoder.orders import (
    AFTER_THE_END,
    OK,
    Camera,
    Chaos,
    Closed,
    Http,
    Open,
    Paced,
    Pictures,
    Streams,
    Tally,
    order_from_json,
)
from benchmarks.encoder.pictures import pictures_240p, pictures_720p
from tessera.chassis.channel import CHANNEL_OPTIONS
from tessera.chassis.status import detail_of
from tessera.client.stream_values import FrameAnswer, FrameToEncode
from tessera.client.streams import EncodeStream
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CameraId
from tessera.v1 import biometrics_pb2
from tessera.v1 import encoder_pb2 as pb

# Each channel has a connection of its own, as cameras and gateways on other machines have.
_OPTIONS = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
_ENCODE = "/tessera.v1.EncoderService/Encode"
_CALLS_PER_CHANNEL = 8

Call = grpc.aio.UnaryUnaryMultiCallable[Any, Any]


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def encode_call(channel: grpc.aio.Channel) -> Call:
    """`Encode` of bytes that are serialised already; the answer stays serialised."""
    return channel.unary_unary(_ENCODE)


@cache
def pictures(name: str) -> tuple[bytes, ...]:
    """The pictures of that name."""
    return tuple({"720p": pictures_720p, "240p": pictures_240p}[name]())


def requests(name: str, priority: str) -> Iterator[bytes]:
    """Serialised requests with those pictures in turn, for ever."""
    return itertools.cycle([request(picture, priority) for picture in pictures(name)])


def request(picture: bytes, priority: str) -> bytes:
    """One serialised request."""
    message = pb.EncodeRequest(
        image=biometrics_pb2.Image(data=picture), priority=pb.Priority.Value(f"PRIORITY_{priority}")
    )
    return message.SerializeToString()


async def ask(call: Call, body: bytes, deadline_s: float) -> tuple[str, float, int]:
    """One call.

    Returns:
        (outcome, latency_ms, faces).
    """
    started_s = time.perf_counter()
    try:
        answer = await call(body, timeout=deadline_s)
    except grpc.aio.AioRpcError as error:
        return error.code().name, (time.perf_counter() - started_s) * 1e3, 0
    latency_ms = (time.perf_counter() - started_s) * 1e3
    return OK, latency_ms, len(pb.EncodeResponse.FromString(answer).observations)


class Window:
    """The span in which answers count: from `warm_s` after the start, for `seconds` or until it is stopped."""

    def __init__(self, warm_s: float, seconds: float, stop: asyncio.Event) -> None:
        self._begin_s = time.perf_counter() + warm_s
        self._end_s = self._begin_s + seconds
        self._stop = stop

    @property
    def open(self) -> bool:
        """Whether it has not ended; warming up is part of it."""
        return not self._stop.is_set() and time.perf_counter() < self._end_s

    @property
    def counts(self) -> bool:
        """Whether what is answered now counts."""
        return self._begin_s <= time.perf_counter() < self._end_s and not self._stop.is_set()

    async def wait(self) -> float:
        """Wait for its end.

        Returns:
            For how many seconds it counted.
        """
        try:
            async with asyncio.timeout(max(0.0, self._end_s - time.perf_counter())):
                await self._stop.wait()
        except TimeoutError:
            pass
        return max(0.0, min(time.perf_counter(), self._end_s) - self._begin_s)


@asynccontextmanager
async def channels(address: str, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """So many connections."""
    opened = [open_channel(address) for _ in range(count)]
    try:
        yield opened
    finally:
        for channel in opened:
            await channel.close()


async def closed(address: str, order: Closed, stop: asyncio.Event) -> Tally:
    """See `orders.Closed`."""
    tally, window = Tally(), Window(order.warm_s, order.seconds, stop)
    bodies = requests(order.pictures, order.priority)

    async def one(call: Call) -> None:
        while window.open:
            outcome, latency_ms, faces = await ask(call, next(bodies), order.deadline_s)
            if window.counts:
                tally.add(outcome, latency_ms)
                tally.faces += faces
            # An answer that came at once was a refusal: a client that asks again at once would be a storm of its own.
            await asyncio.sleep(order.think_s if outcome == OK else max(order.think_s, 0.02))

    async with channels(address, -(-order.concurrency // _CALLS_PER_CHANNEL)) as opened:
        calls = itertools.cycle([encode_call(channel) for channel in opened])
        tasks = [asyncio.create_task(one(next(calls))) for _ in range(order.concurrency)]
        tally.seconds = await window.wait()
        await asyncio.gather(*tasks)
    return tally


async def open_loop(address: str, order: Open, stop: asyncio.Event) -> Tally:
    """See `orders.Open`."""
    tally = Tally(seconds=order.seconds)
    bodies = requests(order.pictures, order.priority)

    async def one(call: Call, body: bytes) -> None:
        outcome, latency_ms, faces = await ask(call, body, order.deadline_s)
        if outcome == OK and time.perf_counter() >= started_s + order.seconds:
            outcome, faces = AFTER_THE_END, 0
        tally.add(outcome, latency_ms)
        tally.faces += faces

    async with channels(address, 8) as opened, asyncio.TaskGroup() as tasks:
        calls = itertools.cycle([encode_call(channel) for channel in opened])
        started_s = time.perf_counter()
        for moment_s in poisson_arrivals(order.rate_per_s, order.seconds, order.seed):
            if stop.is_set():
                break
            await asyncio.sleep(started_s + moment_s - time.perf_counter())
            tally.late_ms.append((time.perf_counter() - started_s - moment_s) * 1e3)
            tasks.create_task(one(next(calls), next(bodies)))
    return tally


async def paced(address: str, order: Paced, stop: asyncio.Event) -> Tally:
    """See `orders.Paced`."""
    tally = Tally()
    bodies = requests(order.pictures, order.priority)
    gaps_s = np.random.default_rng(order.seed).exponential(order.mean_gap_s, order.calls)
    async with channels(address, 1) as (channel,):
        call = encode_call(channel)
        await ask(call, next(bodies), order.deadline_s)
        for gap_s in gaps_s:
            await asyncio.sleep(gap_s)
            if stop.is_set():
                break
            outcome, latency_ms, faces = await ask(call, next(bodies), order.deadline_s)
            tally.add(outcome, latency_ms)
            tally.faces += faces
    return tally


async def streams(address: str, order: Streams, stop: asyncio.Event) -> Tally:
    """See `orders.Streams`."""
    tally, window = Tally(), Window(order.warm_s, order.seconds, stop)
    frames = itertools.cycle(pictures(order.pictures))

    async def send(stream: EncodeStream, captured_s: dict[int, float]) -> None:
        for frame_id in itertools.count(1):
            await stream.wait_for_credit()
            if not window.open:
                break
            captured_s[frame_id] = time.perf_counter()
            await stream.send(FrameToEncode(frame_id, next(frames), datetime.now(UTC), order.expires_after_s))
        await stream.half_close()

    async def one(channel: grpc.aio.Channel, number: int) -> None:
        captured_s: dict[int, float] = {}
        async with EncodeStream(channel, CameraId(f"bench-{number}")) as stream:
            sending = asyncio.create_task(send(stream, captured_s))
            async for answer in stream:
                take(answer, captured_s, tally, counts=window.counts)
            await sending

    async with channels(address, order.streams) as opened:
        tasks = [asyncio.create_task(one(channel, number)) for number, channel in enumerate(opened)]
        tally.seconds = await window.wait()
        await asyncio.gather(*tasks)
    return tally


def take(answer: FrameAnswer, captured_s: dict[int, float], tally: Tally, *, counts: bool) -> None:
    """Count the answer to one frame, with its staleness: from capture to the answer."""
    staleness_ms = (time.perf_counter() - captured_s.pop(answer.frame_id)) * 1e3
    if counts:
        reason = f"_{answer.reason.value}" if answer.reason else ""
        outcome = OK if answer.outcome.value == "ENCODED" else answer.outcome.value + reason
        tally.add(outcome, staleness_ms)
        tally.faces += len(answer.observations)


async def camera(address: str, order: Camera, stop: asyncio.Event) -> Tally:
    """See `orders.Camera`."""
    tally, window = Tally(), Window(order.warm_s, order.seconds, stop)
    frames = itertools.cycle(pictures(order.pictures))
    captured_s: dict[int, float] = {}
    newest: FrameToEncode | None = None
    newest_s, arrived = 0.0, asyncio.Event()

    async def capture() -> None:
        nonlocal newest, newest_s
        started_s = time.perf_counter()
        for frame_id in itertools.count(1):
            await asyncio.sleep(started_s + frame_id / order.frames_per_s - time.perf_counter())
            newest = FrameToEncode(frame_id, next(frames), datetime.now(UTC), order.expires_after_s)
            newest_s = time.perf_counter()
            tally.offered += window.counts
            arrived.set()
            if not window.open:
                return

    async def send(stream: EncodeStream) -> None:
        nonlocal newest
        while window.open:
            await stream.wait_for_credit()
            await arrived.wait()
            arrived.clear()
            if newest is None:
                stream.return_credit()
                continue
            frame, newest = newest, None
            captured_s[frame.frame_id] = newest_s
            await stream.send(frame)
        await stream.half_close()

    async with channels(address, 1) as (channel,), EncodeStream(channel, CameraId("bench-camera")) as stream:
        tasks = [asyncio.create_task(capture()), asyncio.create_task(send(stream))]
        async for answer in stream:
            take(answer, captured_s, tally, counts=window.counts)
        await asyncio.gather(*tasks)
    tally.seconds = order.seconds
    return tally


async def chaos(address: str, order: Chaos, stop: asyncio.Event) -> Tally:
    """See `orders.Chaos`."""
    rng = np.random.default_rng(order.seed)
    tally, gate = Tally(), asyncio.Semaphore(order.at_a_time)
    bodies = requests("720p", "ENROLMENT")
    frames = itertools.cycle(pictures("720p"))

    async def cancelled_call(channel: grpc.aio.Channel, after_s: float) -> None:
        call = encode_call(channel)(next(bodies), timeout=30.0)
        await asyncio.sleep(after_s)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def dropped_stream(channel: grpc.aio.Channel, after_s: float) -> None:
        try:
            stream = EncodeStream(channel, CameraId("bench-dropped"))
            async with stream:
                await stream.wait_for_credit()
                await stream.send(FrameToEncode(1, next(frames), datetime.now(UTC), 10.0))
                await asyncio.sleep(after_s)
                raise UnavailableError("client", "it drops the stream in the middle of a frame")  # noqa: TRY301 - leaves the block as a failure does
        except UnavailableError:
            pass

    async def closed_channel(_: grpc.aio.Channel, after_s: float) -> None:
        channel = open_channel(address)
        calls = [encode_call(channel)(next(bodies), timeout=30.0) for _ in range(2)]
        await asyncio.sleep(after_s)
        await channel.close()
        await asyncio.gather(*calls, return_exceptions=True)

    async def one(end: Callable[[grpc.aio.Channel, float], Awaitable[None]], channel: grpc.aio.Channel) -> None:
        async with gate:
            if not stop.is_set():
                await end(channel, float(rng.uniform(0.0, order.longest_s)))
                tally.add(end.__name__, 0.0)

    ends: list[Callable[[grpc.aio.Channel, float], Awaitable[None]]] = [
        *[cancelled_call] * order.cancelled_calls,
        *[dropped_stream] * order.dropped_streams,
        *[closed_channel] * order.closed_channels,
    ]
    rng.shuffle(ends)
    async with channels(address, 4) as opened:
        in_turn = itertools.cycle(opened)
        await asyncio.gather(*(one(end, next(in_turn)) for end in ends))
    return tally


async def files(address: str, order: Pictures, stop: asyncio.Event) -> Tally:
    """See `orders.Pictures`."""
    tally = Tally()
    async with channels(address, 1) as (channel,):
        call = encode_call(channel)
        for path in sorted(Path(order.folder).iterdir()):  # noqa: ASYNC240 - nothing else runs in this process
            if stop.is_set():
                break
            body, started_s = request(path.read_bytes(), "ENROLMENT"), time.perf_counter()
            try:
                await call(body, timeout=order.deadline_s)
                reason = OK
            except grpc.aio.AioRpcError as error:
                reason = detail_of(error).reason or error.code().name
            tally.reasons[path.name] = reason
            tally.add(reason, (time.perf_counter() - started_s) * 1e3)
    return tally


async def handle(address: str, told: dict[str, Any], stop: asyncio.Event) -> dict[str, Any]:
    """Do one order."""
    match order_from_json(told):
        case Closed() as order:
            tally = await closed(address, order, stop)
        case Open() as order:
            tally = await open_loop(address, order, stop)
        case Paced() as order:
            tally = await paced(address, order, stop)
        case Streams() as order:
            tally = await streams(address, order, stop)
        case Camera() as order:
            tally = await camera(address, order, stop)
        case Chaos() as order:
            tally = await chaos(address, order, stop)
        case Pictures() as order:
            tally = await files(address, order, stop)
        case Http() as order:
            tally = await http(address, order, pictures("720p"))
    return asdict(tally)


def main() -> None:
    """Follow the orders on stdin."""
    address = sys.argv[1]
    for name in ("720p", "240p"):
        pictures(name)
    uvloop.run(follow_orders(lambda told, stop: handle(address, told, stop)))


if __name__ == "__main__":
    main()
