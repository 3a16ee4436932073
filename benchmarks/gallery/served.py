"""A gallery that serves seeded people: a real process over a real store, filled before it starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from benchmarks.gallery import data
from benchmarks.gallery.filling import KEYS, fill, keys_environ
from benchmarks.gallery.plan import PREFIX, Plan, on_cores
from benchmarks.gallery.store_server import StoreServer, store_server
from benchmarks.services import Service, service
from gallery_svc.rows import HalfVectors
from gallery_svc.store.collection_records import CollectionRecord, PolicyRecord
from gallery_svc.thresholds import shipped_thresholds
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.ids import CollectionId, ModelId
from tessera.v1 import biometrics_pb2, gallery_pb2_grpc, matching_pb2

PEOPLE = CollectionId("people")
SEARCH_THREADS = 2
_TARGET_FPIR = 0.5
"""What the shipped calibration can carry for 100,000 subjects: a rate that it cannot carry is answered unsearched."""


@dataclass(frozen=True, slots=True)
class Served:
    """What runs."""

    gallery: Service
    store: StoreServer


@contextmanager
def served_gallery(plan: Plan, rows: HalfVectors, fsync: str, **settings: str) -> Iterator[Served]:
    """A gallery whose one collection has these people, each with one template, until the end of the block.

    Args:
        plan: says on which processors.
        rows: their templates.
        fsync: what the store does and the gallery promises: `always` or `everysec`.
        settings: more of the gallery's, without prefix.
    """
    os.environ.update(keys_environ())
    collection = CollectionRecord(
        PEOPLE, Modality.FACE, model(), data.AT, policy=PolicyRecord(identify_target_fpir=_TARGET_FPIR)
    )
    common: Mapping[str, str] = {"KEYS": KEYS, "DURABILITY": fsync, "LOG_LEVEL": "warning"}
    threads = {"SEARCH_THREADS": str(SEARCH_THREADS)}
    with on_cores(plan.server_cores), store_server("--appendfsync", "everysec") as store:
        asyncio.run(fill(store, collection, rows))
        with store.client() as client:
            client.config_set("appendfsync", fsync)
        chosen = {**common, **threads, **settings, "STORE": store.url}
        with service("gallery_svc", PREFIX, chosen) as gallery, on_cores(plan.client_cores):
            yield Served(gallery, store)


def model() -> ModelId:
    """The encoder that these vectors are said to be of: its calibration decides."""
    return shipped_thresholds().default_model(Modality.FACE)


def probe(vector: Sequence[float]) -> biometrics_pb2.Probe:
    """An embedding as a probe."""
    return biometrics_pb2.Probe(embedding=biometrics_pb2.Embedding(values=vector, model_id=model()))


def identify_requests(probes: Vectors) -> list[bytes]:
    """`Identify` of each probe, the best candidate."""
    return [
        matching_pb2.IdentifyRequest(
            collection_id=PEOPLE, probe=probe(vector), max_candidates=1, with_score=True
        ).SerializeToString()
        for vector in probes.tolist()
    ]


def verify_requests(numbers: Sequence[int], probes: Vectors) -> list[bytes]:
    """`Verify` of each probe against whom it is of."""
    return [
        matching_pb2.VerifyRequest(
            collection_id=PEOPLE, subject_id=data.subject_name(number), probe=probe(vector)
        ).SerializeToString()
        for number, vector in zip(numbers, probes.tolist(), strict=True)
    ]


def wrong_identifications(address: str, numbers: Sequence[int], requests: Sequence[bytes]) -> int:
    """How many probes are not found to be of whom they are."""
    with grpc.insecure_channel(address) as channel:
        stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        answers = [stub.Identify(matching_pb2.IdentifyRequest.FromString(body)) for body in requests]
    return sum(
        [found.subject_id for one in answer.identifications for found in one.candidates] != [data.subject_name(number)]
        for number, answer in zip(numbers, answers, strict=True)
    )


def wrong_verifications(address: str, requests: Sequence[bytes]) -> int:
    """How many probes do not match whom they are of."""
    with grpc.insecure_channel(address) as channel:
        stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        answers = [stub.Verify(matching_pb2.VerifyRequest.FromString(body)) for body in requests]
    return sum(answer.decision.outcome != biometrics_pb2.OUTCOME_MATCH for answer in answers)
