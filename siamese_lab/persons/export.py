"""From a training run to the folder of an encoder: network as steps, weights, manifest, and calibration.

    python -m siamese_lab.persons.export --run DIR --data DIR --name person-mobilenet-1 --into tessera/artifacts

The calibration is measured on Con-ReID's held-out people, on the exported network, with every picture changed as if
another camera had taken it (without that, near duplicates would be most of the mated comparisons). It says what a
threshold means on such pictures and not what it means between the cameras of a house: those of a deployment have to be
measured there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from siamese_lab.persons.cameras import CameraChanges, seen_by_another
from siamese_lab.persons.data import CON_REID_TAR, People, Split, joined, learned_from, read_con_reid
from siamese_lab.persons.head import fit_head
from siamese_lab.persons.judging import embed_crops
from siamese_lab.persons.network import PersonNetwork
from siamese_lab.persons.training import PersonRecipe
from siamese_lab.tracing import trace
from siamese_lab.training.checkpoint import read_checkpoint
from siamese_lab.training.strict_yaml import parse
from siamese_lab.training.typed_reading import read
from tessera.domain.artifact import (
    CALIBRATION_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    SCHEMA_OF_OTHERS,
    WEIGHTS_FILE,
    Manifest,
    load_manifest,
    model_id_of,
)
from tessera.domain.calibration import SCHEMA, Calibration, dump_calibration
from tessera.domain.embedding import Modality
from tessera.domain.fitting import Provenance, calibrate_embeddings
from tessera.domain.ids import CalibrationId
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX, PERSON_PREPROCESSING
from tessera.nets.graph import dump_program
from tessera.nets.person import load_person_network

LICENCE = "MIT AND BSD-3-Clause"
"""Con-ReID's, and torchvision's, whose weights it began with; the card says what is known of both."""
DATA_NAME = "Con-ReID, people of query and bounding_box_test, each picture changed as by another camera"
PICTURES_A_PERSON = 16
"""At most, in the calibration: some people have five times as many as others."""
CALIBRATION_CHANGES = replace(CameraChanges(), plain=0.0, unboxed=1.0, occluded=0.0, erased=0.0)
"""The training's, of camera, lens and box alone."""
_SEED = 20261123


def load_run(run: Path, data: Path) -> tuple[PersonNetwork, str]:
    """The averaged network of a run with its head fitted, in evaluation mode, and how far the run got, in words.

    Args:
        run: folder of `siamese_lab.persons.training.train`.
        data: folder with the archive that it learned from.

    Raises:
        ArtifactError: there is no checkpoint.
    """
    recipe = read(PersonRecipe, parse((run / "recipe.yaml").read_text(encoding="utf-8"), "recipe.yaml"))
    found = read_checkpoint(run / "checkpoint.safetensors")
    network = PersonNetwork(recipe.dimensions, fine=recipe.fine)
    network.load_state_dict(dict(found.groups["average"]))
    people = learned_from(read_con_reid(data / CON_REID_TAR, Split.TRAIN))
    fit_head(network.eval(), people, recipe.head, recipe.changes)
    return network, f"step {found.facts['step']} of {recipe.steps}, head in closed form"


def export(run: Path, data: Path, name: str, into: Path, created: datetime) -> tuple[Manifest, Calibration]:
    """Write the folder of an encoder.

    Args:
        run: of the training.
        data: folder with the archive that the head is fitted and the calibration is measured on, on other people.
        name: of the encoder.
        into: gets a folder of that name.
        created: goes into the calibration.
    """
    network, reached = load_run(run, data)
    folder = into / name
    folder.mkdir(parents=True, exist_ok=True)
    _write_network(folder, name, network, f"siamese_lab.persons on Con-ReID bounding_box_train, {reached}")
    manifest = load_manifest(name, (into,))
    people = calibration_people(data / CON_REID_TAR)
    vectors = embed_crops(load_person_network(manifest), people.crops)
    provenance = Provenance(
        calibration_id=CalibrationId(f"{name}-con-reid-{created:%Y%m%d}-{SCHEMA}"),
        model_id=manifest.model_id,
        modality=Modality.PERSON,
        created=f"{created:%Y-%m-%d}",
        data_name=DATA_NAME,
        data_digest=_digest(people),
    )
    calibration = calibrate_embeddings(vectors, [int(one) for one in people.person], provenance)
    (folder / CALIBRATION_FILE).write_text(dump_calibration(calibration), encoding="utf-8")
    return manifest, calibration


def calibration_people(archive: Path) -> People:
    """The held-out people, at most `PICTURES_A_PERSON` of each, each picture by a camera of its own; always the same.

    Raises:
        InvalidInputError: as `read_con_reid`.
    """
    people = joined(read_con_reid(archive, Split.PROBES), read_con_reid(archive, Split.GALLERY))
    rng = np.random.default_rng(_SEED)
    chosen = np.zeros(len(people.person), np.bool_)
    for one in np.unique(people.person):
        rows = np.flatnonzero(people.person == one)
        chosen[rng.choice(rows, min(PICTURES_A_PERSON, len(rows)), replace=False)] = True
    some = people.of(chosen)
    crops = [seen_by_another(crop, crop, CALIBRATION_CHANGES, rng) for crop in some.crops]
    return People(np.stack(crops), some.person, some.names)


def _digest(people: People) -> str:
    total = hashlib.sha256()
    for name, crop in zip(people.names, people.crops, strict=True):
        total.update(f"{name} {hashlib.sha256(crop.tobytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _write_network(folder: Path, name: str, network: PersonNetwork, source: str) -> None:
    program, weights = trace(network)
    steps, tensors = dump_program(program), safetensors.torch.save(weights)
    (folder / NETWORK_FILE).write_bytes(steps)
    (folder / WEIGHTS_FILE).write_bytes(tensors)
    facts: dict[str, Any] = {
        "schema": SCHEMA_OF_OTHERS,
        "name": name,
        "modality": Modality.PERSON.value,
        "dimensions": program.dimensions,
        "crop_px": [CROP_HEIGHT_PX, CROP_WIDTH_PX],
        "preprocessing": PERSON_PREPROCESSING,
        "detector": None,
        "embedder": {
            "network": "graph",
            "network_sha256": hashlib.sha256(steps).hexdigest(),
            "weights_sha256": hashlib.sha256(tensors).hexdigest(),
            "licence": LICENCE,
            "source": source,
        },
    }
    facts["model_id"] = model_id_of(facts)
    (folder / MANIFEST_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TESSERA_DATA", ".")), help="the archive")
    parser.add_argument("--name", default="person-mobilenet-1")
    parser.add_argument("--into", type=Path, default=Path("tessera/artifacts"))
    arguments = parser.parse_args()
    manifest, calibration = export(arguments.run, arguments.data, arguments.name, arguments.into, datetime.now(UTC))
    sys.stdout.write(f"{manifest.model_id}\n")
    for point in calibration.points:
        sys.stdout.write(f"{point.threshold:.3f} FMR {point.fmr:.5f} FNMR {point.fnmr:.4f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
