"""Who was erased, out of the signed receipts beside the audit log: a copy from before must not bring them back.

What cannot be believed is refused and not skipped: a receipt that nobody can check may be the one that matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from tessera.cli.failure import Failure
from tessera.domain.errors import InvalidInputError
from tessera.trust.findings import FindingKind
from tessera.trust.keys import PublicKeys, Signed
from tessera.trust.receipts import Receipt, verify_receipt
from tessera.trust.trail import SUFFIX, read_copies

Erasures = dict[str, dict[str, datetime]]
"""By collection and subject: when it was last erased."""


def signed_receipts(folders: Sequence[Path], keys: PublicKeys) -> list[Signed]:
    """The receipts in folders of checkpoints, as they were signed.

    Args:
        folders: copies of one another; each may have files that the others lack.
        keys: that may have signed the checkpoints.

    Raises:
        Failure: a file is damaged, or a folder has none.
    """
    names = sorted({path.name for folder in folders for path in folder.glob(f"*{SUFFIX}")})
    if not names:
        raise InvalidInputError("--receipts", str(folders[0]), f"a folder of checkpoints (*{SUFFIX})")
    found: list[Signed] = []
    for name in names:
        contents = [path.read_bytes() for folder in folders if (path := folder / name).exists()]
        trail = read_copies(unquote(name.removesuffix(SUFFIX)), contents, keys)
        damage = [one for one in trail.findings if one.kind is FindingKind.CHECKPOINTS_DAMAGED]
        if trail.is_damaged or damage:
            raise _unbelievable(name, damage[0].detail if damage else "it is damaged")
        found += trail.receipts
    return found


def erasures_of(receipts: Iterable[Signed], keys: PublicKeys) -> Erasures:
    """When each subject was last erased.

    Raises:
        Failure: a receipt is not to be believed.
    """
    found: Erasures = {}
    for signed in receipts:
        receipt = _believed(signed, keys)
        of_collection = found.setdefault(receipt.collection_id, {})
        before = of_collection.get(receipt.subject_id, receipt.erased_at)
        of_collection[receipt.subject_id] = max(before, receipt.erased_at)
    return found


def _believed(signed: Signed, keys: PublicKeys) -> Receipt:
    check = verify_receipt(signed, keys)
    if check.findings or check.receipt is None:
        raise _unbelievable("a receipt", "; ".join(f"{one.fault.value}: {one.detail}" for one in check.findings))
    return check.receipt


def _unbelievable(what: str, why: str) -> Failure:
    return Failure(
        f"{what} cannot be believed, and nothing was changed: {why}",
        field="--receipts",
        allowed="checkpoints as the gallery signed them, and all public keys that they were signed with (--key)",
        next_step="name the other copy of the folder as well; `tessera audit verify` tells more",
        code="FAILED_PRECONDITION",
        reason="RECEIPTS_DAMAGED",
    )
