"""A run learns, says how, and goes on bit for bit where it was broken off."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from unit.siamese_lab import lab_world
from unit.siamese_lab.lab_world import recipe, training_data, write_folders

from siamese_lab.evaluation.embedding import embed
from siamese_lab.training.checkpoint import read_checkpoint, read_weights, write_checkpoint
from siamese_lab.training.loop import DivergedError, EpochFacts, Trained, load_snapshot, load_trained, train
from siamese_lab.training.recipe import Recipe
from siamese_lab.training.recipe_files import recipe_text
from siamese_lab.training.run_folder import RunFolder, runs_below
from siamese_lab.training.training_data import load_training_data
from tessera.domain.errors import ArtifactError, InvalidInputError

TESTS = Path(lab_world.__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """So that sums are made in one order."""
    torch.set_num_threads(1)


class _BrokenOffError(Exception):
    """Somebody pressed Ctrl-C."""


def _unbroken(root: Path, of: Recipe) -> tuple[RunFolder, Trained]:
    run = RunFolder.begin(root, of, 0)
    return run, train(run, training_data())


def _broken(root: Path, of: Recipe) -> tuple[RunFolder, Trained]:
    """A run that is broken off after every epoch, and in the middle of each."""

    def break_off(facts: EpochFacts) -> None:
        raise _BrokenOffError

    def break_early(done: int, total: int) -> None:
        if done == 2:
            raise _BrokenOffError

    run = RunFolder.begin(root, of, 0)
    for _ in range(of.training.epochs):
        with pytest.raises(_BrokenOffError):
            train(run, training_data(), on_step=break_early)
        with pytest.raises(_BrokenOffError):
            train(run, training_data(), on_epoch=break_off)
    return run, train(run, training_data())


def _figures(run: RunFolder) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def _same_bits(one: RunFolder, other: RunFolder) -> None:
    for name in ("network.safetensors", "loss.safetensors", "snapshot-3.safetensors", "snapshot-6.safetensors"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    first, second = (read_checkpoint(run.path / "checkpoint.safetensors") for run in (one, other))
    assert first.groups.keys() == second.groups.keys()
    for group, tensors in first.groups.items():
        assert tensors.keys() == second.groups[group].keys()
        assert all(torch.equal(value, second.groups[group][name]) for name, value in tensors.items()), group
    assert _figures(one) == _figures(other)


CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"optimiser": {"kind": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.02}},
    "adamw": {"optimiser": {"kind": "adamw", "decay": 0.01, "largest_gradient": 1.0}},
    "rmsprop": {"optimiser": {"kind": "rmsprop", "momentum": 0.5}},
    "triplets": {"loss": {"name": "triplet"}, "batches": {"kind": "triplets", "fixed": True}},
    "mined": {
        "loss": {"name": "mined-triplet", "options": {"mining": "distance-weighted"}},
        "batches": {"kind": "balanced-classes"},
    },
    "classes": {"loss": {"name": "arcface"}, "batches": {"kind": "pictures"}},
    "frozen": {"network": {"frozen": ["layers.conv1"], "frozen_epochs": 2}},
    "one-cycle": {"schedule": {"kind": "one-cycle", "warm_up_epochs": 0.0}, "training": {"keep": "last"}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_run_gives_the_bits_of_an_unbroken_one(case: str, tmp_path: Path) -> None:
    """Weights, mean weights, best weights, the optimiser's memory, snapshots and history, whatever the recipe."""
    of = recipe(CASES[case])
    whole, _ = _unbroken(tmp_path / "whole", of)
    parts, _ = _broken(tmp_path / "parts", of)
    _same_bits(whole, parts)


