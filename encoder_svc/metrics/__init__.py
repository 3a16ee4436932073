"""What the encoder counts, theme by theme: what moves each entry, and what an operator does about it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from encoder_svc.metrics.device import DeviceMetrics
from encoder_svc.metrics.pictures import PictureMetrics
from encoder_svc.metrics.streams import StreamMetrics
from tessera.chassis.metrics import ServiceMetrics
from tessera.domain.artifact import Manifest


class EncoderMetrics(PictureMetrics, DeviceMetrics, StreamMetrics, ServiceMetrics):
    """The encoder's own metrics beside those that every service has.

    Args:
        registry: where they are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        ServiceMetrics.__init__(self, registry, "encoder")
        self._shown_models: set[tuple[str, tuple[str, str, str, str]]] = set()
        for work_class in ("interactive", "enrolment", "stream", "explanation"):
            # Present from the start, so that a rate over them is 0 and not nothing.
            self.pending.labels(work_class).set(0)
            self.queue_depth.labels(work_class).set(0)

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
