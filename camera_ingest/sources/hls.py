"""HLS: a playlist that names segments, read as one stream of bytes.

What a playlist refers to is checked like the camera's URL.

FFmpeg's own HLS would fetch whatever a playlist names. Here each playlist, segment and header segment is fetched by
`HttpClient`, and FFmpeg sees bytes alone. Not read: encrypted segments, byte ranges, separate audio.

Source: RFC 8216, sections 4 and 6.3.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urljoin

from camera_ingest.sources.http import Answer, HttpClient
from camera_ingest.sources.source import SourceError
from tessera.chassis.clock import Clock

_MAX_PLAYLIST_BYTES = 1024 * 1024
_MAX_BEHIND = 3
_HEIGHT_PX = 720
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a stream."""

    number: int
    url: str
    duration_s: float
    header_url: str
    """Of a piece that must come before; empty: none."""
    captured: datetime | None
    """When its first frame was captured, if the playlist says so."""


@dataclass(frozen=True, slots=True)
class Playlist:
    """What is there at a moment."""

    segments: tuple[Segment, ...]
    target_s: float
    is_over: bool
    """Nothing will be added."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The same stream in one size."""

    url: str
    bandwidth: int
    height_px: int


def parse_variants(text: str, url: str) -> list[Variant]:
    """The sizes that a master playlist offers; empty: it is none."""
    found = []
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("#EXT-X-STREAM-INF:"):
            attributes = _attributes(line)
            target = next((later.strip() for later in lines[at + 1 :] if later.strip() and later[0] != "#"), "")
            height = attributes.get("RESOLUTION", "0x0").lower().partition("x")[2]
            found.append(Variant(urljoin(url, target), _number(attributes.get("BANDWIDTH", "0")), _number(height)))
    return found


def best_variant(variants: list[Variant]) -> Variant:
    """The smallest of at least 720 lines; where none says so, the one of the greatest rate."""
    tall = [variant for variant in variants if variant.height_px >= _HEIGHT_PX]
    return min(tall, key=lambda v: (v.height_px, v.bandwidth)) if tall else max(variants, key=lambda v: v.bandwidth)


def parse_playlist(text: str, url: str) -> Playlist:
    """Read a media playlist.

    Raises:
        SourceError: it is none, or needs what is not built.
    """
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise SourceError("it is no playlist")
    number, target_s, duration_s, header, captured = 0, 6.0, 0.0, "", None
    segments = []
    for line in (raw.strip() for raw in text.splitlines()):
        tag, _, rest = line.partition(":")
        if tag == "#EXT-X-MEDIA-SEQUENCE":
            number = _number(rest)
        elif tag == "#EXT-X-TARGETDURATION":
            target_s = float(_number(rest) or 6)
        elif tag == "#EXTINF":
            duration_s = _seconds(rest.partition(",")[0])
        elif tag == "#EXT-X-KEY" and _attributes(line).get("METHOD", "NONE") != "NONE":
            raise SourceError("its segments are encrypted, which is not read")
        elif tag == "#EXT-X-BYTERANGE":
            raise SourceError("its segments are byte ranges, which is not read")
        elif tag == "#EXT-X-MAP":
            header = urljoin(url, _attributes(line).get("URI", "").strip('"'))
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            captured = _moment(rest)
        elif line and not line.startswith("#"):
            segments.append(Segment(number, urljoin(url, line), duration_s, header, captured))
            number, captured = number + 1, None
    return Playlist(tuple(segments), target_s, "#EXT-X-ENDLIST" in text)


class HlsStream:
    """The segments as one stream, to be read like a file.

    Args:
        client: fetches.
        url: of the playlist.
        text: the playlist, fetched already.
        clock: for limits.
        patience_s: a server that adds nothing for so much longer than a segment lasts is lost.
    """

    def __init__(self, client: HttpClient, url: str, text: str, clock: Clock, patience_s: float) -> None:
        variants = parse_variants(text, url)
        self._client = client
        self._clock = clock
        self._patience_s = patience_s
        self._url = best_variant(variants).url if variants else url
        self._playlist = parse_playlist(self._fetch(self._url) if variants else text, self._url)
        self._number: int | None = None
        self._header = ""
        self._is_first = True
        self._answer: Answer | None = None
        self._waiting: Callable[[float], bool] = threading.Event().wait
        self.captured_s: float | None = None
        """When the first frame was captured, in UTC seconds, if the playlist says so."""

    @property
    def is_live(self) -> bool:
        """Whether segments are still added."""
        return not self._playlist.is_over

    def wait_with(self, wait: Callable[[float], bool]) -> None:
        """Wait in this way for the next segment; it answers True when nobody is interested any more."""
        self._waiting = wait

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end. Called by FFmpeg.

        Raises:
            SourceError: a segment cannot be had, or none is added any more.
            TimeoutError: the server fell silent.
        """
        while True:
            if self._answer is not None:
                data = self._answer.read(size)
                if data:
                    return data
                self._answer.close()
                self._answer = None
            segment = self._next_segment()
            if segment is None:
                return b""
            if segment.header_url != self._header:
                self._header = segment.header_url
                if self._header:
                    self._answer = self._client.get(self._header)
                    continue
            if self._answer is None and self.captured_s is None and segment.captured is not None and self._is_first:
                self.captured_s = segment.captured.timestamp()
            self._is_first = False
            self._number = segment.number + 1
            self._answer = self._client.get(segment.url)

    def close(self) -> None:
        """Drop the connection."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _next_segment(self) -> Segment | None:
        until_s = self._clock.monotonic_s() + 2.0 * self._playlist.target_s + self._patience_s
        while True:
            found = self._from(self._playlist)
            if found is not None or self._playlist.is_over:
                return found
            if self._clock.monotonic_s() > until_s:
                raise SourceError(f"no new segment for {2 * self._playlist.target_s + self._patience_s:.0f} s")
            if self._waiting(min(2.0, self._playlist.target_s / 3.0)):
                return None
            self._playlist = parse_playlist(self._fetch(self._url), self._url)

    def _from(self, playlist: Playlist) -> Segment | None:
        if not playlist.segments:
            return None
        newest = playlist.segments[-1].number
        if self._number is None:
            self._number = playlist.segments[0].number if playlist.is_over else newest
        if not playlist.is_over and (newest - self._number >= _MAX_BEHIND or self._number > newest + 1):
            self._number = newest  # too far behind, or the server began to count anew
        return next((segment for segment in playlist.segments if segment.number >= self._number), None)

    def _fetch(self, url: str) -> str:
        answer = self._client.get(url)
        try:
            return read_text(answer)
        finally:
            answer.close()


def read_text(answer: Answer, begun: bytes = b"") -> str:
    """The rest of a playlist.

    Raises:
        SourceError: it is too long, or breaks off.
    """
    text = bytearray(begun)
    try:
        while data := answer.read():
            text += data
            if len(text) > _MAX_PLAYLIST_BYTES:
                raise SourceError("its playlist is longer than a megabyte")
    except TimeoutError:
        raise SourceError("no answer while its playlist was read") from None
    except OSError:
        raise SourceError("the connection broke") from None
    return text.decode("utf-8", "replace")


def _attributes(line: str) -> dict[str, str]:
    return dict(_ATTRIBUTE.findall(line.partition(":")[2]))


def _number(text: str) -> int:
    match = re.match(r"\d{1,18}", text.strip())
    return int(match.group()) if match else 0


def _seconds(text: str) -> float:
    match = re.match(r"\d{1,9}(\.\d{1,9})?", text.strip())
    return float(match.group()) if match else 0.0


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
