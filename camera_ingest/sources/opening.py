"""From an order to an opened source: the one place that knows every kind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from camera_ingest.reading.order import ReadOrder
from camera_ingest.sources.access import DEFAULT_PORTS
from camera_ingest.sources.av_source import AvInput, AvSource, Decoding, Timing
from camera_ingest.sources.folder import FolderSource
from camera_ingest.sources.options import Transport
from camera_ingest.sources.source import Source, SourceError
from camera_ingest.sources.url import SourceKind, SourceUrl, parse_url
from tessera.chassis.clock import Clock
from tessera.domain.errors import InvalidInputError

_DEVICE_OPTIONS = {"framerate": "15", "video_size": "1280x720"}
_UDP_BUFFER_BYTES = 2 * 1024 * 1024


def open_source(order: ReadOrder, clock: Clock, environ: Mapping[str, str] | None = None) -> tuple[Source, str]:
    """Open what an order names; blocks for about its limits.

    Args:
        order: what to open.
        clock: where capture times come from.
        environ: where `${NAME}` credentials come from; None: the process's own.

    Returns:
        the source, and what should be known of it though it works: empty, or why the smaller stream is not read.

    Raises:
        SourceError: it cannot be opened, or is not allowed.
    """
    environ = os.environ if environ is None else environ
    if not order.stream.sub_stream_url:
        return _open(order, order.url, clock, environ)
    try:
        return _open(order, order.stream.sub_stream_url, clock, environ)
    except SourceError as error:
        source, note = _open(order, order.url, clock, environ)
        return source, f"the main stream is read, not the smaller one: {error.detail}. {note}".strip(" .")


def _open(order: ReadOrder, text: str, clock: Clock, environ: Mapping[str, str]) -> tuple[Source, str]:
    url = parse_url(text)
    try:
        order.access.check_url(url)
        location = url.resolved(environ)
    except InvalidInputError as error:
        raise SourceError(
            error.allowed if "environment" in error.allowed else f"refused: allowed are {error.allowed}"
        ) from None
    match url.kind:
        case SourceKind.DEMO:
            from camera_ingest.sources.demo import DemoSource  # noqa: PLC0415 - draws with numpy and OpenCV, alone

            demo = DemoSource(clock)
            demo.open()
            return demo, ""
        case SourceKind.FOLDER:
            return FolderSource(Path(url.location), order.rate_hz, order.loop, clock), ""
        case SourceKind.HTTP:
            from camera_ingest.sources.over_http import open_over_http  # noqa: PLC0415 - TLS and HTTP cost 3 MB

            return open_over_http(order, location, clock, lambda make: _av_source(order, url, make, clock, environ))
        case SourceKind.RTSP:
            return _av_source(order, url, lambda: _rtsp_input(order, location), clock, environ)
        case SourceKind.V4L2:
            made = AvInput(location, Timing.ARRIVAL, True, "v4l2", dict(_DEVICE_OPTIONS))
            return _av_source(order, url, lambda: made, clock, environ)
        case SourceKind.FILE:
            timing = Timing.FAST if order.stream.as_fast_as_possible else Timing.FILE
            # Only local files: a playlist may not fetch from elsewhere.
            file = AvInput(location, timing, False, None, {"protocol_whitelist": "file"})
            return _av_source(order, url, lambda: file, clock, environ)


def _av_source(
    order: ReadOrder, url: SourceUrl, make_input: Callable[[], AvInput], clock: Clock, environ: Mapping[str, str]
) -> tuple[Source, str]:
    source = AvSource(
        make_input,
        loop=order.loop,
        clock=clock,
        limits=order.limits,
        decoding=Decoding(order.stream.key_frames_only, order.stream.hardware_decode),
        scrubbed=lambda text: url.scrubbed(text, environ),
    )
    source.open()
    return source, source.note


def _rtsp_input(order: ReadOrder, location: str) -> AvInput:
    from camera_ingest.sources.rtsp_relay import RtspRelay  # noqa: PLC0415 - TLS costs 3 MB

    parts = urlsplit(location)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme.lower()]
    upstream = order.access.connect(host, port, order.limits.open_s)
    peer = str(upstream.getpeername()[0])
    if parts.scheme.lower() == "rtsps":
        upstream = order.access.with_tls(upstream, host)
    relay = RtspRelay(upstream, peer, max(order.limits.open_s, order.limits.read_s))
    relay.start()
    userinfo, at, _ = parts.netloc.rpartition("@")
    near = parts._replace(scheme="rtsp", netloc=f"{userinfo}{at}127.0.0.1:{relay.port}").geturl()
    options = {
        "rtsp_transport": order.stream.transport.value.lower(),
        "timeout": str(int(order.limits.read_s * 1e6)),
        "fflags": "nobuffer",
        "flags": "low_delay",
        "allowed_media_types": "video",
        # What the stream holds stands in its description; to watch it for five seconds first would only delay a return.
        "analyzeduration": "500000",
        "fpsprobesize": "0",
    }
    if order.stream.transport is Transport.UDP:
        options |= {"buffer_size": str(_UDP_BUFFER_BYTES), "reorder_queue_size": "256"}

    def close() -> None:
        with contextlib.suppress(OSError):
            relay.close()

    return AvInput(near, Timing.STREAM, True, "rtsp", options, close, lambda: relay.refused)
