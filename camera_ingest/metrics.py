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
        self.clock_jumps = Counter(
            "tessera_ingest_clock_jumps_total",
            "Times this machine's wall clock jumped by more than a second. Nothing expires for it, and capture times "
            "follow it; look at the machine's time server.",
            registry=registry,
        )
        self.clock_drift_ppm = Gauge(
            "tessera_ingest_clock_drift_ppm",
            "By how much a camera's clock runs fast against this machine's, in millionths. Beyond 200 either way: its "
            "clock, or this machine's, is bad; capture times are mapped all the same.",
            ["camera"],
            registry=registry,
        )
        self.sender_offset_s = Gauge(
            "tessera_ingest_sender_offset_seconds",
            "By how much a camera's wall clock is ahead of this machine's, as its RTCP reports tell it. Beyond 2 s "
            "behind or 0.1 s ahead it is not believed: set the camera's time server.",
            ["camera"],
            registry=registry,
        )
        self.clock_offset_s = Gauge(
            "tessera_ingest_clock_offset_seconds",
            "By how much a camera's clock is ahead of another's of the same view, judged by when both saw the same "
            "people. Beyond 0.5 s either way an event tells it: set both cameras' time server.",
            ["camera", "other"],
            registry=registry,
        )
        self.stream_breaks = Counter(
            "tessera_ingest_stream_breaks_total",
            "Streams to the encoder or the gallery that broke or could not be opened. Look at that service.",
            ["peer"],
            registry=registry,
        )
        self.encoder_window = Gauge(
            "tessera_ingest_encoder_window",
            "Frames of all cameras that may be with the encoder at a time: fewer when its answers take more than a "
            "third of the time that a frame has, more while cameras wait and answers are in time. At 4, its least: the "
            "encoder is slower than the cameras or short of CPU; lower the sampling rate or add encoders.",
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
        self.quarantined = Counter(
            "tessera_ingest_quarantined_total",
            "Pictures that are held back since the encoder crashed over them twice. A defect of the encoder, or an "
            "attack on it: its log tells what it died of, and the frame.quarantined line here which camera showed it.",
            ["camera"],
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

        self.evidence_kept = Counter(
            "tessera_ingest_evidence_kept_total",
            "Best shots and clips that were written. A shot counts again each time a better one takes its place.",
            ["kind"],
            registry=registry,
        )
        self.evidence_lost = Counter(
            "tessera_ingest_evidence_lost_total",
            "Best shots and clips that could not be kept: DISK_FULL, WRITE (look at the folder's disk and owner), "
            "TOO_LARGE (for the size that the store may have), BUSY (the disk is slower than what happens), INTERNAL "
            "(the log says more). Cameras go on all the same.",
            ["kind", "cause"],
            registry=registry,
        )
        self.evidence_removed = Counter(
            "tessera_ingest_evidence_removed_total",
            "Best shots and clips that went: SIZE (the oldest made room: give the store more, or keep less), AGE, "
            "ERASED (with a subject or its sighting), TORN (its file was cut or changed: look at the disk).",
            ["reason"],
            registry=registry,
        )
        self.evidence_bytes = Gauge(
            "tessera_ingest_evidence_bytes",
            "Size of all best shots and clips on disk. Stands at its limit where the oldest make room.",
            registry=registry,
        )

    def forget_camera(self, camera_id: str) -> None:
        """A camera was removed: its gauges go; its counters stay until the process ends, so that rates do not jump."""
        gauges = (self.camera_up, self.scene_clear, self.sample_rate_hz, self.last_frame_age_s, self.tracklets_active)
        for gauge in (*gauges, self.clock_drift_ppm, self.sender_offset_s):
            gauge.remove_by_labels({"camera": camera_id})
