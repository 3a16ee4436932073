"""The parts of the encoder's benchmark that carry its figures: pictures, orders, HTTP, metrics pages, processes."""

from __future__ import annotations

import asyncio
import os

import cv2
import grpc
import numpy as np
import pytest

from benchmarks.encoder.http_load import http, http_request, read_response
from benchmarks.encoder.load import open_loop
from benchmarks.encoder.orders import (
    AFTER_THE_END,
    OK,
    Camera,
    Chaos,
    Closed,
    Http,
    Open,
    Order,
    Paced,
    Pictures,
    Streams,
    Tally,
    order_from_json,
    order_to_json,
)
from benchmarks.encoder.pictures import pictures_240p, pictures_720p
from benchmarks.encoder.process_facts import MemoryRecord, Page, mean_between, memory_mb, rise
from benchmarks.encoder.worker import Worker, WorkerFailedError
from tests.eventually import eventually

ORDERS: list[Order] = [
    Closed(4, 1.0),
    Open(10.0, 1.0, 2.0),
    Paced(3, 0.1),
    Streams(2, 1.0),
    Camera(100.0, 1.0),
    Chaos(1, 1, 1),
    Pictures("/nowhere"),
    Http("/predict", 2, 1.0),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.kind)
def test_an_order_arrives_as_it_was_given(order: Order) -> None:
    """Whatever its kind."""
    assert order_from_json(order_to_json(order)) == order


def test_pictures_are_the_same_each_time_and_of_the_size_they_claim() -> None:
    """A run is compared with another run."""
    first, again = pictures_720p(), pictures_720p()
    assert first == again
    assert len(set(first)) == 5
    sizes = {cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape for jpeg in first}
    assert sizes == {(720, 1280, 3)}
    (small,) = pictures_240p()
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


def test_a_tally_counts_by_outcome() -> None:
    """Goodput is what ended well, over the seconds that counted."""
    tally = Tally(seconds=2.0)
    for outcome in ("OK", "OK", "RESOURCE_EXHAUSTED"):
        tally.add(outcome, 1.0)
    assert (tally.count(), tally.per_s(), tally.counts) == (2, 1.0, {"OK": 2, "RESOURCE_EXHAUSTED": 1})
    assert Tally().per_s() == 0.0


def page(*samples: tuple[str, dict[str, str], float]) -> Page:
    """A metrics page."""
    return Page(samples, 0.0)


def test_counters_are_read_as_their_rise_over_all_series_with_the_labels() -> None:
    """And a histogram's mean is that of what came between the two readings."""
    before = page(("h_sum", {"stage": "embed"}, 10.0), ("h_count", {"stage": "embed"}, 5.0))
    after = page(
        ("h_sum", {"stage": "embed"}, 34.0), ("h_count", {"stage": "embed"}, 8.0), ("h_sum", {"stage": "detect"}, 99.0)
    )
    assert rise(before, after, "h_sum", stage="embed") == 24.0
    assert rise(before, after, "h_sum") == 123.0
    assert mean_between(before, after, "h", stage="embed") == 8.0
    assert mean_between(before, after, "h", stage="detect") is None


async def test_memory_is_recorded_while_the_block_runs() -> None:
    """Of a real process: this one."""
    with MemoryRecord(os.getpid(), every_s=0.01) as record:

        async def enough() -> bool:
            return len(record.mb) >= 3

        await eventually(enough)
    assert len(record.mb) == len(record.minutes)
    assert record.mb[-1] == pytest.approx(memory_mb(os.getpid()), rel=0.5)


def test_a_form_holds_the_picture_between_its_boundaries() -> None:
    """RFC 7578: the length that is announced is that of the body."""
    head, _, body = http_request(Http("/p", 1, 1.0, form_field="request"), "h:1", b"JPEG").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'name="request"' in body
    assert b"\r\n\r\nJPEG\r\n--" in body


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_a_response_is_read_whole(raw: bytes) -> None:
    """However its length is told, and nothing of the next one is taken."""
    reader = asyncio.StreamReader()
    reader.feed_data(raw + b"HTTP")
    assert await read_response(reader) == (200, b"abcd")
    assert await reader.read(4) == b"HTTP"


async def test_http_load_counts_answers_and_faces() -> None:
    """Against a real server that answers each picture with one face."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")).split()[1])
            assert await reader.readexactly(length) == b"JPEG"
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"box"')

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(session, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tally = await http(f"127.0.0.1:{port}", Http("/p", 3, 0.2, 0.05), [b"JPEG"])
    assert tally.count() == tally.faces > 3
    assert set(tally.counts) == {"OK"}


def test_a_worker_that_ends_is_an_error_that_says_so() -> None:
    """Instead of a scenario that waits for ever."""
    with pytest.raises(WorkerFailedError, match="ended with code"), Worker("benchmarks.encoder.no_such_module"):
        pass


def test_a_load_process_runs_in_an_interpreter_of_its_own() -> None:
    """It starts, says that it is ready, and ends when its orders end."""
    with Worker("benchmarks.encoder.load", ["127.0.0.1:1"]) as worker:
        assert worker.pid != os.getpid()
        worker.begin(order_to_json(Closed(1, 1.0, 0.0, deadline_s=0.1)))
        tally = Tally(**worker.answer(90))
    assert tally.count() == 0
    assert tally.counts


async def test_what_an_open_loop_hears_after_its_end_is_no_goodput() -> None:
    """The server works off what has gathered; a rate over the span must not count it."""

    async def late(request: bytes, _: object) -> bytes:
        await asyncio.sleep(0.8)  # the answer's time is what is tested
        return b""

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(late)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tessera.v1.EncoderService", {"Encode": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    order = Open(20.0, 1.5, 5.0, pictures="240p")
    tally = await open_loop(f"127.0.0.1:{port}", order, asyncio.Event())
    await server.stop(None)
    assert tally.count(OK) > 0
    assert tally.count(AFTER_THE_END) > 0
    assert set(tally.counts) == {OK, AFTER_THE_END}
