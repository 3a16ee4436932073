"""What can be said of how one camera's stream is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

KEY_FRAMES_APART_S = 30.0
"""Where key frames alone are decoded, no frame for so long is no loss: packets that stay away are, as ever."""


class Transport(StrEnum):
    """How an RTSP server sends its packets."""

    TCP = "TCP"
    """Within the connection: nothing is lost, and a bad network makes it late."""
    UDP = "UDP"
    """Beside it: never late, and a bad network tears pictures."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream is read."""

    transport: Transport = Transport.TCP
    key_frames_only: bool = False
    """Decode key frames alone: one each second or two for a fraction of the work."""
    sub_stream_url: str = field(default="", repr=False)
    """The smaller stream of the same camera, to be looked at instead; where it does not open, the main one is read."""
    hardware_decode: bool = False
    """Decode on a device where there is one."""
    as_fast_as_possible: bool = False
    """Files: as fast as frames are taken, every sampled one; not in their own time."""
