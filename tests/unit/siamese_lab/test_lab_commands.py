"""`tessera lab`: what a person types, from a list of recipes to a page and a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from unit.siamese_lab.lab_world import EVERYTHING, write_folders

from siamese_lab.__main__ import main
from siamese_lab.training.recipe_files import available
from siamese_lab.training.strict_yaml import dump
from tessera.cli import lab as lab_command
from tessera.cli.__main__ import main as tessera


@pytest.fixture
def trial(tmp_path: Path) -> list[str]:
    """A recipe of one's own and pictures in folders: what `train` is told."""
    (tmp_path / "trial.yaml").write_text(dump({**EVERYTHING, "seeds": [3]}), encoding="utf-8")
    data = write_folders(tmp_path / "pictures")
    return ["train", str(tmp_path / "trial.yaml"), "--data", str(data), "--out", str(tmp_path / "runs"),
            "--threads", "1", "--device", "cpu", "--epochs", "2"]  # fmt: skip


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Each by its name; one with every default, a study with its variants."""
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in available())
    assert main(["show", "sn-lenet5-mnist"]) == 0
    assert "learning_rate: 0.001" in capsys.readouterr().out
    assert main(["show", "conv-grid"]) == 0
    assert "cell-3-16-3" in capsys.readouterr().out
    assert main(["show", "conv-grid", "--variant", "cell-3-16-3"]) == 0
    assert "kernels: 16" in capsys.readouterr().out


def test_a_run_is_trained_judged_and_shown(
    trial: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder holds what is needed to repeat it; the page needs nothing else; training again changes nothing."""
    assert main(trial) == 0
    run = tmp_path / "runs" / "trial" / "seed-3"
    out = capsys.readouterr().out
    assert "epoch    2" in out
    assert "pairs right" in out
    names = {path.name for path in run.iterdir()}
    assert names >= {"recipe.yaml", "data.json", "environment.json", "history.jsonl", "checkpoint.safetensors",
                     "network.safetensors", "loss.safetensors", "figures.json"}  # fmt: skip
    environment = json.loads((run / "environment.json").read_text())
    assert environment[0]["threads"] == 1
    assert environment[0]["packages"]["torch"]
    assert set(json.loads((run / "data.json").read_text())["sha256"]) == {"training", "validation", "test"}
    figures = json.loads((run / "figures.json").read_text())
    assert 0.0 <= figures["pairs"]["accuracy"]["value"] <= 1.0
    assert figures["training"]["epoch"] == 2
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main(trial) == 0
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_is_told_by_field_when_something_is_wrong(
    trial: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, and what is allowed."""
    for more, told in (
        (["--set", "training.epoch=3"], "training.epoch"),
        (["--set", "epochs"], "KEY=VALUE"),
        (["--set", "name=other"], "KEY=VALUE"),
        (["--variant", "none"], "variant"),
        (["--data", str(tmp_path / "none")], "data"),
        (["--epochs", "0"], "--epochs"),
    ):
        assert main([*trial, *more]) == 3
        assert told in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--threads", "1"]) == 3
    assert "seed-N" in capsys.readouterr().err
    assert main(["train", "no-such-recipe"]) == 3
    assert "sn-lenet5-mnist" in capsys.readouterr().err


def test_changes_are_part_of_the_recipe(trial: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They stand in the run's recipe.yaml, and a run of the unchanged recipe is another run."""
    assert main([*trial, "--set", "optimiser.learning_rate=1e-2", "--limit", "40", "--no-judge"]) == 0
    text = (tmp_path / "runs" / "trial" / "seed-3" / "recipe.yaml").read_text()
    assert "learning_rate: 0.01" in text
    assert "training_limit: 40" in text
    assert main(trial) == 3
    assert "another recipe" in capsys.readouterr().err


def test_tessera_hands_over() -> None:
    """The process becomes the lab, with its output and its exit code."""
    command = [sys.executable, "-m", "tessera.cli", "lab", "show", "none"]
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert wrong.returncode == 3
    assert "sn-lenet5-mnist" in wrong.stderr


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what is missing."""
    monkeypatch.setattr(lab_command, "_NEEDED", ("torch", "no_such_library"))
    assert tessera(["lab", "list"]) == 3
    told = capsys.readouterr().err
    assert "no_such_library" in told
    assert "pip install 'tessera[lab]'" in told
