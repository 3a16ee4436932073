"""Where what is kept lies in Redis: the names of all keys, schema 2.

All keys of a shard carry its hash tag, so that each script touches one slot of a cluster. A `/` cannot be in an id: no
tag of this schema is one of schema 1, whose tags were the collections' ids.

    tessera:{_}:schema               version of this layout
    tessera:{_}:collections          ids of collections; a directory that promises nothing, the records decide
    tessera:{_}:logs                 names of audit logs that there may be, those of deleted collections too
    tessera:{_}:members              gallery id -> when it was heard of, and what it said
    tessera:{_}:lease:NAME           who holds a lease; expires
    tessera:{_}:audit                stream of audit entries of sightings and of what belongs to no collection
    tessera:{_}:calibrations         ids of calibrations that there may be
    tessera:{_}:calibration:ID       a calibration that was fitted here
    tessera:{_}:calibration-choices  models for which one was chosen
    tessera:{_}:calibration-choice:MODEL  which calibration decides, and which ones did before
    tessera:{_}:events               stream of events; entry id = SEQUENCE-0
    tessera:{_}:events:head          newest and oldest sequence
    tessera:{_}:events:latest        event id -> sequence, revision and content of its newest revision
    tessera:{_}:seen:ID/SUBJECT      sequences of the events that name a subject, for its erasure
    tessera:{_}:rules                rule id -> revision, whether it is deleted, and the rule
    tessera:{_}:rule-revisions       ID@REVISION -> the rule as it was
    tessera:{_}:alerting             how far events are judged by the rules: version, cursor, counts
    tessera:{_}:alerting:state       what the judgement remembers, in entries that name nobody
    tessera:{_}:alerts               alert id -> revision, lists that it is on, and the alert as it stands
    tessera:{_}:alerts:order         alert ids in the order of their opening
    tessera:{_}:alerts-of:ID/SUBJECT ids of the alerts that name a subject, for its erasure
    tessera:{ID/_}:record            the collection: it is there when this is
    tessera:{ID/SS}:head             generation, position, chain, counts, epochs, exclusive or of all tags, marks
    tessera:{ID/SS}:subjects         subject id -> its record, sealed
    tessera:{ID/SS}:rows:E           subject id -> its templates of epoch E and what a search needs of it, sealed
    tessera:{ID/SS}:pictures         SUBJECT/TEMPLATE -> the picture, sealed
    tessera:{ID/SS}:order            subject ids in order, for pages
    tessera:{ID/SS}:log              stream of changes; entry id = SEQUENCE-0
    tessera:{ID/SS}:audit            stream of audit entries; entry id = SEQUENCE-0
    tessera:{ID/SS}:request:REQUEST  what a request id got, what it says of a person sealed; kept 24 h
    tessera:{ID/00}:looks            tracklet id -> a look at a person, sealed; expires with the last of them
    tessera:{ID/00}:looks:seen       tracklet ids by when the person was seen; expires with it
    tessera:{ID/00}:looks:order      tracklet ids in the order in which looks were written; expires with it
    tessera:{ID/00}:looks:newest     looks that were ever written
    tessera:{ID/00}:looks:persons    anonymous ids whose sightings are still to be erased, by when they were seen last
    tessera:{ID/SS}:erasing          receipt id -> receipt of an erasure that is not through yet
    tessera:{ID/SS}:receipt:RECEIPT  a receipt and the end of its erasure; kept 24 h from then on

What lies in clear: ids (of collections, subjects, templates, requests, cameras, tracklets), times, counts, digests, and
what events, alerts and audit entries say, which names a person by nothing but the subject id.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import GLOBAL_LOG, shard_of
from tessera.domain.ids import CollectionId, SubjectId

SCHEMA = 2
"""Version of this layout."""

GLOBAL_TAG = "_"
"""Of what belongs to no collection."""

ROOT = f"tessera:{{{GLOBAL_TAG}}}:"

EVENTS = ROOT + "events"
EVENTS_HEAD = EVENTS + ":head"
EVENTS_LATEST = EVENTS + ":latest"


@dataclass(frozen=True)  # without slots: its names are made once
class ShardKeys:
    """The keys of one shard."""

    collection_id: CollectionId
    shard: int

    @classmethod
    def holding(cls, record: CollectionRecord, name: str) -> ShardKeys:
        """Those of the shard that holds a subject, or a request."""
        return _shard_keys(record.collection_id, shard_of(name, record.shards))

    @cached_property
    def tag(self) -> str:
        """Their hash tag; also the name of the shard's audit log."""
        return f"{self.collection_id}/{self.shard:02d}"

    @cached_property
    def head(self) -> str:
        """Where the shard stands."""
        return self.of("head")

    @cached_property
    def subjects(self) -> str:
        """Subject records."""
        return self.of("subjects")

    @cached_property
    def order(self) -> str:
        """Subject ids in order."""
        return self.of("order")

    @cached_property
    def pictures(self) -> str:
        """Pictures."""
        return self.of("pictures")

    @cached_property
    def log(self) -> str:
        """The change log."""
        return self.of("log")

    @cached_property
    def audit(self) -> str:
        """The audit log."""
        return self.of("audit")

    @property
    def look_keys(self) -> tuple[str, str, str, str, str]:
        """Looks at persons, by when they were seen, by sequence, their count, and their ids; of the first shard."""
        return (
            self.of("looks"),
            self.of("looks:seen"),
            self.of("looks:order"),
            self.of("looks:newest"),
            self.of("looks:persons"),
        )

    @property
    def erasing(self) -> str:
        """Erasures that are not through."""
        return self.of("erasing")

    def rows(self, epoch: int) -> str:
        """Search rows of an epoch."""
        return self.of(f"rows:{epoch}")

    def request(self, request_id: str) -> str:
        """The answer to a request id."""
        return self.of(f"request:{request_id}")

    def receipt(self, receipt_id: str) -> str:
        """A receipt."""
        return self.of(f"receipt:{receipt_id}")

    def of(self, name: str) -> str:
        """Any of them by its name."""
        return f"tessera:{{{self.tag}}}:{name}"


_shard_keys = lru_cache(maxsize=4096)(ShardKeys)


def record_tag(collection_id: CollectionId) -> str:
    """The hash tag of a collection's record."""
    return f"{collection_id}/_"


def record_key(collection_id: CollectionId) -> str:
    """A collection's record."""
    return f"tessera:{{{record_tag(collection_id)}}}:record"


def audit_key(log: str) -> str:
    """The stream of an audit log."""
    return f"tessera:{{{log}}}:audit"


def keys_of_log(log: str) -> ShardKeys | None:
    """The shard that an audit log belongs to; None: it is no shard's."""
    collection_id, _, shard = log.rpartition("/")
    return None if log == GLOBAL_LOG or not shard.isdigit() else ShardKeys(CollectionId(collection_id), int(shard))


def picture_field(subject_id: SubjectId, template_id: str) -> str:
    """Where a template's picture lies."""
    return f"{subject_id}/{template_id}"


def seen_key(collection_id: CollectionId, subject_id: SubjectId) -> str:
    """Where the events that name a subject are listed."""
    return f"{ROOT}seen:{collection_id}/{subject_id}"


def alerts_of_key(collection_id: CollectionId, subject_id: SubjectId) -> str:
    """Where the alerts that name a subject are listed."""
    return f"{ROOT}alerts-of:{collection_id}/{subject_id}"
