"""Thresholds and decisions against what was asked of them.

    TESSERA_DATA=DIR make bench-decisions                      # everything
    TESSERA_DATA=DIR make bench-decisions ARGS="coverage fpir" # some of it; other figures in the file stay as they are
    make bench-decisions ARGS="--quick coverage"               # for work on the benchmark itself; writes no result file

What needs LFW is left out without TESSERA_DATA (docs/evaluation.md), and that is said under the table. The first run
embeds all of LFW, which takes some minutes, and keeps the embeddings under build/decisions.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.decisions.coverage import coverage
from benchmarks.decisions.data import has_data
from benchmarks.decisions.fpir import fpir
from benchmarks.decisions.fusion import fusion
from benchmarks.decisions.groups import groups
from benchmarks.decisions.integrity import integrity
from benchmarks.decisions.joint import joint
from benchmarks.decisions.normalisation import normalisation
from benchmarks.decisions.plan import COMMAND, Plan, Story
from benchmarks.decisions.report import calibration_report
from benchmarks.decisions.templates import templates
from benchmarks.decisions.verify_time import verify_time
from benchmarks.figures import keep_part, report

SCENARIOS: dict[str, Callable[[Plan], Story]] = {
    "coverage": coverage,
    "fpir": fpir,
    "groups": groups,
    "report": calibration_report,
    "fusion": fusion,
    "templates": templates,
    "normalisation": normalisation,
    "joint": joint,
    "integrity": integrity,
    "verify-time": verify_time,
}
NEED_LFW = frozenset({"coverage", "fpir", "report", "fusion", "templates", "normalisation", "integrity"})


def main() -> int:
    """Measure, print, write docs/results/decisions.json, scenario by scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="short; nothing is kept")
    arguments = parser.parse_args()
    plan, whole = Plan(arguments.quick), Story()
    for name in dict.fromkeys(arguments.scenarios or SCENARIOS):
        story = run(name, plan)
        if story.figures and not plan.quick:
            keep_part("decisions", story.figures)
        whole.figures += story.figures
        whole.notes += story.notes
    return report("decisions", whole.figures, whole.notes, keep=False)


def run(name: str, plan: Plan) -> Story:
    """One scenario, with the command that measures it again."""
    if name in NEED_LFW and not has_data():
        return Story(notes=[f"{name}: TESSERA_DATA is not set (docs/evaluation.md); its figures are left out."])
    started_s = time.monotonic()
    story = SCENARIOS[name](plan)
    print(f"{name}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    command = f'TESSERA_DATA=DIR {COMMAND} ARGS="{name}"' if name in NEED_LFW else f'{COMMAND} ARGS="{name}"'
    return Story([replace(figure, command=command) for figure in story.figures], story.notes)


if __name__ == "__main__":
    sys.exit(main())
