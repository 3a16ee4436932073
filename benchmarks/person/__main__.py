"""Persons against what was asked of them.

    TESSERA_DATA=DIR make bench-person                 # everything
    TESSERA_DATA=DIR make bench-person ARGS="shifts"   # one part

Parts that need the data are left out without TESSERA_DATA (docs/evaluation.md), and that is said under the table. The
figures of parts that were not run stay in docs/results/person.json as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace

from benchmarks.figures import Figure, keep_part, report
from benchmarks.person import camera_shift, detection, relinking, speed, together, two_cameras
from benchmarks.person.plan import COMMAND, Context, Part

PARTS: dict[str, Part] = {
    "shifts": Part(camera_shift.run),
    "relinking": Part(relinking.run),
    "detection": Part(detection.run),
    "speed": Part(speed.run),
    "together": Part(together.run),
    "two-cameras": Part(two_cameras.run),
}


def main() -> int:
    """Measure, print, write docs/results/person.json, part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="less; nothing is kept")
    arguments = parser.parse_args()
    context, figures = Context(arguments.quick), list[Figure]()
    for name in dict.fromkeys(arguments.parts or PARTS):
        figures += run(name, PARTS[name], context)
    return report("person", figures, context.notes, keep=False)


def run(name: str, part: Part, context: Context) -> list[Figure]:
    """One part; its figures are kept unless the run is a quick one."""
    if part.needs_data and not os.environ.get("TESSERA_DATA"):
        context.note(f"{name}: TESSERA_DATA is not set (docs/evaluation.md); its figures are left out.")
        return []
    started_s = time.monotonic()
    data = "TESSERA_DATA=DIR " if part.needs_data else ""
    figures = [replace(one, command=f'{data}{COMMAND} ARGS="{name}"') for one in part.run(context)]
    sys.stderr.write(f"{name}: {time.monotonic() - started_s:.0f} s\n")
    if not context.quick and figures:
        keep_part("person", figures)
    return figures


if __name__ == "__main__":
    sys.exit(main())
