"""The device: which networks run on it, how full its batches are, how busy it is."""

from __future__ import annotations

from encoder_svc.scheduling.work import Stage
from tessera.chassis.catalogue import Theme, counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S

_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class DeviceMetrics(Theme):
    """Networks, batches and lanes."""

    model_info = gauge(
        "tessera_encoder_model_info",
        "Always 1; the labels say which model runs where.",
        "Two encoders with different models behind one address: finish the update.",
        labels=("model_id", "modality", "device", "runtime"),
    )
    inferences = counter(
        "tessera_encoder_inferences_total",
        "Items that a network ran on, by encoder and stage: pictures for detect, faces for embed.",
        "Nothing by itself; it is what capacity is planned by.",
        labels=("encoder", "stage"),
    )
    executions = counter(
        "tessera_encoder_executions_total",
        "Batches that a network ran, by encoder and stage.",
        "Inferences over executions is the mean batch.",
        labels=("encoder", "stage"),
    )
    batch_items = histogram(
        "tessera_encoder_batch_items",
        "Items of one batch, by stage.",
        "Always 1 on a busy CUDA device: frames arrive in too many shapes.",
        labels=("stage",),
        buckets=_BATCH_BUCKETS,
    )
    batch_seconds = histogram(
        "tessera_encoder_batch_seconds",
        "How long one batch, or the decoding or measuring of one picture, kept its lane, by stage.",
        "A verify call waits for it at most once: when it grows past the slice that is set, the machine is shared or "
        "its clock is throttled.",
        labels=("stage",),
        buckets=LATENCY_BUCKETS_S,
    )
    batch_releases = counter(
        "tessera_encoder_batch_releases_total",
        "Why batches went as they were: all (nothing more waited), full, slice (one more item would keep a verify "
        "call waiting), split (left to an idle lane), lingered (waited for more).",
        "Mostly all: the device has room.",
        labels=("stage", "why"),
    )
    device_busy_seconds = counter(
        "tessera_encoder_device_busy_seconds_total",
        "Seconds that the device's lanes worked; on a CPU they decode and measure as well.",
        "Its rate over tessera_encoder_lanes is the share of time that the device is busy; above 0.9 for long: add an "
        "encoder.",
    )
    lanes = gauge(
        "tessera_encoder_lanes",
        "Threads that run networks: one per core of a CPU, one on a CUDA device.",
        "Nothing by itself; device_busy_seconds_total is read against it.",
    )

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
