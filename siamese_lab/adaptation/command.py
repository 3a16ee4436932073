"""`adapt`: measure on people never seen whether a head over an encoder helps a deployment, and write it only then.

    python -m siamese_lab adapt --templates templates.npz --out DIR

writes `DIR/adaptation.json`, what was measured; and, where the interval of the gain excludes harm, the head beside it.
Says "does not help" otherwise, which is no failure: it is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from siamese_lab.adaptation.candidates import all_candidates
from siamese_lab.adaptation.guard import AS_SERVED, FMRS, FOLDS, Candidates, Gain, Verdict, as_served, choose, judge
from siamese_lab.adaptation.head import HEAD_FILE, WEIGHTS_FILE, Head, save_head
from siamese_lab.adaptation.templates import LabelledTemplates, read_templates
from tessera.domain.dependence import REPLICATES
from tessera.domain.errors import TesseraError

REPORT_FILE = "adaptation.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """What was measured, and what came of it."""

    verdict: Verdict
    head: Head | None
    """None: nothing was written."""


def adapt(
    templates: LabelledTemplates,
    candidates: Candidates,
    out: Path,
    *,
    fmrs: Sequence[float] = FMRS,
    folds: int = FOLDS,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> Adapted:
    """Measure, write the report, and the head where it helps.

    Args:
        templates: the deployment's.
        candidates: ways to make a head.
        out: a folder; the head of an earlier run in it goes.
        fmrs: where FNMR is compared; the last is the target.
        folds: how often some people are held out.
        replicates: resamples of people, for the intervals.
        seed: deals people.

    Returns:
        The verdict; and the head that was written: made the way that the same choice finds among all people, and
        fitted on all of them, as those that were measured were on all but the held-out ones.

    Raises:
        CalibrationTooSmallError: too few people to carry the lowest FMR.
    """
    rng = np.random.default_rng(seed)
    verdict = judge(
        templates,
        candidates,
        rng,
        fmrs=fmrs,
        folds=folds,
        replicates=replicates,
        told=lambda line: click.echo(line, err=True),
    )
    out.mkdir(parents=True, exist_ok=True)
    for stale in (HEAD_FILE, WEIGHTS_FILE):
        (out / stale).unlink(missing_ok=True)
    ways: Candidates = {AS_SERVED: as_served, **candidates}
    name = choose(templates, ways, rng, fmrs[-1]) if verdict.helps else AS_SERVED
    head = ways[name](templates) if name != AS_SERVED else None
    if head is not None:
        save_head(head, out)
    facts = {"schema": SCHEMA, "encoder": templates.model_id, "head": head.name if head else None, **_facts(verdict)}
    (out / REPORT_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Adapted(verdict, head)


def told(adapted: Adapted) -> str:
    """What came of it, for whoever asked: lines of text."""
    verdict, head = adapted.verdict, adapted.head
    width = max(len(name) for name in verdict.candidates)
    lines = [
        f"{verdict.people} people, each held out once; {verdict.mated:,} mated comparisons of held-out people.",
        "FNMR before -> after, gain [95 %] in points; above 0 is better:",
        *(f"  {name:{width}}  {_shown(gains)}" for name, gains in verdict.candidates.items()),
        f"  {'chosen by validation':{width}}  {_shown(verdict.gains)}",
    ]
    if head is None:
        return "\n".join([*lines, "Does not help: harm is not excluded. Nothing was written but the figures.\n"])
    return "\n".join([*lines, f"Helps. Written: {head.name}. Calibrate anew before it decides anything.\n"])


def _shown(gains: Sequence[Gain]) -> str:
    return "   ".join(
        f"FMR {gain.fmr:.0e}: {100 * gain.before:.2f} -> {100 * gain.after:.2f} %, {100 * gain.gain.value:+.2f} "
        f"[{100 * gain.gain.interval.low:+.2f}, {100 * gain.gain.interval.high:+.2f}]"
        for gain in gains
    )


def _facts(verdict: Verdict) -> dict[str, object]:
    return {
        "helps": verdict.helps,
        "people": verdict.people,
        "mated": verdict.mated,
        "chosen": list(verdict.chosen),
        "gains": [_row(gain) for gain in verdict.gains],
        "candidates": {name: [_row(gain) for gain in gains] for name, gains in verdict.candidates.items()},
    }


def _row(gain: Gain) -> dict[str, float]:
    return {
        "fmr": gain.fmr,
        "fnmr_before": gain.before,
        "fnmr_after": gain.after,
        "gain": gain.gain.value,
        "gain_low": gain.gain.interval.low,
        "gain_high": gain.gain.interval.high,
    }


@click.command("adapt", short_help="Fit a head to a deployment's own templates, if it helps people never seen.")
@click.option(
    "--templates",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .npz with vectors (n, d), people (n,) and model_id.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="A folder for the result.")
@click.option("--fmr", "fmrs", multiple=True, type=float, default=FMRS, show_default=True, help="Target last.")
@click.option("--folds", type=click.IntRange(2, 20), default=FOLDS, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def command(*, file: Path, out: Path, fmrs: tuple[float, ...], folds: int, seed: int, threads: int) -> None:
    """Fit a small head over an encoder to a deployment's own templates; write it only if it helps people never seen.

    Every person is held out once. The gain is FNMR before less FNMR after at the same FMR, with the interval of the
    paired difference over people; a head is written only where that excludes harm.
    """
    torch.set_num_threads(threads)
    try:
        adapted = adapt(read_templates(file), all_candidates(), out, fmrs=fmrs, folds=folds, seed=seed)
    except TesseraError as error:
        raise click.ClickException(str(error)) from error
    click.echo(told(adapted), nl=False)
