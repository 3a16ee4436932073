"""`tessera audit`: checks an audit log, exported or read from a gallery, against its signed checkpoints.

A gallery is only asked for the entries: what they are worth is decided here, with keys and files of the caller.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import click

from tessera.chassis.key_files import read_key_file
from tessera.cli.as_json import echo_json, plain
from tessera.cli.connection import json_option, wants_json
from tessera.cli.failure import Failure
from tessera.cli.offline_check import EXIT_CODES_HELP, FINDINGS, NOT_CHECKED, SOUND, OfflineCheck
from tessera.client.audit import audit_entries
from tessera.client.errors import TesseraCallError
from tessera.domain.errors import InvalidInputError
from tessera.trust.audit_check import AuditCheck, AuditReport
from tessera.trust.entry_lines import read_entries
from tessera.trust.findings import Finding, advice
from tessera.trust.keys import PublicKeys
from tessera.trust.stamps import StampedEntry, audit_key_of
from tessera.trust.trail import SUFFIX, Trail, file_name, read_copies


@click.group()
def audit() -> None:
    """Check the audit log."""


@audit.command("keys")
@click.argument("keys_path", metavar="KEYS", type=click.Path(path_type=Path))
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def write_keys(keys_path: Path, path: Path) -> int:
    """Write the audit keys that derive from the gallery's KEYS to FILE, for `verify --mac-key`; they open nothing."""
    try:
        known = read_key_file(keys_path)
        lines = [f"{key.key_id} {base64.b64encode(audit_key_of(key.key)).decode()}\n" for key in known]
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            file.writelines(lines)
    except InvalidInputError as error:
        raise Failure(str(error), field="KEYS", value=str(error.value), allowed=error.allowed) from None
    except OSError as error:
        text = f"{path}: {error.strerror}"
        raise Failure(text, field="FILE", value=str(path), allowed="a file that is not there yet") from None
    click.echo(f"Wrote {len(lines)} audit keys to {path}. Who has them can forge entries behind the last checkpoint.")
    return SOUND


@audit.command("verify", cls=OfflineCheck, epilog=EXIT_CODES_HELP)
@click.option(
    "--entries",
    "entries_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The exported entries, one JSON object a line; - reads standard input.",
)
@click.option("--server", metavar="ADDRESS", help="Instead of --entries: the gallery that is asked for them.")
@click.option("--collection", "collection_id", metavar="ID", help="Only the logs of this collection.")
@click.option(
    "--checkpoints",
    "folders",
    required=True,
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of checkpoints; twice for both copies.",
)
@click.option(
    "--key",
    "key_paths",
    required=True,
    multiple=True,
    metavar="PUB",
    type=click.Path(path_type=Path),
    help="Public signing keys (PEM), old ones too.",
)
@click.option(
    "--mac-key",
    "mac_key_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Audit keys, lines KEYID BASE64. Without them nothing behind the last checkpoint is proven.",
)
@click.option("--log", "only", metavar="LOG", help="Only this log, such as staff/00.")
@json_option
def verify(
    *,
    entries_path: str | None,
    server: str | None,
    collection_id: str | None,
    folders: tuple[Path, ...],
    key_paths: tuple[Path, ...],
    mac_key_path: Path | None,
    only: str | None,
) -> int:
    """Find what was edited, deleted, moved, cut off, written anew or put into an audit log."""
    keys = PublicKeys.load(key_paths)
    mac_keys = [key.key for key in read_key_file(mac_key_path)] if mac_key_path else []
    wanted = WantedLogs(only, collection_id)
    with _entries(entries_path, server, collection_id) as entries:
        reports = verify_logs(entries, folders, keys, mac_keys, wanted)
    if wants_json():
        echo_json({"sound": _are_sound(reports), "logs": [_facts(report) for report in reports]})
    else:
        click.echo("\n".join(line for report in reports for line in report_lines(report)))
    return SOUND if _are_sound(reports) else FINDINGS


@dataclass(frozen=True, slots=True)
class WantedLogs:
    """Which logs are checked."""

    log: str | None = None
    """This one alone."""
    collection_id: str | None = None
    """Those of this collection."""

    def __contains__(self, log: str) -> bool:
        """Whether a log is wanted."""
        return self.log in (None, log) and self.collection_id in (None, log.rpartition("/")[0])


