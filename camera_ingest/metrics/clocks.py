"""Whose clock is right."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class ClockMetrics(Theme):
    """Clocks of cameras, and of this machine."""

    clock_jumps = counter(
        "tessera_ingest_clock_jumps_total",
        "Times this machine's wall clock jumped by more than a second.",
        "Nothing expires for it, and capture times follow it; look at the machine's time server.",
    )
    clock_drift_ppm = gauge(
        "tessera_ingest_clock_drift_ppm",
        "By how much a camera's clock runs fast against this machine's, in millionths.",
        "Beyond 200 either way: its clock, or this machine's, is bad; capture times are mapped all the same.",
        labels=("camera",),
    )
    sender_offset_s = gauge(
        "tessera_ingest_sender_offset_seconds",
        "By how much a camera's wall clock is ahead of this machine's, as its RTCP reports tell it.",
        "Beyond 2 s behind or 0.1 s ahead it is not believed: set the camera's time server.",
        labels=("camera",),
    )
    clock_offset_s = gauge(
        "tessera_ingest_clock_offset_seconds",
        "By how much a camera's clock is ahead of another's of the same view, judged by when both saw the same people.",
        "Beyond 0.5 s either way an event tells it: set both cameras' time server.",
        labels=("camera", "other"),
    )
