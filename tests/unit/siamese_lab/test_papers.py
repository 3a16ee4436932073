"""The table of the papers: every number that issue 6 states, and ours out of run folders alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from siamese_lab.networks import build
from siamese_lab.papers import collect, papers_json, papers_page, spread, stated
from siamese_lab.speed import compare
from siamese_lab.training.recipe_files import load_study
from siamese_lab.training.run_folder import RunFolder


def _judged(root: Path, name: str, variant: str, seed: int, accuracy: float) -> None:
    run = RunFolder.begin(root, load_study(name).variant(variant), seed)
    estimate = {"value": accuracy, "interval": {"low": 0.0, "high": 1.0}}
    at = [{"k": 5, "precision": estimate, "hit": estimate}]
    figures: dict[str, Any] = {
        "training": {"training_accuracy": accuracy, "seconds_an_epoch": 30.0},
        "pairs": {"accuracy": {"value": accuracy - 0.01}, "eer": {"value": 0.02}},
        "head": {"accuracy": estimate},
        "searches": {"at": at},
        "searches_within": {"at": at},
    }
    run.write_json("figures.json", figures)
    run.write_json("environment.json", [{"device": "cpu", "threads": 1, "commit": "0123456789abcdef"}])


def test_every_number_of_the_papers_is_there() -> None:
    """With a recipe that ships, and with what shall beat it."""
    theirs = [one.theirs for one in stated()]
    for number in (0.9911, 0.9165, 0.8164, 0.9975, 0.9995, 0.9810, 0.9993, 0.9983, 0.9972, 0.8180, 0.9300):
        assert number in theirs
    for one in stated():
        load_study(one.recipe).variant(one.variant)
        if one.best:
            load_study(one.best).variant("")
    assert {0.998, 0.97, 0.96, 0.999, 0.94, 0.98} == {one.aim for one in stated() if one.aim}


def test_a_table_without_runs_says_so(tmp_path: Path) -> None:
    """Dashes, and nothing that could be taken for a figure."""
    page = papers_page(tmp_path)
    assert "| SN-LeNet-5 | pair accuracy, MNIST | 99.11 % | - | - | - |" in page
    assert papers_json(tmp_path) == []


def test_runs_fill_the_table(tmp_path: Path) -> None:
    """Mean and deviation over seeds, whether the paper's number is reached, and the other reading."""
    for seed, accuracy in enumerate((0.990, 0.992, 0.994)):
        _judged(tmp_path, "sn-lenet5-mnist", "", seed, accuracy)
    _judged(tmp_path, "conv-grid", "cell-3-16-3", 0, 0.98)
    for seed in (0, 1, 2):
        _judged(tmp_path, "ablation-optimisers", "fashion-adam", seed, 0.9 + seed / 100)
    (tmp_path / "speed.json").write_text(
        json.dumps({"readings": [{"reading": "both alike", "siamese_s": 1.0, "plain_s": 4.0}], "pictures": 10_000,
                    "machine": "here"})
    )  # fmt: skip
    page = papers_page(tmp_path)
    assert "| 99.11 % | 99.20 +- 0.20 % (3 seeds) | yes |" in page
    assert "at the threshold of validation pairs | 98.20 +- 0.20 %" in page
    assert "| 3/16/3 | 98.00 % (one seed) | 30.0 |" in page
    assert "| fashion | adam | 91.00 % [88.52 %, 93.48 %] | 2.00 % |" in page
    assert "| both alike | 1.000 | 4.000 | 0.250 |" in page
    rows = {row["figure"]: row for row in papers_json(tmp_path)}
    mnist = rows["SN-LeNet-5: pair accuracy, MNIST"]
    assert (mnist["value"], mnist["runs"], mnist["holds"]) == (pytest.approx(0.992), 3, True)
    assert mnist["commit"] == "0123456789ab"
    assert rows["grid of convolutions: pair accuracy, 3/16/3"]["holds"] is False


def test_runs_that_were_not_judged_are_left_out(tmp_path: Path) -> None:
    """A folder alone is no figure."""
    RunFolder.begin(tmp_path, load_study("sn-lenet5-mnist").recipes[0], 0)
    assert collect(tmp_path) == {}
    assert spread([]) is None


def test_times_are_taken_of_both_in_turns() -> None:
    """Two readings; batches are not slower than one at a time."""
    torch.set_num_threads(1)
    networks = [build(name, (1, 28, 28), {}).eval() for name in ("lenet5", "lenet5-classifier")]
    readings = compare(networks[0], networks[1], torch.rand(256, 1, 28, 28), rounds=3)
    assert len(readings) == 2
    assert all(one.siamese_s > 0.0 and one.plain_s > 0.0 for one in readings)
    assert readings[1].siamese_s < readings[1].plain_s
