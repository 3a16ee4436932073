"""What `tessera up` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tessera.cli.camera_argument import CameraArgument
from tessera.cli.ports import Ports


class ViewKind(StrEnum):
    """How what happens is shown."""

    LIVE = "live"
    """Drawn on the terminal."""
    PLAIN = "plain"
    """A line for each thing."""
    JSON = "json"
    """A JSON object for each thing."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """One call of `tessera up`."""

    data_dir: Path
    """Everything that outlives the call is below it."""
    cameras: tuple[CameraArgument, ...]
    demo: bool
    """Enrol the demo's people and watch the demo's camera."""
    ports: Ports
    """0: any that are free."""
    sample_rate_hz: float
    """Of the cameras above."""
    ready_limit_s: float
    """From the first start until every service takes work."""
    view: ViewKind
    targets: Path | None = None
    """The file of those who are told of alerts."""
