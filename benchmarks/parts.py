"""A benchmark of several parts: what each is handed, and how those that are asked for are run, printed and kept.

A part is a function from its context to its figures. The other figures in the file stay as they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figures import Figure, keep_part, report


@dataclass(frozen=True, slots=True)
class Context:
    """How long to measure, and the words for what came of it."""

    benchmark: str
    """Its name: of its make target, and of its file of results."""
    part: str
    """Which part asks; with the benchmark it says how a figure is measured again."""
    quick: bool = False
    """For work on the benchmark itself: short, and nothing is kept."""

    def count(self, whole: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole

    def seconds(self, whole: float, quick: float) -> float:
        """One of two durations."""
        return quick if self.quick else whole

    def figure(self, name: str, value: float | str, unit: str, bar: str = "", *, holds: bool | None = None) -> Figure:
        """One measured number.

        Args:
            name: what it is.
            value: the number.
            unit: its unit.
            bar: what was asked for, in words.
            holds: whether it is; None: nothing was asked for.
        """
        return Figure(name, value, unit, bar, holds, f'make bench-{self.benchmark} ARGS="{self.part}"')


Part = Callable[[Context], list[Figure]]


def run_parts(benchmark: str, parts: Mapping[str, Part], description: str | None) -> int:
    """Measure what the command line asks for, print it, and keep it in docs/results, part by part.

    Args:
        benchmark: its name.
        parts: by name, in the order in which they are run.
        description: for `--help`.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="short; nothing is kept")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for name in arguments.parts or parts:
        started_s = time.monotonic()
        told = parts[name](Context(benchmark, name, arguments.quick))
        sys.stderr.write(f"{name}: {time.monotonic() - started_s:.0f} s\n")
        if not arguments.quick:
            keep_part(benchmark, told)
        figures += told
    return report(benchmark, figures, [], keep=False)
