"""Pictures: what came in, what became of it, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter

from encoder_svc.frames import EncodedFrame, SeenSample
from tessera.chassis.catalogue import Theme, counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S
from tessera.chassis.tracing import current_span
from tessera.client.stream_values import StageTimes

_STAGES = ("queue", "decode", "detect", "align", "quality", "embed")


class PictureMetrics(Theme):
    """Pictures of every class of work."""

    frames = counter(
        "tessera_encoder_frames_total",
        "Pictures answered, by class of work, outcome (encoded, skipped, expired, failed, cancelled) and reason.",
        "Many skipped or expired: more frames are offered than the device can do; add an encoder or sample less. Many "
        "failed: a camera or a client sends broken pictures; the reason says how.",
        labels=("work_class", "outcome", "reason"),
    )
    stage_seconds = histogram(
        "tessera_encoder_stage_seconds",
        "Wall time of one picture in one stage.",
        "The queue growing while the others stand still is overload; the others growing is a busy machine or larger "
        "pictures.",
        labels=("stage",),
        buckets=LATENCY_BUCKETS_S,
    )
    total_seconds = histogram(
        "tessera_encoder_frame_seconds",
        "From the receipt of a picture to its observations, by class of work.",
        "Above the budgets of docs/performance.md: tessera_encoder_stage_seconds says which stage took the time.",
        labels=("work_class",),
        buckets=LATENCY_BUCKETS_S,
    )
    faces = counter(
        "tessera_encoder_faces_total",
        "Faces found, by whether they were embedded; known tracklets and too small faces are not.",
        "None embedded while people pass: faces are smaller than the encoder takes; bring the camera nearer.",
        labels=("embedded",),
    )
    persons = counter(
        "tessera_encoder_persons_total",
        "Persons found beside faces, by whether they were embedded; known tracklets and too small persons are not.",
        "None while people pass: the detector does not see them; see docs/persons.md.",
        labels=("embedded",),
    )
    pending = gauge(
        "tessera_encoder_pending",
        "Pictures that were received and not answered, by class of work.",
        "Above 0 while nothing is answered: it is stuck; see last_sent_timestamp_seconds.",
        labels=("work_class",),
    )
    queue_depth = gauge(
        "tessera_encoder_queue_depth",
        "Pictures that wait undecoded, by class of work.",
        "Near its limit for long: overload.",
        labels=("work_class",),
    )
    queue_overflows = counter(
        "tessera_encoder_queue_overflows_total",
        "Pictures that a full queue turned away, by class of work and policy (refuse_newest, drop_oldest, "
        "refuse_late: its answer would have come after its deadline).",
        "Add an encoder, or lower the cameras' sampling rate.",
        labels=("work_class", "policy"),
    )
    last_received = gauge(
        "tessera_encoder_last_received_timestamp_seconds",
        "When the last picture came, by class of work.",
        "Old for streams: look at camera_ingest.",
        labels=("work_class",),
    )
    last_sent = gauge(
        "tessera_encoder_last_sent_timestamp_seconds",
        "When the last picture was answered, by class of work.",
        "Older than the last received for long: it is stuck.",
        labels=("work_class",),
    )

    def observe_frame(self, work_class: str, frame: EncodedFrame) -> None:
        """Count one encoded picture with its stages and faces."""
        self.frames.labels(work_class, "encoded", "").inc()
        self.observe_stages(frame.times)
        self.total_seconds.labels(work_class).observe(frame.times.total_ms / 1e3, current_span().exemplar())
        _count(self.faces, frame.samples)
        if frame.persons is not None:
            _count(self.persons, frame.persons.samples)

    def observe_stages(self, times: StageTimes) -> None:
        """Count the stages of one picture."""
        for stage in _STAGES:
            self.stage_seconds.labels(stage).observe(getattr(times, f"{stage}_ms") / 1e3)

    def received(self, work_class: str) -> None:
        """Note that a picture came."""
        self.last_received.labels(work_class).set_to_current_time()

    def sent(self, work_class: str) -> None:
        """Note that a picture was answered, whatever the answer."""
        self.last_sent.labels(work_class).set_to_current_time()


def _count(found: Counter, samples: Sequence[SeenSample]) -> None:
    embedded = sum(sample.observation.embedding is not None for sample in samples)
    found.labels("yes").inc(embedded)
    found.labels("no").inc(len(samples) - embedded)
