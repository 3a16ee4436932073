"""Between the messages of `shard.proto` and the values of a spread search; a probe's numbers cross bit for bit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gallery_svc.coverage import SearchCoverage
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Asked, Claim, PartBest, PartFound
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.wire import coverage_to_wire
from tessera.client import wire
from tessera.domain.embedding import MAX_DIMENSIONS, Embedding
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId, SubjectId, TemplateId
from tessera.v1 import matching_pb2, shard_pb2

_MOST_PROBES = 64
_MOST_HITS = 100

# ---- asking


def search_to_wire(live: LiveCollection, shards: frozenset[int], asked: Asked) -> shard_pb2.SearchShardsRequest:
    """A search of these shards."""
    at = asked.wanted.at
    return shard_pb2.SearchShardsRequest(
        collection_id=live.record.collection_id,
        shards=sorted(shards),
        model_id=asked.probes[0].model_id,
        probes=_probes_to_wire(asked.probes),
        probe_count=len(asked.probes),
        limit=asked.limit,
        labels=sorted(asked.wanted.labels),
        camera_id=asked.wanted.camera_id,
        valid_at=wire.time_to_wire(at) if at is not None else None,
        min_positions=[position.wire for position in asked.min_positions if position.shard in shards],
        generation=live.generation,
    )


def found_from_wire(message: shard_pb2.SearchShardsResponse, probes: int) -> PartFound:
    """What a part found.

    Raises:
        InvalidInputError: the answer is not one for so many probes.
    """
    if len(message.results) != probes or len(message.positions) != len(message.shards):
        raise InvalidInputError("results", len(message.results), f"{probes}, and a position for each shard")
    hits = tuple([_hit_from_wire(hit) for hit in one.hits] for one in message.results)
    positions = tuple(message.positions)
    return PartFound(tuple(message.shards), positions, hits, _coverage_from_wire(message.coverage))


def claim_to_wire(live: LiveCollection, claim: Claim, probe: Embedding, shard: int) -> shard_pb2.BestOfRequest:
    """A comparison with one subject."""
    at = claim.wanted.at
    sequences = (position.wire for position in claim.min_positions if position.shard == shard)
    return shard_pb2.BestOfRequest(
        collection_id=live.record.collection_id,
        subject_id=claim.subject_id,
        model_id=probe.model_id,
        probe=_probes_to_wire([probe]),
        min_position=max(sequences, default=0),
        camera_id=claim.wanted.camera_id,
        valid_at=wire.time_to_wire(at) if at is not None else None,
        generation=live.generation,
    )


def best_from_wire(message: shard_pb2.BestOfResponse) -> PartBest:
    """One subject's best template."""
    hit = _hit_from_wire(message.hit) if message.HasField("hit") else None
    return PartBest(hit, message.subject_known, message.position, _coverage_from_wire(message.coverage))


# ---- answering


def asked_from_wire(message: shard_pb2.SearchShardsRequest) -> Asked:
    """What a search asks.

    Raises:
        InvalidInputError: a field holds nothing of use.
    """
    if not 1 <= message.probe_count <= _MOST_PROBES:
        raise InvalidInputError("probe_count", message.probe_count, f"1 to {_MOST_PROBES}")
    if not 1 <= message.limit <= _MOST_HITS:
        raise InvalidInputError("limit", message.limit, f"1 to {_MOST_HITS}")
    at = wire.time_from_wire(message.valid_at, "valid_at") if message.HasField("valid_at") else None
    return Asked(
        probes=_probes_from_wire(message.probes, message.probe_count, ModelId(message.model_id), "probes"),
        limit=message.limit,
        wanted=Wanted(frozenset(message.labels), message.camera_id, at),
        min_positions=tuple(ShardPosition.from_wire(number) for number in message.min_positions),
    )


def found_to_wire(found: PartFound) -> shard_pb2.SearchShardsResponse:
    """What was found here."""
    return shard_pb2.SearchShardsResponse(
        results=[shard_pb2.ShardHits(hits=[_hit_to_wire(hit) for hit in hits]) for hits in found.hits],
        positions=found.positions,
        coverage=coverage_to_wire(found.coverage),
        shards=found.shards,
    )


def claim_from_wire(message: shard_pb2.BestOfRequest) -> tuple[Claim, Embedding]:
    """What a comparison with one subject asks.

    Raises:
        InvalidInputError: a field holds nothing of use.
    """
    at = wire.time_from_wire(message.valid_at, "valid_at") if message.HasField("valid_at") else None
    positions = (ShardPosition.from_wire(message.min_position),) if message.min_position else ()
    claim = Claim(SubjectId(message.subject_id), Wanted(frozenset(), message.camera_id, at), positions)
    return claim, _probes_from_wire(message.probe, 1, ModelId(message.model_id), "probe")[0]


def best_to_wire(best: PartBest) -> shard_pb2.BestOfResponse:
    """The best template that is here."""
    return shard_pb2.BestOfResponse(
        hit=_hit_to_wire(best.hit) if best.hit is not None else None,
        subject_known=best.known,
        position=best.position,
        coverage=coverage_to_wire(best.coverage),
    )


# ---- values


def _probes_to_wire(probes: Iterable[Embedding]) -> bytes:
    return b"".join(probe.vector.astype("<f4").tobytes() for probe in probes)


def _probes_from_wire(data: bytes, count: int, model_id: ModelId, field: str) -> tuple[Embedding, ...]:
    dimensions, rest = divmod(len(data), 4 * count)
    if rest or not 1 <= dimensions <= MAX_DIMENSIONS:
        allowed = f"{count} rows of 1 to {MAX_DIMENSIONS} float32 numbers"
        raise InvalidInputError(field, f"{len(data)} bytes", allowed)
    rows = np.frombuffer(data, "<f4").astype(np.float32).reshape(count, dimensions)
    if not np.isfinite(rows).all():
        raise InvalidInputError(field, "numbers that are not finite", "finite numbers")
    return tuple(Embedding(row, model_id) for row in rows)


def _hit_to_wire(hit: Hit) -> shard_pb2.ShardHit:
    return shard_pb2.ShardHit(
        subject_id=hit.subject_id,
        template_id=hit.template_id,
        score=hit.score,
        display_name=hit.display_name,
        compared=hit.compared,
    )


def _hit_from_wire(message: shard_pb2.ShardHit) -> Hit:
    return Hit(
        SubjectId(message.subject_id),
        TemplateId(message.template_id),
        message.score,
        message.display_name,
        max(1, message.compared),
    )


def _coverage_from_wire(message: matching_pb2.SearchCoverage) -> SearchCoverage:
    return SearchCoverage(
        shards_total=message.shards_total,
        shards_searched=message.shards_searched,
        exact=message.mode == matching_pb2.SEARCH_MODE_EXACT,
        vectors_in_clear=message.vectors_in_clear,
        behind_changes=message.behind_changes,
        behind_s=wire.seconds_from_wire(message.behind),
        subjects_searched=message.subjects_searched,
    )
