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
from pathlib import Path

import cv2
import numpy as np
import torch

from siamese_lab.persons.backbone import trunk_weights
from siamese_lab.persons.data import CON_REID_TAR, Split, read_con_reid, validation_people
from siamese_lab.persons.judging import Validation
from siamese_lab.persons.training import PersonRecipe, train
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TESSERA_DATA", ".")), help="the archives")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=PersonRecipe().steps)
    parser.add_argument("--seed", type=int, default=PersonRecipe().seed)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(arguments.threads)
    people = read_con_reid(arguments.data / CON_REID_TAR, Split.TRAIN)
    held_out = np.isin(people.person, validation_people(people.person))
    recipe = replace(PersonRecipe(), steps=arguments.steps, seed=arguments.seed)
    trunk = trunk_weights(default_cache_dir(), default_supplied_dir())
    validation = Validation(people.of(held_out))
    train(recipe, people.of(~held_out), trunk, arguments.out, judge=validation.judge, told=_told)
    return 0


def _told(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
