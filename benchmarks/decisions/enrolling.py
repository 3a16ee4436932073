"""A gallery's own enrolment and checks in this process: its parts over the store in memory, without a network.

Nothing is compared here: what is told is what `gallery_svc.integrity` says.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import NoReturn, Self

from prometheus_client import CollectorRegistry

from gallery_svc.biometrics import Biometrics
from gallery_svc.camera_groups import CameraGroups
from gallery_svc.collections import DEFAULT_COLLECTION, Collections
from gallery_svc.enrolment import Enroller
from gallery_svc.enrolment_judging import EnrolmentJudge
from gallery_svc.enrolment_values import EnrolmentRequest
from gallery_svc.index.exact import ExactIndex
from gallery_svc.integrity import IntegrityChecks, Newcomer
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.own_part import OwnPart
from gallery_svc.probes import Deadline, ProbeReader, Sample
from gallery_svc.replica import Replica
from gallery_svc.scatter import Scatter
from gallery_svc.searching import Searcher
from gallery_svc.store.collection_records import DuplicatePolicy, OutlierPolicy
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.subject_records import SubjectProfile
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import SystemClock
from tessera.domain.embedding import Embedding, Vectors
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import ModelId, SubjectId

_ENOUGH_S = 60.0


class _NoEncoder:
    """Only embeddings are enrolled here."""

    async def encode(self, *_: object, **__: object) -> NoReturn:
        """Refuse.

        Raises:
            UnavailableError: always.
        """
        raise UnavailableError("encoder", "only embeddings are enrolled here")


class CheckedGallery:
    """One collection; an asynchronous context manager.

    Args:
        thresholds: what its checks decide by.
        model_id: of all embeddings.
    """

    def __init__(self, thresholds: Thresholds, model_id: ModelId) -> None:
        self._model_id = model_id
        self._clock = SystemClock()
        self._threads = ThreadPoolExecutor(1)
        metrics, self._store = GalleryMetrics(CollectorRegistry()), MemoryStore()
        biometrics = Biometrics(metrics, thresholds, CameraGroups(), self._clock)
        self._replica = Replica(self._store, ExactIndex, metrics, self._clock)
        searcher = Searcher(self._threads, clock=self._clock)
        scatter = Scatter(OwnPart(self._replica, searcher), [], self._clock)
        self._collections = Collections(self._store, self._replica, thresholds, self._clock)
        self._checks = IntegrityChecks(self._store, scatter, thresholds)
        apart = KeepingApart(self._store, self._clock)
        self._enroller = Enroller(
            store=self._store,
            replica=self._replica,
            collections=self._collections,
            judge=EnrolmentJudge(
                store=self._store,
                probes=ProbeReader(_NoEncoder(), thresholds, metrics, biometrics),
                checks=self._checks,
                apart=apart,
                clock=self._clock,
            ),
            apart=apart,
            clock=self._clock,
            metrics=metrics,
        )

    async def __aenter__(self) -> Self:
        """Make the collection."""
        await self._collections.ensure_default()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        await self._replica.close()
        await self._store.close()
        self._threads.shutdown()

    async def enrol(self, who: int, pictures: Vectors) -> None:
        """Enrol a subject without any check: what is planted comes later.

        Args:
            who: the subject.
            pictures: shape (k, d), unit rows; 1 to 16.
        """
        await self._enroller.enroll(
            EnrolmentRequest(
                collection_id=DEFAULT_COLLECTION,
                subject_id=_name(who),
                samples=tuple(self._embedding(row) for row in pictures),
                profile=SubjectProfile(),
                request_id=None,
                require_all=True,
                duplicate_policy=DuplicatePolicy.IGNORE,
                outlier_policy=OutlierPolicy.IGNORE,
            ),
            self._deadline(),
        )

    async def duplicates(self, pictures: Vectors, left_out: int | None = None) -> tuple[int, ...]:
        """Whom the check takes somebody for; nothing is enrolled.

        Args:
            pictures: shape (m, d), unit rows.
            left_out: whose they are: nobody is a duplicate of that subject itself. None: they are of somebody new.
        """
        found = await self._checks.duplicates(
            await self._replica.collection(DEFAULT_COLLECTION),
            Newcomer(None if left_out is None else _name(left_out), frozenset()),
            self._samples(pictures),
            self._deadline(),
            allow_partial=False,
        )
        return tuple(int(one.subject_id) for one in found)

    async def outliers(self, who: int | None, pictures: Vectors) -> tuple[bool, ...]:
        """Which pictures the check would leave out; nothing is enrolled.

        Args:
            who: the subject that they are said to be of; None: a new one.
            pictures: shape (m, d), unit rows.
        """
        live = await self._replica.collection(DEFAULT_COLLECTION)
        return await self._checks.outliers(live.record, None if who is None else _name(who), self._samples(pictures))

    def _samples(self, pictures: Vectors) -> list[Sample]:
        return [Sample(self._embedding(row)) for row in pictures]

    def _embedding(self, row: Vectors) -> Embedding:
        return Embedding.from_raw(row, self._model_id)

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, _ENOUGH_S)


def _name(who: int) -> SubjectId:
    return SubjectId(str(who))
