"""Appends signed checkpoints of a log to a file outside of the store, and finds its place again after a crash.

Only ever appends: a line that a crash tore stays where it is, and the next line tells of it. Blocks while the disk
writes: call it off the event loop. Decides neither when a checkpoint is due nor whose turn it is to write it, and reads
no store; `tessera.trust.trail` says what the lines mean.
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gallery_svc.signing import Signer
from tessera.chassis.clock import Clock
from tessera.domain.errors import InvalidInputError, StoreCorruptError, UnavailableError
from tessera.trust.canonical import canonical, moment_text
from tessera.trust.chain import DIGEST_BYTES, Head, log_start
from tessera.trust.findings import Finding, FindingKind
from tessera.trust.fold import LogFold
from tessera.trust.keys import PublicKeys, Signed
from tessera.trust.trail import KIND, LineKind, Trail, account_fields, file_name, line_digest, read_copies

_PLACE = "audit checkpoints"
_NEXT = "keep it as evidence, run `tessera audit verify`, then move it away; the trail begins anew without it"


class CheckpointFile:
    """The checkpoints of one log, in one folder or in two.

    Made by `open`. After an error of the disk the next call reads the files again before it writes.

    Args:
        paths: of the file in each folder.
        log: the log's name.
        signer: signs the lines.
        clock: for their time.
        keys: that may have signed the lines that are there.
    """

    def __init__(self, paths: Sequence[Path], log: str, signer: Signer, clock: Clock, keys: PublicKeys) -> None:
        self._paths = tuple(paths)
        self._log = log
        self._signer = signer
        self._clock = clock
        self._keys = keys
        self._descriptors: list[int] = []
        self._trail = Trail(log)
        self._is_sound = False
        self._alarms: set[Finding] = set()

    @classmethod
    def open(  # noqa: PLR0917 - the parts that it joins
        cls,
        folder: Path,
        log: str,
        signer: Signer,
        clock: Clock,
        second: Path | None = None,
        old_keys: PublicKeys | None = None,
    ) -> CheckpointFile:
        """Open the file of a log, or make it; one process at a time may have it.

        Args:
            folder: where it is; made when missing.
            log: the log's name.
            signer: signs what is written from now on.
            clock: for the time of each line.
            second: another folder that gets the same lines, best on another disk.
            old_keys: public halves of the keys that signed before.

        Raises:
            UnavailableError: it cannot be read or written, or another process has it.
            StoreCorruptError: it was changed; nothing is written to it.
        """
        paths = [path / file_name(log) for path in (folder, second) if path is not None]
        keys = old_keys or PublicKeys([])
        file = cls(paths, log, signer, clock, keys.joined(signer.public_keys))
        try:
            file._recover()
        except BaseException:
            file.close()
            raise
        return file

    @property
    def trail(self) -> Trail:
        """What the file says now.

        Raises:
            UnavailableError: it cannot be read.
        """
        self._refresh()
        return self._trail

    def fold(self, mac_keys: Sequence[bytes], *, whole: bool = False) -> LogFold:
        """Where the log must be read on, behind the last checkpoint; on a new file behind nothing.

        Args:
            mac_keys: the audit keys; what their MACs do not fit becomes an ALARM with the next checkpoint.
            whole: read again from where it was last trimmed.
        """
        trail = self.trail
        heads = [one.head for one in trail.checkpoints if not whole or one.head.sequence <= trail.trimmed]
        head = heads[-1] if heads else log_start(self._log)
        return LogFold(self._log, head, trail.accounts_at(head.sequence), mac_keys)

    def start(self, fold: LogFold, reason: str) -> None:
        """Say that the log goes on behind what was read, whatever earlier checkpoints say: after a restored backup.

        Args:
            fold: the log as it is now.
            reason: for whoever checks; no name and no secret.

        Raises:
            UnavailableError: it cannot be written.
        """
        self._append(
            LineKind.START, {**_head_fields(fold.head), "writers": account_fields(fold.accounts), "reason": reason}
        )
        fold.forget_moves()

    def checkpoint(self, fold: LogFold) -> None:
        """Put on record what was read, and an ALARM for each thing in it that does not fit.

        Args:
            fold: the log up to now, begun by `fold`.

        Raises:
            UnavailableError: it cannot be written; the same again later makes up for it.
        """
        for finding in fold.findings():
            if finding not in self._alarms:
                self.alarm(finding)
        moved = fold.moved
        self._append(LineKind.CHECKPOINT, {**_head_fields(fold.head), "writers": account_fields(moved)})
        fold.forget_moves()

    def trim(self, sequence: int) -> None:
        """Say that entries up to a sequence will be forgotten; to be called before they are.

        Args:
            sequence: of a checkpoint, so that the rest can still be checked.

        Raises:
            InvalidInputError: no checkpoint stands there.
            UnavailableError: it cannot be written; nothing may be forgotten.
        """
        places = {checkpoint.head.sequence for checkpoint in self.trail.checkpoints}
        if sequence not in places:
            raise InvalidInputError(
                "sequence", sequence, f"that of a checkpoint; the last is at {max(places, default=0)}"
            )
        self._append(LineKind.TRIM, {"sequence": sequence})

    def receipt(self, signed: Signed) -> None:
        """Keep a receipt of an erasure, so that a restored backup cannot bring back what was erased.

        Raises:
            UnavailableError: it cannot be written.
        """
        signature = base64.b64encode(signed.signature).decode()
        fields = {"receipt": signed.text, "receipt_signature": signature, "receipt_key": signed.key_id}
        self._append(LineKind.RECEIPT, fields)

    def alarm(self, finding: Finding) -> None:
        """Put on record that the log was not as it should be when it was read.

        Raises:
            UnavailableError: it cannot be written.
        """
        fields = {
            "finding": finding.kind.value,
            "sequence": finding.sequence,
            "last_sequence": finding.last_sequence,
            "detail": finding.detail,
        }
        self._append(LineKind.ALARM, fields)
        self._alarms.add(finding)

    def close(self) -> None:
        """Let another process have the file."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self._is_sound = False

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _append(self, kind: LineKind, fields: Mapping[str, object]) -> None:
        if not self._is_sound or self._is_replaced():
            self._recover()
        line = self._line(kind, fields)
        self._is_sound = False
        for descriptor, path in zip(self._descriptors, self._paths, strict=True):
            _write(descriptor, line + b"\n", path)
        self._trail.digests.append(line_digest(line))
        self._is_sound = True

    def _line(self, kind: LineKind, fields: Mapping[str, object]) -> bytes:
        statement = {
            **fields,
            "kind": kind.value,
            "log": self._log,
            "number": len(self._trail.digests) + 1,
            "before": self._trail.last_digest,
            "time": moment_text(self._clock.now()),
            "key": self._signer.key_id,
        }
        signature = base64.b64encode(self._signer.sign(KIND, statement).signature).decode()
        return canonical({**statement, "signature": signature}).encode()

    def _recover(self) -> None:
        """Read what is there, bring both copies to the same lines, and tell of what a crash tore."""
        self.close()
        self._descriptors = [_opened(path) for path in self._paths]
        contents = [_content(path) for path in self._paths]
        found = read_copies(self._log, [content for content in contents if content] or [b""], self._keys)
        self._require_sound(found)
        for descriptor, path, content in zip(self._descriptors, self._paths, contents, strict=True):
            _write(descriptor, self._lacking(content, contents, found), path)
        self._trail, self._is_sound = found, True
        if found.torn:
            self._append(LineKind.TORN, {"torn": found.torn})
        if not found.checkpoints:
            self.start(LogFold(self._log, log_start(self._log), {}), "a new trail")
            self._refresh()

    def _require_sound(self, found: Trail) -> None:
        damage = [finding.detail for finding in found.findings if finding.kind is FindingKind.CHECKPOINTS_DAMAGED]
        if found.digests[: len(self._trail.digests)] != self._trail.digests:
            damage.append("lines that this process wrote are not there any more")
        if damage:
            raise StoreCorruptError(str(self._paths[0]), f"{damage[0]}; {_NEXT}")

    def _lacking(self, content: bytes, contents: Sequence[bytes], found: Trail) -> bytes:
        """What a copy needs to have all lines, and to end with a whole one."""
        here = {line_digest(line) for line in content.split(b"\n")}
        lines = {line_digest(line): line for other in contents for line in other.split(b"\n")}
        end = b"\n" if content and not content.endswith(b"\n") else b""
        return end + b"".join(lines[digest] + b"\n" for digest in found.digests if digest not in here)

    def _refresh(self) -> None:
        self._is_sound = False
        self._recover()

    def _is_replaced(self) -> bool:
        try:
            return any(
                (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino) != (path.stat().st_dev, path.stat().st_ino)
                for descriptor, path in zip(self._descriptors, self._paths, strict=True)
            )
        except FileNotFoundError:
            return True


def _head_fields(head: Head) -> dict[str, object]:
    return {
        "sequence": head.sequence,
        "chain": head.chain.hex(),
        "total": head.total.to_bytes(DIGEST_BYTES, "big").hex(),
    }


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise _unavailable(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_folder(path.parent)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise UnavailableError(_PLACE, f"another process writes {path}") from None
        raise _unavailable(path, error) from None
    return descriptor


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unavailable(path, error) from None


def _write(descriptor: int, content: bytes, path: Path) -> None:
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    except OSError as error:
        raise _unavailable(path, error) from None


def _sync_folder(folder: Path) -> None:
    # A new file is on the disk only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(_PLACE, f"{path}: {error.strerror}")
