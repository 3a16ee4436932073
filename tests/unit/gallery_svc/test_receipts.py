"""A receipt of erasure is believed when it was signed as it stands, and not otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gallery_svc.receipts import completed, signed_receipt
from gallery_svc.signing import Signer
from tessera.domain.errors import InvalidInputError
from tessera.trust.keys import Signed
from tessera.trust.receipts import (
    ErasureState,
    Receipt,
    ReceiptFault,
    receipt_file,
    receipt_of,
    receipt_text,
    verify_receipt,
    verify_receipt_file,
)

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACCEPTED = Receipt("er-1", "staff", "alice", ErasureState.ACCEPTED, 3, 2, 14, AT, None, 1, 63 << 48 | 7)


@pytest.fixture
def signer() -> Signer:
    """Who signs."""
    return Signer.ephemeral()


@pytest.mark.parametrize("receipt", [ACCEPTED, completed(ACCEPTED, AT + timedelta(seconds=41), 3)])
def test_a_receipt_says_what_it_said(signer: Signer, receipt: Receipt) -> None:
    """Both the one that is given at once and the one of the end, positions of high shards too."""
    signed = signed_receipt(receipt, signer)
    assert receipt_of(signed.text) == receipt
    check = verify_receipt(signed, signer.public_keys)
    assert (check.receipt, check.findings) == (receipt, ())


def test_a_receipt_has_these_fields_alone(signer: Signer) -> None:
    """No name, no picture, no vector: a receipt may be kept for ever."""
    assert json.loads(signed_receipt(ACCEPTED, signer).text).keys() == {
        "receipt_id", "collection_id", "subject_id", "state", "templates_erased", "pictures_erased", "events_erased",
        "erased_at", "completed_at", "replicas_confirmed", "position",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"subject_id": "bob"}, {"templates_erased": 4}, {"events_erased": 0}, {"collection_id": "other"}, {"position": 1}],
)
def test_a_changed_receipt_is_not_believed(signer: Signer, change: dict[str, object]) -> None:
    """Whatever field it is."""
    text = receipt_text(replace(ACCEPTED, **change))  # type: ignore[arg-type]  # fields by name
    signed = signed_receipt(ACCEPTED, signer)
    check = verify_receipt(Signed(text, signed.signature, signed.key_id), signer.public_keys)
    assert [finding.fault for finding in check.findings] == [ReceiptFault.BAD_SIGNATURE]


def test_a_receipt_of_somebody_else_is_not_believed(signer: Signer) -> None:
    """A key that is not trusted, and a signature of another kind."""
    foreign = signed_receipt(ACCEPTED, Signer.ephemeral())
    assert [one.fault for one in verify_receipt(foreign, signer.public_keys).findings] == [ReceiptFault.UNKNOWN_KEY]
    other = signer.sign_text("checkpoint", receipt_text(ACCEPTED))
    assert [one.fault for one in verify_receipt(other, signer.public_keys).findings] == [ReceiptFault.BAD_SIGNATURE]


@pytest.mark.parametrize("statement", [{}, {"receipt_id": "er-1"}, {**json.loads(receipt_text(ACCEPTED)), "more": 1}])
def test_signed_text_that_is_no_receipt_is_malformed(signer: Signer, statement: dict[str, object]) -> None:
    """Unknown fields too: they may say what this version cannot judge."""
    check = verify_receipt(signer.sign("receipt", statement), signer.public_keys)
    assert check.receipt is None
    assert [finding.fault for finding in check.findings] == [ReceiptFault.MALFORMED]


@pytest.mark.parametrize(
    "change", [{"state": ErasureState.COMPLETE}, {"completed_at": AT}, {"templates_erased": -1}, {"receipt_id": 1}]
)
def test_what_cannot_be_is_not_signed(signer: Signer, change: dict[str, object]) -> None:
    """Complete and not when, when and not complete, counts below nothing."""
    with pytest.raises(InvalidInputError):
        signed_receipt(replace(ACCEPTED, **change), signer)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidInputError):
        completed(ACCEPTED, AT - timedelta(seconds=1), 0)


def test_a_file_checks_and_what_stands_beside_must_agree(signer: Signer) -> None:
    """An answer repeats the fields beside the signed text; people read those."""
    signed = signed_receipt(ACCEPTED, signer)
    content = receipt_file(signed)
    assert verify_receipt_file(content, signer.public_keys).findings == ()
    beside = {
        **json.loads(content),
        "subject_id": "alice",
        "erased_at": "2026-11-22T12:00:00+00:00",
        "templates_erased": 3,
    }
    assert verify_receipt_file(json.dumps(beside), signer.public_keys).findings == ()
    for lie in ({"subject_id": "bob"}, {"erased_at": "2026-11-22T12:00:01+00:00"}, {"templates_erased": 9}):
        check = verify_receipt_file(json.dumps(beside | lie), signer.public_keys)
        assert [finding.fault for finding in check.findings] == [ReceiptFault.CONTRADICTS]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"statement":1,"signature":"","signing_key_id":""}', "[" * 100_000]
)
def test_what_is_no_receipt_file_is_refused(signer: Signer, content: str) -> None:
    """As a wrong input, not as a forged receipt."""
    with pytest.raises(InvalidInputError):
        verify_receipt_file(content, signer.public_keys)
