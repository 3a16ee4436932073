"""What an HTTP server has: pictures one after the other, a playlist, or a recording; told by its answer."""

from __future__ import annotations

from collections.abc import Callable

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
    first = [_Body(answer, begun)]

    def body_input() -> AvInput:
        body = first.pop() if first else _Body(client.get(location), b"")
        return AvInput(body, Timing.STREAM, body.length is None, close=body.close)

    return open_av(body_input)


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


class _Body:
    """An answer's body, to be read like a file."""

    def __init__(self, answer: Answer, begun: bytes) -> None:
        self._answer = answer
        self._begun = begun
        self.length = answer.response.getheader("Content-Length")

    def read(self, size: int) -> bytes:
        if self._begun:
            data, self._begun = self._begun[:size], self._begun[size:]
            return data
        return self._answer.read(size)

    def close(self) -> None:
        self._answer.close()
