"""Best shots and clips on disk."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class EvidenceMetrics(Theme):
    """What is kept of what was seen."""

    evidence_kept = counter(
        "tessera_ingest_evidence_kept_total",
        "Best shots and clips that were written.",
        "A shot counts again each time a better one takes its place.",
        labels=("kind",),
    )
    evidence_lost = counter(
        "tessera_ingest_evidence_lost_total",
        "Best shots and clips that could not be kept: DISK_FULL, WRITE (look at the folder's disk and owner), "
        "TOO_LARGE (for the size that the store may have), BUSY (the disk is slower than what happens), INTERNAL (the "
        "log says more).",
        "Cameras go on all the same.",
        labels=("kind", "cause"),
    )
    evidence_removed = counter(
        "tessera_ingest_evidence_removed_total",
        "Best shots and clips that went: SIZE (the oldest made room: give the store more, or keep less), AGE, ERASED "
        "(with a subject or its sighting), TORN (its file was cut or changed: look at the disk).",
        "SIZE within days: give the store more, or keep less. TORN: look at the disk.",
        labels=("reason",),
    )
    evidence_bytes = gauge(
        "tessera_ingest_evidence_bytes",
        "Size of all best shots and clips on disk.",
        "Stands at its limit where the oldest make room.",
    )