def verify_logs(
    entries: Iterable[StampedEntry],
    folders: Sequence[Path],
    keys: PublicKeys,
    mac_keys: Sequence[bytes],
    wanted: WantedLogs = WantedLogs(),
) -> list[AuditReport]:
    """Check every log that has entries or checkpoints.

    Args:
        entries: of all logs, each in its order; from a file or from a server.
        folders: of the checkpoints.
        keys: that may have signed them.
        mac_keys: the audit keys; none: MACs are not checked.
        wanted: which logs; the others are left out.

    Raises:
        InvalidInputError: there is nothing to check, or something cannot be read.
    """
    checks = {log: AuditCheck(log, _trail(log, folders, keys), mac_keys) for log in _logs_in(folders) if log in wanted}
    for entry in entries:
        if entry.log not in wanted:
            continue
        if entry.log not in checks:
            checks[entry.log] = AuditCheck(entry.log, _trail(entry.log, folders, keys), mac_keys)
        checks[entry.log].take(entry)
    if not checks:
        asked = wanted.log or wanted.collection_id
        field = "--log" if wanted.log else "--collection" if wanted.collection_id else "--checkpoints"
        raise InvalidInputError(field, asked or str(folders[0]), "a log with entries or checkpoints")
    return [checks[log].report() for log in sorted(checks)]


def report_lines(report: AuditReport) -> list[str]:
    """A report for people: a line for the log, one for each finding, one for each note."""
    lines = [f"{report.log}: {_verdict(report)}"]
    for finding in report.findings:
        lines.append(f"  {finding.kind.value:<19} {_place(finding)}: {finding.detail}")
        lines.append(f"  {'':<19} next: {advice(finding.kind)}")
    return lines + [f"  note: {note}" for note in _notes(report)]


def _verdict(report: AuditReport) -> str:
    count = f"{report.entries:,} entries" + (f" ({report.first} to {report.last})" if report.entries else "")
    if not report.findings:
        return f"{count}, nothing is wrong"
    return f"{count}, NOT AS RECORDED from sequence {report.findings[0].sequence} on"


def _place(finding: Finding) -> str:
    if finding.sequence == finding.last_sequence:
        return f"sequence {finding.sequence}"
    return f"sequences {finding.sequence} to {finding.last_sequence}"


def _notes(report: AuditReport) -> list[str]:
    notes = list(report.notes)
    if report.checkpoint_at:
        notes.append(
            f"the last checkpoint stands at {report.checkpoint}, of {report.checkpoint_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    newer = max(0, report.last - report.checkpoint)
    if newer and report.macs_checked:
        notes.append(f"{newer} entries behind it are proven by their MACs alone")
    elif newer:
        notes.append(f"{newer} entries behind it are not proven: --mac-key would check them")
    return notes


def _are_sound(reports: Sequence[AuditReport]) -> bool:
    return not any(report.findings for report in reports)


def _facts(report: AuditReport) -> dict[str, object]:
    findings = [{**plain(finding), "next": advice(finding.kind)} for finding in report.findings]
    return {**plain(report), "findings": findings, "notes": _notes(report)}


def _logs_in(folders: Sequence[Path]) -> list[str]:
    return sorted({unquote(path.name.removesuffix(SUFFIX)) for folder in folders for path in folder.glob(f"*{SUFFIX}")})


@contextmanager
def _entries(path: str | None, server: str | None, collection_id: str | None) -> Iterator[Iterable[StampedEntry]]:
    if (path is None) == (server is None):
        raise InvalidInputError("--entries", path or "none", "either --entries FILE or --server ADDRESS")
    if path is not None:
        with click.open_file(path, "rb") as lines:
            yield read_entries(lines)
    elif server is not None:
        try:
            yield audit_entries(server, collection_id or "")
        except TesseraCallError as error:
            raise Failure(
                str(error), exit_code=NOT_CHECKED, reason=error.reason, next_step=f"is {server} a gallery?"
            ) from None


def _trail(log: str, folders: Sequence[Path], keys: PublicKeys) -> Trail:
    contents = [_content(folder / file_name(log)) for folder in folders]
    return read_copies(log, contents, keys)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InvalidInputError("--checkpoints", str(path), f"a file to read; {error.strerror}") from None
