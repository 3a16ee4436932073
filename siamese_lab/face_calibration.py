"""Measures the calibration of a face encoder, shipped or imported, through the encoder service itself.

    python -m siamese_lab.face_calibration --data DIR --encoder 127.0.0.1:7001

reads LFW (folds 1-5 and the cohort of people with one picture), asks the running encoder for every embedding, compares
all pairs and writes `calibration.json` beside the manifest of the encoder that answered. `--in-process face-sface-2` in
place of `--encoder` goes the same way without a service. The file holds scores and rates, no picture and no embedding.
LFW has some wrong labels; they are left in, so that the strictest points err on the safe side.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from siamese_lab.embedding_run import EmbeddedPictures, embed_pictures
from siamese_lab.face_templates import embed_in_process, shipped_networks
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, digest, read_pictures
from tessera.chassis.encoder_folders import encoder_folders
from tessera.domain.artifact import CALIBRATION_FILE, encoder_folder, load_manifest
from tessera.domain.calibration import Calibration, CalibrationData, dump_calibration
from tessera.domain.embedding import Modality
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.measurement import compare_all_pairs, measure_operating_points

DATA_NAME = "LFW deep-funneled, View 2 folds 1-5 and cohort"
SEED = 20261122


@dataclass(frozen=True, slots=True)
class Measured:
    """A calibration, and the pictures in which no face was found."""

    calibration: Calibration
    without_face: tuple[str, ...]


def measure(embedded: EmbeddedPictures, data_digest: str, created: datetime) -> Measured:
    """Compare all pairs of embedded pictures and state the operating points.

    Args:
        embedded: one embedding for each picture that has a face.
        data_digest: of all pictures.
        created: goes into the calibration's id.
    """
    people = sorted(set(embedded.people))
    index = {person: at for at, person in enumerate(people)}
    comparisons = compare_all_pairs(embedded.vectors, [index[person] for person in embedded.people])
    points = measure_operating_points(comparisons, np.random.default_rng(SEED))
    data = CalibrationData(
        name=DATA_NAME,
        digest=data_digest,
        subjects=len(people),
        samples=len(embedded.people),
        mated=comparisons.mated_scores.size,
        non_mated=comparisons.non_mated_total,
    )
    name = embedded.model_id.partition("@")[0]
    calibration_id = CalibrationId(f"{name}-lfw-{created:%Y%m%d}")
    calibration = Calibration(calibration_id, embedded.model_id, Modality.FACE, f"{created:%Y-%m-%d}", data, points)
    return Measured(calibration, embedded.without_face)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""), help="the folder with the LFW archives")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--encoder", default="127.0.0.1:7001", help="address of a running encoder")
    where.add_argument("--in-process", metavar="NAME", help="a shipped encoder to run here instead")
    parser.add_argument("--model", default="", help="model id of the encoder; the service's default when left out")
    arguments = parser.parse_args()
    folder = Path(arguments.data)
    pictures = [*read_pictures(folder / FOLDS_TAR), *read_pictures(folder / COHORT_TAR)]
    if arguments.in_process:
        manifest = load_manifest(arguments.in_process)
        embedded = embed_in_process(pictures, manifest, shipped_networks(manifest))
    else:
        embedded = asyncio.run(embed_pictures(pictures, arguments.encoder, ModelId(arguments.model) or None))
    measured = measure(embedded, digest(pictures), datetime.now(UTC))
    out = Path(str(encoder_folder(embedded.model_id.partition("@")[0], encoder_folders()))) / CALIBRATION_FILE
    out.write_text(dump_calibration(measured.calibration), encoding="utf-8")
    data = measured.calibration.data
    sys.stdout.write(
        f"{out.name}: {data.subjects} subjects, {data.samples} pictures, {data.mated:,} mated and "
        f"{data.non_mated:,} non-mated comparisons, {len(measured.calibration.points)} points; "
        f"no face or no picture: {', '.join(measured.without_face) or 'none'}\n"
    )
    for rate in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        point = next(point for point in measured.calibration.points if point.fmr <= rate)
        sys.stdout.write(
            f"FMR {point.fmr:.2e} [{point.fmr_interval.low:.2e}, {point.fmr_interval.high:.2e}] "
            f"at {point.threshold:.4f}: "
            f"FNMR {point.fnmr:.4f} [{point.fnmr_interval.low:.4f}, {point.fnmr_interval.high:.4f}]\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
