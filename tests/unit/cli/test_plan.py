"""`tessera plan`: what it prints, and costs that are somebody's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tessera.cli.__main__ import main
from tessera.cli.plan import read_costs
from tessera.domain.capacity import Costs

COSTS = Costs("a machine of mine", 0.03, 0.02, 0.01, 0.005, 0.002, 0.004, 0.0005, 0.05, 5e-9, 0.0001)
ASKED = ("plan", "--cameras", "200", "--fps", "5", "--subjects", "1e6")


@pytest.fixture
def costs_file(tmp_path: Path) -> Path:
    """Costs in a file."""
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(asdict(COSTS)), encoding="utf-8")
    return path


def test_the_costs_of_the_release_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing but the demand it tells each service, the cores to have and where its costs were measured."""
    assert main(list(ASKED)) == 0
    page = capsys.readouterr().out
    assert "1,000,000 templates" in page
    for service in ("encoder", "gallery", "ingest", "gateway", "store"):
        assert f"\n{service}" in page
    assert read_costs().machine in page


def test_costs_of_ones_own_are_taken(costs_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another machine's costs give another plan, which names it; in JSON the numbers are those of the costs."""
    assert main([*ASKED, "--costs", str(costs_file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["costs"]["machine"] == "a machine of mine"
    assert told["plan"]["needs"]["encoder"]["busy_cores"] == pytest.approx(36.0)


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"machine": "x"}'])
def test_a_file_that_holds_no_costs_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, and the file is named."""
    path = tmp_path / "wrong.json"
    path.write_text(text, encoding="utf-8")
    assert main([*ASKED, "--costs", str(path)]) == 3
    assert "wrong.json" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["many", "-1", "1.5"])
def test_a_count_is_a_whole_number(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`1e6` is one; these are none."""
    assert main(["plan", "--cameras", "1", "--subjects", count]) == 3
    assert "whole number" in capsys.readouterr().err
