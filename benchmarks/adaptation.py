"""What a head over a shipped encoder is worth on LFW's people, and whether the guard says so.

    TESSERA_DATA=DIR make bench-adaptation

For each shipped face encoder: every candidate of `siamese_lab.adaptation` and the whole way, chosen by validation and
judged on people never seen; the cohort's people with one picture are in it as people to be kept apart from. Takes some
minutes for each encoder. The figures go to `docs/results/adaptation.json`; no head is kept.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from benchmarks.decisions.data import faces
from benchmarks.figures import Figure, keep_part, report
from siamese_lab.adaptation.candidates import all_candidates
from siamese_lab.adaptation.guard import Gain, Verdict, judge
from siamese_lab.adaptation.templates import labelled_templates

COMMAND = "TESSERA_DATA=DIR make bench-adaptation"
ENCODERS = ("face-sface-1", "face-sface-2")
SEED = 1
BAR = "FNMR at FMR 1e-4 falls on people never seen, interval and all"
NOTES = [
    "FNMR over folds of people who were held out, thresholds set on them at each FMR, before and after alike.",
    "Gain: FNMR before less after, in shares; interval by resampling people, the same ones before and after.",
    "LFW's wrong labels are left in. Single candidates are for the reader: the verdict is of what validation chose.",
]


def measure(encoder: str) -> list[Figure]:
    """One encoder."""
    known = faces(encoder)
    templates = labelled_templates(known.vectors, known.people, known.model_id)
    verdict = judge(
        templates,
        all_candidates(),
        np.random.default_rng(SEED),
        told=lambda line: print(f"{encoder}: {line}", file=sys.stderr),
    )
    rows = [row for name, gains in verdict.candidates.items() for row in _gains(f"{encoder}, {name}", gains)]
    rows += _gains(f"{encoder}, chosen by validation", verdict.gains)
    return [*rows, _said(encoder, verdict), Figure(f"{encoder}: chosen", ", ".join(verdict.chosen), "", "", None, "")]


def _said(encoder: str, verdict: Verdict) -> Figure:
    # No bar holds where the tool says no: nothing is claimed then.
    said, holds = ("helps", True) if verdict.helps else ("does not help", None)
    return Figure(f"{encoder}: the tool says", said, "", BAR if verdict.helps else "", holds, "")


def _gains(name: str, gains: tuple[Gain, ...]) -> list[Figure]:
    rows = []
    for gain in gains:
        at = f"{name}: FMR {gain.fmr:.0e}"
        rows += [
            Figure(f"{at}: FNMR before", gain.before, "share", "", None, ""),
            Figure(f"{at}: FNMR after", gain.after, "share", "", None, ""),
            Figure(f"{at}: gain", gain.gain.value, "share", "", None, ""),
            Figure(f"{at}: gain, 95 % low", gain.gain.interval.low, "share", "", None, ""),
            Figure(f"{at}: gain, 95 % high", gain.gain.interval.high, "share", "", None, ""),
        ]
    return rows


def main() -> int:
    """Measure, print, write docs/results/adaptation.json, encoder by encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", choices=[*ENCODERS, []], help="default: all")
    torch.set_num_threads(1)
    rows: list[Figure] = []
    for encoder in parser.parse_args().encoders or ENCODERS:
        command = f'{COMMAND} ARGS="{encoder}"'
        found = [Figure(f.figure, f.value, f.unit, f.bar, f.holds, command) for f in measure(encoder)]
        keep_part("adaptation", found)
        rows += found
    return report("adaptation", rows, NOTES, keep=False)


if __name__ == "__main__":
    sys.exit(main())
