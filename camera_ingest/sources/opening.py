"""From a checked URL to an opened source: the one place that knows every kind."""

from __future__ import annotations

from pathlib import Path

from camera_ingest.reading.order import ReadLimits
from camera_ingest.sources.av_source import AvSource
from camera_ingest.sources.folder import FolderSource
from camera_ingest.sources.source import Source
from camera_ingest.sources.url import SourceKind, SourceUrl
from tessera.chassis.clock import Clock


def open_source(url: SourceUrl, rate_hz: float, loop: bool, clock: Clock, limits: ReadLimits) -> Source:
    """Open what a URL names; blocks for at most the limits.

    Args:
        url: what to open.
        rate_hz: pictures a second of a folder.
        loop: files and folders start again at their end.
        clock: where capture times come from.
        limits: how long streams and devices may take.

    Raises:
        SourceError: it cannot be opened.
    """
    match url.kind:
        case SourceKind.DEMO:
            from camera_ingest.sources.demo import DemoSource  # noqa: PLC0415 - draws with numpy and OpenCV, alone

            demo = DemoSource(clock)
            demo.open()
            return demo
        case SourceKind.FOLDER:
            return FolderSource(Path(url.location), rate_hz, loop, clock)
        case _:
            source = AvSource(url, loop, clock, limits)
            source.open()
            return source
