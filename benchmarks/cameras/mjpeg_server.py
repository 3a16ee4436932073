"""Cameras that speak HTTP/MJPEG, as a process: `python -m benchmarks.cameras.mjpeg_server PORT RATE NAME=FOLDER...`.

Each path is a camera: the JPEGs of its folder, over and over, at the rate, from another picture on each connection as
a live camera would. Whoever reads too slowly loses pictures, since a camera does not wait. Each connection is told as
a line of JSON on the standard output: `{"camera": ..., "at_s": monotonic seconds}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_BOUNDARY = b"frame"
_BACKLOG_BYTES = 1 << 20
_HEAD = (
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache\r\n"
    b"Content-Type: multipart/x-mixed-replace; boundary=" + _BOUNDARY + b"\r\n\r\n"
)


def part(jpeg: bytes) -> bytes:
    """One picture of a multipart stream (RFC 2046, section 5.1)."""
    head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_BOUNDARY, len(jpeg))
    return head + jpeg + b"\r\n"


class Cameras:
    """What the server has, and how it is sent.

    Args:
        parts: of each camera, by name.
        rate_hz: pictures a second.
    """

    def __init__(self, parts: Mapping[str, Sequence[bytes]], rate_hz: float) -> None:
        self._parts = parts
        self._rate_hz = rate_hz
        self._began_s = time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until its peer leaves."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            request = await reader.readuntil(b"\r\n\r\n")
            name = request.split(b" ", 2)[1].decode().strip("/")
            print(json.dumps({"camera": name, "at_s": time.monotonic()}), flush=True)
            if name in self._parts:
                writer.write(_HEAD)
                await self._send(self._parts[name], writer)
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
        writer.close()

    async def _send(self, parts: Sequence[bytes], writer: asyncio.StreamWriter) -> None:
        number = int((time.monotonic() - self._began_s) * self._rate_hz) + 1
        while not writer.is_closing():
            await asyncio.sleep(max(0.0, self._began_s + number / self._rate_hz - time.monotonic()))
            if writer.transport.get_write_buffer_size() < _BACKLOG_BYTES:
                writer.write(parts[number % len(parts)])
            number += 1


async def main(port: int, rate_hz: float, folders: dict[str, Path]) -> None:
    """Serve until the process is ended."""
    parts = {
        name: [part(file.read_bytes()) for file in sorted(folder.glob("*.jpg"))] for name, folder in folders.items()
    }
    server = await asyncio.start_server(Cameras(parts, rate_hz).serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), float(sys.argv[2]), {n: Path(f) for n, f in (a.split("=") for a in sys.argv[3:])})
    )
