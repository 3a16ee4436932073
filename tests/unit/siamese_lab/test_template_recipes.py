"""Recipes on made-up people: what a sum and a centre do, who is learned on, and that no recipe is judged on itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamese_lab import template_recipes as t
from siamese_lab.lfw import Pair
from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError

PEOPLE = 60
COHORT = 40
NOISE = 1.6


def world(rng: np.random.Generator) -> tuple[dict[str, Vectors], t.Faces, list[Pair]]:
    """Three pictures each of 60 people and one each of 40 more; every vector shares a large part with all others."""
    own = np.concatenate((np.repeat(np.arange(PEOPLE), 3), PEOPLE + np.arange(COHORT)))
    identity = rng.normal(size=(PEOPLE + COHORT, 32)) + 2.0
    ingredients = {
        name: (identity[own] + NOISE * rng.normal(size=(own.size, 32))).astype(np.float32)
        for name in ("first", "first mirrored")
    }
    names = tuple(f"{row:04d}.jpg" for row in range(own.size))
    faces = t.Faces(names, tuple(f"person {one:03d}" for one in own), own >= PEOPLE)
    pairs = []
    for one in range(PEOPLE):
        fold = one % 5
        pairs.append(Pair(fold, names[3 * one], names[3 * one + 1], mated=True))
        pairs.append(Pair(fold, names[3 * one], names[(3 * one + 3) % (3 * PEOPLE)], mated=False))
    return ingredients, faces, pairs


def test_a_sum_of_views_and_a_centre_help_where_they_should() -> None:
    """Independent noise averages out, and what all people share no longer counts for likeness."""
    ingredients, faces, pairs = world(np.random.default_rng(3))
    rates = {}
    for recipe in t.RECIPES[:4]:
        loose, strict, accuracy = t.judge(t.templates_of(recipe, ingredients, faces.cohort), faces, pairs)
        rates[recipe.name] = loose.value
        assert loose.value <= strict.value
        assert loose.interval.low <= loose.value <= loose.interval.high
        assert accuracy.value > 0.5
    assert rates["plain"] >= rates["plain, centred"] >= rates["mirrored, centred"]
    assert rates["plain"] > rates["mirrored, centred"]


def test_templates_have_length_1_and_the_cohorts_mean_is_gone() -> None:
    """A centred recipe takes off the mean of the rows that it learns on, and of no others."""
    ingredients, faces, _ = world(np.random.default_rng(4))
    plain, centred = (t.templates_of(recipe, ingredients, faces.cohort) for recipe in t.RECIPES[:2])
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1.0, atol=1e-5)
    by_hand = plain - plain[faces.cohort].mean(axis=0)
    np.testing.assert_allclose(centred, by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True), atol=1e-5)


def test_the_centre_does_not_see_the_folds() -> None:
    """Changing the people of the folds does not change what is learned."""
    ingredients, faces, _ = world(np.random.default_rng(5))
    changed = {name: np.where(faces.cohort[:, None], rows, -rows) for name, rows in ingredients.items()}
    before, after = (t.templates_of(t.RECIPES[1], one, faces.cohort)[faces.cohort] for one in (ingredients, changed))
    assert np.array_equal(before, after)


def test_a_picture_without_a_face_matches_nobody() -> None:
    """A mated pair with a missing picture counts as missed."""
    ingredients, faces, pairs = world(np.random.default_rng(6))
    templates = t.templates_of(t.RECIPES[3], ingredients, faces.cohort)
    best = t.judge(templates, faces, pairs)[2].value
    unknown = [Pair(pair.fold, "absent.jpg", pair.second, pair.mated) for pair in pairs if pair.mated]
    rest = [pair for pair in pairs if not pair.mated]
    assert t.judge(templates, faces, unknown + rest)[2].value <= 0.5 < best


def test_the_cross_check_learns_and_judges_on_different_people() -> None:
    """Four ways to learn the mean give rates; a recipe without a mean cannot be checked."""
    ingredients, faces, pairs = world(np.random.default_rng(7))
    checks = t.mean_cross_check(t.RECIPES[1], ingredients, faces, pairs)
    assert len(checks) == 4
    assert all(0.0 <= check.fnmr_at_1e3 <= check.fnmr_at_1e4 <= 1.0 for check in checks)
    with pytest.raises(InvalidInputError, match="recipe"):
        t.mean_cross_check(t.RECIPES[0], ingredients, faces, pairs)


def test_costs_count_every_pass() -> None:
    """A second crop costs a second embedding, a closer look its own time, a mean nothing."""
    costs = t.Costs(detect=5.0, refine=10.0, align=1.0, embed=30.0)
    spent = {recipe.name: costs.of(recipe) for recipe in t.RECIPES}
    assert spent["plain"] == spent["plain, centred"] == 36.0
    assert spent["mirrored"] == 67.0
    assert spent["refined, centred"] == 46.0
    assert spent["refined, mirrored, centred"] == 77.0


def test_kept_work_is_not_done_again(tmp_path: Path) -> None:
    """An interrupted study goes on with what it has kept."""
    made = t._kept(tmp_path / "new", "rows", lambda: np.ones((2, 3), np.float32))
    again = t._kept(tmp_path / "new", "rows", lambda: np.zeros((2, 3), np.float32))
    assert np.array_equal(made, again)


def test_the_winner_is_a_recipe() -> None:
    """The name of the winner stands in the table."""
    assert t.WINNER in {recipe.name for recipe in t.RECIPES}
