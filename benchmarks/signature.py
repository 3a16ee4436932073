"""The signature encoder: equal error rates on writers it never saw, on another set, and under ills of scans.

    TESSERA_DATA=DIR make bench-signature

The measuring is `siamese_lab.signatures.study`; here stands what was asked for. The figures go to
`docs/results/signature.json`. `--baseline RUN` measures the papers' recipe of such a run in the same table, and
`--invented RUN` a network that learned on invented writers alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.figures import Figure, keep_part, report
from benchmarks.services import data_folder
from siamese_lab.signatures.baseline import SmallSigNet
from siamese_lab.signatures.data import BHSIG_TAR, TEST, read_bhsig
from siamese_lab.signatures.export import load_run
from siamese_lab.signatures.judging import Fusion
from siamese_lab.signatures.study import Row, elsewhere, home
from siamese_lab.training.checkpoint import read_checkpoint
from tessera.domain.artifact import ImportedGraph, load_manifest
from tessera.imaging.signature import prepare_signature, signature_input
from tessera.nets.graph import ImportedNetwork, load_network

COMMAND = "TESSERA_DATA=DIR make bench-signature"
ENCODER = "signature-strokes-1"
ASKED_SKILLED = {1: 0.08, 5: 0.05, 10: 0.04}
ASKED_RANDOM = 0.005
MOST_RISE = 1.0 / 3.0
ASKED_WEIGHTS_MB = 10.0
MOST_FALL = 0.5
PAPERS = "papers' recipe"

NOTES = [
    "EER: one threshold for all writers; [low, high] resample writers (95 %). BHSig260 (Hindi), writers 101-120.",
    "Each picture goes the way of the service: its signature is found, cut out, prepared and embedded. Pictures that a",
    "service would not compare (a reason code, or several signatures) count all the same; how many they are is told.",
    "References are drawn 5 times; random probes: 4 genuine signatures of each other writer.",
    "Bars are held against `max`, the best reference: that is what the gallery does.",
    "The trained fusion was fitted on writers 91-100. SigComp 2009 is whole, and nothing was tuned on it.",
    "Ills: JPEG quality 30; 150 dpi; falling light, a shadow and noise; gray lines every 90 pixels; blue ink.",
]


def shipped(name: str) -> ImportedNetwork:
    """The network of an encoder that ships."""
    source = load_manifest(name).embedder
    if not isinstance(source, ImportedGraph):
        raise SystemExit(f"{name} has no graph of its own")
    files = ((source.folder / file).read_bytes() for file in ("network.json", "weights.safetensors"))
    return load_network(next(files), next(files), name)


def figures(name: str, rows: list[Row], *, asked: bool) -> list[Figure]:
    """Rows as figures; the bars are for what the gallery does with several references: the best of them counts."""
    made: list[Figure] = []
    plain = {(row.data, row.references): row for row in rows if not row.ill and row.fusion is Fusion.MAX}
    for row in rows:
        judged = asked and row.data.startswith("bhsig") and row.fusion is Fusion.MAX
        told = f"{name}, {row.data}{', ' + row.ill if row.ill else ''}, {row.references} references, {row.fusion}"
        bar = ASKED_SKILLED.get(row.references) if judged and not row.ill else None
        random_bar = ASKED_RANDOM if judged and not row.ill else None
        if judged and row.ill:
            bar = plain[row.data, row.references].skilled.value * (1.0 + MOST_RISE)
        for kind, estimate, most in (("skilled", row.skilled, bar), ("random", row.random, random_bar)):
            words = "" if most is None else f"at most {100 * most:.2f} %"
            interval = f"% [{100 * estimate.interval.low:.2f}, {100 * estimate.interval.high:.2f}]"
            holds = None if most is None else estimate.value <= most
            made.append(Figure(f"EER {kind}: {told}", 100 * estimate.value, interval, words, holds, COMMAND))
    for data, ill in dict.fromkeys((row.data, row.ill) for row in rows):
        share = next(row.refused for row in rows if (row.data, row.ill) == (data, ill))
        told = f"not compared by a service: {name}, {data}{', ' + ill if ill else ''}"
        made.append(Figure(told, 100 * share, "% of the pictures", "", None, COMMAND))
    return made


def fall(name: str, own: list[Row], theirs: list[Row], *, asked: bool) -> Figure:
    """How much more the EER rises on the other set than that of another network does; from one reference."""

    def risen(rows: list[Row]) -> float:
        seen = {row.data: row.skilled.value for row in rows if row.references == 1 and not row.ill}
        return seen["sigcomp2009-nfi"] - seen["bhsig260-hindi"]

    ratio = risen(own) / risen(theirs)
    told = f"rise of EER skilled on the other set, encoder / {name}, 1 reference"
    holds = 0.0 <= ratio <= MOST_FALL if asked else None
    return Figure(told, round(ratio, 3), "times", f"at most {MOST_FALL:g}" if asked else "", holds, COMMAND)


def costs(network: ImportedNetwork, folder: Path) -> list[Figure]:
    """Processor time of preparing and embedding one signature, on one thread."""
    torch.set_num_threads(1)
    file = next(iter(read_bhsig(folder / BHSIG_TAR, TEST)))
    picture = file.picture()
    seen = torch.from_numpy(signature_input([prepare_signature(picture).canvas]))
    with torch.inference_mode():
        embed_ms = _median_ms(lambda: network(seen))
    prepare_ms = _median_ms(lambda: prepare_signature(picture))
    weights_mb = sum(weight.numel() * 4 for weight in network.parameters()) / 1e6
    return [
        Figure("prepare a signature", prepare_ms, "ms of processor", "", None, COMMAND),
        Figure("embed a signature", embed_ms, "ms of processor", "", None, COMMAND),
        Figure("weights", weights_mb, "MB", f"at most {ASKED_WEIGHTS_MB:g}", weights_mb <= ASKED_WEIGHTS_MB, COMMAND),
    ]


def _median_ms(work: object) -> float:
    if not callable(work):
        raise TypeError("needs something to call")
    times: list[float] = []
    for _ in range(30):
        started = time.thread_time()
        work()
        times.append(1000.0 * (time.thread_time() - started))
    return float(np.median(times))


def _baseline(run: Path) -> nn.Module:
    network = SmallSigNet()
    network.load_state_dict(read_checkpoint(run / "checkpoint.safetensors").groups["network"])
    return network.eval()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--baseline", type=Path, help="run folder of the papers' recipe")
    parser.add_argument("--invented", type=Path, help="run folder of a network that learned on invented writers alone")
    arguments = parser.parse_args()
    folder, network = data_folder(), shipped(arguments.encoder)
    own = [*home(network, folder), *elsewhere(network, folder)]
    rows = figures("encoder", own, asked=True)
    beside = dict[str, nn.Module]()
    if arguments.baseline:
        beside[PAPERS] = _baseline(arguments.baseline)
    if arguments.invented:
        beside["invented writers alone"] = load_run(arguments.invented)
    for name, other in beside.items():
        theirs = [*home(other, folder, ills={}), *elsewhere(other, folder)]
        rows += [*figures(name, theirs, asked=False), fall(name, own, theirs, asked=name == PAPERS)]
    rows = [replace(row, value=round(float(row.value), 3)) for row in [*rows, *costs(network, folder)]]
    keep_part("signature", rows)
    return report("signature", rows, NOTES, keep=False)


if __name__ == "__main__":
    sys.exit(main())
