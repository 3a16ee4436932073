"""What an HTTP server has: pictures one after the other, a playlist, or a recording; told by its answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from http import HTTPStatus

from camera_ingest.reading.order import ReadOrder
from camera_ingest.sources.av_source import AvInput, Timing
from camera_ingest.sources.hls import HlsStream, read_text
from camera_ingest.sources.http import Answer, HttpClient
from camera_ingest.sources.mjpeg import MjpegSource
from camera_ingest.sources.source import Source, SourceError
from tessera.chassis.clock import Clock

_PLAYLIST_START = b"#EXTM3U"

OpenAv = Callable[[Callable[[], AvInput]], tuple[Source, str]]


def open_over_http(order: ReadOrder, location: str, clock: Clock, open_av: OpenAv) -> tuple[Source, str]:
    """Ask once, and read what is answered as what it is.

    Args:
        order: what to open, and how.
        location: the URL, credentials in place.
        clock: where capture times come from.
        open_av: opens with FFmpeg what is neither pictures nor a playlist.

    Raises:
        SourceError: it cannot be had, or is none of these.
    """
    client = HttpClient(location, order.access, order.limits)
    answer = client.get(location)
    if "multipart" in answer.content_type.lower():
        return MjpegSource(answer, clock, order.limits.read_s), ""
    begun = _first_bytes(answer, order.limits.read_s)
    if begun.lstrip(b"\xef\xbb\xbf").startswith(_PLAYLIST_START):
        text = read_text(answer, begun)
        answer.close()
        return open_av(lambda: _playlist_input(HlsStream(client, answer.url, text, clock, order.limits.read_s)))
    first = [(answer, begun)]

    def again(at: int) -> Answer:
        part = client.get(location, {"Range": f"bytes={at}-"})
        if part.response.status != HTTPStatus.PARTIAL_CONTENT:
            part.close()
            raise SourceError("it promises parts of its recording, and does not serve them")
        return part

    def body_input() -> AvInput:
        body = _body_of(*(first.pop() if first else (client.get(location), b"")), again)
        return AvInput(body, Timing.STREAM, not body.has_length, close=body.close)

    return open_av(body_input)


def _body_of(answer: Answer, begun: bytes, again: Callable[[int], Answer]) -> Body:
    length = answer.response.getheader("Content-Length", "")
    can_go_back = answer.response.getheader("Accept-Ranges", "").lower() == "bytes"
    return Recording(answer, begun, again, int(length)) if length.isdigit() and can_go_back else Body(answer, begun)


def _playlist_input(stream: HlsStream) -> AvInput:
    timing = Timing.PLAYOUT if stream.is_live else Timing.FILE
    return AvInput(
        stream,
        timing,
        stream.is_live,
        close=stream.close,
        wait_with=stream.wait_with,
        captured_s=lambda: stream.captured_s,
    )


def _first_bytes(answer: Answer, limit_s: float) -> bytes:
    begun = b""
    try:
        while len(begun) < len(_PLAYLIST_START) + 3:
            data = answer.read(65536)
            if not data:
                break
            begun += data
    except TimeoutError:
        answer.close()
        raise SourceError(f"no answer for {limit_s:.1f} s") from None
    except OSError:
        answer.close()
        raise SourceError("the connection broke") from None
    return begun


class Body:
    """An answer's body, to be read like a stream.

    Args:
        answer: the answer.
        begun: what was read of it already.
    """

    def __init__(self, answer: Answer, begun: bytes) -> None:
        self._answer = answer
        self._begun = begun
        self.has_length = answer.response.getheader("Content-Length") is not None
        """Whether it is a recording: what has no length is live."""

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        if self._begun:
            data, self._begun = self._begun[:size], self._begun[size:]
            return data
        return self._answer.read(size)

    def close(self) -> None:
        """Drop the connection."""
        self._answer.close()


class Recording(Body):
    """A body of known length, to be read like a file: a recording may have its table of contents at its end.

    Args:
        answer: the answer.
        begun: what was read of it already.
        again: asks for it again, from a byte on.
        length: in bytes.
    """

    def __init__(self, answer: Answer, begun: bytes, again: Callable[[int], Answer], length: int) -> None:
        super().__init__(answer, begun)
        self._again = again
        self._length = length
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        data = super().read(min(size, self._length - self._at)) if self._at < self._length else b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte; the server is asked anew when it is another one."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        target = max(0, base + offset)
        if target != self._at:
            self._answer.close()
            self._begun = b""
            self._at = target
            if target < self._length:
                self._answer = self._again(target)
        return self._at

    def tell(self) -> int:
        """The byte that is read next."""
        return self._at
