"""Cameras against what was asked of them.

    TESSERA_DATA=DIR CAMERAS_MINUTES=15 make bench-cameras     # everything, at its whole length
    make bench-cameras ARGS="fleet"                            # one part, short: printed, and kept only where the
                                                               # part has no length of its own
    make bench-cameras ARGS="--quick fleet"                    # for work on the benchmark itself; nothing is kept

Parts that need the clips are left out without TESSERA_DATA (docs/evaluation.md), and that is said under the table. The
figures of parts that were not run stay in docs/results/cameras.json as they are.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from types import FrameType

from benchmarks.cameras import fleet, linking, loop, takeover, tamper, tracking, tracklets, unplug
from benchmarks.cameras.plan import Context, Part, command_of, is_kept, minutes_of
from benchmarks.figures import Figure, keep_part, report

PARTS: dict[str, Part] = {
    "fleet": Part(fleet.run, minutes=15.0),
    "loop": Part(loop.run, needs_clips=True),
    "tracklets": Part(tracklets.run, needs_clips=True),
    "tracking": Part(tracking.run, needs_clips=True),
    "linking": Part(linking.run, needs_clips=True),
    "unplug": Part(unplug.run),
    "takeover": Part(takeover.run),
    "tamper": Part(tamper.run, needs_clips=True, minutes=15.0),
}


def main() -> int:
    """Measure, print, write docs/results/cameras.json, part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="short; nothing is kept")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _unwind)
    figures: list[Figure] = []
    notes: list[str] = []
    for name in dict.fromkeys(arguments.parts or PARTS):
        measured, told = run(name, PARTS[name], quick=arguments.quick)
        figures += measured
        notes += told
    return report("cameras", figures, notes, keep=False)


def run(name: str, part: Part, *, quick: bool) -> tuple[list[Figure], list[str]]:
    """One part; its figures, kept where they are to be kept, and its notes."""
    if part.needs_clips and not os.environ.get("TESSERA_DATA"):
        return [], [f"{name}: TESSERA_DATA is not set (docs/evaluation.md); its figures are left out."]
    minutes = minutes_of(part)
    context = Context(quick, 20.0 if quick else 60.0 * minutes)
    started_s = time.monotonic()
    figures = [replace(one, command=command_of(name, part)) for one in part.run(context)]
    print(f"{name}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    if is_kept(part, minutes, quick=quick) and figures:
        keep_part("cameras", figures)
    elif part.minutes is not None and not quick:
        context.note(f"{name}: {minutes:g} minutes instead of {part.minutes:g}; its figures are not kept.")
    return figures, context.notes


def _unwind(number: int, _: FrameType | None) -> None:
    """End as on Ctrl-C, so that processes in groups of their own are ended too; once, however often it comes."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
