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
    store_memory = gauge(
        "tessera_gallery_store_memory_bytes",
        "Memory that a server of the store uses, as it says itself.",
        "Near its limit: it refuses writes. Give it more, or keep less (retention, log_kept, events_kept, audit_kept).",
        labels=("node",),
    )
    store_memory_limit = gauge(
        "tessera_gallery_store_memory_limit_bytes",
        "Memory that a server of the store may use: its maxmemory, else what its machine has.",
        "Nothing by itself; store_memory_bytes is read against it.",
        labels=("node",),
    )
    store_persists = gauge(
        "tessera_gallery_store_persists",
        "1 while a server of the store writes its files: the append-only file is on, and its last write, rewrite and "
        "snapshot went well.",
        "0: what is acknowledged may not survive it. Look at its disk and its log at once.",
        labels=("node",),
    )
    store_replicas = gauge(
        "tessera_gallery_store_replicas",
        "Replicas of a primary that are connected and have caught up once.",
        "Fewer than there should be: look at the replica's log; a failover now would lose what it lacks.",
        labels=("node",),
    )
    store_certificate = gauge(
        "tessera_gallery_store_certificate_not_after_timestamp_seconds",
        "When the certificate of a server of the store ends; absent without TLS.",
        "Within three weeks: renew it; afterwards nothing connects.",
        labels=("node",),
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
