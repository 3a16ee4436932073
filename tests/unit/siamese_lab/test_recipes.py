"""Recipes: what ships can be trained, what is wrong is told by field, value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.siamese_lab.lab_world import EVERYTHING

from siamese_lab.data.preparation import STEPS
from siamese_lab.losses import LOSSES, build_loss
from siamese_lab.networks import build
from siamese_lab.training.batches import FITTING
from siamese_lab.training.recipe import Recipe
from siamese_lab.training.recipe_files import available, changed, laid_over, load_study, parse_study, recipe_text
from siamese_lab.training.strict_yaml import dump
from tessera.domain.errors import InvalidInputError

SHAPES = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10-jpeg": (3, 32, 32)}


@pytest.mark.parametrize("name", available())
def test_every_recipe_that_ships_can_be_trained(name: str) -> None:
    """Its network and loss can be built, its batches are what the loss takes, and its steps are known."""
    study = load_study(name)
    assert study.name == name
    assert len({recipe.variant for recipe in study.recipes}) == len(study.recipes)
    for recipe in study.recipes:
        with torch.device("meta"):
            network = build(recipe.network.name, SHAPES[recipe.data.source], recipe.network.options)
        build_loss(recipe.loss.name, network.dimensions, 10, recipe.loss.options)
        assert recipe.batches.kind in FITTING[LOSSES[recipe.loss.name].kind]
        assert set(recipe.data.steps) <= set(STEPS)
        assert recipe.title
        assert recipe.paper


def test_the_papers_settings_are_in_their_recipes() -> None:
    """Adam 1e-3 and batch 64; sweeps of 1e-4 to 1e-2 and 32 to 96; nine cells; maps at three times; 10,000 triplets."""
    for name in ("sn-lenet5-mnist", "sn-lenet5-fashion", "sn-lenet5-cifar10"):
        (recipe,) = load_study(name).recipes
        assert (recipe.optimiser.kind, recipe.optimiser.learning_rate, recipe.batches.size) == ("adam", 1e-3, 64)
        assert (recipe.network.name, recipe.loss.name, len(recipe.seeds)) == ("lenet5", "pair-entropy", 3)
    assert [one.optimiser.learning_rate for one in load_study("sn-lenet5-mnist-rates").recipes] == [1e-4, 1e-3, 1e-2]
    assert [one.batches.size for one in load_study("sn-lenet5-mnist-batches").recipes] == [32, 64, 96]
    cells = {one.variant for one in load_study("conv-grid").recipes}
    assert len(cells) == 9
    assert "cell-3-16-3" in cells
    dense = load_study("maps-digits").variant("dense")
    assert dense.training.snapshots == (250, 401, 3000)
    assert dense.batches.per_epoch // dense.batches.size * dense.training.epochs == 3000
    (triplets,) = load_study("triplet-fashion").recipes
    assert (triplets.batches.per_epoch, triplets.training.epochs, triplets.batches.fixed) == (10_000, 15, True)
    assert triplets.loss.options == {"margin": 0.2}


def test_ablations_are_on_two_data_sets() -> None:
    """Each variant is there for both, with the same seeds, so that differences can be paired."""
    for name in available():
        if name.startswith("ablation-"):
            recipes = load_study(name).recipes
            by_source = [
                [one.variant.partition("-")[2] for one in recipes if one.data.source == source]
                for source in ("mnist", "fashion-mnist")
            ]
            assert by_source[0] == by_source[1]
            assert {one.seeds for one in recipes} == {(0, 1, 2)}


@pytest.mark.parametrize("name", ["sn-lenet5-mnist", "ours-cifar10", "maps-digits", "ablation-noise"])
def test_what_is_written_out_reads_back(name: str) -> None:
    """A run folder's recipe.yaml is the recipe."""
    for recipe in load_study(name).recipes:
        assert parse_study(recipe_text(recipe), "recipe.yaml").recipes == (recipe,)


