"""The gallery's metrics: each with what moves it and what an operator does about it. No label names a subject."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tessera.chassis.metrics import LATENCY_BUCKETS_S, Children, ServiceMetrics


class GalleryMetrics(ServiceMetrics):
    """What the gallery counts.

    Args:
        registry: where the metrics are declared.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "gallery")
        self.decisions = Counter(
            "tessera_gallery_decisions_total",
            "Answers, by method (verify, identify, compare, tracklet) and outcome. A rising share of UNKNOWN "
            "or NO_MATCH: "
            "look at light, camera and enrolled pictures before the threshold.",
            ["method", "outcome"],
            registry=registry,
        )
        self.decided = Children(self.decisions)
        self.inconclusive = Counter(
            "tessera_gallery_inconclusive_total",
            "Inconclusive answers, by method and first reason. CALIBRATION_TOO_SMALL: the collection has outgrown its "
            "calibration. NO_FACE: look at the camera's view.",
            ["method", "reason"],
            registry=registry,
        )
        self.enrolments = Counter(
            "tessera_gallery_enrolments_total",
            "Enrolment calls, by outcome: enrolled, replayed (a retry), rejected (no sample could be used), duplicate "
            "(refused: the samples already are another subject's).",
            ["outcome"],
            registry=registry,
        )
        self.duplicates = Counter(
            "tessera_gallery_duplicates_total",
            "Enrolments whose samples looked like another subject, by what was done: report, reject, merge, "
            "keep_apart. Many: somebody enrols the same people again; look at how ids are given. not_checked: the "
            "search was away, and the enrolment went on without it.",
            ["policy"],
            registry=registry,
        )
        self.samples = Counter(
            "tessera_gallery_samples_total",
            "Samples offered for enrolment, by first reason; ACCEPTED when taken. Many of one reason: tell "
            "those who take "
            "the pictures.",
            ["reason"],
            registry=registry,
        )
        self.index_templates = Gauge(
            "tessera_gallery_index_templates",
            "Templates that are searched, by collection. Differs from the store's count for long: the index "
            "does not follow.",
            ["collection"],
            registry=registry,
        )
        self.index_subjects = Gauge(
            "tessera_gallery_index_subjects",
            "Subjects that are searched, by collection.",
            ["collection"],
            registry=registry,
        )
        self.log_position = Gauge(
            "tessera_gallery_log_position",
            "Changes in the store's log, by collection.",
            ["collection"],
            registry=registry,
        )
        self.index_lag = Gauge(
            "tessera_gallery_index_lag_changes",
            "Changes in the log that the index has not taken yet, by collection. Above 0 for long: this "
            "gallery answers from "
            "an old state; look at its log for index.load and at its CPU.",
            ["collection"],
            registry=registry,
        )
        self.behind_seconds = Gauge(
            "tessera_gallery_behind_seconds",
            "Seconds since the index last held all of the store's changes, by collection; 0 while it does. Above "
            "max_lag_s the gallery is not ready: look at index_loads_total, at its CPU and at the store.",
            ["collection"],
            registry=registry,
        )
        self.index_loads = Counter(
            "tessera_gallery_index_loads_total",
            "Whole loads of an index, by why: start; recreated (another collection of that name, or a repaired one); "
            "rolled_back (the store has fewer changes than this gallery, or others); trimmed (the log no longer "
            "reaches back to this gallery); gap (the log left changes out); model (another encoder became active). "
            "rolled_back without a restore: the store lost writes; find out how. trimmed again and again: raise "
            "log_kept.",
            ["why"],
            registry=registry,
        )
        self.load_seconds = Histogram(
            "tessera_gallery_load_seconds",
            "Time of one whole load of an index. It bounds how long a restarted gallery is not ready: more shards, "
            "more CPU, or a store that is nearer.",
            buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
            registry=registry,
        )
        self.index_bytes = Gauge(
            "tessera_gallery_index_bytes",
            "Memory of the index in bytes, by collection. It grows with the templates; plan the machine by it.",
            ["collection"],
            registry=registry,
        )
        self.position_waits = Counter(
            "tessera_gallery_position_waits_total",
            "Queries that asked for a state that was not here yet, by outcome: reached, BEHIND, RELOADING, "
            "HISTORY_LOST (the store itself no longer has it: it was rolled back).",
            ["outcome"],
            registry=registry,
        )
        self.search_batch_size = Histogram(
            "tessera_gallery_search_batch_size",
            "Searches that were done together. Near max_batch all the time: this gallery is at its limit; add another.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.search_wait_seconds = Histogram(
            "tessera_gallery_search_wait_seconds",
            "Time that a search waited for those before it. Longer than a search takes: add galleries.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.search_seconds = Histogram(
            "tessera_gallery_search_seconds",
            "Time of one search of the index, by path: one probe, or a batch. It grows with the templates.",
            ["path"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.search_refused = Counter(
            "tessera_gallery_search_refused_total",
            "Searches that were refused, by why: full (max_queries wait already), expired (the deadline passed while "
            "it waited). Add a gallery.",
            ["why"],
            registry=registry,
        )
        self.store_up = Gauge(
            "tessera_gallery_store_up",
            "1 while the store answers. 0: enrolments and verifications are refused; look at the store.",
            registry=registry,
        )
        self.outcome_unknown = Counter(
            "tessera_gallery_store_outcome_unknown_total",
            "Writes of which nobody can say whether they hold, by cause: WAIT (too few replicas of the store "
            "answered in time), CONNECTION, TIMEOUT, FAILOVER. The same request again settles each. WAIT for long: "
            "replicas are away.",
            ["cause"],
            registry=registry,
        )
        self.replays = Counter(
            "tessera_gallery_replays_total",
            "Requests that came again and got their first answer, by method. Many: callers lose answers; look at their "
            "deadlines and at outcome_unknown_total.",
            ["method"],
            registry=registry,
        )
        self.erasures_unfinished = Gauge(
            "tessera_gallery_erasures_unfinished",
            "Erasures of which something is still to be done. Above 0 for more than 60 s: a gallery hangs, or the "
            "store cannot write its files anew (disk full); its log says which.",
            registry=registry,
        )
        self.erasure_seconds = Histogram(
            "tessera_gallery_erasure_seconds",
            "Time from the call that erased to nothing left. Above 60: as erasures_unfinished.",
            buckets=(0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0),
            registry=registry,
        )
        self.audit_batch_size = Histogram(
            "tessera_gallery_audit_batch_size",
            "Entries that went to an audit log in one write. It grows with the load; 1 while there is little.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.checkpoint_age_seconds = Gauge(
            "tessera_gallery_checkpoint_age_seconds",
            "Age of the oldest audit entry that no checkpoint covers yet, by log; 0: all are covered. Far above "
            "checkpoint_interval_s: audit_dir cannot be written to.",
            ["log"],
            registry=registry,
        )
        self.audit_alarms = Counter(
            "tessera_gallery_audit_alarms_total",
            "What did not fit when an audit log was read for its checkpoints, by kind. Any: keep a copy of the store's "
            "files and of audit_dir, run `tessera audit verify`, and find out who can write to the store.",
            ["kind"],
            registry=registry,
        )
        self.keys_values = Gauge(
            "tessera_gallery_keys_values",
            "Sealed values of the store by fingerprint of their key, as last counted. An old key may go when it is 0.",
            ["key"],
            registry=registry,
        )
        self.store_seconds = Histogram(
            "tessera_gallery_store_seconds",
            "Time of one call to the store, by operation. Slow: its disk (appendfsync), its CPU, or the network.",
            ["operation"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.store_seconds_of = Children(self.store_seconds)
        self.encoder_seconds = Histogram(
            "tessera_gallery_encoder_seconds",
            "Time of one call to the encoder as the gallery sees it, by outcome (ok, or the error's name). "
            "Slower than the "
            "encoder's own time: the network, or a queue before it.",
            ["outcome"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.events = Counter(
            "tessera_gallery_events_total",
            "Event revisions recorded, by kind (sighting, camera, verify_failure, alert).",
            ["kind"],
            registry=registry,
        )
        self.alerts = Counter(
            "tessera_gallery_alerts_total",
            "Messages of alerts, by severity and by what happened (OPENED, REMINDED, REVISED, WITHDRAWN, ENDED, "
            "ACKNOWLEDGED, RESOLVED). Many WITHDRAWN: decisions flap; look at light and at min_tracklet_frames. Many "
            "OPENED of one rule: lengthen its cooldown, or group it otherwise.",
            ["severity", "change"],
            registry=registry,
        )
        self.alerts_held_back = Counter(
            "tessera_gallery_alerts_held_back_total",
            "Events that would have opened an alert and were counted by the rule's last one, because its messages of "
            "the hour were used up, by rule. Rising: the rule is too wide, or something happens that it was not made "
            "for.",
            ["rule"],
            registry=registry,
        )
        self.events_too_late = Counter(
            "tessera_gallery_events_too_late_total",
            "Events that would have opened an alert and were recorded when it was too late to act on them. Rising: a "
            "camera's clock is wrong, or its worker lags.",
            registry=registry,
        )
        self.judged = Counter(
            "tessera_gallery_events_judged_total",
            "Event revisions that were judged by the alert rules, here. Only one gallery judges at a time.",
            registry=registry,
        )
        self.judge_lag = Gauge(
            "tessera_gallery_alert_lag_seconds",
            "Age of the oldest recorded event that is not judged yet, where this gallery judges; else 0. Above some "
            "seconds: alerts come late; look at the store, and at the number of rules.",
            registry=registry,
        )
        self.watchers = Gauge(
            "tessera_gallery_event_watchers",
            "Streams that watch events. 0: nobody is told.",
            registry=registry,
        )
        self.tracklets = Gauge(
            "tessera_gallery_tracklets",
            "Tracklets that are remembered now.",
            registry=registry,
        )
        self.tracklets_forgotten = Counter(
            "tessera_gallery_tracklets_forgotten_total",
            "Tracklets forgotten before they ended, by why: silent (its worker went away), full (more than "
            "max_tracklets: "
            "raise it, or run more galleries).",
            ["why"],
            registry=registry,
        )
        self.links = Counter(
            "tessera_gallery_links_total",
            "Tracklets of unknown people: LINKED with one that was seen before, or NEW. Many LINKED where nobody comes "
            "twice: lower link_target_rate. None at all: link_retention_s is 0, or the calibration is too small.",
            ["result"],
            registry=registry,
        )
        self.person_links = Counter(
            "tessera_gallery_person_links_total",
            "Tracklets of persons: LINKED with one that was seen before, or NEW. Many LINKED where few come twice: "
            "people are dressed alike; lower identify_target_fpir. None at all: the calibration is too small for it.",
            ["result"],
            registry=registry,
        )
        self.body_names = Counter(
            "tessera_gallery_body_names_total",
            "Bodies that a face gave a name to, by basis: OWN_FACE, BODY_LINK. Many of the second where cameras see no "
            "faces is what it is for; look at some of them before anybody relies on it.",
            ["basis"],
            registry=registry,
        )
        self.person_looks = Gauge(
            "tessera_gallery_person_looks",
            "Looks at persons that are kept, by collection. At 16384 the oldest go before their time: shorten "
            "person_retention, or spread the cameras over collections.",
            ["collection"],
            registry=registry,
        )
        self.persons = Gauge(
            "tessera_gallery_persons",
            "Anonymous persons that the looks are of, by collection. Near the number of looks: nobody is seen twice, "
            "or nobody is linked; see tessera_gallery_person_links_total.",
            ["collection"],
            registry=registry,
        )
        self.person_looks_dropped = Counter(
            "tessera_gallery_person_looks_dropped_total",
            "Looks at persons that were removed, by why: EXPIRED (their time was over), ERASED (somebody had them "
            "erased). No EXPIRED for longer than person_retention: see tessera_gallery_person_overdue_seconds.",
            ["why"],
            registry=registry,
        )
        self.person_overdue = Gauge(
            "tessera_gallery_person_overdue_seconds",
            "How long ago the sweep that removes looks at persons ended last, here or in another gallery. Above some "
            "minutes: they are kept for longer than their collections say; look at the log for persons.failed.",
            registry=registry,
        )
        self.updates = Counter(
            "tessera_gallery_tracklet_updates_total",
            "Tracklet updates, by what became of them: taken, repeated (sent again), rejected.",
            ["outcome"],
            registry=registry,
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
