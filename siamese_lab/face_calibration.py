"""Measures the calibration of a face encoder, shipped or imported, through the encoder service itself.

    python -m siamese_lab.face_calibration --data DIR --encoder 127.0.0.1:7001

reads LFW (folds 1-5 and the cohort of people with one picture), asks the running encoder for every embedding, compares
all pairs, searches each picture among the other people and writes `calibration.json` beside the manifest of the encoder
that answered. `--in-process face-sface-2` in place of `--encoder` goes the same way without a service. The file holds
scores and rates, no picture and no embedding. LFW has some wrong labels; they are left in, so that the strictest points
err on the safe side.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from siamese_lab.embedding_run import EmbeddedPictures, embed_pictures
from siamese_lab.face_templates import embed_in_process, shipped_networks
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, digest, read_pictures
from tessera.chassis.encoder_folders import encoder_folders
from tessera.domain.artifact import CALIBRATION_FILE, encoder_folder, load_manifest
from tessera.domain.calibration import DEFAULT_TARGET_FPIR, SCHEMA, Calibration, dump_calibration
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.errors import CalibrationTooSmallError
from tessera.domain.fitting import Provenance, calibrate_embeddings
from tessera.domain.ids import CalibrationId, ModelId

DATA_NAME = "LFW deep-funneled, View 2 folds 1-5 and cohort"


@dataclass(frozen=True, slots=True)
class Measured:
    """A calibration, and the pictures in which no face was found."""

    calibration: Calibration
    without_face: tuple[str, ...]


def measure(embedded: EmbeddedPictures, data_digest: str, created: datetime) -> Measured:
    """Compare all pairs of embedded pictures, search each among the others, and state what was measured.

    Args:
        embedded: one embedding for each picture that has a face.
        data_digest: of all pictures.
        created: goes into the calibration's id.
    """
    name = embedded.model_id.partition("@")[0]
    provenance = Provenance(
        calibration_id=CalibrationId(f"{name}-lfw-{created:%Y%m%d}-{SCHEMA}"),
        model_id=embedded.model_id,
        modality=Modality.FACE,
        created=f"{created:%Y-%m-%d}",
        data_name=DATA_NAME,
        data_digest=data_digest,
    )
    return Measured(calibrate_embeddings(embedded.vectors, embedded.people, provenance), embedded.without_face)


def told(measured: Measured) -> str:
    """What a calibration says, for whoever made it: lines of text."""
    calibration = measured.calibration
    data = calibration.data
    head = (
        f"{calibration.calibration_id}: {data.subjects} subjects, {data.samples} pictures, {data.mated:,} mated and "
        f"{data.non_mated:,} non-mated comparisons, {len(calibration.points)} points, "
        f"{len(calibration.searches)} of searches; no face or no picture: {', '.join(measured.without_face) or 'none'}"
    )
    lines = [head]
    for rate in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        point = next((point for point in calibration.points if point.fmr <= rate), None)
        if point is not None:
            lines.append(
                f"FMR {point.fmr:.2e} {_span(point.fmr_interval)} at {point.threshold:.4f}: "
                f"FNMR {point.fnmr:.4f} [{point.fnmr_interval.low:.4f}, {point.fnmr_interval.high:.4f}]"
            )
    lines += [_searched(calibration, size) for size in (100, 1000, 5000)]
    return "\n".join(lines) + "\n"


def _searched(calibration: Calibration, size: int) -> str:
    try:
        threshold = calibration.threshold_for_fpir(DEFAULT_TARGET_FPIR, size)
    except CalibrationTooSmallError as error:
        return f"FPIR {DEFAULT_TARGET_FPIR:.0e} of {size} subjects: {error}"
    beyond = "" if size <= calibration.searches[-1].gallery_size else " at most (more than were searched)"
    span = _span(threshold.fpir_interval) if threshold.fpir_interval else ""
    return f"FPIR {threshold.fpir:.2e} {span} of {size} subjects{beyond} at {threshold.score:.4f}"


def _span(interval: Interval) -> str:
    return f"[{interval.low:.2e}, {interval.high:.2e}]"


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
    sys.stdout.write(told(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