def test_a_killed_run_gives_the_bits_of_an_unbroken_one(tmp_path: Path) -> None:
    """Real processes, each killed with SIGKILL twice in every epoch."""
    of = recipe()
    file = tmp_path / "trial.yaml"
    file.write_text(recipe_text(of), encoding="utf-8")
    data = write_folders(tmp_path / "pictures")
    program = [sys.executable, str(TESTS / "unit" / "siamese_lab" / "killed_training.py")]
    made = subprocess.run(
        [*program, str(file), str(data), str(tmp_path / "killed")], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    ends = [line.split()[2] for line in made.stdout.splitlines()]
    assert ends == ["9"] * (2 * of.training.epochs) + ["ended"]
    whole = RunFolder.begin(tmp_path / "whole", of, 0)
    train(whole, load_training_data(of.data, data))
    _same_bits(whole, RunFolder.open(tmp_path / "killed" / "trial" / "seed-0"))


def test_a_run_learns(tmp_path: Path) -> None:
    """Bars of four directions are told apart after a few hundred steps; the loss falls; the head has learned."""
    of = recipe({"training": {"epochs": 12, "average": 0.0}, "batches": {"per_epoch": 320}})
    _, trained = _unbroken(tmp_path, of)
    history = trained.history
    assert history[-1].training_loss < 0.5 * history[0].training_loss
    assert (history[-1].validation_accuracy or 0.0) > 0.9
    assert trained.head is not None
    assert trained.head.weight.item() < -0.5
    assert [facts.steps for facts in history] == [20 * epoch for epoch in range(1, 13)]


def test_seeds_differ_and_repeat(tmp_path: Path) -> None:
    """One seed twice gives the same bits; another seed others."""
    runs = [RunFolder.begin(tmp_path / str(at), recipe(), seed) for at, seed in enumerate((0, 0, 1))]
    weights = [train(run, training_data()).network.state_dict() for run in runs]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert any(not torch.equal(value, weights[2][name]) for name, value in weights[0].items())


def test_a_finished_run_is_loaded_and_left_alone(tmp_path: Path) -> None:
    """Training it again trains nothing; what is loaded embeds as what was trained."""
    run, trained = _unbroken(tmp_path, recipe())
    before = (run.path / "network.safetensors").read_bytes()

    def never(done: int, total: int) -> None:
        pytest.fail("it trained")

    train(run, training_data(), on_step=never)
    assert (run.path / "network.safetensors").read_bytes() == before
    opened = runs_below(tmp_path)[0]
    assert opened == run
    loaded = load_trained(opened, training_data().test)
    pictures = training_data().test.images
    np.testing.assert_array_equal(embed(loaded.network, pictures), embed(trained.network, pictures))
    assert loaded.history == trained.history
    assert not loaded.network.training


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    """With `keep: best` the result is what the best epoch left: the weights of a run that ends there by itself."""
    of = recipe({"training": {"epochs": 6}, "schedule": {"kind": "constant", "warm_up_epochs": 0.0}})
    run, trained = _unbroken(tmp_path / "whole", of)
    accuracies = [facts.validation_accuracy or 0.0 for facts in trained.history]
    best = accuracies.index(max(accuracies)) + 1
    shorter, _ = _unbroken(tmp_path / "short", recipe_with_epochs(of, best))
    assert (run.path / "network.safetensors").read_bytes() == (shorter.path / "network.safetensors").read_bytes()


def recipe_with_epochs(of: Recipe, epochs: int) -> Recipe:
    """The same for fewer epochs, of which the last is kept."""
    return replace(of, training=replace(of.training, epochs=epochs))


def test_early_stopping_ends_a_run(tmp_path: Path) -> None:
    """A learning rate that moves nothing brings no better epoch: it ends after its patience, and stays ended."""
    changes = {
        "optimiser": {"learning_rate": 1e-9},
        "training": {"epochs": 50, "average": 0.0, "early_stopping": {"patience_epochs": 2}},
        "network": {"options": {"batch_norm": False}},
    }
    run, trained = _unbroken(tmp_path, recipe(changes))
    assert len(trained.history) == 3
    assert train(run, training_data()).history == trained.history


def test_snapshots_are_the_weights_of_their_step(tmp_path: Path) -> None:
    """A run of as many steps without averages ends with them."""
    plain = {"training": {"average": 0.0, "keep": "last", "snapshots": [4], "epochs": 2}}
    run, trained = _unbroken(tmp_path, recipe(plain))
    after_one = {
        "training": {**plain["training"], "epochs": 1},
        "schedule": {"kind": "constant", "warm_up_epochs": 0.0},
    }
    still = {**plain, "schedule": {"kind": "constant", "warm_up_epochs": 0.0}}
    longer, _ = _unbroken(tmp_path / "longer", recipe(still))
    shorter, end = _unbroken(tmp_path / "shorter", recipe(after_one))
    pictures = training_data().test
    found = embed(load_snapshot(longer, 4, pictures), pictures.images)
    np.testing.assert_array_equal(found, embed(end.network, pictures.images))
    assert not np.array_equal(
        embed(load_snapshot(run, 4, pictures), pictures.images), embed(trained.network, pictures.images)
    )
    with pytest.raises(InvalidInputError, match="step"):
        load_snapshot(shorter, 5, pictures)


def test_a_run_starts_from_another(tmp_path: Path) -> None:
    """Its weights, by their sha256; what is frozen does not change, what is not does."""
    run, _ = _unbroken(tmp_path / "first", recipe())
    file = run.path / "network.safetensors"
    start = {"file": str(file), "sha256": _sha256(file)}
    of = recipe({"network": {"start": start, "frozen": ["layers.conv1", "layers.norm1"]}, "training": {"average": 0.0}})
    tuned, _ = _unbroken(tmp_path / "second", of)
    before, after = read_weights(file), read_weights(tuned.path / "network.safetensors")
    assert torch.equal(before["layers.conv1.weight"], after["layers.conv1.weight"])
    assert torch.equal(before["layers.norm1.running_mean"], after["layers.norm1.running_mean"])
    assert not torch.equal(before["layers.conv2.weight"], after["layers.conv2.weight"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    """The epoch is named, and no checkpoint is written of it."""
    of = recipe({"optimiser": {"kind": "sgd", "learning_rate": 100.0}, "loss": {"name": "contrastive"},
                 "network": {"options": {"batch_norm": False}}, "training": {"epochs": 30}})  # fmt: skip
    run = RunFolder.begin(tmp_path, of, 0)
    with pytest.raises(DivergedError, match="lower learning rate"):
        train(run, training_data())
    assert not run.finished


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"batches": {"kind": "triplets"}}, "batches.kind"),
        ({"loss": {"name": "nothing"}}, "loss.name"),
        ({"loss": {"options": {"none": 1}}}, "loss.options.none"),
        ({"network": {"options": {"dropout": "much"}}}, "network.options.dropout"),
        ({"network": {"frozen": ["layers.none"]}}, "freeze"),
        ({"loss": {"name": "arcface"}, "batches": {"kind": "balanced-classes", "classes": 3}}, "batches.classes"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    """Before the first step, by the field's name."""
    run = RunFolder.begin(tmp_path, recipe(changes), 0)
    with pytest.raises(InvalidInputError) as raised:
        train(run, training_data())
    assert raised.value.field == field


def test_another_recipe_or_other_pictures_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    """Neither would be the run that its folder says it is."""
    run = RunFolder.begin(tmp_path, recipe(), 0)
    with pytest.raises(InvalidInputError, match="another recipe"):
        RunFolder.begin(tmp_path, recipe({"optimiser": {"learning_rate": 0.5}}), 0)
    run.require_data({"sha256": "a"})
    run.require_data({"sha256": "a"})
    with pytest.raises(InvalidInputError, match="--data"):
        run.require_data({"sha256": "b"})


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    """Nothing is trained on top of it, and nothing in it is run."""
    run = RunFolder.begin(tmp_path, recipe(), 0)
    (run.path / "checkpoint.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ArtifactError, match="delete it to begin again"):
        train(run, training_data())
    write_checkpoint(run.path / "checkpoint.safetensors", {"network": {"other": torch.zeros(1)}}, {"steps": 0})
    with pytest.raises(ArtifactError, match="are not those"):
        train(run, training_data())


def test_events_of_a_run_are_read_by_tensorboard(tmp_path: Path) -> None:
    """Each figure once an epoch, also where a life before wrote further than its checkpoint."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, trained = _broken(tmp_path, recipe())
    events = EventAccumulator(str(run.path))
    events.Reload()
    told = [(event.step, event.value) for event in events.Scalars("training_loss")]
    assert told == [(facts.epoch, pytest.approx(facts.training_loss)) for facts in trained.history]
