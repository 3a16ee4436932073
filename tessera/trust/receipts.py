"""Receipts of erasure: what a signed one says, and whether it may be believed.

A receipt holds no name and no vector; what it proves and what it does not is in `docs/privacy-erasure.md`.
`gallery_svc.receipts` makes them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tessera.domain.errors import InvalidInputError
from tessera.trust.canonical import canonical, moment_of, moment_text, parse_canonical
from tessera.trust.keys import PublicKeys, SignatureState, Signed

KIND = "receipt"
"""Of the signatures."""
_COUNTS = ("templates_erased", "pictures_erased", "events_erased", "replicas_confirmed", "position")
_TEXTS = ("receipt_id", "collection_id", "subject_id")


class ErasureState(StrEnum):
    """How far an erasure is."""

    ACCEPTED = "ACCEPTED"
    """Gone from the store and from the gallery that answered."""
    COMPLETE = "COMPLETE"
    """Gone from every live gallery's index and from the store's files."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, and how far that is."""

    receipt_id: str
    collection_id: str
    subject_id: str
    state: ErasureState
    templates_erased: int
    pictures_erased: int
    events_erased: int
    erased_at: datetime
    completed_at: datetime | None
    """None: not complete yet."""
    replicas_confirmed: int
    """Galleries that have told that their indexes are without it."""
    position: int
    """Of the erasure in its collection."""


class ReceiptFault(StrEnum):
    """Why a receipt is not to be believed."""

    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    MALFORMED = "MALFORMED"
    CONTRADICTS = "CONTRADICTS"
    """What stands beside the signed text says something else."""


@dataclass(frozen=True, slots=True)
class ReceiptFinding:
    """One thing that is wrong with a receipt."""

    fault: ReceiptFault
    detail: str


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """What came of checking a receipt."""

    receipt: Receipt | None
    """None: it could not be read. Believe it only when there are no findings."""
    findings: tuple[ReceiptFinding, ...]


def receipt_text(receipt: Receipt) -> str:
    """A receipt as the canonical JSON that is signed."""
    fields: dict[str, object] = {name: getattr(receipt, name) for name in (*_TEXTS, *_COUNTS)}
    fields["state"] = receipt.state.value
    fields["erased_at"] = moment_text(receipt.erased_at)
    fields["completed_at"] = moment_text(receipt.completed_at) if receipt.completed_at else None
    return canonical(fields)


def receipt_of(text: str) -> Receipt:
    """A receipt from its text.

    Raises:
        InvalidInputError: it is not what `receipt_text` wrote, or says what cannot be.
    """
    fields = parse_canonical(text)
    try:
        receipt = _receipt(fields)
    except (KeyError, TypeError, ValueError):
        raise InvalidInputError("statement", "not a receipt", "the statement of a receipt of this version") from None
    # Fields that this version does not know may say what it cannot judge.
    if receipt_text(receipt) != text or (receipt.state is ErasureState.COMPLETE) != (receipt.completed_at is not None):
        raise InvalidInputError("statement", "not a receipt", "the statement of a receipt of this version")
    return receipt


def verify_receipt(signed: Signed, keys: PublicKeys) -> ReceiptCheck:
    """Check a receipt.

    Args:
        signed: its text and signature.
        keys: that may have signed it.
    """
    findings = _signature_findings(keys.check(KIND, signed), signed.key_id)
    try:
        receipt = receipt_of(signed.text)
    except InvalidInputError as error:
        return ReceiptCheck(None, (*findings, ReceiptFinding(ReceiptFault.MALFORMED, error.allowed)))
    return ReceiptCheck(receipt, findings)


def verify_receipt_file(content: str, keys: PublicKeys) -> ReceiptCheck:
    """Check a receipt as it was answered: JSON with `statement`, `signature` in base64 and `signing_key_id`.

    Args:
        content: of the file; other fields beside these must say the same as the statement.
        keys: that may have signed it.

    Raises:
        InvalidInputError: it is no such file.
    """
    fields, signed = _file_fields(content)
    check = verify_receipt(signed, keys)
    if check.receipt is None:
        return check
    stated = json.loads(signed.text)
    differing = [name for name in sorted(stated.keys() & fields.keys()) if not _says(fields[name], stated[name])]
    beside = tuple(
        ReceiptFinding(ReceiptFault.CONTRADICTS, f"{name} beside the statement is not what was signed")
        for name in differing
    )
    return ReceiptCheck(check.receipt, check.findings + beside)


def receipt_file(signed: Signed) -> str:
    """A receipt as a file to keep."""
    fields = {
        "statement": signed.text,
        "signature": base64.b64encode(signed.signature).decode(),
        "signing_key_id": signed.key_id,
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def _receipt(fields: Mapping[str, Any]) -> Receipt:
    texts = [_text(fields[name]) for name in _TEXTS]
    counts = {name: fields[name] for name in _COUNTS}
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts.values()):
        raise TypeError("not a count")
    completed_at = fields["completed_at"]
    return Receipt(
        receipt_id=texts[0],
        collection_id=texts[1],
        subject_id=texts[2],
        state=ErasureState(fields["state"]),
        erased_at=moment_of(fields["erased_at"]),
        completed_at=None if completed_at is None else moment_of(completed_at),
        **counts,
    )


def _signature_findings(state: SignatureState, key_id: str) -> tuple[ReceiptFinding, ...]:
    if state is SignatureState.GOOD:
        return ()
    if state is SignatureState.UNKNOWN_KEY:
        detail = f"it names the key {key_id[:64]!r}, which is not among those that were given"
        return (ReceiptFinding(ReceiptFault.UNKNOWN_KEY, detail),)
    return (ReceiptFinding(ReceiptFault.BAD_SIGNATURE, "the statement is not what was signed with this key"),)


def _file_fields(content: str) -> tuple[dict[str, Any], Signed]:
    try:
        fields = json.loads(content)
        text, key_id = _text(fields["statement"]), _text(fields["signing_key_id"])
        signature = base64.b64decode(fields["signature"], validate=True)
    except (KeyError, TypeError, ValueError, RecursionError):
        allowed = (
            'JSON with "statement", "signature" in base64 and "signing_key_id", as `tessera subjects` prints a receipt'
        )
        raise InvalidInputError("FILE", "not a receipt", allowed) from None
    return fields, Signed(text, signature, key_id)


def _says(beside: object, stated: object) -> bool:
    if beside == stated:
        return True
    try:
        # A moment may be written in another way beside.
        return datetime.fromisoformat(str(beside)) == moment_of(str(stated))
    except (ValueError, TypeError):
        return False


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
