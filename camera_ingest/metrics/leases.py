"""Who watches which camera."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class LeaseMetrics(Theme):
    """Leases of cameras."""

    leases_held = gauge(
        "tessera_ingest_leases_held",
        "Cameras that this worker holds the lease of.",
        "Summed over all workers it is the number of enabled cameras; less: there are more cameras than room "
        "(TESSERA_INGEST_MAX_CAMERAS), or the store is away.",
    )
    lease_changes = counter(
        "tessera_ingest_lease_changes_total",
        "Leases of cameras that were taken, given_back (to others, disabled or removed) or lost (taken for dead by "
        "others).",
        "Steady growth: workers come and go, or are so short of CPU that they miss their own beats.",
        labels=("kind",),
    )
    lease_renewals_failed = counter(
        "tessera_ingest_lease_renewals_failed_total",
        "Beats that the store did not take.",
        "After some seconds of them every camera stops, until the store is back: look at the store.",
    )
