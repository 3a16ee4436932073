"""`tessera enroll-folder`: everybody out of a folder or a CSV file; a second run finishes what the first did not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from tessera.cli.as_json import echo_json
from tessera.cli.bulk_progress import BulkProgress
from tessera.cli.bulk_report import BulkReport, counts_text, is_told, told_text
from tessera.cli.call_failure import failure_of
from tessera.cli.choices import duplicates_option, outliers_option
from tessera.cli.connection import collection_option, connect, connection_options, modality_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.answers import DuplicatePolicy, OutlierPolicy
from tessera.client.bulk import DEFAULT_PARALLEL, BulkEnrolment, BulkOutcome, Done
from tessera.client.bulk_journal import JOURNAL_NAME, BulkStatus, Journal, SubjectResult, Target, read_done
from tessera.client.bulk_people import TesseraPeople
from tessera.client.bulk_plan import Plan, PlanError
from tessera.client.bulk_sources import read_plan
from tessera.domain.errors import InvalidInputError

_WRONG_USE = ExitCode(2)
"""Of this command: 3 says that somebody could not be enrolled, and a script must be able to tell the two apart."""

_SHOWN = 20
_DEADLINE_S = 60.0
_EXIT_CODES = """\b
Exit codes: 0 everybody is enrolled; 2 wrong use or a wrong CSV, nothing was sent; 3 somebody was rejected or failed;
4 the service went away; 130 interrupted."""


class _OwnExitCodes(click.Command):
    """A command whose wrong options end with its own code for wrong use."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's own
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise Failure(error.format_message(), exit_code=_WRONG_USE, reason="USAGE") from None


@dataclass(frozen=True, slots=True)
class _Options:
    source: Path
    collection_id: str
    parallel: int
    dry_run: bool
    restart: bool
    journal: Path
    report: Path | None
    duplicate_policy: DuplicatePolicy | None
    outlier_policy: OutlierPolicy | None


@click.command(
    "enroll-folder", cls=_OwnExitCodes, context_settings={"default_map": {"deadline": _DEADLINE_S}}, epilog=_EXIT_CODES
)
@click.argument("source", metavar="PATH", type=click.Path(exists=True, path_type=Path))
@click.option("--consent", default="", metavar="TEXT", help="Where the consent is recorded, when PATH does not say.")
@click.option("--require-consent", is_flag=True, help="Send nothing unless a consent is named for everybody.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=DEFAULT_PARALLEL,
    show_default=True,
    help="How many people are under way at once.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, send nothing.")
@click.option("--restart", is_flag=True, help="Ask the gallery about everybody, whatever the journal says.")
@click.option(
    "--journal", type=click.Path(dir_okay=False, path_type=Path), help=f"Instead of {JOURNAL_NAME} beside the source."
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.csv", help="Each person and picture."
)
@duplicates_option
@outliers_option
@modality_option
@collection_option
@connection_options
def enroll_folder(  # noqa: PLR0917 - click passes them by name
    source: Path,
    consent: str,
    require_consent: bool,
    parallel: int,
    dry_run: bool,
    restart: bool,
    journal: Path | None,
    report: Path | None,
    duplicate_policy: DuplicatePolicy | None,
    outlier_policy: OutlierPolicy | None,
    collection_id: str,
) -> int:
    """Add everybody out of a folder PATH/SUBJECT_ID/*.jpg, or out of a CSV file.

    \b
    A CSV file has the columns subject_id and path (from the file's own folder), and any of
    display_name, external_id, labels (separated by ;), consent_reference, valid_from, valid_until.
    A row is one picture; 1 to 16 rows of one subject belong together.

    What was done is kept in a journal beside the source. Ctrl-C ends after those under way, and the same command goes
    on from there: nobody is enrolled twice.
    """
    plan = _plan(source, consent, require_consent=require_consent)
    beside = journal or (source if source.is_dir() else source.parent) / JOURNAL_NAME
    options = _Options(
        source, collection_id, parallel, dry_run, restart, beside, report, duplicate_policy, outlier_policy
    )
    with connect() as tessera:
        people = TesseraPeople(tessera)
        outcome = _run(people, plan, Target(people.address, collection_id or "default"), options)
        _tell(outcome, options)
        if outcome.ended_by is not None:
            raise failure_of(outcome.ended_by)
    if outcome.interrupted:
        return ExitCode.INTERRUPTED
    done = outcome.nobody_is_refused if dry_run else outcome.everybody_is_enrolled
    return ExitCode.DONE if done else ExitCode.BAD_INPUT


