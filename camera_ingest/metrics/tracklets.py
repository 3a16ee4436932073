"""From a frame to a decision: the streams to the encoder and the gallery, and the people on them."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S


class TrackletMetrics(Theme):
    """What is sent, and what is made of it."""

    stage_s = histogram(
        "tessera_ingest_stage_seconds",
        "From capture to a stage: sent (to the encoder), answer (of the encoder), decision (of the gallery).",
        "Where it first grows is the part that is short: ingest, encoder, gallery.",
        labels=("stage",),
        buckets=LATENCY_BUCKETS_S,
    )
    stream_breaks = counter(
        "tessera_ingest_stream_breaks_total",
        "Streams to the encoder or the gallery that broke or could not be opened.",
        "Look at that service.",
        labels=("peer",),
    )
    encoder_window = gauge(
        "tessera_ingest_encoder_window",
        "Frames of all cameras that may be with the encoder at a time: fewer when its answers take more than a third "
        "of the time that a frame has, more while cameras wait and answers are in time.",
        "At 4, its least: the encoder is slower than the cameras or short of CPU; lower the sampling rate or add "
        "encoders.",
    )
    tracklets = counter(
        "tessera_ingest_tracklets_total",
        "Tracklets begun.",
        "Many for few people: faces are too small, or frames too few to follow them.",
        labels=("camera",),
    )
    tracklets_active = gauge(
        "tessera_ingest_tracklets_active",
        "People in the picture by now.",
        "It never falls to 0 in an empty scene: something in the picture is taken for a face; mask it.",
        labels=("camera",),
    )
    decisions = counter(
        "tessera_ingest_decisions_total",
        "New and revised decisions on tracklets: MATCH, UNKNOWN, INCONCLUSIVE.",
        "A rising share of INCONCLUSIVE: look at the cameras' light, focus and distance.",
        labels=("camera", "outcome"),
    )
    updates_dropped = counter(
        "tessera_ingest_updates_dropped_total",
        "Tracklet updates given up: OVERFLOW (the gallery was away too long), REJECTED (by the gallery), REPEATED "
        "(the stream broke on it again and again), SUPERSEDED (another worker watches the camera by now, as after a "
        "move; steady growth: two workers take each other for dead).",
        "The gallery's log says more.",
        labels=("cause",),
    )
