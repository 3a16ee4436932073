"""From a training run to the folder of an encoder: network as steps, weights, manifest, and both calibrations.

    python -m siamese_lab.signatures.export --run DIR --data DIR --name signature-strokes-1 --into tessera/artifacts

`calibration.json` states FMR against random forgeries, as every calibration does: somebody else's signature.
`calibration-skilled.json` states it against skilled ones, on the same scores: a threshold for a bank looks there. Both
are measured on the test writers, on the exported network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from siamese_lab.signatures.data import BHSIG_TAR, TEST, SignatureFile, read_bhsig
from siamese_lab.signatures.network import SignatureNetwork, SignatureNetworkSize
from siamese_lab.signatures.study import Embedded, embed_files
from siamese_lab.tracing import trace
from siamese_lab.training.checkpoint import read_checkpoint
from tessera.domain.artifact import (
    CALIBRATION_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    SCHEMA_OF_OTHERS,
    SKILLED_CALIBRATION_FILE,
    WEIGHTS_FILE,
    Manifest,
    model_id_of,
    parse_manifest,
)
from tessera.domain.calibration import SCHEMA, Calibration, Impostors, dump_calibration
from tessera.domain.embedding import Modality
from tessera.domain.fitting import LabelledScores, Provenance, calibrate_embeddings, calibrate_scores
from tessera.domain.ids import CalibrationId
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, SIGNATURE_PREPROCESSING
from tessera.nets.graph import Program, dump_program, load_network

LICENCE = "LicenseRef-unstated-BHSig260"
"""No licence is stated of the signatures that the weights were learned on; the card says what follows."""
DATA_NAME = "BHSig260 (Hindi), writers 101-120"


def load_run(run: Path) -> SignatureNetwork:
    """The averaged network of a run, in evaluation mode.

    Args:
        run: folder of `siamese_lab.signatures.training.train`.

    Raises:
        ArtifactError: there is no checkpoint.
    """
    raw = json.loads((run / "recipe.json").read_text(encoding="ascii"))["size"]
    size = SignatureNetworkSize(
        stem=raw["stem"],
        widths=tuple(raw["widths"]),
        blocks=tuple(raw["blocks"]),
        place_channels=raw["place_channels"],
        place_dropout=raw.get("place_dropout", 0.0),
        dimensions=raw["dimensions"],
    )
    network = SignatureNetwork(size)
    network.load_state_dict(read_checkpoint(run / "checkpoint.safetensors").groups["average"])
    return network.eval()


def export(
    run: Path, data: Path, name: str, into: Path, created: datetime
) -> tuple[Manifest, Calibration, Calibration]:
    """Write the folder of an encoder.

    Args:
        run: of the training.
        data: folder with the archive that calibrations are measured on.
        name: of the encoder.
        into: gets a folder of that name.
        created: goes into the calibrations.

    Returns:
        The manifest, and the calibrations against random and against skilled forgeries.
    """
    program, weights = trace(load_run(run))
    folder = into / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _write_network(folder, name, program, weights, f"siamese_lab.signatures, run {run.name}")
    network = load_network(
        (folder / NETWORK_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes(), f"{name}/{NETWORK_FILE}"
    )
    files = list(read_bhsig(data / BHSIG_TAR, TEST))
    embedded = embed_files(network, files)
    random, skilled = calibrations(embedded, manifest, digest(files), created)
    (folder / CALIBRATION_FILE).write_text(dump_calibration(random), encoding="utf-8")
    (folder / SKILLED_CALIBRATION_FILE).write_text(dump_calibration(skilled), encoding="utf-8")
    return manifest, random, skilled


def calibrations(
    embedded: Embedded, manifest: Manifest, data_digest: str, created: datetime
) -> tuple[Calibration, Calibration]:
    """Operating points against random and against skilled forgeries, of single comparisons.

    Args:
        embedded: writers that nothing was learned or chosen on.
        manifest: of the encoder.
        data_digest: of their signatures.
        created: goes into the ids.
    """
    genuine = ~embedded.forged

    def named(impostors: Impostors) -> Provenance:
        kind = impostors.value.lower()
        return Provenance(
            calibration_id=CalibrationId(f"{manifest.name}-bhsig-{kind}-{created:%Y%m%d}-{SCHEMA}"),
            model_id=manifest.model_id,
            modality=Modality.SIGNATURE,
            created=f"{created:%Y-%m-%d}",
            data_name=f"{DATA_NAME}, {kind} forgeries",
            data_digest=data_digest,
            impostors=impostors,
        )

    random = calibrate_embeddings(embedded.vectors[genuine], embedded.writer[genuine], named(Impostors.RANDOM))
    return random, calibrate_scores(skilled_scores(embedded), named(Impostors.SKILLED))


def skilled_scores(embedded: Embedded) -> LabelledScores:
    """Every genuine signature of a writer against every other, and against every forgery of it.

    A forger counts as a subject of each writer's own: who forged is not known.
    """
    mated, owner, non_mated, victim = [], [], [], []
    for at, one in enumerate(np.unique(embedded.writer)):
        mine = embedded.vectors[(embedded.writer == one) & ~embedded.forged]
        theirs = embedded.vectors[(embedded.writer == one) & embedded.forged]
        same = (mine @ mine.T)[np.triu_indices(len(mine), 1)]
        other = (mine @ theirs.T).ravel()
        mated.append(same)
        owner.append(np.full(same.size, at, np.intp))
        non_mated.append(other)
        victim.append(np.full(other.size, at, np.intp))
    victims = np.concatenate(victim)
    return LabelledScores(
        np.concatenate(mated).astype(np.float64),
        np.concatenate(owner),
        np.concatenate(non_mated).astype(np.float64),
        victims,
        victims + len(mated),
        samples=len(embedded.writer),
    )


def digest(files: list[SignatureFile]) -> str:
    """sha256 over the names and digests of signatures."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name} {hashlib.sha256(file.data).hexdigest()}\n".encode())
    return total.hexdigest()


def _write_network(folder: Path, name: str, program: Program, weights: dict[str, Tensor], source: str) -> Manifest:
    network, tensors = dump_program(program), safetensors.torch.save(weights)
    (folder / NETWORK_FILE).write_bytes(network)
    (folder / WEIGHTS_FILE).write_bytes(tensors)
    facts: dict[str, Any] = {
        "schema": SCHEMA_OF_OTHERS,
        "name": name,
        "modality": Modality.SIGNATURE.value,
        "dimensions": program.dimensions,
        "crop_px": [CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX],
        "preprocessing": SIGNATURE_PREPROCESSING,
        "detector": None,
        "embedder": {
            "network": "graph",
            "network_sha256": hashlib.sha256(network).hexdigest(),
            "weights_sha256": hashlib.sha256(tensors).hexdigest(),
            "licence": LICENCE,
            "source": source,
        },
    }
    facts["model_id"] = model_id_of(facts)
    text = json.dumps(facts, indent=1) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return parse_manifest(text, f"{name}/{MANIFEST_FILE}", folder)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TESSERA_DATA", ".")), help="the archives")
    parser.add_argument("--name", default="signature-strokes-1")
    parser.add_argument("--into", type=Path, default=Path("tessera/artifacts"))
    arguments = parser.parse_args()
    manifest, random, skilled = export(arguments.run, arguments.data, arguments.name, arguments.into, datetime.now(UTC))
    sys.stdout.write(f"{manifest.model_id}\n")
    for calibration in (random, skilled):
        for point in calibration.points:
            sys.stdout.write(
                f"{calibration.data.name}: {point.threshold:.3f} FMR {point.fmr:.4f} FNMR {point.fnmr:.4f}\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
