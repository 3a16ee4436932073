"""The store as the gallery sees it, and what is put on record there."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S


class StoreMetrics(Theme):
    """The store, the audit log and the keys."""

    store_up = gauge(
        "tessera_gallery_store_up",
        "1 while the store answers.",
        "0: enrolments and verifications are refused; look at the store.",
    )
    outcome_unknown = counter(
        "tessera_gallery_store_outcome_unknown_total",
        "Writes of which nobody can say whether they hold, by cause: WAIT (too few replicas of the store answered in "
        "time), CONNECTION, TIMEOUT, FAILOVER.",
        "The same request again settles each. WAIT for long: replicas are away.",
        labels=("cause",),
    )
    store_seconds = histogram(
        "tessera_gallery_store_seconds",
        "Time of one call to the store, by operation.",
        "Slow: its disk (appendfsync), its CPU, or the network.",
        labels=("operation",),
        buckets=LATENCY_BUCKETS_S,
    )
    audit_batch_size = histogram(
        "tessera_gallery_audit_batch_size",
        "Entries that went to an audit log in one write.",
        "It grows with the load; 1 while there is little.",
        buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    )
    checkpoint_age_seconds = gauge(
        "tessera_gallery_checkpoint_age_seconds",
        "Age of the oldest audit entry that no checkpoint covers yet, by log; 0: all are covered.",
        "Far above checkpoint_interval_s: audit_dir cannot be written to.",
        labels=("log",),
    )
    audit_alarms = counter(
        "tessera_gallery_audit_alarms_total",
        "What did not fit when an audit log was read for its checkpoints, by kind.",
        "Any: keep a copy of the store's files and of audit_dir, run `tessera audit verify`, and find out who can "
        "write to the store.",
        labels=("kind",),
    )
    keys_values = gauge(
        "tessera_gallery_keys_values",
        "Sealed values of the store by fingerprint of their key, as last counted.",
        "An old key may go when it is 0.",
        labels=("key",),
    )
