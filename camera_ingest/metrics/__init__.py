"""What camera_ingest counts, theme by theme. Labels name cameras, never people."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from camera_ingest.metrics.cameras import CameraMetrics
from camera_ingest.metrics.clocks import ClockMetrics
from camera_ingest.metrics.evidence import EvidenceMetrics
from camera_ingest.metrics.leases import LeaseMetrics
from camera_ingest.metrics.tracklets import TrackletMetrics
from tessera.chassis.metrics import ServiceMetrics


class IngestMetrics(CameraMetrics, TrackletMetrics, ClockMetrics, LeaseMetrics, EvidenceMetrics, ServiceMetrics):
    """The metrics of camera_ingest.

    Args:
        registry: where they are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        ServiceMetrics.__init__(self, registry, "camera_ingest")

    def forget_camera(self, camera_id: str) -> None:
        """A camera was removed: its gauges go; its counters stay until the process ends, so that rates do not jump."""
        gauges = (
            self.camera_up,
            self.camera_frozen,
            self.scene_clear,
            self.sample_rate_hz,
            self.last_frame_age_s,
            self.tracklets_active,
        )
        for gauge in (*gauges, self.clock_drift_ppm, self.sender_offset_s):
            gauge.remove_by_labels({"camera": camera_id})
