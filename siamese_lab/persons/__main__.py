"""Trains the person encoder.

    python -m siamese_lab.persons --data DIR --out runs/person

learns from Con-ReID's training people but the validation ones; run again, it goes on where it was.
`siamese_lab.persons.export` makes an encoder of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import torch

from siamese_lab.persons.backbone import trunk_weights
from siamese_lab.persons.data import CON_REID_TAR, Split, learned_from, read_con_reid, validation_people
from siamese_lab.persons.judging import Validation
from siamese_lab.persons.training import PersonRecipe, train
from siamese_lab.training.strict_yaml import parse
from siamese_lab.training.typed_reading import read
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TESSERA_DATA", ".")), help="the archives")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", type=Path, help="another than siamese_lab/recipes/persons/con-reid.yaml")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(arguments.threads)
    people = read_con_reid(arguments.data / CON_REID_TAR, Split.TRAIN)
    held_out = np.isin(people.person, validation_people(people.person))
    recipe = load_recipe(arguments.recipe)
    recipe = replace(recipe, steps=arguments.steps or recipe.steps, seed=arguments.seed or recipe.seed)
    trunk = trunk_weights(default_cache_dir(), default_supplied_dir())
    validation = Validation(people.of(held_out))
    train(recipe, learned_from(people), trunk, arguments.out, judge=validation.judge, told=_told)
    return 0


def load_recipe(path: Path | None = None) -> PersonRecipe:
    """Read a recipe; the one that the shipped encoder was trained by where no path is given.

    Raises:
        InvalidInputError: a field is unknown, or its value is of another kind.
    """
    text = (path or Path(str(resources.files("siamese_lab") / "recipes/persons/con-reid.yaml"))).read_text("utf-8")
    return read(PersonRecipe, parse(text, "recipe"))


def _told(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
