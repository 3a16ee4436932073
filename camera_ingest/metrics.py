"""What camera_ingest counts. Labels name cameras, never people."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tessera.chassis.metrics import LATENCY_BUCKETS_S, ServiceMetrics


class IngestMetrics(ServiceMetrics):
    """The metrics of camera_ingest.

    Args:
        registry: where they are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "camera_ingest")
        self.frames = Counter(
            "tessera_ingest_frames_total",
            "Sampled frames that have their outcome: ENCODED, SKIPPED, EXPIRED or FAILED, with the reason of a skip or "
            "failure. Cause of NO_CREDIT and EXPIRED: the encoder is slower than the cameras; lower the sampling rate "
            "or add encoders. RATE_REDUCED: the same, left out evenly. ENCODER_UNAVAILABLE: look at the encoder. "
            "NEWER_FRAME: this process is short of CPU. NO_MOTION: an empty scene, nothing to do.",
            ["camera", "outcome", "reason"],
            registry=registry,
        )
        self.camera_up = Gauge(
            "tessera_ingest_camera_up",
            "1 while frames come and change. 0: GetCameraStatus says why; look at the camera and its network first.",
            ["camera"],
            registry=registry,
        )
        self.sample_rate_hz = Gauge(
            "tessera_ingest_sample_rate_hertz",
            "Frames a second that are looked at now. Below the camera's own rate: the encoder grants too few credits; "
            "add encoders, or ask for less.",
            ["camera"],
            registry=registry,
        )
        self.last_frame_age_s = Gauge(
            "tessera_ingest_last_frame_age_seconds",
            "Age of the newest sampled frame. Grows while a camera is lost.",
            ["camera"],
            registry=registry,
        )
        self.stage_s = Histogram(
            "tessera_ingest_stage_seconds",
            "From capture to a stage: sent (to the encoder), answer (of the encoder), decision (of the gallery). "
            "Where it first grows is the part that is short: ingest, encoder, gallery.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.reconnects = Counter(
            "tessera_ingest_reconnects_total",
            "Attempts to open a camera again after it was lost. Steady growth: the camera or its network flaps.",
            ["camera"],
            registry=registry,
        )
        self.stream_breaks = Counter(
            "tessera_ingest_stream_breaks_total",
            "Streams to the encoder or the gallery that broke or could not be opened. Look at that service.",
            ["peer"],
            registry=registry,
        )
        self.tracklets = Counter(
            "tessera_ingest_tracklets_total",
            "Tracklets begun. Many for few people: faces are too small, or frames too few to follow them.",
            ["camera"],
            registry=registry,
        )
        self.tracklets_active = Gauge(
            "tessera_ingest_tracklets_active",
            "People in the picture by now.",
            ["camera"],
            registry=registry,
        )
        self.decisions = Counter(
            "tessera_ingest_decisions_total",
            "New and revised decisions on tracklets: MATCH, UNKNOWN, INCONCLUSIVE. A rising share of INCONCLUSIVE: "
            "look at the cameras' light, focus and distance.",
            ["camera", "outcome"],
            registry=registry,
        )
        self.updates_dropped = Counter(
            "tessera_ingest_updates_dropped_total",
            "Tracklet updates given up: OVERFLOW (the gallery was away too long), REJECTED (by the gallery), "
            "REPEATED (the stream broke on it again and again), SUPERSEDED (another worker watches the camera by "
            "now, as after a move; steady growth: two workers take each other for dead). The gallery's log says more.",
            ["cause"],
            registry=registry,
        )
        self.scene_clear = Gauge(
            "tessera_ingest_scene_clear",
            "1 while the camera sees its scene. 0: it is covered, out of focus or moved; go and look. Absent while the "
            "scene is learned, or not watched.",
            ["camera"],
            registry=registry,
        )
        self.camera_events = Counter(
            "tessera_ingest_camera_events_total",
            "Camera events by their kind and result: PUBLISHED, or DROPPED after bounded attempts (the gallery was "
            "away, or refused it).",
            ["kind", "result"],
            registry=registry,
        )
        self.leases_held = Gauge(
            "tessera_ingest_leases_held",
            "Cameras that this worker holds the lease of. Summed over all workers it is the number of enabled cameras; "
            "less: there are more cameras than room (TESSERA_INGEST_MAX_CAMERAS), or the store is away.",
            registry=registry,
        )
        self.lease_changes = Counter(
            "tessera_ingest_lease_changes_total",
            "Leases of cameras that were taken, given_back (to others, disabled or removed) or lost (taken for dead by "
            "others). Steady growth: workers come and go, or are so short of CPU that they miss their own beats.",
            ["kind"],
            registry=registry,
        )
        self.lease_renewals_failed = Counter(
            "tessera_ingest_lease_renewals_failed_total",
            "Beats that the store did not take. After some seconds of them every camera stops, until the store is "
            "back: look at the store.",
            registry=registry,
        )

    def forget_camera(self, camera_id: str) -> None:
        """A camera was removed: its gauges go; its counters stay until the process ends, so that rates do not jump."""
        for gauge in (
            self.camera_up,
            self.scene_clear,
            self.sample_rate_hz,
            self.last_frame_age_s,
            self.tracklets_active,
        ):
            gauge.remove_by_labels({"camera": camera_id})
