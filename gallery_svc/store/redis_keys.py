"""The layout in Redis: which key holds what.

A collection's keys carry its id as their hash tag, so that a cluster keeps them in one slot and one script may
touch them all; what belongs to no collection carries the tag `_`, which no id can be:

    tessera:{_}:schema                version of this layout
    tessera:{_}:collections           set of collection ids, a directory: the records decide
    tessera:{_}:events                stream of event revisions; entry id = SEQUENCE-0
    tessera:{_}:events:head           newest and oldest sequence
    tessera:{_}:events:latest         event id -> sequence, revision and content of its newest revision
    tessera:{_}:seen:COLLECTION/SUBJECT   sequences of the sightings that name a subject, for its erasure
    tessera:{_}:audit                 stream of audit entries of sightings and of comparisons without a collection
    tessera:{ID}:record               the collection
    tessera:{ID}:head                 generation, model_id, position, chain, and counts
    tessera:{ID}:subjects             subject id -> its record
    tessera:{ID}:order                subject ids in order, for pages
    tessera:{ID}:vectors              template id -> little-endian float32
    tessera:{ID}:log                  stream of changes; entry id = SEQUENCE-0
    tessera:{ID}:audit                stream of audit entries; entry id = SEQUENCE-0
    tessera:{ID}:request:REQUEST      what a request id got, without the subject itself; kept 24 h
"""

from __future__ import annotations

from gallery_svc.store.records import RequestKey
from tessera.domain.ids import CollectionId, SubjectId

SCHEMA = 1
"""Version of this layout."""

ROOT = "tessera:{_}:"
"""Of what belongs to no collection."""


def key_of(collection_id: CollectionId, name: str) -> str:
    """One key of a collection."""
    return f"tessera:{{{collection_id}}}:{name}"


def keys_of(collection_id: CollectionId, *names: str) -> list[str]:
    """Several keys of a collection, in order."""
    return [key_of(collection_id, name) for name in names]


def request_key(collection_id: CollectionId, request: RequestKey | None) -> str:
    """Where the answer to a request id is kept; without a request, a key that is never written."""
    return key_of(collection_id, f"request:{request.request_id if request else ''}")


def seen_key(collection_id: CollectionId, subject_id: SubjectId) -> str:
    """Where the sightings that name a subject are listed."""
    return f"{ROOT}seen:{collection_id}/{subject_id}"
