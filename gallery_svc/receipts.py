"""Makes the receipts of erasures: signed when the erasure is taken on, and once more when it is complete.

What they say and how they are checked is in `tessera.trust.receipts`, for those who have no gallery.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gallery_svc.signing import Signer
from gallery_svc.store.write_records import Erased, ErasureEnd
from tessera.domain.errors import InvalidInputError
from tessera.trust.keys import Signed
from tessera.trust.receipts import KIND, ErasureState, Receipt, receipt_of, receipt_text


def signed_receipt(receipt: Receipt, signer: Signer) -> Signed:
    """A receipt that can be checked.

    Raises:
        InvalidInputError: it says COMPLETE and not when, or the other way round.
    """
    text = receipt_text(receipt)
    receipt_of(text)
    return signer.sign_text(KIND, text)


def receipt_of_erasure(erased: Erased, end: ErasureEnd | None) -> Receipt:
    """What a receipt says of an erasure.

    Args:
        erased: as the store has it.
        end: what was true at its end; None: it is not through.
    """
    accepted = Receipt(
        receipt_id=erased.receipt_id,
        collection_id=erased.collection_id,
        subject_id=erased.subject_id,
        state=ErasureState.ACCEPTED,
        templates_erased=erased.templates_erased,
        pictures_erased=erased.pictures_erased,
        events_erased=erased.events_erased,
        erased_at=erased.erased_at,
        completed_at=None,
        replicas_confirmed=0,
        position=erased.position.wire,
    )
    return accepted if end is None else completed(accepted, end.at, end.replicas_confirmed)


def completed(receipt: Receipt, at: datetime, replicas_confirmed: int) -> Receipt:
    """The same receipt after everything that followed is done.

    Args:
        receipt: one that is ACCEPTED.
        at: when it was complete.
        replicas_confirmed: galleries that told that their indexes are without it.

    Raises:
        InvalidInputError: it is complete before it began.
    """
    if at < receipt.erased_at:
        raise InvalidInputError("completed_at", at.isoformat(), f"not before {receipt.erased_at.isoformat()}")
    return replace(receipt, state=ErasureState.COMPLETE, completed_at=at, replicas_confirmed=replicas_confirmed)
