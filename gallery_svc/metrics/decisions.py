"""What the gallery decides, and of whom it hears."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S


class DecisionMetrics(Theme):
    """Answers, and the tracklets that some of them are about."""

    decisions = counter(
        "tessera_gallery_decisions_total",
        "Answers, by method (verify, identify, compare, tracklet) and outcome.",
        "A rising share of UNKNOWN or NO_MATCH: look at light, camera and enrolled pictures before the threshold.",
        labels=("method", "outcome"),
    )
    inconclusive = counter(
        "tessera_gallery_inconclusive_total",
        "Inconclusive answers, by method and first reason.",
        "CALIBRATION_TOO_SMALL: the collection has outgrown its calibration. NO_FACE: look at the camera's view.",
        labels=("method", "reason"),
    )
    tracklets = gauge(
        "tessera_gallery_tracklets",
        "Tracklets that are remembered now.",
        "It grows without people: workers do not end their tracklets; look at camera_ingest.",
    )
    tracklets_forgotten = counter(
        "tessera_gallery_tracklets_forgotten_total",
        "Tracklets forgotten before they ended, by why: silent (its worker went away), full (more than max_tracklets: "
        "raise it, or run more galleries).",
        "silent: look for a worker that was killed. full: raise max_tracklets, or run more galleries.",
        labels=("why",),
    )
    updates = counter(
        "tessera_gallery_tracklet_updates_total",
        "Tracklet updates, by what became of them: taken, repeated (sent again), rejected.",
        "rejected: the gallery's log says why. Many repeated: streams break; look at the network.",
        labels=("outcome",),
    )
    links = counter(
        "tessera_gallery_links_total",
        "Tracklets of unknown people: LINKED with one that was seen before, or NEW.",
        "Many LINKED where nobody comes twice: lower link_target_rate. None at all: link_retention_s is 0, or the "
        "calibration is too small.",
        labels=("result",),
    )
    encoder_seconds = histogram(
        "tessera_gallery_encoder_seconds",
        "Time of one call to the encoder as the gallery sees it, by outcome (ok, or the error's name).",
        "Slower than the encoder's own time: the network, or a queue before it.",
        labels=("outcome",),
        buckets=LATENCY_BUCKETS_S,
    )
