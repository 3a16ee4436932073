"""The table of the papers: every number that issue 6 states, and ours out of the ledger of runs alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from siamese_lab.ledger import LEDGER_FILE, Ledger, read_ledger
from siamese_lab.networks import build
from siamese_lab.papers import papers_json, papers_page, spread, stated
from siamese_lab.speed import compare
from siamese_lab.training.recipe_files import changed, load_study
from siamese_lab.training.run_folder import RunFolder
from tessera.domain.errors import ArtifactError


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


def test_a_table_without_runs_says_so() -> None:
    """Dashes, and nothing that could be taken for a figure."""
    page = papers_page(Ledger())
    assert "| SN-LeNet-5 | pair accuracy, MNIST | 99.11 % | - | - | - |" in page
    assert papers_json(Ledger()) == []


def test_runs_fill_the_table(tmp_path: Path) -> None:
    """Mean and deviation over seeds, whether the paper's number is reached, and the other reading."""
    for seed, accuracy in enumerate((0.990, 0.992, 0.994)):
        _judged(tmp_path, "sn-lenet5-mnist", "", seed, accuracy)
    _judged(tmp_path, "conv-grid", "cell-3-16-3", 0, 0.98)
    for seed in (0, 1, 2):
        _judged(tmp_path, "ablation-optimisers", "fashion-adam", seed, 0.9 + seed / 100)
    (tmp_path / "speed.json").write_text(
        json.dumps({"readings": [{"reading": "both alike", "siamese_s": 1.0, "plain_s": 2.0},
                                 {"reading": "as served", "siamese_s": 1.0, "plain_s": 40.0}],
                    "pictures": 10_000, "machine": "here"})
    )  # fmt: skip
    ledger = Ledger().with_runs(tmp_path)
    page = papers_page(ledger)
    assert "| 99.11 % | 99.20 +- 0.20 % (3 seeds) | yes |" in page
    assert "at the threshold of validation pairs | 98.20 +- 0.20 %" in page
    assert "| 3/16/3 | 98.00 % (one seed) | 30.0 |" in page
    assert "| fashion | adam | 91.00 % [88.52 %, 93.48 %] | 2.00 % |" in page
    assert "| both alike | 1.000 | 2.000 | 0.500 |" in page
    rows = {row["figure"]: row for row in papers_json(ledger)}
    mnist = rows["SN-LeNet-5: pair accuracy, MNIST"]
    assert (mnist["value"], mnist["runs"], mnist["holds"]) == (pytest.approx(0.992), 3, True)
    assert mnist["commit"] == "0123456789ab"
    assert rows["grid of convolutions: pair accuracy, 3/16/3"]["holds"] is False
    speed = [row["holds"] for name, row in rows.items() if name.startswith("10,000 test pictures")]
    assert speed == [False, True]  # 0.5 against the paper's 0.43, 0.025 against 0.1


def test_runs_that_were_not_judged_are_left_out(tmp_path: Path) -> None:
    """A folder alone is no figure."""
    RunFolder.begin(tmp_path, load_study("sn-lenet5-mnist").recipes[0], 0)
    assert Ledger().with_runs(tmp_path).runs() == {}
    assert spread([]) is None


def test_the_ledger_outlives_the_run_folders(tmp_path: Path) -> None:
    """What was measured elsewhere stays; the same run made anew takes its place."""
    here, there, file = tmp_path / "here", tmp_path / "there", tmp_path / LEDGER_FILE
    _judged(there, "sn-lenet5-mnist", "", 0, 0.98)
    _judged(there, "sn-lenet5-mnist", "", 1, 0.99)
    first = read_ledger(file).with_runs(there)
    file.write_text(first.text())
    assert read_ledger(file) == first
    _judged(here, "sn-lenet5-mnist", "", 1, 0.97)
    second = read_ledger(file).with_runs(here)
    assert [(entry["seed"], entry["figures"]["head"]["accuracy"]["value"]) for entry in second.entries] == [
        (0, 0.98),
        (1, 0.97),
    ]
    assert papers_page(second) == papers_page(second.with_runs(tmp_path / "nowhere"))


def test_runs_of_another_recipe_do_not_count(tmp_path: Path) -> None:
    """A trial with fewer epochs, and a run from before the recipe was changed, are left out of the ledger."""
    trial = changed(load_study("sn-lenet5-mnist").recipes[0], {"training": {"epochs": 1}})
    RunFolder.begin(tmp_path, trial, 0).write_json("figures.json", {"head": {"accuracy": {"value": 1.0}}})
    assert Ledger().with_runs(tmp_path).entries == ()
    _judged(tmp_path, "sn-lenet5-mnist", "", 1, 0.99)
    kept = Ledger().with_runs(tmp_path)
    file = tmp_path / LEDGER_FILE
    file.write_text(kept.text().replace(kept.entries[0]["digest"], "0" * 64))
    assert len(kept.entries) == 1
    assert read_ledger(file).entries == ()


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    """Nothing is written over a file that cannot be read."""
    file = tmp_path / LEDGER_FILE
    file.write_text('{"runs": [')
    with pytest.raises(ArtifactError, match=LEDGER_FILE):
        read_ledger(file)


def test_times_are_taken_of_both_in_turns() -> None:
    """Two readings; batches are not slower than one at a time."""
    torch.set_num_threads(1)
    networks = [build(name, (1, 28, 28), {}).eval() for name in ("lenet5", "lenet5-classifier")]
    readings = compare(networks[0], networks[1], torch.rand(256, 1, 28, 28), rounds=3)
    assert len(readings) == 2
    assert all(one.siamese_s > 0.0 and one.plain_s > 0.0 for one in readings)
    assert readings[1].siamese_s < readings[1].plain_s
