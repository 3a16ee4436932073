"""How a run goes, as people watch it: a bar for the epochs, one for the steps, a line for each epoch that is done."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from siamese_lab.training.loop import EpochFacts


class ProgressView:
    """Bars on a terminal; where there is none, a line for each epoch.

    Args:
        console: where it is shown.
        title: of the run.
        epochs: how many there can be.
        done: how many there were before.
    """

    def __init__(self, console: Console, title: str, epochs: int, done: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._epochs = self._progress.add_task(title, total=epochs, completed=done)
        self._steps = self._progress.add_task("  steps", total=None)

    def __enter__(self) -> ProgressView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, done: int, total: int) -> None:
        """A step is done."""
        self._progress.update(self._steps, completed=done, total=total)

    def epoch(self, facts: EpochFacts) -> None:
        """An epoch is done."""
        self._progress.update(self._epochs, completed=facts.epoch)
        self._progress.console.print(epoch_line(facts), highlight=False)


def epoch_line(facts: EpochFacts) -> str:
    """An epoch in one line."""
    parts = [f"epoch {facts.epoch:>4}", f"loss {facts.training_loss:.4f}"]
    if facts.training_accuracy is not None:
        parts.append(f"pairs right {facts.training_accuracy:.4f}")
    if facts.validation_accuracy is not None:
        parts.append(f"validation {facts.validation_accuracy:.4f}")
    return "  ".join([*parts, f"rate {facts.learning_rate:.2e}", f"{facts.seconds:.1f} s"])
