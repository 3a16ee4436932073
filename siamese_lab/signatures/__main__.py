"""Trains the signature encoder.

    python -m siamese_lab.signatures --data DIR --out runs/signature

prepares the signatures of the training and the validation writers (kept beside the run, since they hold pictures), then
trains; run again, it goes on where it was. `siamese_lab.signatures.export` makes an encoder of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2

from siamese_lab.signatures.baseline import train_baseline
from siamese_lab.signatures.canvases import Canvases, keep, kept, prepare
from siamese_lab.signatures.data import BHSIG_TAR, TRAINING, VALIDATION, SignatureFile, read_bhsig
from siamese_lab.signatures.invented import invented_signatures
from siamese_lab.signatures.training import SignatureRecipe, train


def canvases_of(files: Iterable[SignatureFile], path: Path) -> Canvases:
    """Prepared signatures, from `path` where they were kept."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        keep(prepare(files), path)
    return kept(path)


def _training(data: Path, invented: int, folder: Path) -> Canvases:
    if invented:
        return canvases_of(invented_signatures(invented), folder / f"invented-{invented}.npz")
    return canvases_of(read_bhsig(data / BHSIG_TAR, TRAINING), folder / "training.npz")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TESSERA_DATA", ".")), help="the archives")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=SignatureRecipe().steps)
    parser.add_argument("--seed", type=int, default=SignatureRecipe().seed)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--invented", type=int, default=0, help="learn from so many invented writers, and no archive")
    parser.add_argument("--baseline-s", type=float, default=0.0, help="train the papers' recipe for so long instead")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    training = _training(arguments.data, arguments.invented, arguments.out.parent / "canvases")
    validation = canvases_of(
        read_bhsig(arguments.data / BHSIG_TAR, VALIDATION), arguments.out.parent / "canvases" / "validation.npz"
    )
    if arguments.baseline_s:
        train_baseline(training, validation, arguments.out, processor_s=arguments.baseline_s, told=_told)
        return 0
    recipe = SignatureRecipe(steps=arguments.steps, seed=arguments.seed)
    train(recipe, training, validation, arguments.out, threads=arguments.threads, told=_told)
    return 0


def _told(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
