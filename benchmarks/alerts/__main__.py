"""Alerts against what was asked of them.

    make bench-alerts                        # everything, some minutes
    make bench-alerts ARGS="judge flood"     # some of it; the other figures in the file stay as they are
    make bench-alerts ARGS="--quick judge"   # for work on the benchmark itself; writes no result file

A part is a module with `run(context) -> list[Figure]`. It joins `PARTS` under its name, and makes its figures with
`context.figure`, which says how each is measured again.
"""

from __future__ import annotations

import sys

from benchmarks.alerts import flood, gallery_path, judge, latency, outbox
from benchmarks.parts import Part, run_parts

PARTS: dict[str, Part] = {
    "judge": judge.run,
    "gallery-path": gallery_path.run,
    "flood": flood.run,
    "outbox": outbox.run,
    "latency": latency.run,
}


if __name__ == "__main__":
    sys.exit(run_parts("alerts", PARTS, __doc__))
