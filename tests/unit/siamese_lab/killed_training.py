"""A program that trains in processes of its own and has each killed with SIGKILL in the middle of another epoch.

    python killed_training.py RECIPE.yaml DATA OUT

Children are forked once everything is imported, before any of torch's threads exist.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # an optimiser's first step would import it in every child

from siamese_lab.training.loop import EpochFacts, train
from siamese_lab.training.recipe_files import load_study
from siamese_lab.training.run_folder import RunFolder
from siamese_lab.training.training_data import load_training_data


def live(recipe_path: Path, data: Path, out: Path, epoch: int, step: int) -> None:
    """Go on with the run until a step of an epoch; epoch 0: to its end."""
    torch.set_num_threads(1)
    recipe = load_study(str(recipe_path)).recipes[0]
    run = RunFolder.begin(out, recipe, 0)
    history = run.path / "history.jsonl"
    done_before = len(history.read_text().splitlines()) if history.exists() else 0
    ended = [done_before]

    def note(facts: EpochFacts) -> None:
        ended.append(facts.epoch)

    def die(done: int, total: int) -> None:
        if ended[-1] + 1 == epoch and done == min(step, total):
            os.kill(os.getpid(), signal.SIGKILL)

    train(run, load_training_data(recipe.data, data), on_epoch=note, on_step=die)


def main() -> int:
    """Kill in every epoch, each time at another step; then let it come to its end."""
    recipe, data, out = (Path(argument) for argument in sys.argv[1:])
    epochs = load_study(str(recipe)).recipes[0].training.epochs
    lives = [(epoch, step) for epoch in range(1, epochs + 1) for step in (1, 3)]
    for epoch, step in [*lives, (0, 0)]:
        child = os.fork()
        if child == 0:
            live(recipe, data, out, epoch, step)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = str(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "ended"
        sys.stdout.write(f"{epoch} {step} {ended}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
