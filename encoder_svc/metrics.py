"""What the encoder counts: what moves each entry, and what an operator does about it. No label names a person."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from encoder_svc.frames import EncodedFrame
from encoder_svc.scheduling.work import Stage
from tessera.chassis.metrics import LATENCY_BUCKETS_S, ServiceMetrics
from tessera.client.stream_values import StageTimes
from tessera.domain.artifact import Manifest

_STAGES = ("queue", "decode", "detect", "align", "quality", "embed")
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class EncoderMetrics(ServiceMetrics):
    """The encoder's own metrics beside those that every service has.

    Args:
        registry: where they are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "encoder")
        self._shown_models: set[tuple[str, tuple[str, str, str, str]]] = set()
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
        self.inferences = Counter(
            "tessera_encoder_inferences_total",
            "Items that a network ran on, by encoder and stage: pictures for detect, faces for embed.",
            ["encoder", "stage"],
            registry=registry,
        )
        self.executions = Counter(
            "tessera_encoder_executions_total",
            "Batches that a network ran, by encoder and stage. Inferences over executions is the mean batch.",
            ["encoder", "stage"],
            registry=registry,
        )
        self.batch_items = Histogram(
            "tessera_encoder_batch_items",
            "Items of one batch, by stage. Always 1 on a busy CUDA device: frames arrive in too many shapes.",
            ["stage"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "tessera_encoder_batch_seconds",
            "How long one batch, or the decoding or measuring of one picture, kept its lane, by stage. A verify call "
            "waits for it at most once: when it grows past the slice that is set, the machine "
            "is shared or its clock is throttled.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.batch_releases = Counter(
            "tessera_encoder_batch_releases_total",
            "Why batches went as they were: all (nothing more waited), full, slice (one more item would keep a verify "
            "call waiting), split (left to an idle lane), lingered (waited for more). Mostly all: the device has room.",
            ["stage", "why"],
            registry=registry,
        )
        self.device_busy_seconds = Counter(
            "tessera_encoder_device_busy_seconds_total",
            "Seconds that the device's lanes worked; on a CPU they decode and measure as well. Its rate over "
            "tessera_encoder_lanes is the share of time that the device is busy; above 0.9 for long: add an encoder.",
            registry=registry,
        )
        self.lanes = Gauge(
            "tessera_encoder_lanes",
            "Threads that run networks: one per core of a CPU, one on a CUDA device.",
            registry=registry,
        )
        self.pending = Gauge(
            "tessera_encoder_pending",
            "Pictures that were received and not answered, by class of work.",
            ["work_class"],
            registry=registry,
        )
        self.last_received = Gauge(
            "tessera_encoder_last_received_timestamp_seconds",
            "When the last picture came, by class of work. Old for streams: look at camera_ingest.",
            ["work_class"],
            registry=registry,
        )
        self.last_sent = Gauge(
            "tessera_encoder_last_sent_timestamp_seconds",
            "When the last picture was answered, by class of work. Older than the last received for long: it is stuck.",
            ["work_class"],
            registry=registry,
        )
        self.client_drops = Counter(
            "tessera_encoder_client_drops_total",
            "Frames that clients say they sampled and did not send. Growing: cameras offer more than is encoded.",
            registry=registry,
        )
        self.asyncio_tasks = Gauge(
            "tessera_encoder_asyncio_tasks",
            "Tasks of the event loop. Growing while the load does not: a leak; report it.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "tessera_encoder_queue_depth",
            "Pictures that wait undecoded, by class of work. Near its limit for long: overload.",
            ["work_class"],
            registry=registry,
        )
        self.queue_overflows = Counter(
            "tessera_encoder_queue_overflows_total",
            "Pictures that a full queue turned away, by class of work and policy (refuse_newest, drop_oldest, "
            "refuse_late: its answer would have come after its deadline). "
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
            "Streams that the server refused or ended, by cause (limit, silent, draining, replaced).",
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
            ["model_id", "modality", "device", "runtime"],
            registry=registry,
        )
        for work_class in ("interactive", "enrolment", "stream", "explanation"):
            # Present from the start, so that a rate over them is 0 and not nothing.
            self.pending.labels(work_class).set(0)
            self.queue_depth.labels(work_class).set(0)

    def observe_frame(self, work_class: str, frame: EncodedFrame) -> None:
        """Count one encoded picture with its stages and faces."""
        self.frames.labels(work_class, "encoded", "").inc()
        self.observe_stages(frame.times)
        self.total_seconds.labels(work_class).observe(frame.times.total_ms / 1e3)
        embedded = sum(sample.observation.embedding is not None for sample in frame.samples)
        self.faces.labels("yes").inc(embedded)
        self.faces.labels("no").inc(len(frame.samples) - embedded)

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

    def observe_batch(self, stage: Stage, items: int, why: str, seconds: float, *, on_device: bool) -> None:
        """Count what a lane ran: a batch of a network, or one picture's decoding or measuring."""
        if on_device:
            self.device_busy_seconds.inc(seconds)
        self.batch_seconds.labels(stage.name).observe(seconds)
        if not stage.network:
            return
        self.inferences.labels(stage.encoder, stage.name).inc(items)
        self.executions.labels(stage.encoder, stage.name).inc()
        self.batch_items.labels(stage.name).observe(items)
        self.batch_releases.labels(stage.name, why).inc()

    def show_model(self, manifest: Manifest, device: str, runtime: str) -> None:
        """Say which model runs where and how; what it replaces is shown no longer."""
        self.hide_model(manifest.name)
        labelled = (manifest.model_id, manifest.modality.value, device, runtime)
        self._shown_models.add((manifest.name, labelled))
        self.model_info.labels(*labelled).set(1)

    def hide_model(self, name: str) -> None:
        """Show an encoder no longer."""
        for shown in [key for key in self._shown_models if key[0] == name]:
            self.model_info.remove(*shown[1])
            self._shown_models.discard(shown)
