"""Messages about erasures to domain values and back."""

from __future__ import annotations

from gallery_svc import wire
from gallery_svc.erasing import ErasureAnswer, ErasureRequest
from tessera.client import wire as shared
from tessera.domain.ids import CollectionId, checked_id
from tessera.trust.receipts import ErasureState
from tessera.v1 import subject_pb2

_STATES = {
    ErasureState.ACCEPTED: subject_pb2.ERASURE_STATE_ACCEPTED,
    ErasureState.COMPLETE: subject_pb2.ERASURE_STATE_COMPLETE,
}


def erasure_request(message: subject_pb2.DeleteSubjectRequest, caller: str) -> ErasureRequest:
    """Whom a caller wants erased."""
    return ErasureRequest(
        wire.collection_id_from(message.collection_id),
        wire.subject_id_from(message.subject_id),
        wire.request_id_from(message.request_id),
        caller,
    )


def receipt_question(message: subject_pb2.GetErasureReceiptRequest) -> tuple[CollectionId, str]:
    """Which receipt a caller asks for."""
    return wire.collection_id_from(message.collection_id), checked_id("receipt_id", message.receipt_id)


def deletion_response(answer: ErasureAnswer) -> subject_pb2.DeleteSubjectResponse:
    """What was erased, and where that stands in the collection's log."""
    return subject_pb2.DeleteSubjectResponse(receipt=_receipt(answer), position=answer.receipt.position)


def receipt_response(answer: ErasureAnswer) -> subject_pb2.GetErasureReceiptResponse:
    """How far an erasure is."""
    return subject_pb2.GetErasureReceiptResponse(receipt=_receipt(answer))


def _receipt(answer: ErasureAnswer) -> subject_pb2.ErasureReceipt:
    receipt, signed = answer.receipt, answer.signed
    return subject_pb2.ErasureReceipt(
        receipt_id=receipt.receipt_id,
        collection_id=receipt.collection_id,
        subject_id=receipt.subject_id,
        templates_erased=receipt.templates_erased,
        pictures_erased=receipt.pictures_erased,
        events_erased=receipt.events_erased,
        erased_at=shared.time_to_wire(receipt.erased_at),
        state=_STATES[receipt.state],
        completed_at=shared.time_to_wire(receipt.completed_at) if receipt.completed_at else None,
        replicas_confirmed=receipt.replicas_confirmed,
        statement=signed.text,
        signature=signed.signature,
        signing_key_id=signed.key_id,
    )