def test_variants_lie_over_what_they_extend() -> None:
    """Key by key; options are replaced where a name beside them changes."""
    made = laid_over(
        {"network": {"name": "a", "options": {"x": 1}}, "training": {"epochs": 3, "keep": "best"}},
        {"network": {"name": "b"}, "training": {"epochs": 5}},
    )
    assert made == {"network": {"name": "b"}, "training": {"epochs": 5, "keep": "best"}}
    kept = laid_over({"network": {"name": "a", "options": {"x": 1}}}, {"network": {"options": {"y": 2}}})
    assert kept == {"network": {"name": "a", "options": {"x": 1, "y": 2}}}


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"nothing": 1}, "nothing", "no such field"),
        ({"training": {"epoch": 1}}, "training.epoch", "epochs"),
        ({"training": {"epochs": 0}}, "training.epochs", "1 to"),
        ({"training": {"epochs": 2.5}}, "training.epochs", "whole number"),
        ({"training": {"epochs": True}}, "training.epochs", "whole number"),
        ({"training": {"snapshots": 5}}, "training.snapshots", "a list"),
        ({"training": {"snapshots": [0]}}, "training.snapshots[0]", "1 to"),
        ({"optimiser": {"kind": "lion"}}, "optimiser.kind", "sgd, adam"),
        ({"optimiser": {"learning_rate": "fast"}}, "optimiser.learning_rate", "a number"),
        ({"optimiser": {"learning_rate": float("nan")}}, "optimiser.learning_rate", "a number"),
        ({"optimiser": {"betas": [0.9]}}, "optimiser.betas", "2 to 2"),
        ({"network": {"options": {"a": [1]}}}, "network.options.a", "a number, a text"),
        ({"network": 5}, "network", "a mapping"),
        ({"data": {"gate": {"min_sharpness": 2.0}}}, "min_sharpness", "0"),
        ({"augmentation": {"noise": 2.0}}, "augmentation.noise", "0 to 1"),
        ({"seeds": []}, "seeds", "1 to 100"),
        ({"name": "../up"}, "name", "a-z"),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, Any], field: str, allowed: str) -> None:
    """Field, value and what is allowed."""
    with pytest.raises(InvalidInputError) as raised:
        parse_study(dump(laid_over(EVERYTHING, changes)), "mine.yaml")
    assert raised.value.field == field
    assert allowed in raised.value.allowed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nname: b", "stands twice"),
        ("- a", "a mapping"),
        ("a: [", "YAML"),
        ("a: !!python/object/apply:os.system [echo]", "YAML"),
        ("name: x\nextends: nothing", "extends"),
        ("name: x\nextends: sn-lenet5-mnist\nvariants: {Big: {}}", "variants"),
        ("name: x\nextends: sn-lenet5-mnist\nvariants: {a: {name: y}}", "without a name"),
        ("title: x", "no default"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(text: str, told: str) -> None:
    """Also one that YAML itself would take, and one that would run code."""
    with pytest.raises(InvalidInputError, match=told):
        parse_study(text, "mine.yaml")


def test_numbers_are_read_as_people_write_them() -> None:
    """1e-3 is a number, which YAML 1.1 takes for a word."""
    made = parse_study("name: x\nextends: sn-lenet5-mnist\noptimiser: {learning_rate: 2e-3}", "x").recipes[0]
    assert made.optimiser.learning_rate == 2e-3


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    """A path that ends in .yaml is read; anything else has to be a recipe that ships."""
    file = tmp_path / "mine.yaml"
    file.write_text(dump(EVERYTHING), encoding="utf-8")
    (recipe,) = load_study(str(file)).recipes
    assert isinstance(recipe, Recipe)
    assert changed(recipe, {"training": {"epochs": 9}}).training.epochs == 9
    for name in ("nothing", str(tmp_path / "none.yaml")):
        with pytest.raises(InvalidInputError, match="recipe"):
            load_study(name)
