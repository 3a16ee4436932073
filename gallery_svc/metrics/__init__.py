"""The gallery's metrics, theme by theme: each with what moves it and what an operator does about it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from gallery_svc.metrics.biometrics import BiometricMetrics
from gallery_svc.metrics.decisions import DecisionMetrics
from gallery_svc.metrics.enrolments import EnrolmentMetrics
from gallery_svc.metrics.events import EventMetrics
from gallery_svc.metrics.index import IndexMetrics
from gallery_svc.metrics.persons import PersonMetrics
from gallery_svc.metrics.store import StoreMetrics
from tessera.chassis.metrics import Children, ServiceMetrics


class GalleryMetrics(
    DecisionMetrics,
    BiometricMetrics,
    EnrolmentMetrics,
    IndexMetrics,
    PersonMetrics,
    StoreMetrics,
    EventMetrics,
    ServiceMetrics,
):
    """What the gallery counts.

    Args:
        registry: where the metrics are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        ServiceMetrics.__init__(self, registry, "gallery")
        self.decided = Children(self.decisions)
        self.store_seconds_of = Children(self.store_seconds)
