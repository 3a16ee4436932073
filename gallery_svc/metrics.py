"""The gallery's metrics: each with what moves it and what an operator does about it. No label names a subject."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tessera.chassis.metrics import LATENCY_BUCKETS_S, ServiceMetrics


class GalleryMetrics(ServiceMetrics):
    """What the gallery counts.

    Args:
        registry: where the metrics are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "gallery")
        self.decisions = Counter(
            "tessera_gallery_decisions_total",
            "Answers, by method (verify, identify, compare, tracklet) and outcome. A rising share of UNKNOWN "
            "or NO_MATCH: "
            "look at light, camera and enrolled pictures before the threshold.",
            ["method", "outcome"],
            registry=registry,
        )
        self.inconclusive = Counter(
            "tessera_gallery_inconclusive_total",
            "Inconclusive answers, by method and first reason. CALIBRATION_TOO_SMALL: the collection has outgrown its "
            "calibration. NO_FACE: look at the camera's view.",
            ["method", "reason"],
            registry=registry,
        )
        self.enrolments = Counter(
            "tessera_gallery_enrolments_total",
            "Enrolment calls, by outcome: enrolled, replayed (a retry), rejected (no sample could be used).",
            ["outcome"],
            registry=registry,
        )
        self.samples = Counter(
            "tessera_gallery_samples_total",
            "Samples offered for enrolment, by first reason; ACCEPTED when taken. Many of one reason: tell "
            "those who take "
            "the pictures.",
            ["reason"],
            registry=registry,
        )
        self.index_templates = Gauge(
            "tessera_gallery_index_templates",
            "Templates that are searched, by collection. Differs from the store's count for long: the index "
            "does not follow.",
            ["collection"],
            registry=registry,
        )
        self.index_subjects = Gauge(
            "tessera_gallery_index_subjects",
            "Subjects that are searched, by collection.",
            ["collection"],
            registry=registry,
        )
        self.log_position = Gauge(
            "tessera_gallery_log_position",
            "Changes in the store's log, by collection.",
            ["collection"],
            registry=registry,
        )
        self.index_lag = Gauge(
            "tessera_gallery_index_lag_changes",
            "Changes in the log that the index has not taken yet, by collection. Above 0 for long: this "
            "gallery answers from "
            "an old state; look at its log for index.load and at its CPU.",
            ["collection"],
            registry=registry,
        )
        self.index_loads = Counter(
            "tessera_gallery_index_loads_total",
            "Whole loads of an index, by why: start, other_history (the store came back with other data, or "
            "the log was "
            "trimmed). other_history without a restore: the store lost writes; find out how.",
            ["why"],
            registry=registry,
        )
        self.store_up = Gauge(
            "tessera_gallery_store_up",
            "1 while the store answers. 0: enrolments and verifications are refused; look at the store.",
            registry=registry,
        )
        self.store_seconds = Histogram(
            "tessera_gallery_store_seconds",
            "Time of one call to the store, by operation. Slow: its disk (appendfsync), its CPU, or the network.",
            ["operation"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.encoder_seconds = Histogram(
            "tessera_gallery_encoder_seconds",
            "Time of one call to the encoder as the gallery sees it, by outcome (ok, or the error's name). "
            "Slower than the "
            "encoder's own time: the network, or a queue before it.",
            ["outcome"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.events = Counter(
            "tessera_gallery_events_total",
            "Event revisions recorded, by kind (sighting, camera).",
            ["kind"],
            registry=registry,
        )
        self.watchers = Gauge(
            "tessera_gallery_event_watchers",
            "Streams that watch events. 0: nobody is told.",
            registry=registry,
        )
        self.tracklets = Gauge(
            "tessera_gallery_tracklets",
            "Tracklets that are remembered now.",
            registry=registry,
        )
        self.tracklets_forgotten = Counter(
            "tessera_gallery_tracklets_forgotten_total",
            "Tracklets forgotten before they ended, by why: silent (its worker went away), full (more than "
            "max_tracklets: "
            "raise it, or run more galleries).",
            ["why"],
            registry=registry,
        )
        self.updates = Counter(
            "tessera_gallery_tracklet_updates_total",
            "Tracklet updates, by what became of them: taken, repeated (sent again), rejected.",
            ["outcome"],
            registry=registry,
        )
