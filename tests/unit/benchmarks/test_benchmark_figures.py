"""What benchmarks compute and write themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import Figure, report
from benchmarks.first_light import quantile

COUNTS = {0.1: 50.0, 0.2: 90.0, 0.5: 100.0, float("inf"): 100.0}


@pytest.mark.parametrize(("share", "value"), [(0.25, 0.05), (0.5, 0.1), (0.7, 0.15), (0.95, 0.35)])
def test_a_quantile_is_linear_within_its_bucket(share: float, value: float) -> None:
    """By hand: half of the observations are below 0.1, and the 95th lies half way between 0.2 and 0.5."""
    assert quantile(COUNTS, share) == pytest.approx(value)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    """As in Prometheus: nothing is known beyond it, so the answer is a lower bound."""
    assert quantile({0.5: 1.0, float("inf"): 10.0}, 0.95) == 0.5


def test_a_bar_that_fails_is_an_exit_code_and_stands_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure is written with machine and commit, whether it holds or not."""
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    rows = [Figure("good", 1.0, "s", "under 2", True, "make x"), Figure("bad", 3.0, "s", "under 2", False, "make x")]
    assert report("example", rows, []) == 1
    written = json.loads((tmp_path / "example.json").read_text())
    assert [(row["figure"], row["holds"]) for row in written] == [("good", True), ("bad", False)]
    assert all(row["machine"] and row["commit"] for row in written)
