"""How far a bulk enrolment is: a bar on the terminal, nothing where there is none."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from tessera.client.bulk_journal import BulkStatus, SubjectResult

_TROUBLE = (BulkStatus.REJECTED, BulkStatus.FAILED)


class BulkProgress:
    """Shows done, not enrolled, what was found, rate and what remains; on standard error.

    Args:
        total: subjects.
        hidden: show nothing.
        console: instead of standard error.
    """

    def __init__(self, total: int, *, hidden: bool = False, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._task = self._progress.add_task("Enrolling", total=total, told="")
        self._trouble = 0
        self._duplicates = 0
        self._outliers = 0
        self._progress.update(self._task, told=self._told())

    def __enter__(self) -> BulkProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def add(self, result: SubjectResult) -> None:
        """One more has an answer; those who were not sent move nothing."""
        if result.status is BulkStatus.NOT_SENT:
            return
        self._trouble += result.status in _TROUBLE
        self._duplicates += bool(result.duplicates)
        self._outliers += result.outliers
        self._progress.update(self._task, advance=1, told=self._told())

    def _told(self) -> str:
        found = {"like others": self._duplicates, "wrong pictures": self._outliers}
        return ", ".join([f"{self._trouble} not enrolled", *(f"{n} {what}" for what, n in found.items() if n)])

    def ending(self) -> None:
        """Say that those under way are waited for."""
        self._progress.update(self._task, description="Ending after those under way")


class _Rate(ProgressColumn):
    """Subjects a second, over the whole run: answers come in bursts."""

    def render(self, task: Task) -> Text:
        """`12.3/s`."""
        return Text(f"{task.completed / task.elapsed:.1f}/s" if task.elapsed else "")
