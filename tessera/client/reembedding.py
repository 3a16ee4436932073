"""A collection's move to another encoder, blocking: one step at a time, told as it goes.

Does nothing itself: the gallery does the steps, and says which may follow which.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType

import grpc

from tessera.chassis.channel import open_blocking_channel
from tessera.client.errors import error_of
from tessera.client.sdk import DEFAULT_GALLERY
from tessera.v1 import audit_pb2, gallery_pb2_grpc


class ReembedStep(StrEnum):
    """The steps of a move, in their order."""

    SHADOW = "SHADOW"
    """Make the templates of the other model, beside those that are searched."""
    COMPARE = "COMPARE"
    """Measure what would change."""
    CUT_OVER = "CUT_OVER"
    """Search the others from now on."""
    ROLL_BACK = "ROLL_BACK"
    """Search the former ones again."""
    DISCARD = "DISCARD"
    """Drop those that are not searched."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The same subjects under two models, each template searched among all others."""

    subjects: int
    """That were drawn and that both models have."""
    rank1_agreement: float | None
    """Share of the probes whose best subject is the same; None where no drawn subject has two templates."""
    decisions_changed: float | None
    """Share of the probes whose decision at the collection's policy is another one; None without any probe."""


@dataclass(frozen=True, slots=True)
class MoveProgress:
    """How far a step is; the last one says what came of it."""

    done: int
    """Templates."""
    total: int
    failed: int
    """That could not be embedded again, for want of a picture or of one face in it."""
    model_id: str
    """That these are of; after a cut and a roll-back, the one that is searched."""
    comparison: ModelComparison | None = None


class CollectionMoves:
    """A connection to a gallery for moves of collections; a step takes as long as it takes.

    Args:
        gallery: `host:port`.
    """

    def __init__(self, gallery: str = DEFAULT_GALLERY) -> None:
        self._address = gallery
        self._channel = open_blocking_channel(gallery)
        self._stub = gallery_pb2_grpc.GalleryServiceStub(self._channel)

    def __enter__(self) -> CollectionMoves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._channel.close()

    def step(
        self,
        collection_id: str,
        model_id: str,
        step: ReembedStep,
        *,
        accept_loss: bool = False,
        compare_subjects: int = 0,
        request_id: str = "",
        deadline_s: float | None = None,
    ) -> Generator[MoveProgress, None, None]:
        """Do one step, and tell how far it is; leaving the iteration ends it, and the same step again goes on.

        Args:
            collection_id: empty: the collection "default".
            model_id: the model that the collection moves to; the same in every step, ROLL_BACK too.
            step: which.
            accept_loss: go on although templates are lost.
            compare_subjects: that COMPARE draws; 0: 200.
            request_id: for the audit log; COMPARE draws the same subjects by the same id. Empty: a new one.
            deadline_s: the step ends after so long; None: when it is done.

        Raises:
            TesseraCallError: the gallery refused it, failed, or went away.
        """
        call = self._stub.Reembed(
            audit_pb2.ReembedRequest(
                collection_id=collection_id,
                target_model_id=model_id,
                step=audit_pb2.ReembedStep.Value(f"REEMBED_STEP_{step.value}"),
                request_id=request_id or f"reembed-{uuid.uuid4().hex}",
                accept_loss=accept_loss,
                compare_subjects=compare_subjects,
            ),
            timeout=deadline_s,
        )
        try:
            for response in call:
                yield _progress(response)
        except grpc.RpcError as error:
            raise error_of(error, "gallery", self._address) from None
        finally:
            call.cancel()


def _progress(response: audit_pb2.ReembedResponse) -> MoveProgress:
    return MoveProgress(
        response.templates_done,
        response.templates_total,
        response.templates_failed,
        response.model_id,
        _comparison(response.comparison) if response.HasField("comparison") else None,
    )


def _comparison(told: audit_pb2.EpochComparison) -> ModelComparison:
    return ModelComparison(told.subjects, _share(told.rank1_agreement), _share(told.decisions_changed))


def _share(share: float) -> float | None:
    return None if math.isnan(share) else share
