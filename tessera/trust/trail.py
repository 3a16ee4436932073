"""The checkpoints of a log as they stand in their file: signed lines, each naming the sha256 of the line before.

A line is canonical JSON: `kind`, `log`, `number`, `before`, `time`, `key`, the fields of its kind, `signature`. Kinds:
START (reading begins behind `sequence`), CHECKPOINT, TRIM (entries up to `sequence` were forgotten on purpose), RECEIPT
(of an erasure), ALARM (what was wrong when the log was read), TORN (texts that a crash left and that are no lines).
Reads such files; `gallery_svc.checkpoints` writes them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from tessera.domain.errors import InvalidInputError
from tessera.trust.accounts import AccountState
from tessera.trust.canonical import canonical, moment_of, parse_canonical
from tessera.trust.chain import Head, digest_of
from tessera.trust.findings import Finding, FindingKind
from tessera.trust.keys import PublicKeys, SignatureState, Signed
from tessera.trust.ranges import Span

KIND = "checkpoint"
"""Of the signatures."""
NO_LINE = "0" * 64
"""What the first line names as the one before."""
SUFFIX = ".checkpoints"


class LineKind(StrEnum):
    """What a line tells."""

    START = "START"
    CHECKPOINT = "CHECKPOINT"
    TRIM = "TRIM"
    RECEIPT = "RECEIPT"
    ALARM = "ALARM"
    TORN = "TORN"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log was at one moment."""

    head: Head
    at: datetime
    accounts: Mapping[str, AccountState]
    """Of the writers that wrote since the checkpoint before."""


