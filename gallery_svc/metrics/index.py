"""What is searched, and how far it is behind the store."""

from __future__ import annotations

from collections.abc import Sequence

from tessera.chassis.catalogue import Theme, counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S


class IndexMetrics(Theme):
    """The index, collection by collection, and its searches."""

    index_templates = gauge(
        "tessera_gallery_index_templates",
        "Templates that are searched, by collection.",
        "Differs from the store's count for long: the index does not follow.",
        labels=("collection",),
    )
    index_subjects = gauge(
        "tessera_gallery_index_subjects",
        "Subjects that are searched, by collection.",
        "It stands where enrolments go on: the index does not follow; see index_lag_changes.",
        labels=("collection",),
    )
    log_position = gauge(
        "tessera_gallery_log_position",
        "Changes in the store's log, by collection.",
        "It stands on one gallery while others go on: that one does not follow the store.",
        labels=("collection",),
    )
    index_lag = gauge(
        "tessera_gallery_index_lag_changes",
        "Changes in the log that the index has not taken yet, by collection.",
        "Above 0 for long: this gallery answers from an old state; look at its log for index.load and at its CPU.",
        labels=("collection",),
    )
    behind_seconds = gauge(
        "tessera_gallery_behind_seconds",
        "Seconds since the index last held all of the store's changes, by collection; 0 while it does.",
        "Above max_lag_s the gallery is not ready: look at index_loads_total, at its CPU and at the store.",
        labels=("collection",),
    )
    index_loads = counter(
        "tessera_gallery_index_loads_total",
        "Whole loads of an index, by why: start; recreated (another collection of that name, or a repaired one); "
        "rolled_back (the store has fewer changes than this gallery, or others); trimmed (the log no longer reaches "
        "back to this gallery); gap (the log left changes out); model (another encoder became active).",
        "rolled_back without a restore: the store lost writes; find out how. trimmed again and again: raise log_kept.",
        labels=("why",),
    )
    load_seconds = histogram(
        "tessera_gallery_load_seconds",
        "Time of one whole load of an index.",
        "It bounds how long a restarted gallery is not ready: more shards, more CPU, or a store that is nearer.",
        buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    )
    index_bytes = gauge(
        "tessera_gallery_index_bytes",
        "Memory of the index in bytes, by collection.",
        "It grows with the templates; plan the machine by it.",
        labels=("collection",),
    )
    position_waits = counter(
        "tessera_gallery_position_waits_total",
        "Queries that asked for a state that was not here yet, by outcome: reached, BEHIND, RELOADING, HISTORY_LOST "
        "(the store itself no longer has it: it was rolled back).",
        "BEHIND often: the index follows slowly; see index_lag_changes. HISTORY_LOST: the store lost writes; find "
        "out how.",
        labels=("outcome",),
    )
    search_batch_size = histogram(
        "tessera_gallery_search_batch_size",
        "Searches that were done together.",
        "Near max_batch all the time: this gallery is at its limit; add another.",
        buckets=(1, 2, 4, 8, 16, 32, 64, 128),
    )
    search_wait_seconds = histogram(
        "tessera_gallery_search_wait_seconds",
        "Time that a search waited for those before it.",
        "Longer than a search takes: add galleries.",
        buckets=LATENCY_BUCKETS_S,
    )
    search_seconds = histogram(
        "tessera_gallery_search_seconds",
        "Time of one search of the index, by path: one probe, or a batch.",
        "It grows with the templates.",
        labels=("path",),
        buckets=LATENCY_BUCKETS_S,
    )
    search_refused = counter(
        "tessera_gallery_search_refused_total",
        "Searches that were refused, by why: full (max_queries wait already), expired (the deadline passed while it "
        "waited).",
        "Add a gallery.",
        labels=("why",),
    )

    def searched(self, batch: int, waited_s: Sequence[float], scan_s: float) -> None:
        """One scan for so many probes, how long each had waited for it, and how long it took."""
        self.search_batch_size.observe(batch)
        self.search_seconds.labels("one" if batch == 1 else "batch").observe(scan_s)
        for wait_s in waited_s:
            self.search_wait_seconds.observe(wait_s)

    def refused(self, why: str) -> None:
        """A search that was not done."""
        self.search_refused.labels(why).inc()
