"""`tessera up` on a terminal: services, cameras and the last decisions, drawn four times a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tessera import __version__
from tessera.cli.board import Board
from tessera.cli.child import ChildReport, ChildState
from tessera.cli.followers import CameraPace
from tessera.cli.process_facts import memory_bytes
from tessera.cli.words import TITLES, target_text, whom_text
from tessera.client.answers import CameraState, Event
from tessera.domain.decision import Outcome

_WIDE_COLUMNS = 96
_MAX_CAMERAS = 6
_LINES_BETWEEN = 9
_OUTCOME_STYLES = {
    Outcome.MATCH: "bold green",
    Outcome.NO_MATCH: "yellow",
    Outcome.UNKNOWN: "bold yellow",
    Outcome.INCONCLUSIVE: "dim",
}
_GOOD_CAMERA = {CameraState.ONLINE, CameraState.ENDED, CameraState.DISABLED}
_MEANING = "FMR: two different people match. FPIR: a stranger passes for somebody enrolled."
_DECISION_WIDTHS = {"time": 8, "decision": 12, "frames": 6, "at": 12, "took": 7}
_CAMERA_WIDTHS = {"state": 10, "sampled": 7, "encoded": 7, "latency": 8}
_NAME_WIDTH = 14
_NARROW_NAME_WIDTH = 8


class LiveView:
    """Draws the whole terminal.

    Args:
        board: the decisions and the news.
        reports: how the processes do.
        paces: how the cameras do.
        console: instead of the process's terminal.
    """

    def __init__(
        self,
        board: Board,
        reports: Callable[[], Sequence[ChildReport]],
        paces: Callable[[], Sequence[CameraPace]],
        console: Console | None = None,
    ) -> None:
        self._board = board
        self._reports = reports
        self._paces = paces
        self._console = console or Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
        for line in self._board.last_news()[-2:]:
            self._console.print(line, highlight=False)

    def news(self, text: str) -> None:
        """Drawn with the rest: the board has it."""

    def event(self, event: Event) -> None:
        """Drawn with the rest: the board has it."""

    def first(self, what: str, after_s: float) -> None:
        """Drawn with the rest: the board has it."""

    def draw(self) -> None:
        """Draw everything anew."""
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """Everything, for the terminal as large as it is now."""
        reports, paces = self._reports(), self._paces()[:_MAX_CAMERAS]
        taken = _LINES_BETWEEN + len(reports) + max(1, len(paces)) + len(self._board.last_news()[-2:])
        rows = max(2, self._console.height - taken)
        return Group(
            self._header(),
            self._services(reports),
            self._cameras(paces),
            self._decisions(self._board.last_events()[-rows:]),
            *(
                Text(f" {line}", style="dim", no_wrap=True, overflow="ellipsis")
                for line in self._board.last_news()[-2:]
            ),
        )

    # ---- parts

    def _header(self) -> RenderableType:
        minutes, seconds = divmod(int(self._board.uptime_s()), 60)
        first = self._board.first_after_s()
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(f" Tessera {__version__} ", style="bold reverse")
        head.append(f" up {minutes // 60:02}:{minutes % 60:02}:{seconds:02}")
        head.append("  Ctrl-C ends it", style="dim")
        if first:
            firsts = ", ".join(f"{what} {after_s:.1f} s" for what, after_s in sorted(first.items()))
            head.append(f"  first {firsts}", style="dim")
        return Group(head, Text(f" {_MEANING}", style="dim", no_wrap=True, overflow="ellipsis"))

    def _services(self, reports: Sequence[ChildReport]) -> Table:
        table = _table("service", "state", ">pid", ">restarts", ">memory", "listens on", "metrics")
        for report in reports:
            style = "green" if report.state is ChildState.READY else "bold red"
            metrics = report.metrics_url or "-"
            if self._console.width < _WIDE_COLUMNS:
                metrics = metrics.removeprefix("http://127.0.0.1")
            table.add_row(
                report.name,
                Text(report.state.value, style=style if report.state is not ChildState.STARTING else "yellow"),
                str(report.pid or "-"),
                Text(str(report.restarts), style="bold red" if report.restarts else ""),
                _memory_text(report.pid),
                report.address,
                metrics,
            )
        return table

    def _cameras(self, paces: Sequence[CameraPace]) -> Table:
        widths = self._widths(_CAMERA_WIDTHS, "camera", "skipped, and why")
        table = _table("camera", "state", ">sampled", ">encoded", ">latency", "skipped, and why", widths=widths)
        if not paces:
            table.add_row("-", "", "", "", "", "`tessera camera add NAME URL` adds one")
        for pace in paces:
            status = pace.camera.status
            if status is None:
                table.add_row(pace.camera.camera_id, "-", "", "", "", "")
                continue
            skipped = " ".join(f"{reason.value} {frames}" for reason, frames in status.skip_counts.items() if frames)
            table.add_row(
                pace.camera.camera_id,
                Text(status.state.value.lower(), style="green" if status.state in _GOOD_CAMERA else "bold red"),
                f"{pace.sampled_hz:.1f}/s",
                f"{pace.encoded_hz:.1f}/s",
                f"{status.latency_ms:.0f} ms" if status.latency_ms is not None else "-",
                status.detail or skipped or "0",
            )
        return table

    def _widths(self, fixed: Mapping[str, int], name: str, last: str) -> dict[str, int]:
        """Widths of all columns: the name is cut on a narrow terminal, and what has most to say gets the rest."""
        narrow = self._console.width < _WIDE_COLUMNS
        widths = {**fixed, name: _NARROW_NAME_WIDTH if narrow else _NAME_WIDTH}
        between = 2 * (len(widths) + 1)
        return {**widths, last: max(1, self._console.width - sum(widths.values()) - between)}

    def _decisions(self, events: Sequence[Event]) -> Table:
        widths = self._widths(_DECISION_WIDTHS, "camera", "who, or why not")
        table = _table("time", "camera", "decision", "who, or why not", ">frames", "at", ">took", widths=widths)
        for event in reversed(events):
            table.add_row(*_event_row(event))
        return table


def _table(*titles: str, widths: Mapping[str, int] | None = None) -> Table:
    """A table without lines; `>` before a title sets its column to the right."""
    table = Table(box=None, expand=False, padding=(0, 1), header_style="bold underline", title_justify="left")
    table.title = " "
    for title in titles:
        name = title.removeprefix(">")
        justify: Literal["left", "right"] = "left" if name == title else "right"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", width=(widths or {}).get(name))
    return table


def _event_row(event: Event) -> tuple[RenderableType, ...]:
    time = f"{event.event_time.astimezone():%H:%M:%S}"
    seen, change = event.sighting, event.camera_change
    if seen is None:
        return (time, event.camera_id, "CAMERA", f"{change.kind} {change.detail}" if change else "", "", "", "")
    outcome = seen.answer.outcome
    latency = f"{seen.capture_to_decision_ms:.0f} ms" if seen.capture_to_decision_ms is not None else "-"
    return (
        time,
        event.camera_id,
        Text(TITLES[outcome], style=_OUTCOME_STYLES[outcome]),
        "nobody known" if outcome is Outcome.UNKNOWN else whom_text(event),
        str(seen.frame_count),
        target_text(seen.answer.threshold),
        latency,
    )


def _memory_text(pid: int) -> str:
    """Resident memory of a process and its children."""
    held = memory_bytes(pid) if pid else 0
    return f"{held / 2**20:.0f} MB" if held else "-"