def _plan(source: Path, consent: str, *, require_consent: bool) -> Plan:
    try:
        plan = read_plan(source, consent_reference=consent, require_consent=require_consent)
    except PlanError as error:
        problems = {f"{number}.": str(one) for number, one in enumerate(error.problems[:_SHOWN], 1)}
        count = len(error.problems)
        more = f"; the first {_SHOWN} of {count}" if count > _SHOWN else ""
        message = f"{source} cannot be enrolled as it is, and nothing was sent{more}:"
        raise Failure(message, exit_code=_WRONG_USE, reason="BAD_PLAN", details=problems) from None
    if plan.left_out and not wants_json():
        names = ", ".join(plan.left_out[:5]) + (", ..." if len(plan.left_out) > 5 else "")
        click.echo(f"Left out, since they are no pictures by their names: {len(plan.left_out)} ({names})", err=True)
    return plan


def _run(people: TesseraPeople, plan: Plan, target: Target, options: _Options) -> BulkOutcome:
    with ExitStack() as opened:
        try:
            _require_own_file(options)
            journal = opened.enter_context(_journal(target, options))
            report = opened.enter_context(BulkReport(options.report))
        except InvalidInputError as error:
            what = f"the {error.field} cannot be used, and nothing was sent"
            raise Failure(
                what, exit_code=_WRONG_USE, field=error.field, value=str(error.value), allowed=error.allowed
            ) from None
        bulk = BulkEnrolment(
            people,
            plan,
            journal,
            collection_id=options.collection_id,
            duplicate_policy=options.duplicate_policy,
            outlier_policy=options.outlier_policy,
            parallel=options.parallel,
        )
        shown = opened.enter_context(BulkProgress(len(plan.subjects), hidden=wants_json()))
        opened.enter_context(_interrupt_ends(bulk, shown))
        trouble = _Trouble()

        def told(result: SubjectResult) -> None:
            report.add(result)
            shown.add(result)
            trouble.add(result)

        outcome = bulk.preview(told) if options.dry_run else bulk.run(told)
    if not wants_json():
        trouble.show(options.report)
    return outcome


def _require_own_file(options: _Options) -> None:
    """A report replaces what is there."""
    taken = {options.source.resolve(), options.journal.resolve()}
    if options.report is not None and options.report.resolve() in taken:
        raise InvalidInputError("report", str(options.report), "another file than the source and the journal")


class _DoneBefore:
    """A journal that is read and not written: for looking only."""

    def __init__(self, done: Mapping[str, SubjectResult]) -> None:
        self._done = done

    def done(self, request_id: str) -> SubjectResult | None:
        return self._done.get(request_id)

    def record(self, result: SubjectResult) -> None:
        """Nothing is done in a dry run."""


@contextmanager
def _journal(target: Target, options: _Options) -> Iterator[Done]:
    if options.dry_run:
        yield _DoneBefore({} if options.restart else read_done(options.journal, target))
        return
    with Journal(options.journal, target, restart=options.restart) as journal:
        yield journal


@contextmanager
def _interrupt_ends(bulk: BulkEnrolment, shown: BulkProgress) -> Iterator[None]:
    """Ctrl-C ends the run after those under way; a second one ends the process: the journal bears that too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        bulk.stop()
        shown.ending()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Trouble:
    """Those who were not enrolled, or of whom something was found: the first of them in words."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._count = 0

    def add(self, result: SubjectResult) -> None:
        if is_told(result):
            self._count += 1
            if self._count <= _SHOWN:
                self._lines.append(told_text(result))

    def show(self, report: Path | None) -> None:
        for line in self._lines:
            click.echo(line, err=True)
        if self._count > _SHOWN:
            where = str(report) if report else "--report FILE.csv"
            click.echo(f"... and {self._count - _SHOWN} more: {where} has all of them", err=True)


def _tell(outcome: BulkOutcome, options: _Options) -> None:
    if wants_json():
        counts = {status.value.replace(" ", "_"): outcome.counts.get(status, 0) for status in BulkStatus}
        rest = {
            "pictures_refused": outcome.pictures_refused,
            "duplicates": outcome.duplicates,
            "outliers": outcome.outliers,
            "interrupted": outcome.interrupted,
        }
        echo_json({**counts, **rest, "dry_run": options.dry_run})
        return
    click.echo(counts_text(outcome, dry_run=options.dry_run))
    unfinished = outcome.counts.get(BulkStatus.FAILED, 0) + outcome.counts.get(BulkStatus.NOT_SENT, 0)
    if unfinished and not options.dry_run:
        click.echo("Run the same command again: it goes on from here, and enrols nobody twice.")
