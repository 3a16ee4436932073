"""What run folders measured, kept in one small file: run folders hold weights and stay where they were made.

Between the run folders and the table of the papers. A run is known by recipe, variant and seed; one that is made anew
takes the place of the one before. Refuses runs of another recipe than the one that ships today, such as a trial with
fewer epochs: a table that mixed them would say nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamese_lab.training.recipe import Recipe
from siamese_lab.training.recipe_files import available, load_study, recipe_text
from siamese_lab.training.run_folder import DATA_FILE, ENVIRONMENT_FILE, FIGURES_FILE, RunFolder, runs_below
from tessera.domain.errors import ArtifactError

Figures = Mapping[str, Any]
"""Of one run: those of its `figures.json` that the table reads."""
Entry = Mapping[str, Any]
"""One run: what it is, where it was made, and its figures."""

LEDGER_FILE = "papers-runs.json"
SPEED_FILE = "speed.json"
"""Beside the run folders: what `tessera lab speed` measured."""
_KEPT = {
    "head": ("accuracy",),
    "pairs": ("accuracy", "eer"),
    "searches": ("queries", "gallery", "at"),
    "searches_within": ("queries", "gallery", "at"),
    "training": ("training_accuracy", "seconds_an_epoch", "epoch", "numbers"),
}


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one recipe and variant, whatever their seeds."""

    figures: tuple[Figures, ...]
    machine: str
    commit: str

    def values(self, read: Callable[[Figures], float | None]) -> tuple[float, ...]:
        """A figure of each run that has it."""
        found = (read(one) for one in self.figures)
        return tuple(value for value in found if value is not None)


@dataclass(frozen=True, slots=True)
class Ledger:
    """All runs that count, and the times that were taken."""

    entries: tuple[Entry, ...] = ()
    speed: Mapping[str, Any] | None = None
    """What `tessera lab speed` wrote; None: no times were taken."""

    def runs(self) -> dict[tuple[str, str], Runs]:
        """By recipe and variant."""
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            found.setdefault((entry["recipe"], entry["variant"]), []).append(entry)
        return {
            key: Runs(
                tuple(entry["figures"] for entry in entries),
                "; ".join(sorted({f"{entry['device']}, {entry['threads']} threads" for entry in entries})),
                "; ".join(sorted({str(entry["commit"])[:12] for entry in entries})),
            )
            for key, entries in found.items()
        }

    def with_runs(self, root: Path) -> Ledger:
        """This with what run folders hold: runs that were judged, of recipes as they ship, and the times.

        Args:
            root: holds the run folders; it need not be there.

        Raises:
            ArtifactError: a file of a run is damaged.
        """
        judged = [entry for entry in map(_entry, runs_below(root)) if entry is not None]
        kept = {_key(entry): entry for entry in (*self.entries, *judged)}
        speed = root / SPEED_FILE
        told = json.loads(speed.read_bytes()) if speed.is_file() else self.speed
        return Ledger(_current(kept[key] for key in sorted(kept)), told)

    def text(self) -> str:
        """As JSON, a line for each run."""
        lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in self.entries)
        return f'{{"speed": {json.dumps(self.speed)}, "runs": [\n{lines}\n]}}\n'


def read_ledger(file: Path) -> Ledger:
    """Read what was kept; nothing, where there is no file. Runs of recipes that have changed since are left out.

    Raises:
        ArtifactError: it is damaged.
    """
    if not file.is_file():
        return Ledger()
    try:
        raw = json.loads(file.read_bytes())
        return Ledger(_current(raw["runs"]), raw["speed"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(str(file), f"is damaged: {error}") from error


def _entry(run: RunFolder) -> Entry | None:
    figures = run.read_json(FIGURES_FILE)
    if figures is None:
        return None
    life = (run.read_json(ENVIRONMENT_FILE) or [{}])[-1]
    return {
        "recipe": run.recipe.name,
        "variant": run.recipe.variant,
        "seed": run.seed,
        "digest": _digest(run.recipe),
        "data": run.read_json(DATA_FILE),
        "figures": {
            part: {name: figures[part][name] for name in names if name in figures[part]}
            for part, names in _KEPT.items()
            if figures.get(part)
        },
        **{name: life.get(name, "") for name in ("started", "machine", "device", "cores", "threads", "commit")},
    }


def _key(entry: Entry) -> tuple[str, str, int]:
    return entry["recipe"], entry["variant"], entry["seed"]


def _digest(recipe: Recipe) -> str:
    return hashlib.sha256(recipe_text(recipe).encode("utf-8")).hexdigest()


def _current(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    shipped: dict[str, dict[str, str]] = {}
    kept = []
    for entry in entries:
        name = entry["recipe"]
        if name not in shipped:
            recipes = load_study(name).recipes if name in available() else ()
            shipped[name] = {one.variant: _digest(one) for one in recipes}
        if shipped[name].get(entry["variant"]) == entry["digest"]:
            kept.append(entry)
    return tuple(kept)
