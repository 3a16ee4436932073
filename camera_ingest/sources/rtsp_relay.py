"""Between FFmpeg and an RTSP server: FFmpeg connects to this, and this to the address that was checked.

FFmpeg looks names up by itself and follows a redirect of the server to anywhere. Here a redirect ends the connection
and is told; where packets come over UDP, the server cannot name another host as their peer. With rtsps:// the TLS is
spoken here, so that certificates are checked.

Source: RFC 2326, sections 6 (requests and responses), 10.12 (interleaved data) and 12.39 (Transport).
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading

from camera_ingest.sources.url import parse_url
from tessera.domain.errors import InvalidInputError

_MAX_HEAD_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_REDIRECT = re.compile(rb"RTSP/\d\.\d\s+3\d\d", re.IGNORECASE)
_TRANSPORT = re.compile(rb"^(Transport\s*:)(.*)$", re.IGNORECASE)
_LENGTH = re.compile(rb"^Content-Length\s*:\s*(\d{1,9})\s*$", re.IGNORECASE)
_LOCATION = re.compile(rb"^Location\s*:\s*(\S+)", re.IGNORECASE)
_PEER = re.compile(rb";\s*(source|destination)\s*=\s*[^;,\s]*", re.IGNORECASE)


class RefusedError(Exception):
    """The server said what must not reach FFmpeg."""


class ReplyFilter:
    """Passes what a server sends, but for redirects and for hosts that it names in Transport.

    It reads lines as FFmpeg does, so that both see the same replies: a line ends with a line feed.

    Args:
        peer: the server's address, which was checked.
    """

    def __init__(self, peer: str) -> None:
        self._peer = peer.encode()
        self._buffer = bytearray()
        self._through = 0
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._body = 0

    def feed(self, data: bytes) -> bytes:
        """Take what the server sent; returns what may go on.

        Raises:
            RefusedError: it redirects, or its reply has no end; with what it said.
        """
        self._buffer += data
        out = bytearray()
        while self._buffer:
            if self._through:
                taken = self._buffer[: self._through]
                out += taken
                self._through -= len(taken)
                del self._buffer[: len(taken)]
            elif not self._head and self._buffer[0] == 0x24:  # "$": a packet between two replies
                if len(self._buffer) < 4:
                    break
                self._through = 4 + int.from_bytes(self._buffer[2:4], "big")
            elif not self._take_line(out):
                break
        return bytes(out)

    def _take_line(self, out: bytearray) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) + self._head_bytes > _MAX_HEAD_BYTES:
                raise RefusedError("its reply has no end")
            return False
        line = bytes(self._buffer[:end]).replace(b"\r", b"")
        del self._buffer[: end + 1]
        self._head_bytes += end + 1
        if self._head_bytes > _MAX_HEAD_BYTES:
            raise RefusedError("its reply has no end")
        if not line and not self._head:
            out += b"\r\n"
            return True
        match = _TRANSPORT.match(line)
        if match:
            line = match.group(1) + _PEER.sub(b"", match.group(2)) + b";source=" + self._peer
        self._head.append(line)
        length = _LENGTH.match(line)
        if length:
            self._body = int(length.group(1))
        if not line:
            self._end_head(out)
        return True

    def _end_head(self, out: bytearray) -> None:
        if any(_REDIRECT.match(line) for line in self._head):
            found = next((match for match in map(_LOCATION.match, self._head) if match), None)
            raise RefusedError(
                f"it redirects to {_shown(found.group(1)) if found else 'elsewhere'}: add that URL instead"
            )
        out += b"\r\n".join(self._head) + b"\r\n"
        self._head, self._head_bytes = [], 0
        self._through, self._body = self._body, 0


class RtspRelay:
    """One connection, passed on both ways by a thread of its own.

    Args:
        upstream: the connection to the server.
        peer: the server's address.
        limit_s: a side that takes nothing for so long is given up.
    """

    def __init__(self, upstream: socket.socket, peer: str, limit_s: float) -> None:
        self._upstream = upstream
        self._filter = ReplyFilter(peer)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._limit_s = limit_s
        self._thread = threading.Thread(target=self._run, name="rtsp-relay", daemon=True)
        self.refused = ""
        """Why it was ended, in words without credentials."""

    @property
    def port(self) -> int:
        """Where FFmpeg connects to, on the loopback."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Wait for FFmpeg's one connection, and pass on."""
        self._thread.start()

    def close(self) -> None:
        """End both connections."""
        for end in (self._listener, self._upstream):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _run(self) -> None:
        try:
            self._listener.settimeout(self._limit_s)
            ours, _ = self._listener.accept()
            self._listener.close()
            with ours, self._upstream:
                ours.settimeout(self._limit_s)
                self._upstream.settimeout(self._limit_s)
                self._pass_on(ours)
        except (OSError, ValueError):
            return  # one side is gone, and FFmpeg sees the end

    def _pass_on(self, ours: socket.socket) -> None:
        while True:
            has_more = isinstance(self._upstream, ssl.SSLSocket) and self._upstream.pending() > 0
            ready = [self._upstream] if has_more else select.select([ours, self._upstream], [], [])[0]
            if ours in ready:
                data = ours.recv(_CHUNK_BYTES)
                if not data:
                    return
                self._upstream.sendall(data)
            if self._upstream in ready:
                came = self._what_came()
                if came is None:
                    continue
                if not came:
                    return
                try:
                    allowed = self._filter.feed(came)
                except RefusedError as error:
                    self.refused = str(error)  # before FFmpeg sees the end, and asks why
                    return
                ours.sendall(allowed)

    def _what_came(self) -> bytes | None:
        """What the server sent; None: nothing yet for us, such as a part of a TLS record, or a session's ticket."""
        self._upstream.setblocking(False)
        try:
            return self._upstream.recv(_CHUNK_BYTES)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        finally:
            self._upstream.settimeout(self._limit_s)


def _shown(location: bytes) -> str:
    try:
        return parse_url(location.decode("utf-8", "replace")).shown[:200]
    except InvalidInputError:
        return "what is no camera's URL"
