"""The encoder service against what was asked of it.

    make bench-encoder                                    # everything, about 45 minutes
    make bench-encoder ARGS="saturated overload"          # some of it; the other figures in the file stay as they are
    make bench-encoder ARGS="--quick staleness"           # for work on the benchmark itself; writes no result file

`lfw` needs TESSERA_DATA, `gpu` a CUDA device; what is left out is said under the table.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

from benchmarks.encoder.cancellations import cancellations
from benchmarks.encoder.drain import drain
from benchmarks.encoder.lfw import lfw
from benchmarks.encoder.malformed_pictures import malformed
from benchmarks.encoder.overload import overload
from benchmarks.encoder.peers_race import peers
from benchmarks.encoder.plan import COMMAND, Plan, Story
from benchmarks.encoder.runtime import settle_runtime
from benchmarks.encoder.saturated import on_a_gpu, saturated
from benchmarks.encoder.staleness import staleness
from benchmarks.figures import keep_part, report

SCENARIOS: dict[str, Callable[[Plan], Story]] = {
    "saturated": saturated,
    "overload": overload,
    "peers": peers,
    "cancellations": cancellations,
    "malformed": malformed,
    "drain": drain,
    "lfw": lfw,
    "gpu": on_a_gpu,
    "staleness": staleness,
}


def main() -> int:
    """Measure, print, write docs/results/encoder.json, scenario by scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="short; nothing is kept")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the service under test")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _unwind)
    plan = Plan(arguments.quick, arguments.device)
    whole = settle_runtime(plan)
    for name in arguments.scenarios or SCENARIOS:
        started_s = time.monotonic()
        story = SCENARIOS[name](plan)
        print(f"{name}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)
        told = [replace(figure, command=f'{COMMAND} ARGS="{name}"') for figure in story.figures]
        if told and not arguments.quick:
            keep_part("encoder", told)
        whole.figures += told
        whole.notes += story.notes
    return report("encoder", whole.figures, whole.notes, keep=False)


def _unwind(number: int, _: FrameType | None) -> None:
    """End as on Ctrl-C, so that servers in process groups of their own are ended too; once, however often it comes."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
