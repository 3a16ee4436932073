"""What the encoder counts: what moves each entry, and what an operator does about it. No label names a person."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from encoder_svc.pipeline import EncodedFrame
from tessera.chassis.metrics import LATENCY_BUCKETS_S, ServiceMetrics
from tessera.client.stream_values import StageTimes
from tessera.domain.artifact import Manifest

_STAGES = ("queue", "decode", "detect", "align", "quality", "embed")
_FACES_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)


class EncoderMetrics(ServiceMetrics):
    """The encoder's own metrics beside those that every service has.

    Args:
        registry: where they are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "encoder")
        self.frames = Counter(
            "tessera_encoder_frames_total",
            "Pictures answered, by class of work, outcome (encoded, skipped, expired, failed, cancelled) and reason. "
            "Many skipped or expired: more frames are offered than the device can do; add an encoder or sample less. "
            "Many failed: a camera or a client sends broken pictures; the reason says how.",
            ["work_class", "outcome", "reason"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "tessera_encoder_stage_seconds",
            "Wall time of one picture in one stage. The queue growing while the others stand still is overload; "
            "the others growing is a busy machine or larger pictures.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.total_seconds = Histogram(
            "tessera_encoder_frame_seconds",
            "From the receipt of a picture to its observations, by class of work.",
            ["work_class"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.faces = Counter(
            "tessera_encoder_faces_total",
            "Faces found, by whether they were embedded; known tracklets and too small faces are not.",
            ["embedded"],
            registry=registry,
        )
        self.batch_faces = Histogram(
            "tessera_encoder_embed_batch_faces",
            "Faces embedded in one run of the network.",
            buckets=_FACES_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "tessera_encoder_queue_depth",
            "Pictures that wait for the device, by class of work. Near its limit for long: overload.",
            ["work_class"],
            registry=registry,
        )
        self.queue_overflows = Counter(
            "tessera_encoder_queue_overflows_total",
            "Pictures that a full queue turned away, by class of work and policy (refuse_newest, drop_oldest). "
            "Add an encoder, or lower the cameras' sampling rate.",
            ["work_class", "policy"],
            registry=registry,
        )
        self.streams = Gauge(
            "tessera_encoder_streams",
            "Camera streams that are open. Fewer than cameras: look at camera_ingest.",
            registry=registry,
        )
        self.streams_ended = Counter(
            "tessera_encoder_streams_ended_total",
            "Streams that the server refused or ended, by cause (limit, silent, draining).",
            ["cause"],
            registry=registry,
        )
        self.credits_in_use = Gauge(
            "tessera_encoder_credits_in_use",
            "Stream frames under way. Always at the number of streams times their credits: overload.",
            registry=registry,
        )
        self.model_info = Gauge(
            "tessera_encoder_model_info",
            "Always 1; the labels say which model runs where.",
            ["model_id", "modality", "device"],
            registry=registry,
        )

    def observe_frame(self, work_class: str, frame: EncodedFrame) -> None:
        """Count one encoded picture with its stages and faces."""
        self.frames.labels(work_class, "encoded", "").inc()
        self.observe_stages(frame.times)
        self.total_seconds.labels(work_class).observe(frame.times.total_ms / 1e3)
        embedded = sum(face.observation.embedding is not None for face in frame.faces)
        self.faces.labels("yes").inc(embedded)
        self.faces.labels("no").inc(len(frame.faces) - embedded)
        if embedded:
            self.batch_faces.observe(embedded)

    def observe_stages(self, times: StageTimes) -> None:
        """Count the stages of one picture."""
        for stage in _STAGES:
            self.stage_seconds.labels(stage).observe(getattr(times, f"{stage}_ms") / 1e3)

    def show_model(self, manifest: Manifest, device: str) -> None:
        """Say which model runs where."""
        self.model_info.labels(manifest.model_id, manifest.modality.value, device).set(1)
