"""`Reembed` between messages and plain values; decides nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from gallery_svc import wire
from gallery_svc.ids import time_ordered_id
from gallery_svc.reembedding import Progress, Reembedder, ReembedOrder, ReembedStep
from tessera.chassis.clock import Clock
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId, checked_id
from tessera.v1 import audit_pb2

DEFAULT_SUBJECTS = 200
MAX_SUBJECTS = 10_000
_PREFIX = "REEMBED_STEP_"


class ReembedMethod:
    """The method of the service.

    Args:
        reembedder: does the steps.
        clock: names a request that has no id.
    """

    def __init__(self, reembedder: Reembedder, clock: Clock) -> None:
        self._reembedder = reembedder
        self._clock = clock

    async def __call__(
        self, request: audit_pb2.ReembedRequest, caller: str
    ) -> AsyncGenerator[audit_pb2.ReembedResponse, None]:
        """Do one step, told as it goes; see `Reembedder.run`."""
        order = order_from_wire(request, caller, time_ordered_id("request", self._clock.now()))
        async with contextlib.aclosing(self._reembedder.run(order)) as told:
            async for progress in told:
                yield progress_to_wire(progress)


def order_from_wire(request: audit_pb2.ReembedRequest, caller: str, made_id: str) -> ReembedOrder:
    """What a caller wants done.

    Args:
        request: as it came.
        caller: who asks.
        made_id: instead of a request id that is empty.

    Raises:
        InvalidInputError: no step, no model, an id that is none, or too many subjects to compare.
    """
    names = {number: name.removeprefix(_PREFIX) for name, number in audit_pb2.ReembedStep.items()}
    step = names.get(request.step, "")
    if step not in ReembedStep.__members__:
        raise InvalidInputError("step", step or request.step, ", ".join(ReembedStep.__members__))
    if request.compare_subjects > MAX_SUBJECTS:
        raise InvalidInputError("compare_subjects", request.compare_subjects, f"at most {MAX_SUBJECTS}")
    if not request.target_model_id:
        raise InvalidInputError("target_model_id", "", "the model that the collection moves to, in every step")
    return ReembedOrder(
        collection_id=wire.collection_id_from(request.collection_id),
        model_id=ModelId(request.target_model_id),
        step=ReembedStep[step],
        request_id=checked_id("request_id", request.request_id) if request.request_id else made_id,
        accept_loss=request.accept_loss,
        compare_subjects=request.compare_subjects or DEFAULT_SUBJECTS,
        caller=caller,
    )


def progress_to_wire(progress: Progress) -> audit_pb2.ReembedResponse:
    """How far a step is."""
    counts, compared = progress.counts, progress.comparison
    response = audit_pb2.ReembedResponse(
        templates_done=counts.done,
        templates_total=counts.total,
        templates_failed=counts.failed,
        model_id=progress.model_id,
    )
    if compared is not None:
        response.comparison.subjects = compared.subjects
        response.comparison.rank1_agreement = compared.rank1_agreement
        response.comparison.decisions_changed = compared.decisions_changed
    return response
