"""The folder of one run: all that is needed to repeat it, to go on with it, and to judge it.

recipe.yaml             every value written out
data.json               the source, its caveat, the digest of each part
environment.json        versions, device, threads, commit; one entry for each life of the run
history.jsonl           the figures of each epoch
checkpoint.safetensors  where it stands
network.safetensors     the weights that it gives
loss.safetensors        those of its loss: a head, the directions of classes; often none
snapshot-N.safetensors  weights after N steps, where the recipe asks for them
figures.json            what `evaluate` measured
events.out.tfevents.*   the same as history.jsonl, for TensorBoard
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from siamese_lab.training.checkpoint import write_whole
from siamese_lab.training.recipe import Recipe
from siamese_lab.training.recipe_files import parse_study, recipe_text
from tessera.domain.errors import ArtifactError, InvalidInputError

RECIPE_FILE = "recipe.yaml"
DATA_FILE = "data.json"
ENVIRONMENT_FILE = "environment.json"
HISTORY_FILE = "history.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
NETWORK_FILE = "network.safetensors"
LOSS_FILE = "loss.safetensors"
FIGURES_FILE = "figures.json"
REPORT_FILE = "report.html"

_SEED = "seed-"
_PACKAGES = ("torch", "numpy", "safetensors", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder; its recipe and seed are known from it."""

    path: Path
    recipe: Recipe
    seed: int

    @classmethod
    def begin(cls, root: Path, recipe: Recipe, seed: int) -> RunFolder:
        """Make the folder of a run below `root`, or go on in it.

        Args:
            root: holds NAME/seed-N, or NAME/VARIANT/seed-N.
            recipe: of the run.
            seed: of the run.

        Raises:
            InvalidInputError: there is a run of another recipe in its place.
        """
        path = root.joinpath(*filter(None, (recipe.name, recipe.variant, f"{_SEED}{seed}")))
        text = recipe_text(recipe)
        file = path / RECIPE_FILE
        if file.exists() and file.read_text("utf-8") != text:
            allowed = "another folder: this one holds a run of another recipe, and is left as it is"
            raise InvalidInputError("--out", str(path), allowed)
        path.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
        return cls(path, recipe, seed)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of a run.

        Raises:
            InvalidInputError: it is none.
        """
        file = path / RECIPE_FILE
        if not file.is_file() or not path.name.startswith(_SEED):
            raise InvalidInputError("RUN", str(path), f"the folder {_SEED}N of a run, with {RECIPE_FILE}")
        recipe = parse_study(file.read_text("utf-8"), str(file)).recipes[0]
        return cls(path, recipe, int(path.name.removeprefix(_SEED)))

    @property
    def finished(self) -> bool:
        """Whether it has come to its end."""
        return (self.path / NETWORK_FILE).exists()

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - JSON holds anything
        """The content of a JSON file; None where there is none."""
        file = self.path / name
        try:
            return json.loads(file.read_bytes()) if file.exists() else None
        except ValueError as error:
            raise ArtifactError(str(file), f"is damaged: {error}") from error

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file whole."""
        write_whole(self.path / name, (json.dumps(value, indent=1) + "\n").encode())

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `history.jsonl` whole: a line for each epoch."""
        write_whole(self.path / HISTORY_FILE, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def require_data(self, facts: Mapping[str, Any]) -> None:
        """State which pictures the run is of.

        Raises:
            InvalidInputError: the run was begun on others.
        """
        before = self.read_json(DATA_FILE)
        if before is not None and before != facts:
            raise InvalidInputError("--data", str(self.path), f"the pictures that the run was begun on ({DATA_FILE})")
        self.write_json(DATA_FILE, facts)

    def note_environment(self, device: str) -> None:
        """Add this process to those that worked on the run."""
        lives = self.read_json(ENVIRONMENT_FILE) or []
        self.write_json(ENVIRONMENT_FILE, [*lives, environment(device)])


def runs_below(root: Path) -> tuple[RunFolder, ...]:
    """All runs in a folder, by path."""
    files = sorted(root.rglob(f"{_SEED}*/{RECIPE_FILE}"))
    return tuple(RunFolder.open(file.parent) for file in files)


def environment(device: str) -> dict[str, Any]:
    """What else a run depends on: versions, device, threads, the commit."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "machine": f"{platform.machine()} {platform.system()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "cores": len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of this source, with `+` where files differ from it; empty outside of a repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        made = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False)
        return made.stdout.strip() if made.returncode == 0 else ""

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except FileNotFoundError:
        return ""
