"""From a YAML file to recipes: laid over what it extends, each of its variants laid over it, and all read strictly.

    name: sn-lenet5-mnist-rates
    extends: sn-lenet5-mnist            # optional: another recipe, whose content lies below
    training: {epochs: 5}
    variants:                           # optional: one run for each, named
      rate-1e-4: {optimiser: {learning_rate: 1e-4}}
      rate-1e-3: {}

Mappings are laid over each other key by key, but `options` as a whole where a `name` beside them changes; everything
else is replaced. Only files of `siamese_lab/recipes` can be extended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from siamese_lab.training.recipe import Recipe
from siamese_lab.training.strict_yaml import dump, parse
from siamese_lab.training.typed_reading import plain, read
from tessera.domain.errors import InvalidInputError

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_DEPTH = 4
_ABOVE = ("extends", "variants")


@dataclass(frozen=True, slots=True)
class Study:
    """What one file asks for: one run, or several to be compared."""

    name: str
    title: str
    paper: str
    recipes: tuple[Recipe, ...]
    """One for each variant; one without a name where there are none."""

    def variant(self, name: str) -> Recipe:
        """One of them.

        Raises:
            InvalidInputError: there is none of that name.
        """
        for recipe in self.recipes:
            if recipe.variant == name:
                return recipe
        raise InvalidInputError("variant", name, f"one of {', '.join(one.variant for one in self.recipes)}")


def available() -> tuple[str, ...]:
    """The names of the recipes that ship, sorted."""
    folder = resources.files("siamese_lab") / "recipes"
    return tuple(sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml")))


def load_study(name: str) -> Study:
    """Read a recipe.

    Args:
        name: one of `available`, or the path of a file that ends in .yaml.

    Raises:
        InvalidInputError: there is no such recipe, or something in it is wrong; it says what and what is allowed.
    """
    return parse_study(_text(name), name)


def parse_study(text: str, source: str) -> Study:
    """Read the text of a recipe; as `load_study`."""
    whole = _extended(parse(text, source), source, _DEPTH)
    variants = whole.pop("variants", None)
    if variants is None:
        recipes: tuple[Recipe, ...] = (read(Recipe, whole),)
    else:
        recipes = tuple(_variant(whole, name, changes) for name, changes in _named(variants).items())
    for recipe in recipes:
        _require_name("name", recipe.name)
    return Study(recipes[0].name, recipes[0].title, recipes[0].paper, recipes)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as YAML with every default written out; `parse_study` makes the same recipe of it."""
    return dump(plain(recipe))


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with some of them replaced, mappings key by key."""
    made = dict(below)
    renamed = "name" in above and "options" in below and above["name"] != below.get("name")
    if renamed:
        made.pop("options")
    for key, value in above.items():
        mine = made.get(key)
        made[key] = laid_over(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return made


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some values replaced.

    Raises:
        InvalidInputError: a value is wrong.
    """
    return read(Recipe, laid_over(plain(recipe), changes))


def _extended(raw: dict[str, Any], source: str, depth: int) -> dict[str, Any]:
    below = raw.pop("extends", None)
    if below is None:
        return raw
    if below not in available() or depth == 0:
        raise InvalidInputError(f"{source}: extends", below, f"one of {', '.join(available())}; {_DEPTH} deep at most")
    parent = _extended(parse(_text(below), below), below, depth - 1)
    parent.pop("variants", None)
    return laid_over(parent, raw)


def _named(variants: object) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(variants, Mapping) or not variants:
        raise InvalidInputError("variants", variants, "a mapping: for each variant what is different in it")
    for name, changes in variants.items():
        _require_name("variants", name)
        if not isinstance(changes, Mapping) or set(changes) & {"name", "variant", *_ABOVE}:
            raise InvalidInputError(f"variants.{name}", changes, "a mapping of what is different, without a name")
    return variants


def _variant(whole: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> Recipe:
    return read(Recipe, laid_over(whole, changes) | {"variant": name})


def _require_name(field: str, name: object) -> None:
    # it becomes a folder's name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(field, name, "a-z, 0-9, '.', '+' and '-', a letter or digit first, 64 at most")


def _text(name: str) -> str:
    path = Path(name)
    if path.suffix != ".yaml":
        if name not in available():
            raise InvalidInputError("recipe", name, f"a .yaml file or one of {', '.join(available())}")
        return (resources.files("siamese_lab") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError("recipe", name, f"a file that can be read: {error}") from error
