"""The gallery's store and index against what was asked of them.

    make bench-gallery                                      # everything, about 40 minutes
    make bench-gallery ARGS="identify cold-load"            # some of it; the other figures in the file stay as they are
    make bench-gallery ARGS="--missing faults"              # a group, without the parts that this commit has figures of
    make bench-gallery ARGS="--quick enrol"                 # for work on the benchmark itself; writes no result file
    make bench-gallery ARGS="--server-cores 0,1 identify"   # gallery, store and bare index there, callers elsewhere

LFW in `float16` needs TESSERA_DATA, `ten-million` 12 GB of free memory; what is left out is said under the table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from benchmarks.figures import COMMIT, RESULTS, keep_part, report
from benchmarks.gallery.cold_load import cold_load
from benchmarks.gallery.enrol import enrol
from benchmarks.gallery.faults import CANARY, FAULTS, congruence, prove
from benchmarks.gallery.float16 import float16
from benchmarks.gallery.identify import identify
from benchmarks.gallery.memory import memory
from benchmarks.gallery.milvus import measure
from benchmarks.gallery.oracle import oracle
from benchmarks.gallery.plan import COMMAND, Plan, Story
from benchmarks.gallery.search import search
from benchmarks.gallery.ten_million import ten_million
from benchmarks.gallery.vector_sets import vector_sets
from benchmarks.gallery.verify import verify

SCENARIOS: dict[str, Callable[[Plan], Story]] = {
    "search": search,
    "oracle": oracle,
    "memory": memory,
    "ten-million": ten_million,
    "vector-sets": vector_sets,
    "identify": identify,
    "verify": verify,
    "cold-load": cold_load,
    "enrol": enrol,
    "float16": float16,
    "milvus": lambda plan: Story(list(measure(plan.count(10_000, 1000), plan.count(100, 16)))),
    **{name: partial(prove, suite) for name, suite in FAULTS.items()},
    "congruence": congruence,
    "canary": partial(prove, CANARY),
}
GROUPS = {"faults": tuple(FAULTS)}
"""Scenarios that have a name together; each keeps its figures as soon as it has them."""


def main() -> int:
    """Measure, print, write docs/results/gallery.json, scenario by scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, *GROUPS, []], help="default: all")
    parser.add_argument("--missing", action="store_true", help="leave out what this very commit has figures of")
    parser.add_argument("--quick", action="store_true", help="short; nothing is kept")
    parser.add_argument("--server-cores", type=cores, default=frozenset(), help="such as 0,1; default: all share all")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _unwind)
    plan = plan_of(arguments.server_cores, quick=arguments.quick)
    whole = Story()
    for name in asked(arguments.scenarios):
        if arguments.missing and is_kept(command_of(name, plan)):
            print(f"{name}: kept", file=sys.stderr)
            continue
        started_s = time.monotonic()
        story = SCENARIOS[name](plan)
        print(f"{name}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)
        told = [replace(figure, command=command_of(name, plan)) for figure in story.figures]
        if told and not plan.quick:
            keep_part("gallery", told)
        whole.figures += told
        whole.notes += story.notes
    return report("gallery", whole.figures, whole.notes, keep=False)


def asked(names: Sequence[str]) -> list[str]:
    """Scenarios by their names and those of groups, each once; all where none is named."""
    parts = (part for name in names or SCENARIOS for part in GROUPS.get(name, (name,)))
    return list(dict.fromkeys(parts))


def is_kept(command: str, path: Path = RESULTS / "gallery.json", commit: str = COMMIT) -> bool:
    """Whether a command's figures of this commit are in the file; a tree that differs from its commit has none."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return "+" not in commit and any((row["command"], row["commit"]) == (command, commit) for row in rows)


def plan_of(server_cores: frozenset[int], *, quick: bool) -> Plan:
    """Those who call have the processors that are left; all of them where none are taken away."""
    return Plan(quick, server_cores, frozenset(os.sched_getaffinity(0)) - server_cores)


def command_of(name: str, plan: Plan) -> str:
    """What measures this scenario again, in this way; figures of other ways stay beside its own."""
    pinned = f"--server-cores {','.join(map(str, sorted(plan.server_cores)))} " if plan.server_cores else ""
    return f'{COMMAND} ARGS="{pinned}{name}"'


def cores(told: str) -> frozenset[int]:
    """Processors by their numbers.

    Raises:
        argparse.ArgumentTypeError: one of them is not ours, or none is left for those who call.
    """
    ours = os.sched_getaffinity(0)
    asked = frozenset(int(part) for part in told.split(",") if part.strip().isdigit())
    if not asked or not asked < ours:
        raise argparse.ArgumentTypeError(f"some of {sorted(ours)}, and not all of them")
    return asked


def _unwind(number: int, _: FrameType | None) -> None:
    """End as on Ctrl-C, so that servers in process groups of their own are ended too; once, however often it comes."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
