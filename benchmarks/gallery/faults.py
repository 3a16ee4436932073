"""What suites of tests prove, as figures: faults, the canary after an erasure, and the store on each kind of server.

The tests run as they are, by pytest in processes of their own; here they are only counted. What a test counted itself
(cuts, kills, writes that were lost) it writes into the file that TESSERA_CHAOS_RESULT names.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from benchmarks.figures import ROOT
from benchmarks.gallery.plan import Plan, Story, read_told

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
_KIND = re.compile(r"\[([a-z]+[0-9]?)\b")
_LIMIT_S = 7200.0


@dataclass(slots=True)
class Outcomes:
    """What became of the tests of a suite."""

    by_test: list[tuple[str, str, str]] = field(default_factory=list)
    """(module, test, PASSED or FAILED or SKIPPED)."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why tests were skipped."""
    ended_well: bool = True
    """What pytest itself said."""

    def count(self, outcome: str) -> int:
        """How many ended so."""
        return sum(ended == outcome for _, _, ended in self.by_test)

    def by_kind(self) -> dict[str, Counter[str]]:
        """Outcomes by the first parameter of a test: the kind of server. Tests without one are left out."""
        kinds: dict[str, Counter[str]] = {}
        for _, test, ended in self.by_test:
            if found := _KIND.search(test):
                kinds.setdefault(found[1], Counter())[ended] += 1
        return kinds

    def by_promise(self) -> dict[str, Counter[str]]:
        """Outcomes by what a test says that it holds, without its parameters."""
        promises: dict[str, Counter[str]] = {}
        for _, test, ended in self.by_test:
            promise = test.partition("[")[0].removeprefix("test_").replace("_", " ")
            promises.setdefault(promise, Counter())[ended] += 1
        return promises


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that prove one thing together; none takes more than ten minutes on two cores, however much it tries."""

    name: str
    """What stands before its figures."""
    chosen: tuple[str, ...]
    """Arguments of pytest."""
    workers: int = 1
    """Processes that share the tests."""
    each: bool = False
    """Whether each test is a figure: what it holds is its name."""


def _cuts() -> dict[str, Suite]:
    """A suite for each operation on each kind of server, and one for what has no operation."""
    name, file, operations = "cuts at every byte", "tests/chaos/test_aof_cut.py", ("enroll", "update", "erase")
    each = {
        f"cuts-{kind}-{operation}": Suite(name, (file, "-k", f"{kind} and {operation}"))
        for kind in ("valkey", "redis7", "redis8")
        for operation in operations
    }
    return {**each, "cuts-others": Suite("cuts", (file, "-k", f"not ({' or '.join(operations)})"))}


FAULTS: dict[str, Suite] = {
    "kills": Suite("kills", ("tests/chaos/test_kill.py",)),
    "failovers": Suite("failovers", ("tests/chaos/test_failover.py",)),
    "histories": Suite("histories", ("tests/chaos/test_rollback.py",), each=True),
    "state-machine": Suite("state machine", ("tests/stateful",), workers=2),
    **_cuts(),
}
"""Files cut in mid-write, servers killed, paused and rolled back: what `faults` is made of."""

CANARY = Suite("canary", ("tests/chaos/test_canary.py",))
"""Whether what was erased is anywhere."""


def prove(suite: Suite, plan: Plan) -> Story:
    """Run a suite, and tell its figures, what passed, and what failed or was skipped."""
    story = Story()
    outcomes, told = run_tests(
        [*suite.chosen, *(["-n", str(suite.workers)] if suite.workers > 1 else [])],
        {"TESSERA_CHAOS": "some" if plan.quick else "full"},
    )
    for each in told:
        story.add(f"{suite.name}: {each['name']}", each["value"], each["unit"], each.get("bar", ""), each.get("holds"))
    for promise, counts in sorted(outcomes.by_promise().items()) if suite.each else ():
        tried, passed = counts.total(), counts[PASSED]
        story.add(f"{suite.name}: {promise}", passed, f"of {tried} tests", "all", passed == tried)
    passed, failed = outcomes.count(PASSED), outcomes.count(FAILED)
    story.add(f"{suite.name}: tests that pass", passed, f"of {passed + failed}", "all", passed > 0 and failed == 0)
    _tell_rest(story, suite.name, outcomes)
    return story


def congruence(plan: Plan) -> Story:
    """The suite that every store passes, counted by kind of server."""
    story = Story()
    chosen = ["tests/congruence", *(["-k", "memory or valkey"] if plan.quick else [])]
    outcomes, told = run_tests(chosen, {})
    for kind, counts in sorted(outcomes.by_kind().items()):
        passed, failed = counts[PASSED], counts[FAILED]
        holds = passed > 0 and failed == 0
        story.add(f"congruence: tests that pass on {kind}", passed, f"of {passed + failed}", "all", holds)
    for each in told:
        story.add(f"congruence: {each['name']}", each["value"], each["unit"], each.get("bar", ""), each.get("holds"))
    _tell_rest(story, "congruence", outcomes)
    return story


def _tell_rest(story: Story, name: str, outcomes: Outcomes) -> None:
    story.add(f"{name}: tests that were skipped", outcomes.count(SKIPPED), "tests")
    for reason, count in sorted(outcomes.reasons.items()):
        story.note(f"{name}: skipped {count}: {reason}")
    for module, test, ended in outcomes.by_test:
        if ended == FAILED:
            story.note(f"{name}: FAILED {module}::{test}")
    if not outcomes.ended_well and not outcomes.count(FAILED):
        story.add(f"{name}: pytest itself", "failed", "", "passes", holds=False)


def run_tests(chosen: Sequence[str], environ: Mapping[str, str]) -> tuple[Outcomes, list[dict[str, Any]]]:
    """Run tests and count them.

    Args:
        chosen: arguments of pytest.
        environ: on top of ours.

    Returns:
        (outcomes, told): what became of them, and the figures that they told.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, result = Path(folder) / "junit.xml", Path(folder) / "result.json"
        ours = {**os.environ, **environ, "TESSERA_CHAOS_RESULT": str(result)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *chosen]
        done = subprocess.run(command, cwd=ROOT, env=ours, stdout=subprocess.DEVNULL, timeout=_LIMIT_S, check=False)
        if not report.is_file():
            return Outcomes(ended_well=False), read_told(result)
        return read_outcomes(report, ended_well=done.returncode == 0), read_told(result)


def read_outcomes(report: Path, *, ended_well: bool) -> Outcomes:
    """What a JUnit file of pytest says."""
    outcomes = Outcomes(ended_well=ended_well)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            ended = FAILED
        elif skipped is not None:
            ended = SKIPPED
            outcomes.reasons[skipped.get("message", "")] += 1
        else:
            ended = PASSED
        outcomes.by_test.append((case.get("classname", ""), case.get("name", ""), ended))
    return outcomes