@dataclass(slots=True)
class Trail:
    """What a file of checkpoints says.

    The lists hold what is signed and in its place, even where other lines are damaged.
    """

    log: str
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """By sequence; the first is the start."""
    trimmed: int = 0
    """Entries up to this sequence were forgotten on purpose."""
    receipts: list[Signed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Damage to the file, and what its lines of ALARM tell."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know and is no sign of harm."""
    is_damaged: bool = False
    digests: list[str] = field(default_factory=list)
    """sha256 of each signed line, in order."""
    torn: list[str] = field(default_factory=list)
    """sha256 of texts at the end that are no lines, as a crash leaves them, and that no line tells of yet."""

    @property
    def last_digest(self) -> str:
        """sha256 of the last signed line."""
        return self.digests[-1] if self.digests else NO_LINE

    @property
    def last(self) -> Checkpoint | None:
        """The last checkpoint, or the start."""
        return self.checkpoints[-1] if self.checkpoints else None

    def accounts_at(self, sequence: int) -> dict[str, AccountState] | None:
        """All writers' accounts at a checkpoint; None when lines are missing, so that nobody knows."""
        if self.is_damaged:
            return None
        known: dict[str, AccountState] = {}
        for checkpoint in self.checkpoints:
            if checkpoint.head.sequence <= sequence:
                known.update(checkpoint.accounts)
        return known


def file_name(log: str) -> str:
    """The name of a log's file of checkpoints."""
    return quote(log, safe="") + SUFFIX


def line_digest(line: bytes) -> str:
    """sha256 of a line, without its line feed, in hex."""
    return hashlib.sha256(line).hexdigest()


def account_fields(accounts: Mapping[str, AccountState]) -> dict[str, object]:
    """Accounts as a line holds them."""
    return {name: {"seen": _listed(state.seen), "absent": _listed(state.absent)} for name, state in accounts.items()}


def read_trail(log: str, content: bytes, keys: PublicKeys) -> Trail:
    """Read a file of checkpoints, and check every line.

    Args:
        log: whose checkpoints they should be.
        content: of the file.
        keys: that may have signed it.
    """
    trail = Trail(log)
    reader = _TrailReader(trail, keys)
    for at, line in enumerate(content.split(b"\n"), 1):
        if line:
            reader.take(at, line)
    reader.finish()
    return trail


def read_copies(log: str, contents: Sequence[bytes], keys: PublicKeys) -> Trail:
    """Read the copies of a file from several folders: the longest sound one counts, and all must agree with it.

    Args:
        log: whose checkpoints they should be.
        contents: of each copy, at least one.
        keys: that may have signed it.
    """
    trails = [read_trail(log, content, keys) for content in contents]
    best = max(trails, key=lambda trail: (not trail.is_damaged, len(trail.digests)))
    for trail in trails:
        if trail is not best:
            best.findings += [one for one in trail.findings if one.kind is FindingKind.CHECKPOINTS_DAMAGED]
            best.findings += [] if trail.is_damaged else _difference(best, trail)
            best.torn += trail.torn
    return best


def _difference(best: Trail, other: Trail) -> list[Finding]:
    pairs = zip(best.digests, other.digests, strict=False)
    same = next((at for at, (one, two) in enumerate(pairs) if one != two), len(other.digests))
    # Both are written one after the other: a crash between them leaves one line of difference.
    if same == len(other.digests) and len(best.digests) - same <= 1:
        return []
    at = best.last.head.sequence + 1 if best.last else 1
    return [Finding(at, FindingKind.CHECKPOINTS_DAMAGED, best.log, at, f"the copies differ from line {same + 1} on")]


class _TrailReader:
    def __init__(self, trail: Trail, keys: PublicKeys) -> None:
        self._trail = trail
        self._keys = keys
        self._unread: dict[str, int] = {}
        self._last_signed = 0

    def take(self, at: int, line: bytes) -> None:
        fields, why = self._signed_fields(line)
        if fields is None and why:
            self._damage(f"line {at}: {why}")
        elif fields is None:
            self._unread[line_digest(line)] = at
        else:
            self._take_signed(at, line, fields)

    def finish(self) -> None:
        """Judge what is no line: at the end a crash may have left it, before that somebody did."""
        for digest, at in self._unread.items():
            if at < self._last_signed:
                self._damage(f"line {at}: it is not a line of checkpoints")
            else:
                self._trail.torn.append(digest)
        if self._trail.torn:
            self._trail.notes.append("the end of the file is torn, as a crash leaves it; it does not count")

    def _take_signed(self, at: int, line: bytes, fields: Mapping[str, Any]) -> None:
        trail = self._trail
        self._last_signed = at
        if fields["log"] != trail.log:
            self._damage(f"line {at}: it belongs to the log {fields['log']!r}")
            return
        if fields["number"] != len(trail.digests) + 1 or fields["before"] != trail.last_digest:
            self._damage(f"line {at}: it is number {fields['number']}, and does not follow what stands before it")
        try:
            self._apply(fields)
        except (KeyError, TypeError, ValueError, OverflowError):
            self._damage(f"line {at}: it is signed and is not a line of this version")
        # Numbers count on behind lines that are not there, so that each gap is told once.
        missing = int(fields["number"]) - 1 - len(trail.digests)
        trail.digests += [""] * missing + [line_digest(line)]

    def _signed_fields(self, line: bytes) -> tuple[dict[str, Any] | None, str]:
        try:
            fields = parse_canonical(line)
            if not {"kind", "log", "number", "before", "time"} <= fields.keys():
                return None, ""
            signature = base64.b64decode(fields.pop("signature"), validate=True)
            key_id = str(fields["key"])
        except (InvalidInputError, KeyError, TypeError, ValueError):
            return None, ""
        state = self._keys.check(KIND, Signed(canonical(fields), signature, key_id))
        if state is SignatureState.UNKNOWN_KEY:
            return None, f"it is signed with {key_id[:48]!r}, which is not among the keys that were given"
        if state is SignatureState.WRONG:
            return None, "its signature is wrong"
        return fields, ""

    def _apply(self, fields: Mapping[str, Any]) -> None:
        trail, kind = self._trail, LineKind(fields["kind"])
        if kind in {LineKind.START, LineKind.CHECKPOINT}:
            self._apply_checkpoint(kind, fields)
        elif kind is LineKind.TRIM:
            trail.trimmed = max(trail.trimmed, _count(fields["sequence"]))
        elif kind is LineKind.RECEIPT:
            signature = base64.b64decode(fields["receipt_signature"], validate=True)
            trail.receipts.append(Signed(str(fields["receipt"]), signature, str(fields["receipt_key"])))
        elif kind is LineKind.ALARM:
            trail.findings.append(_alarm(trail.log, fields))
        else:
            for digest in fields["torn"]:
                self._unread.pop(digest, None)
            trail.notes.append(f"a crash tore a line of checkpoints before {fields['time']}; it does not count")

    def _apply_checkpoint(self, kind: LineKind, fields: Mapping[str, Any]) -> None:
        trail = self._trail
        head = Head(
            _count(fields["sequence"]), digest_of(fields["chain"]), int.from_bytes(digest_of(fields["total"]), "big")
        )
        if kind is LineKind.START and trail.checkpoints:
            trail.notes.append(
                f"the log began again behind sequence {head.sequence} at {fields['time']}: {fields['reason']}"
            )
            trail.checkpoints = [one for one in trail.checkpoints if one.head.sequence < head.sequence]
        trail.checkpoints.append(Checkpoint(head, moment_of(fields["time"]), _accounts(fields["writers"])))

    def _damage(self, detail: str) -> None:
        trail = self._trail
        trail.is_damaged = True
        at = trail.last.head.sequence + 1 if trail.last else 1
        trail.findings.append(Finding(at, FindingKind.CHECKPOINTS_DAMAGED, trail.log, at, detail))


def _alarm(log: str, fields: Mapping[str, Any]) -> Finding:
    detail = f"{fields['detail']} (told by the gallery at {fields['time']})"
    kind = FindingKind(fields["finding"])
    return Finding(_count(fields["sequence"]), kind, log, _count(fields["last_sequence"]), detail)


def _accounts(fields: Mapping[str, Any]) -> dict[str, AccountState]:
    return {name: AccountState(_spans(state["seen"]), _spans(state["absent"])) for name, state in fields.items()}


def _spans(listed: Sequence[Sequence[int]]) -> tuple[Span, ...]:
    return tuple((_count(first), _count(last)) for first, last in listed)


def _listed(spans: Sequence[Span]) -> list[list[int]]:
    return [list(span) for span in spans]


def _count(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("not a count")
    return value
