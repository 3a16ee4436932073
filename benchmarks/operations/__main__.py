"""Operations against what was asked of them.

    make bench-operations                       # everything, some minutes
    make bench-operations ARGS="images"         # some of it; the other figures in the file stay as they are
    make bench-operations ARGS="--quick images" # for work on the benchmark itself; writes no result file

A part is a module with `run(context) -> list[Figure]`. It joins `PARTS` under its name, and makes its figures with
`context.figure`, which says how each is measured again.
"""

from __future__ import annotations

import sys

from benchmarks.operations import encoders, images, paging, plan, restarts, simulation, watching_costs
from benchmarks.parts import Part, run_parts

PARTS: dict[str, Part] = {
    "images": images.run,
    "restarts": restarts.run,
    "encoders": encoders.run,
    "plan": plan.run,
    "simulation": simulation.run,
    "paging": paging.run,
    "watching": watching_costs.run,
}


if __name__ == "__main__":
    sys.exit(run_parts("operations", PARTS, __doc__))
