"""Operations against what was asked of them.

    make bench-operations                       # everything, some minutes
    make bench-operations ARGS="images"         # some of it; the other figures in the file stay as they are
    make bench-operations ARGS="--quick images" # for work on the benchmark itself; writes no result file

A part is a module with `run(context) -> list[Figure]`. It joins `PARTS` under its name, and makes its figures with
`context.figure`, which says how each is measured again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks.figures import Figure, keep_part, report
from benchmarks.operations import encoders, images, paging, plan, restarts, simulation, watching_costs
from benchmarks.operations.context import Context

PARTS: dict[str, Callable[[Context], list[Figure]]] = {
    "images": images.run,
    "restarts": restarts.run,
    "encoders": encoders.run,
    "plan": plan.run,
    "simulation": simulation.run,
    "paging": paging.run,
    "watching": watching_costs.run,
}


def main() -> int:
    """Measure, print, write docs/results/operations.json, part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="short; nothing is kept")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for name in arguments.parts or PARTS:
        started_s = time.monotonic()
        told = PARTS[name](Context(name, arguments.quick))
        print(f"{name}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)
        if not arguments.quick:
            keep_part("operations", told)
        figures += told
    return report("operations", figures, [], keep=False)


if __name__ == "__main__":
    sys.exit(main())
