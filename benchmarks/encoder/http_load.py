"""The same load for servers that speak HTTP/1.1: keep-alive connections, bodies made beforehand, answers read whole.

Cheaper than any client library, and so in favour of the servers that it asks.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

from benchmarks.encoder.orders import OK, Http, Tally

_BOUNDARY = "tessera-benchmark-9f2c"


def http_request(order: Http, host: str, jpeg: bytes) -> bytes:
    """A whole request."""
    body, kind = jpeg, "image/jpeg"
    if order.form_field:
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{order.form_field}"; filename="a.jpg"\r\n'
        body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + jpeg + f"\r\n--{_BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
    lines = [f"POST {order.path} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One response.

    Returns:
        (status, body).
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    status = int(head[0].split()[1])
    if headers.get("transfer-encoding") == "chunked":
        chunks = []
        while size := int(await reader.readline(), 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, b"".join(chunks)
    return status, await reader.readexactly(int(headers.get("content-length", "0")))


async def http(address: str, order: Http, jpegs: Sequence[bytes]) -> Tally:
    """See `orders.Http`. Faces are told from `"box"` in the answer, which both peers are made to give once a face."""
    host, port = address.rsplit(":", 1)
    bodies = itertools.cycle([http_request(order, address, jpeg) for jpeg in jpegs])
    tally = Tally(seconds=order.seconds)
    begin_s = time.perf_counter() + order.warm_s
    end_s = begin_s + order.seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        while (started_s := time.perf_counter()) < end_s:
            writer.write(next(bodies))
            status, body = await read_response(reader)
            ended_s = time.perf_counter()
            if begin_s <= ended_s < end_s:
                tally.add(OK if status == 200 else f"HTTP_{status}", (ended_s - started_s) * 1e3)
                tally.faces += body.count(b'"box"')
        writer.close()

    await asyncio.gather(*(one() for _ in range(order.concurrency)))
    return tally
